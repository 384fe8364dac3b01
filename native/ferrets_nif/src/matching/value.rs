//! What the machine computes with: small numbers and booleans as they are, everything else as a term where it stands.

use std::cmp::Ordering;

use rustler::{Encoder, Env, Term};

use crate::beam::build;
use crate::beam::compare::{compare, is_identical};
use crate::beam::inspect::integer;
use crate::beam::scratch::Scratch;
use crate::beam::term::float;

/// Integers that take no room on a heap.
const SMALL: std::ops::Range<i64> = -(1 << 59)..(1 << 59);

/// A value. Terms may be of any environment that is alive.
#[derive(Clone, Copy)]
pub enum Value<'b> {
    /// An integer of 64 bits.
    Integer(i64),
    /// A float, which is finite.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// Any term, numbers and booleans included.
    Term(Term<'b>),
}

/// Where terms are made.
#[derive(Clone, Copy)]
pub enum Heap<'b> {
    /// On the caller's heap.
    Caller(Env<'b>),
    /// In scratch space. On the caller's heap is then only made what takes no room there.
    Scratch(&'b Scratch, Env<'b>),
}

impl<'b> Heap<'b> {
    /// The environment to make terms in.
    pub fn env(self) -> Env<'b> {
        match self {
            Heap::Caller(env) => env,
            Heap::Scratch(scratch, _) => scratch.env(),
        }
    }

    /// The environment of atoms and small integers, which are the same in all.
    pub fn env_of_words(self) -> Env<'b> {
        match self {
            Heap::Caller(env) | Heap::Scratch(_, env) => env,
        }
    }
}

impl<'b> Value<'b> {
    /// The value as a term; not necessarily one of the heap.
    pub fn term(self, heap: Heap<'b>) -> Term<'b> {
        match self {
            Value::Integer(value) if SMALL.contains(&value) => value.encode(heap.env_of_words()),
            Value::Integer(value) => value.encode(heap.env()),
            Value::Float(value) => build::float(heap.env(), value),
            Value::Boolean(value) => value.encode(heap.env_of_words()),
            Value::Term(term) => term,
        }
    }

    /// `true` or `false`.
    pub fn boolean(self) -> Option<bool> {
        match self {
            Value::Boolean(value) => Some(value),
            Value::Term(term) if term.is_atom() => term.decode().ok(),
            _ => None,
        }
    }

    /// The same value, as a number if it is one of 64 bits.
    pub fn simple(self) -> Self {
        match self {
            Value::Term(term) => {
                let short = integer(term).map(Value::Integer).or_else(|| float(term).map(Value::Float));
                short.unwrap_or(self)
            }
            _ => self,
        }
    }

    /// Compares as `==` and `<` do.
    pub fn compare(self, other: Self, heap: Heap<'b>) -> Ordering {
        if let (Value::Term(a), Value::Term(b)) = (self, other) {
            return compare(a, b);
        }
        match (self.simple(), other.simple()) {
            (Value::Integer(a), Value::Integer(b)) => a.cmp(&b),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Value::Integer(a), Value::Float(b)) => compare_mixed(a, b),
            (Value::Float(a), Value::Integer(b)) => compare_mixed(b, a).reverse(),
            (a, b) => compare(a.term(heap), b.term(heap)),
        }
    }

    /// Compares as `=:=` does.
    pub fn is_identical(self, other: Self, heap: Heap<'b>) -> bool {
        match (self, other) {
            (Value::Term(a), Value::Term(b)) => is_identical(a, b),
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Integer(a), Value::Term(b)) | (Value::Term(b), Value::Integer(a)) => integer(b) == Some(a),
            // What the VM holds of the two zeros, the VM has to say.
            (a, b) => is_identical(a.term(heap), b.term(heap)),
        }
    }
}

/// Compares exactly, without rounding the integer.
fn compare_mixed(integer: i64, float: f64) -> Ordering {
    /// Every float of this magnitude or more is an integer, and every integer below it is a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if float.abs() < EXACT {
        // A large integer is rounded here, but not to below the bound.
        (integer as f64).partial_cmp(&float).unwrap_or(Ordering::Equal)
    } else if float >= BEYOND {
        Ordering::Less
    } else if float < -BEYOND {
        Ordering::Greater
    } else {
        integer.cmp(&(float as i64))
    }
}
