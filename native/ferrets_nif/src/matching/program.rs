//! Programs: compiled specifications, and what runs them on records.
//!
//! A program refers to its literals by number. At first these are terms of the caller's; a program that is kept for further
//! calls has them copied into an arena of its own, which is never written again, so that many threads may read it.

use std::cell::RefCell;
use std::ffi::CStr;

use rustler::{Encoder, Env, Term};

use crate::beam::arena::{Arena, Seen, Stored};
use crate::beam::inspect::node_of;
use crate::beam::scratch::{shorten, shorten_all, shorten_env, Scratch};
use crate::beam::shared::{Kind, Share};
use crate::beam::term::{cell, word, Elements};
use crate::reaper;
use crate::table::TableId;

use super::clause::{Literals, Malformed, Variables};
use super::evaluate::Frame;
use super::expression::{Expression, Step};
use super::function::Function;
use super::pattern::Pattern;
use super::query::Scope;
use super::value::{Heap, Value};

/// So many variables need no allocation.
const NEAR: usize = 8;

struct Clause {
    pattern: Pattern,
    /// The slots of the variables, in the order of their numbers.
    order: Box<[u32]>,
    guards: Expression,
    body: Expression,
}

/// A specification without its literals.
pub struct Code {
    clauses: Vec<Clause>,
    /// Where records that match can be.
    pub scope: Scope,
    /// Whether it takes so long that it should not be run on a normal scheduler.
    pub is_large: bool,
    asks_for_nodes: bool,
}

/// A program whose literals are the caller's.
pub struct Program<'a> {
    /// What is done.
    pub code: Code,
    /// The literals.
    pub literals: Vec<Term<'a>>,
}

impl<'a> Program<'a> {
    /// Compiles a specification for a table.
    ///
    /// # Errors
    /// [`Malformed`]; that it is too large only if it `is_bounded`.
    pub fn compile(id: TableId, specification: Term<'a>, is_bounded: bool) -> Result<Self, Malformed> {
        let mut literals = Literals::new(is_bounded);
        // Most have one clause.
        let mut clauses = Vec::with_capacity(1);
        let mut heads = Vec::with_capacity(1);
        let mut rest = specification;
        while let Some((clause, tail)) = cell(rest) {
            let clause = Elements::of(clause).filter(|clause| clause.len() == 3).ok_or(Malformed::BadArg)?;
            let (Some(head), Some(guards), Some(body)) = (clause.get(0), clause.get(1), clause.get(2)) else {
                return Err(Malformed::BadArg);
            };
            heads.push(head);
            clauses.push(Clause::compile(head, guards, body, &mut literals)?);
            rest = tail;
        }
        if !rest.is_empty_list() {
            return Err(Malformed::BadArg);
        }
        let scope = Scope::of(id, &heads, &mut literals);
        let asks_for_nodes = clauses.iter().any(Clause::asks_for_nodes);
        let code = Code { clauses, scope, is_large: literals.is_large(), asks_for_nodes };
        Ok(Program { code, literals: literals.terms })
    }

    /// Copies what is needed for further calls.
    pub fn keep(self, id: TableId) -> Kept {
        let mut arena = Arena::new();
        let literals = self.literals.into_iter().map(|term| arena.adopt(term)).collect();
        Kept { id, code: self.code, arena, literals }
    }
}

impl Clause {
    fn compile<'a>(
        head: Term<'a>,
        guards: Term<'a>,
        body: Term<'a>,
        literals: &mut Literals<'a>,
    ) -> Result<Self, Malformed> {
        let mut variables = Variables::default();
        let pattern = Pattern::compile(head, literals, &mut variables)?;
        let guards = Expression::guards(guards, literals, &variables)?;
        let body = Expression::body(body, literals, &variables)?;
        Ok(Clause { pattern, order: variables.slots(), guards, body })
    }

    fn asks_for_nodes(&self) -> bool {
        let steps = self.guards.steps.iter().chain(&self.body.steps);
        steps.into_iter().any(|step| matches!(step, Step::Call(Function::Node | Function::ThisNode, _)))
    }
}

