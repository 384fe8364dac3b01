//! Heads of clauses: a pattern becomes a list of tests, which a record passes or not.
//!
//! Each tuple, list cell and map of the pattern is a *node*; a test looks at a part of a node, and may open another one.
//! The tests stand in the order in which `ets` looks at a record: all parts of a node, then the nodes opened there, the
//! last one first. The cells of a list are looked at one after the other.

use rustler::Term;

use crate::beam::compare::is_identical;
use crate::beam::inspect::{map_get, map_len};
use crate::beam::kind::Type;
use crate::beam::term::{cell, each_pair, float, is_immediate, word, Elements};

use super::clause::{Literals, Malformed, Name, Variables};

/// A part of a node.
#[derive(Clone, Copy, Debug)]
struct At {
    node: u32,
    part: u32,
}

/// What a record has to pass.
#[derive(Clone, Copy, Debug)]
enum Test {
    /// A tuple of so many elements, which are looked at later.
    Tuple { at: At, arity: u32, opens: u32 },
    /// A list cell.
    Cell { at: At, opens: u32 },
    /// A map of at least so many pairs.
    Map { at: At, len: u32, opens: u32 },
    /// In a map that has been opened: a value under this key.
    Key { map: u32, key: u32, opens: u32 },
    /// Anything, which a variable is bound to.
    Bind { at: At, slot: u32 },
    /// What a variable is bound to.
    Same { at: At, slot: u32 },
    /// Something that is all in one word, as atoms and small integers are.
    Word { at: At, literal: u32 },
    /// A float of these bits.
    Float { at: At, literal: u32 },
    /// This, by `=:=`.
    Is { at: At, literal: u32 },
}

/// A head, compiled.
#[derive(Default)]
pub struct Pattern {
    tests: Vec<Test>,
    nodes: usize,
    slots: usize,
}

/// A node whose parts are still to be looked at.
enum Pending<'a> {
    Tuple(Elements<'a>),
    List(Term<'a>, Term<'a>),
    Map(Term<'a>),
}

struct Compiler<'c, 'a> {
    tests: Vec<Test>,
    nodes: u32,
    pending: Vec<(u32, Pending<'a>)>,
    literals: &'c mut Literals<'a>,
    variables: &'c mut Variables,
}

impl Pattern {
    /// Compiles a head, whose variables and literals are added.
    pub fn compile<'a>(
        head: Term<'a>,
        literals: &mut Literals<'a>,
        variables: &mut Variables,
    ) -> Result<Self, Malformed> {
        let mut compiler =
            Compiler { tests: Vec::with_capacity(8), nodes: 1, pending: Vec::new(), literals, variables };
        compiler.part(At { node: 0, part: 0 }, head)?;
        while let Some((node, pending)) = compiler.pending.pop() {
            compiler.parts(node, pending)?;
        }
        Ok(Pattern { tests: compiler.tests, nodes: compiler.nodes as usize, slots: variables.len() })
    }
}

impl<'a> Compiler<'_, 'a> {
    fn open(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Compiles the parts of a node. What follows it at the end of a list is looked at before other nodes.
    fn parts(&mut self, mut node: u32, mut pending: Pending<'a>) -> Result<(), Malformed> {
        loop {
            match pending {
                Pending::Tuple(elements) => {
                    self.literals.count(elements.len())?;
                    for (part, element) in elements.iter().enumerate() {
                        self.part(At { node, part: part as u32 }, element)?;
                    }
                    return Ok(());
                }
                Pending::Map(map) => return self.values(node, map),
                Pending::List(head, tail) => {
                    self.part(At { node, part: 0 }, head)?;
                    self.literals.count(1)?;
                    let Some((opens, next)) = self.compound(At { node, part: 1 }, tail) else {
                        return self.leaf(At { node, part: 1 }, tail);
                    };
                    (node, pending) = (opens, next);
                }
            }
        }
    }

    fn values(&mut self, node: u32, map: Term<'a>) -> Result<(), Malformed> {
        self.literals.count(map_len(map).unwrap_or(0))?;
        let mut pairs = Vec::new();
        each_pair(map, |key, value| pairs.push((key, value)));
        for (key, value) in pairs {
            if Name::of(key).is_open() {
                return Err(Malformed::BadArg);
            }
            let key = self.literals.add(key);
            let opens = self.open();
            self.tests.push(Test::Key { map: node, key, opens });
            self.part(At { node: opens, part: 0 }, value)?;
        }
        Ok(())
    }

    /// Compiles a part; what is inside of it is put off.
    fn part(&mut self, at: At, term: Term<'a>) -> Result<(), Malformed> {
        self.literals.count(1)?;
        match self.compound(at, term) {
            Some(pending) => {
                self.pending.push(pending);
                Ok(())
            }
            None => self.leaf(at, term),
        }
    }

    /// The test for what has parts.
    fn compound(&mut self, at: At, term: Term<'a>) -> Option<(u32, Pending<'a>)> {
        match Type::of(term) {
            Type::Tuple => {
                let elements = Elements::of(term)?;
                let opens = self.open();
                self.tests.push(Test::Tuple { at, arity: elements.len() as u32, opens });
                Some((opens, Pending::Tuple(elements)))
            }
            Type::List => {
                let (head, tail) = cell(term)?;
                let opens = self.open();
                self.tests.push(Test::Cell { at, opens });
                Some((opens, Pending::List(head, tail)))
            }
            Type::Map => {
                let opens = self.open();
                self.tests.push(Test::Map { at, len: map_len(term)? as u32, opens });
                Some((opens, Pending::Map(term)))
            }
            _ => None,
        }
    }

    fn leaf(&mut self, at: At, term: Term<'a>) -> Result<(), Malformed> {
        let test = match Name::of(term) {
            Name::Anything => return Ok(()),
            Name::Variable(number) => match self.variables.slot(number) {
                Some(slot) => Test::Same { at, slot },
                None => Test::Bind { at, slot: self.variables.bind(number) },
            },
            _ => {
                let literal = self.literals.add(term);
                match Type::of(term) {
                    _ if is_immediate(term) => Test::Word { at, literal },
                    Type::Float => Test::Float { at, literal },
                    _ => Test::Is { at, literal },
                }
            }
        };
        self.tests.push(test);
        Ok(())
    }
}

/// What a node is of a record at hand.
#[derive(Clone, Copy)]
enum Node<'b> {
    One(Term<'b>),
    Cell([Term<'b>; 2]),
    Tuple(Elements<'b>),
}

impl<'b> Node<'b> {
    #[inline]
    fn part(&self, part: u32) -> Option<Term<'b>> {
        match self {
            Node::One(term) => Some(*term),
            Node::Cell(parts) => parts.get(part as usize).copied(),
            Node::Tuple(elements) => elements.get(part as usize),
        }
    }
}

/// So many nodes need no allocation.
const NEAR: usize = 6;

impl Pattern {
    /// How many variables are bound.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Whether a record matches. If it does, `bound` has what the variables are bound to.
    #[inline]
    pub fn matches<'b>(&self, record: Term<'b>, literals: &[Term<'b>], bound: &mut [Term<'b>]) -> bool {
        let mut near = [Node::One(record); NEAR];
        if self.nodes <= NEAR {
            self.passes(literals, &mut near, bound)
        } else {
            self.passes(literals, &mut vec![Node::One(record); self.nodes], bound)
        }
    }

    fn passes<'b>(&self, literals: &[Term<'b>], nodes: &mut [Node<'b>], bound: &mut [Term<'b>]) -> bool {
        self.tests.iter().all(|test| test.passes(literals, nodes, bound).is_some())
    }
}

