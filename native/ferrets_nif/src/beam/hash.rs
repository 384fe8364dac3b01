//! The hash of a key: equal on every node, and equal for keys that the table's type holds equal.
//!
//! It is `PHASH2` (27 bits, the same on all nodes and releases), multiplied so that its top bits depend on all of them,
//! and shifted to the top of 32 bits: the lowest 5 bits are 0. An `ordered_set` compares by `==`, under which 1 and 1.0 are one key,
//! also inside of tuples, lists and map values (not map keys): a key with a float in it is hashed by a copy in which
//! each float without a fraction is the integer that it equals.

use std::ops::ControlFlow;

use rustler::sys::{enif_make_map_put, enif_make_new_map, enif_make_tuple_from_array, ErlNifTerm};
use rustler::{Encoder, Env, Term};

use super::build::big_integer;
use super::inspect::native_record;
use super::kind::Type;
use super::term::{cell, cons, each_pair, float, is_immediate, nil, Elements};
use super::visit::{each_part, Part};

/// 2^27 divided by the golden ratio, and odd: multiplication by it is a permutation of the 27-bit numbers.
const SPREAD: u32 = 0x04F1_BBCD;

/// Hashes a key of a table that compares by `=:=`.
pub fn exact(key: Term<'_>) -> u32 {
    key.hash_phash2().wrapping_mul(SPREAD) << 5
}

/// Hashes a key of a table that compares by `==`.
pub fn by_value(key: Term<'_>) -> u32 {
    if is_plain(key) {
        exact(key)
    } else {
        exact(canonical(key))
    }
}

/// Whether the term holds no float, and nothing that may have one in it and does not show it.
fn is_plain(key: Term<'_>) -> bool {
    let is_atomic = |part: Term<'_>| is_immediate(part) || part.is_binary();
    let is_flat = Elements::of(key).map_or_else(|| is_atomic(key), |elements| elements.iter().all(is_atomic));
    is_flat || has_no_float(key)
}

fn has_no_float(key: Term<'_>) -> bool {
    let found = each_part(key, |part| match part {
        Part::Leaf(_, Type::Float | Type::Fun | Type::Record) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_continue()
}

/// A term that is being copied: its parts, and the copies of the first of them.
struct Frame<'a> {
    shape: Shape<'a>,
    parts: Vec<Term<'a>>,
    copies: Vec<ErlNifTerm>,
}

enum Shape<'a> {
    Tuple,
    /// The last part is what stands behind the last cell.
    List,
    /// The parts are the values of these keys.
    Map(Vec<Term<'a>>),
}

impl<'a> Frame<'a> {
    /// A leaf is copied at once.
    fn open(term: Term<'a>) -> Result<Term<'a>, Frame<'a>> {
        let env = term.get_env();
        if is_immediate(term) {
            return Ok(term);
        }
        let mut parts = Vec::new();
        let shape = match Type::of(term) {
            Type::Float => {
                return Ok(float(term).map_or(term, |value| number(env, value, term)));
            }
            // Two funs are equal if what they captured is, which the NIF interface does not show: all funs hash alike.
            Type::Fun => return Ok(true.encode(env)),
            Type::Tuple => {
                parts.extend(Elements::of(term).into_iter().flat_map(Elements::iter));
                Shape::Tuple
            }
            Type::Record => {
                let record = native_record(term, env);
                parts.extend(record.and_then(Elements::of).into_iter().flat_map(Elements::iter));
                Shape::Tuple
            }
            Type::List => {
                let mut rest = term;
                while let Some((head, tail)) = cell(rest) {
                    parts.push(head);
                    rest = tail;
                }
                parts.push(rest);
                Shape::List
            }
            Type::Map => {
                let mut keys = Vec::new();
                each_pair(term, |key, value| {
                    keys.push(key);
                    parts.push(value);
                });
                Shape::Map(keys)
            }
            _ => return Ok(term),
        };
        Err(Frame { shape, copies: Vec::with_capacity(parts.len()), parts })
    }

    /// Puts the copies of all parts together.
    fn close(self, env: Env<'a>) -> Term<'a> {
        let Frame { shape, copies, .. } = self;
        // SAFETY: all copies are terms of `env`.
        let copies_in_env = || copies.iter().map(|copy| unsafe { Term::new(env, *copy) });
        match shape {
            // SAFETY: the array holds that many terms, all of `env`.
            Shape::Tuple => unsafe {
                let tuple = enif_make_tuple_from_array(env.as_c_arg(), copies.as_ptr(), copies.len() as u32);
                Term::new(env, tuple)
            },
            Shape::List => {
                let mut from_the_end = copies_in_env().rev();
                let end = from_the_end.next().unwrap_or_else(|| nil(env));
                from_the_end.fold(end, |tail, head| cons(env, head, tail))
            }
            Shape::Map(keys) => {
                // SAFETY: has no precondition but a live environment.
                let mut copy = unsafe { enif_make_new_map(env.as_c_arg()) };
                for (key, value) in keys.iter().zip(&copies) {
                    let (map, mut put) = (copy, copy);
                    // SAFETY: map, key and value are of `env`; the out-pointer is valid.
                    unsafe { enif_make_map_put(env.as_c_arg(), map, key.as_c_arg(), *value, &mut put) };
                    copy = put;
                }
                // SAFETY: made in `env`.
                unsafe { Term::new(env, copy) }
            }
        }
    }
}

/// A copy in the same environment that is the same for all keys equal by `==`: what has no float in it, no fun and no native record, is as it
/// was.
#[cold]
fn canonical(term: Term<'_>) -> Term<'_> {
    let env = term.get_env();
    let mut stack = Vec::new();
    let mut next = term;
    loop {
        let mut copy = match Frame::open(next) {
            Ok(leaf) => Some(leaf),
            Err(frame) => {
                stack.push(frame);
                None
            }
        };
        // Downwards to the next part that is not copied, or up as far as all parts are.
        next = loop {
            let Some(mut frame) = stack.pop() else { return copy.unwrap_or(term) };
            frame.copies.extend(copy.take().map(|copy| copy.as_c_arg()));
            match frame.parts.get(frame.copies.len()).copied() {
                Some(part) => {
                    stack.push(frame);
                    break part;
                }
                None => copy = Some(frame.close(env)),
            }
        };
    }
}

/// The integer that equals `value`, or `float` itself if there is none.
fn number<'a>(env: Env<'a>, value: f64, float: Term<'a>) -> Term<'a> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value != value.trunc() {
        float
    } else if value.abs() <= EXACT {
        (value as i64).encode(env)
    } else {
        integer_of(env, value).unwrap_or(float)
    }
}

/// The integer of a float beyond 2^53.
fn integer_of(env: Env<'_>, value: f64) -> Option<Term<'_>> {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7FF) as usize - 1075;
    let mantissa = u128::from((bits & ((1 << 52) - 1)) | (1 << 52)) << (exponent % 8);
    let mut digits = vec![0u8; exponent / 8];
    digits.extend(mantissa.to_le_bytes());
    while digits.last() == Some(&0) {
        digits.pop();
    }
    big_integer(env, value < 0.0, &digits)
}
