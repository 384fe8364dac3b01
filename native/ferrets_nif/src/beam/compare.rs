//! Comparing terms. Keys are tuples of atoms, small integers and pids more often than not, and then a few words decide: the VM is
//! asked only about parts that differ and are something else.

use std::cmp::Ordering;

use rustler::sys::{enif_compare, enif_is_identical, ErlNifTerm};
use rustler::Term;

use super::layout::{raw_word, small, IMMEDIATE, TAG};
use super::term::Elements;

/// Compares as `==` and `<` do, under which 1 and 1.0 are equal.
#[inline]
pub fn compare(a: Term<'_>, b: Term<'_>) -> Ordering {
    let order = |a: ErlNifTerm, b: ErlNifTerm| {
        let (x, y) = (raw_word(a), raw_word(b));
        if x == y {
            return Ordering::Equal;
        }
        match (small(x), small(y)) {
            (Some(x), Some(y)) => x.cmp(&y),
            // SAFETY: both terms are alive, and are only read.
            _ => unsafe { enif_compare(a, b) }.cmp(&0),
        }
    };
    match (Elements::of(a), Elements::of(b)) {
        (Some(a), Some(b)) => {
            let mut pairs = a.raw().iter().zip(b.raw());
            a.len().cmp(&b.len()).then_with(|| {
                pairs.find_map(|(a, b)| Some(order(*a, *b)).filter(|order| order.is_ne())).unwrap_or(Ordering::Equal)
            })
        }
        _ => order(a.as_c_arg(), b.as_c_arg()),
    }
}

/// Compares as `=:=` does.
#[inline]
pub fn is_identical(a: Term<'_>, b: Term<'_>) -> bool {
    let is_same = |a: ErlNifTerm, b: ErlNifTerm| {
        let (x, y) = (raw_word(a), raw_word(b));
        // SAFETY: both terms are alive, and are only read.
        x == y || (x & y & TAG != IMMEDIATE && unsafe { enif_is_identical(a, b) != 0 })
    };
    match (Elements::of(a), Elements::of(b)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.raw().iter().zip(b.raw()).all(|(a, b)| is_same(*a, *b)),
        _ => is_same(a.as_c_arg(), b.as_c_arg()),
    }
}