impl Test {
    #[inline]
    fn passes<'b>(&self, literals: &[Term<'b>], nodes: &mut [Node<'b>], bound: &mut [Term<'b>]) -> Option<()> {
        let part = |nodes: &[Node<'b>], at: At| nodes.get(at.node as usize)?.part(at.part);
        let literal = |number: u32| literals.get(number as usize).copied();
        let holds = |condition: bool| condition.then_some(());
        match *self {
            Test::Tuple { at, arity, opens } => {
                let elements = Elements::of(part(nodes, at)?)?;
                *nodes.get_mut(opens as usize)? = Node::Tuple(elements);
                holds(elements.len() == arity as usize)
            }
            Test::Cell { at, opens } => {
                let (head, tail) = cell(part(nodes, at)?)?;
                *nodes.get_mut(opens as usize)? = Node::Cell([head, tail]);
                Some(())
            }
            Test::Map { at, len, opens } => {
                let map = part(nodes, at)?;
                *nodes.get_mut(opens as usize)? = Node::One(map);
                holds(map_len(map)? >= len as usize)
            }
            Test::Key { map, key, opens } => {
                let value = map_get(part(nodes, At { node: map, part: 0 })?, literal(key)?)?;
                *nodes.get_mut(opens as usize)? = Node::One(value);
                Some(())
            }
            Test::Bind { at, slot } => {
                *bound.get_mut(slot as usize)? = part(nodes, at)?;
                Some(())
            }
            Test::Same { at, slot } => holds(is_identical(*bound.get(slot as usize)?, part(nodes, at)?)),
            Test::Word { at, literal: number } => holds(word(part(nodes, at)?) == word(literal(number)?)),
            Test::Float { at, literal: number } => {
                holds(float(part(nodes, at)?)?.to_bits() == float(literal(number)?)?.to_bits())
            }
            Test::Is { at, literal: number } => holds(is_identical(part(nodes, at)?, literal(number)?)),
        }
    }
}
