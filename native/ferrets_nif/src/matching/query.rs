//! Which keys can match: so that a query reads one record, or a range of an `ordered_set`, and not the whole table.
//!
//! It decides nothing about what matches: each record that is looked at still has to.

use std::cmp::Ordering;

use rustler::Term;

use crate::beam::compare::compare;
use crate::beam::kind::Type;
use crate::beam::term::{cell, element, Elements};
use crate::table::TableId;
use crate::walk::compare_exactly;

use super::clause::{Literals, Name};

/// Where records that match can be. Keys are numbers of literals.
pub enum Scope {
    /// Anywhere.
    All,
    /// Under these keys, which are in order, each one once. There may be none.
    Keys(Vec<u32>),
    /// In a range of an `ordered_set`.
    Range(Prefix),
}

/// What the head of a clause says of the key.
enum Bound<'a> {
    /// Nothing.
    Open,
    /// There is no key: no record of the table looks like that.
    Impossible,
    /// It is this one.
    Fully(Term<'a>),
    /// Its beginning.
    Partly(Term<'a>),
}

impl Scope {
    /// The scope of clauses with these heads, in a table.
    pub fn of<'a>(id: TableId, heads: &[Term<'a>], literals: &mut Literals<'a>) -> Self {
        let mut keys = Vec::new();
        let mut partial = None;
        for head in heads {
            match bound(id, *head) {
                Bound::Open => return Scope::All,
                Bound::Impossible => {}
                Bound::Fully(key) => keys.push(key),
                // Several clauses with parts of keys are worth a range only if it is the same.
                Bound::Partly(key) => match partial {
                    None => partial = Some(key),
                    Some(other) if compare_exactly(&other, &key).is_eq() => {}
                    Some(_) => return Scope::All,
                },
            }
        }
        match partial {
            Some(_) if !keys.is_empty() => Scope::All,
            Some(key) => Scope::Range(Prefix::of(key, literals)),
            None => {
                keys.sort_by(compare_exactly);
                keys.dedup_by(|a, b| id.is_same_key(*a, *b));
                Scope::Keys(keys.into_iter().map(|key| literals.add(key)).collect())
            }
        }
    }
}

