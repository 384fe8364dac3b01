//! What compiling a clause needs on all sides: literals, variables, and a bound on how much is looked at.

use std::collections::BTreeMap;

use rustler::Term;

use crate::beam::inspect::{atom_name, map_len};
use crate::beam::term::{cell, each_pair, is_immediate, Elements};

mod atoms {
    rustler::atoms! { anything = "_", record = "$_" }
}

/// Specifications of more terms than this are compiled and run where they may take their time.
const SIZE_MAX: usize = 2048;

/// Why a specification was not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is none.
    BadArg,
    /// It has more terms than was allowed.
    TooLarge,
}

/// Terms that a program has in it.
#[derive(Default)]
pub struct Literals<'a> {
    /// The terms.
    pub terms: Vec<Term<'a>>,
    size: usize,
    is_bounded: bool,
}

impl<'a> Literals<'a> {
    /// None yet. `is_bounded`: [`Malformed::TooLarge`] is wanted.
    pub fn new(is_bounded: bool) -> Self {
        Literals { terms: Vec::with_capacity(8), size: 0, is_bounded }
    }

    /// Adds a term and returns its number.
    pub fn add(&mut self, term: Term<'a>) -> u32 {
        self.terms.push(term);
        self.terms.len() as u32 - 1
    }

    /// Counts terms that are about to be looked at.
    pub fn count(&mut self, terms: usize) -> Result<(), Malformed> {
        self.size = self.size.saturating_add(terms);
        if self.is_bounded && self.is_large() {
            return Err(Malformed::TooLarge);
        }
        Ok(())
    }

    /// Counts all that is in a term.
    pub fn count_all(&mut self, term: Term<'a>) -> Result<(), Malformed> {
        let mut pending = vec![term];
        while let Some(part) = pending.pop() {
            if is_immediate(part) {
                continue;
            } else if let Some(elements) = Elements::of(part) {
                self.count(elements.len())?;
                pending.extend(elements.iter());
            } else if let Some((head, tail)) = cell(part) {
                self.count(1)?;
                pending.extend([tail, head]);
            } else if let Some(len) = map_len(part) {
                self.count(len.saturating_mul(2))?;
                each_pair(part, |key, value| pending.extend([key, value]));
            }
        }
        Ok(())
    }

    /// Whether so many have been looked at that the program may take its time.
    pub fn is_large(&self) -> bool {
        self.size > SIZE_MAX
    }
}

/// What an atom stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Itself.
    Plain,
    /// `'_'`.
    Anything,
    /// `'$N'`.
    Variable(u32),
    /// `'$_'`.
    Record,
    /// `'$$'`.
    Bindings,
}

impl Name {
    /// What a term stands for, which is itself unless it is an atom.
    pub fn of(term: Term<'_>) -> Self {
        // The most frequent ones are told by their words.
        if atoms::anything() == term {
            return Name::Anything;
        } else if atoms::record() == term {
            return Name::Record;
        } else if !is_immediate(term) || !term.is_atom() {
            return Name::Plain;
        }
        let mut buffer = [0; 256];
        match atom_name(term, &mut buffer).and_then(|name| name.strip_prefix('$')) {
            Some("$") => Name::Bindings,
            Some(digits) => number(digits).map_or(Name::Plain, Name::Variable),
            None => Name::Plain,
        }
    }

    /// Whether the term may stand for others in a head.
    pub fn is_open(self) -> bool {
        matches!(self, Name::Anything | Name::Variable(_))
    }
}

/// The number of a variable: digits without a leading zero.
fn number(digits: &str) -> Option<u32> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    is_number.then(|| digits.parse::<i32>().ok()).flatten().and_then(|number| u32::try_from(number).ok())
}

/// The variables that a head binds: from a variable's number to its slot, which are numbered as they are bound.
#[derive(Default)]
pub struct Variables(BTreeMap<u32, u32>);

impl Variables {
    /// The slot of a variable that is bound.
    pub fn slot(&self, number: u32) -> Option<u32> {
        self.0.get(&number).copied()
    }

    /// Binds one more.
    pub fn bind(&mut self, number: u32) -> u32 {
        let slot = self.0.len() as u32;
        self.0.insert(number, slot);
        slot
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Their slots, in the order of their numbers.
    pub fn slots(&self) -> Box<[u32]> {
        self.0.values().copied().collect()
    }
}