/// A program that outlives the call in which it was compiled.
pub struct Kept {
    /// The table that it was compiled for.
    pub id: TableId,
    /// What is done.
    pub code: Code,
    arena: Arena,
    literals: Vec<Stored>,
}

static KIND: Kind = Kind::new();

impl Share for Kept {
    const NAME: &'static CStr = c"program";

    fn kind() -> &'static Kind {
        &KIND
    }
}

impl Kept {
    /// The literals.
    pub fn literals(&self) -> Vec<Term<'_>> {
        // SAFETY: each came from this arena, which is never cleared; none is `Stored::none`.
        self.literals.iter().map(|&stored| unsafe { self.arena.view(stored) }).collect()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.code.is_large {
            reaper::hand_over(Box::new(std::mem::take(&mut self.arena)));
        }
    }
}

/// Runs a program for a caller.
pub struct Matcher<'a, 'c> {
    env: Env<'a>,
    code: &'c Code,
    literals: &'c [Term<'c>],
    itself: Term<'a>,
    here: Option<Term<'a>>,
    scratch: RefCell<Scratch>,
}

impl<'a, 'c> Matcher<'a, 'c> {
    /// For the process that calls.
    pub fn new<'l: 'c>(env: Env<'a>, code: &'c Code, literals: &'c [Term<'l>]) -> Self {
        let itself = env.pid().encode(env);
        let here = if code.asks_for_nodes { node_of(itself, env) } else { None };
        Matcher { env, code, literals: shorten_all(literals), itself, here, scratch: RefCell::new(Scratch::new()) }
    }

    /// The program's code.
    pub fn code(&self) -> &'c Code {
        self.code
    }

    /// The program's literals.
    pub fn literals(&self) -> &'c [Term<'c>] {
        self.literals
    }

    /// What a record gives, if it matches, on the caller's heap.
    pub fn result(&self, record: Seen<'_>) -> Option<Term<'a>> {
        let whole = word(record.term());
        self.run(record.term(), true, |value, heap| match value.term(heap) {
            term if word(term) == whole => record.copy(self.env),
            term => term.in_env(self.env),
        })
    }

    /// Whether a record gives `true`.
    pub fn is_hit(&self, record: Term<'_>) -> bool {
        self.run(record, false, |value, _| value.boolean() == Some(true)) == Some(true)
    }

    fn run<R>(&self, record: Term<'_>, on_heap: bool, take: impl for<'b> Fn(Value<'b>, Heap<'b>) -> R) -> Option<R> {
        let mut scratch = self.scratch.borrow_mut();
        let result = {
            let scratch = &*scratch;
            let env = shorten_env(self.env);
            let aside = Heap::Scratch(scratch, env);
            let frame = Frame {
                record: shorten(record),
                literals: shorten_all(self.literals),
                bound: &[],
                order: &[],
                itself: shorten(self.itself),
                here: self.here.map(shorten),
                heap: aside,
            };
            let body_heap = if on_heap { Heap::Caller(env) } else { aside };
            let mut clauses = self.code.clauses.iter();
            clauses.find_map(|clause| clause.run(frame, body_heap)).map(|value| take(value, body_heap))
        };
        scratch.clear();
        result
    }
}

impl Clause {
    /// What a record gives. Guards build where the frame says, the body on its own heap.
    #[inline]
    fn run<'b>(&self, frame: Frame<'_, 'b>, body_heap: Heap<'b>) -> Option<Value<'b>> {
        let mut near = [frame.record; NEAR];
        let mut far;
        let bound = match near.get_mut(..self.pattern.slots()) {
            Some(bound) => bound,
            None => {
                far = vec![frame.record; self.pattern.slots()];
                &mut far[..]
            }
        };
        if !self.pattern.matches(frame.record, frame.literals, bound) {
            return None;
        }
        let frame = Frame { bound, order: &self.order, ..frame };
        frame.holds(&self.guards).then(|| Frame { heap: body_heap, ..frame }.value(&self.body))
    }
}