fn bound(id: TableId, head: Term<'_>) -> Bound<'_> {
    if Name::of(head).is_open() {
        return Bound::Open;
    }
    let Some(key) = element(head, id.keypos()) else { return Bound::Impossible };
    if is_closed(key) {
        Bound::Fully(key)
    } else if id.is_ordered() && matches!(begin(key), Begin::Tuple | Begin::Cell) {
        Bound::Partly(key)
    } else {
        Bound::Open
    }
}

/// Whether only one key matches the pattern. A map matches maps that have more in them.
fn is_closed(key: Term<'_>) -> bool {
    let mut pending = vec![key];
    while let Some(part) = pending.pop() {
        match begin(part) {
            Begin::Open => return false,
            Begin::Leaf => {}
            Begin::Tuple => pending.extend(Elements::of(part).into_iter().flat_map(Elements::iter)),
            Begin::Cell => pending.extend(cell(part).into_iter().flat_map(|(head, tail)| [tail, head])),
        }
    }
    true
}

/// How a pattern begins, in the order in which terms are compared.
enum Begin {
    Tuple,
    Cell,
    /// With what may be anything, or a map, whose order is another matter.
    Open,
    Leaf,
}

fn begin(pattern: Term<'_>) -> Begin {
    match Type::of(pattern) {
        Type::Tuple => Begin::Tuple,
        Type::List if !pattern.is_empty_list() => Begin::Cell,
        Type::Map => Begin::Open,
        _ if Name::of(pattern).is_open() => Begin::Open,
        _ => Begin::Leaf,
    }
}

/// The beginning of a key, up to where it is open: a range of keys in the order of terms.
pub struct Prefix {
    steps: Vec<Compare>,
    /// Whether it is of a tuple in which nothing is nested.
    is_flat: bool,
}

/// What a part of a key is compared with: the number of a literal, which for compound terms tells other types and sizes.
enum Compare {
    Tuple(u32, usize),
    Cell(u32),
    Leaf(u32),
}

impl Prefix {
    fn of<'a>(key: Term<'a>, literals: &mut Literals<'a>) -> Self {
        let mut steps = Vec::new();
        let mut pending = vec![key];
        while let Some(part) = pending.pop() {
            match begin(part) {
                Begin::Open => break,
                Begin::Leaf => steps.push(Compare::Leaf(literals.add(part))),
                Begin::Tuple => {
                    let elements = Elements::of(part).into_iter().flat_map(Elements::iter);
                    let first = pending.len();
                    pending.extend(elements);
                    steps.push(Compare::Tuple(literals.add(part), pending.len() - first));
                    pending[first..].reverse();
                }
                Begin::Cell => {
                    pending.extend(cell(part).into_iter().flat_map(|(head, tail)| [tail, head]));
                    steps.push(Compare::Cell(literals.add(part)));
                }
            }
        }
        let is_flat = match steps.split_first() {
            Some((Compare::Tuple(..), rest)) => rest.iter().all(|step| matches!(step, Compare::Leaf(_))),
            _ => false,
        };
        Prefix { steps, is_flat }
    }

    /// Where a key is: before the range, in it, or beyond.
    pub fn place(&self, key: Term<'_>, literals: &[Term<'_>]) -> Ordering {
        match (self.steps.split_first(), Elements::of(key)) {
            (Some((Compare::Tuple(_, arity), leaves)), Some(elements)) if self.is_flat && elements.len() == *arity => {
                let mut parts = leaves.iter().zip(elements.iter());
                let unequal = parts.find_map(|(step, part)| Some(step.compare(part, literals)).filter(|o| o.is_ne()));
                unequal.unwrap_or(Ordering::Equal)
            }
            _ => self.place_nested(key, literals),
        }
    }

    fn place_nested(&self, key: Term<'_>, literals: &[Term<'_>]) -> Ordering {
        let mut pending = Pending::new(key);
        for step in &self.steps {
            let Some(part) = pending.pop() else { return Ordering::Equal };
            match (step, Elements::of(part), cell(part)) {
                (Compare::Tuple(_, arity), Some(elements), _) if elements.len() == *arity => {
                    (0..*arity).rev().filter_map(|at| elements.get(at)).for_each(|part| pending.push(part));
                }
                (Compare::Cell(_), _, Some((head, tail))) => {
                    pending.push(tail);
                    pending.push(head);
                }
                _ => match step.compare(part, literals) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
            }
        }
        Ordering::Equal
    }
}

impl Compare {
    fn compare(&self, part: Term<'_>, literals: &[Term<'_>]) -> Ordering {
        let (Compare::Tuple(literal, _) | Compare::Cell(literal) | Compare::Leaf(literal)) = self;
        literals.get(*literal as usize).map_or(Ordering::Equal, |literal| compare(part, *literal))
    }
}

/// So many parts are kept without allocating.
const NEAR: usize = 8;

/// A stack of parts of a key.
struct Pending<'b> {
    near: [Term<'b>; NEAR],
    len: usize,
    far: Vec<Term<'b>>,
}

impl<'b> Pending<'b> {
    fn new(key: Term<'b>) -> Self {
        Pending { near: [key; NEAR], len: 1, far: Vec::new() }
    }

    fn push(&mut self, part: Term<'b>) {
        match self.near.get_mut(self.len) {
            Some(place) => {
                *place = part;
                self.len += 1;
            }
            None => self.far.push(part),
        }
    }

    fn pop(&mut self) -> Option<Term<'b>> {
        if let Some(part) = self.far.pop() {
            return Some(part);
        }
        self.len = self.len.checked_sub(1)?;
        self.near.get(self.len).copied()
    }
}
