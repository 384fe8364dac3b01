//! Looking into terms: tuples' elements, size in words, external format.
//!
//! Terms may be nested without bound, so nothing here recurses.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::slice;

use rustler::sys::{
    enif_get_double, enif_get_int64, enif_get_list_cell, enif_get_local_pid, enif_get_tuple, enif_make_list_cell,
    enif_make_list_from_array, enif_map_iterator_create, enif_map_iterator_destroy, enif_map_iterator_get_pair,
    enif_map_iterator_next, ErlNifMapIteratorEntry, ErlNifTerm,
};
use rustler::{Env, Term};

use super::block;
use super::encode::encode;
use super::inspect::binary_len;
use super::kind::Type;
use super::layout::{self, raw_word, IMMEDIATE, TAG};
use super::visit::{each_part, Part};

/// The elements of a tuple, borrowed from it.
#[derive(Clone, Copy)]
pub struct Elements<'a> {
    env: Env<'a>,
    raw: &'a [ErlNifTerm],
}

impl<'a> Elements<'a> {
    /// The elements of `term`, if it is a tuple.
    #[inline]
    pub fn of(term: Term<'a>) -> Option<Self> {
        if is_immediate(term) {
            return None;
        }
        if layout::is_known() {
            // SAFETY: the term is alive.
            let elements = unsafe { layout::elements(raw_word(term.as_c_arg())) };
            return elements.map(|raw| Elements { env: term.get_env(), raw });
        }
        Self::shown(term)
    }

    fn shown(term: Term<'a>) -> Option<Self> {
        let mut arity = 0;
        let mut array = std::ptr::null();
        // SAFETY: `term` is alive; the two out-pointers are valid.
        if unsafe { enif_get_tuple(term.get_env().as_c_arg(), term.as_c_arg(), &mut arity, &mut array) } == 0 {
            return None;
        }
        let arity = usize::try_from(arity).ok()?;
        if arity == 0 {
            return Some(Elements { env: term.get_env(), raw: &[] });
        }
        // SAFETY: the VM has set `array` to the tuple's `arity` elements, which live as long as the tuple: for 'a.
        Some(Elements { env: term.get_env(), raw: unsafe { slice::from_raw_parts(array, arity) } })
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Term<'a>> {
        // SAFETY: each element belongs to the environment of its tuple.
        self.raw.iter().map(move |&raw| unsafe { Term::new(self.env, raw) })
    }

    /// All of them, bare.
    #[inline]
    pub fn raw(self) -> &'a [ErlNifTerm] {
        self.raw
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// The element at a position counted from 0.
    pub fn get(&self, position: usize) -> Option<Term<'a>> {
        // SAFETY: the element belongs to the environment of its tuple.
        self.raw.get(position).map(|&raw| unsafe { Term::new(self.env, raw) })
    }
}

/// The element of a tuple at a position counted from 1. `None` for what is no tuple or too short.
pub fn element(term: Term<'_>, position: usize) -> Option<Term<'_>> {
    Elements::of(term)?.get(position.checked_sub(1)?)
}

/// Head and tail of a list cell; `None` for anything else, `[]` included.
pub fn cell(term: Term<'_>) -> Option<(Term<'_>, Term<'_>)> {
    let env = term.get_env();
    let (mut head, mut tail) = (ErlNifTerm::default(), ErlNifTerm::default());
    // SAFETY: `term` is alive; the two out-pointers are valid.
    if unsafe { enif_get_list_cell(env.as_c_arg(), term.as_c_arg(), &mut head, &mut tail) } == 0 {
        return None;
    }
    // SAFETY: head and tail belong to the environment of their cell.
    Some(unsafe { (Term::new(env, head), Term::new(env, tail)) })
}

/// Makes a list of `terms`; those of other environments are copied.
pub fn list<'a>(env: Env<'a>, terms: &[Term<'a>]) -> Term<'a> {
    let raw: Vec<ErlNifTerm> = terms.iter().map(|term| term.in_env(env).as_c_arg()).collect();
    // SAFETY: the array holds `raw.len()` terms of `env`.
    unsafe { Term::new(env, enif_make_list_from_array(env.as_c_arg(), raw.as_ptr(), raw.len() as u32)) }
}

/// `[Head | Tail]`.
pub fn cons<'a>(env: Env<'a>, head: Term<'a>, tail: Term<'a>) -> Term<'a> {
    let (head, tail) = (head.in_env(env), tail.in_env(env));
    // SAFETY: both terms are of `env`.
    unsafe { Term::new(env, enif_make_list_cell(env.as_c_arg(), head.as_c_arg(), tail.as_c_arg())) }
}

/// A list with `terms` put before `later`, one by one: the last of them comes first.
pub fn in_front_of<'a>(env: Env<'a>, later: Term<'a>, terms: &[Term<'a>]) -> Term<'a> {
    terms.iter().fold(later, |later, term| cons(env, *term, later))
}

/// `[Element]`.
pub fn singleton<'a>(env: Env<'a>, element: Term<'a>) -> Term<'a> {
    let raw = element.in_env(env).as_c_arg();
    // SAFETY: the one element of the array is of `env`.
    unsafe { Term::new(env, enif_make_list_from_array(env.as_c_arg(), &raw, 1)) }
}

/// `[]`.
pub fn nil(env: Env<'_>) -> Term<'_> {
    // SAFETY: an array of no elements is not read.
    unsafe { Term::new(env, enif_make_list_from_array(env.as_c_arg(), std::ptr::null(), 0)) }
}

/// A float's value.
pub fn float(term: Term<'_>) -> Option<f64> {
    let mut value = 0.0;
    // SAFETY: `term` is alive; the out-pointer is valid.
    (unsafe { enif_get_double(term.get_env().as_c_arg(), term.as_c_arg(), &mut value) } != 0).then_some(value)
}

/// Shows each key and value of a map. Does nothing for other terms.
pub fn each_pair<'a>(map: Term<'a>, mut show: impl FnMut(Term<'a>, Term<'a>)) {
    let env = map.get_env();
    let mut iterator = MaybeUninit::uninit();
    let head = ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
    // SAFETY: `map` is alive; the VM initialises the iterator if it answers other than 0.
    if unsafe { enif_map_iterator_create(env.as_c_arg(), map.as_c_arg(), iterator.as_mut_ptr(), head) } == 0 {
        return;
    }
    // SAFETY: initialised, as just checked.
    let mut iterator = unsafe { iterator.assume_init() };
    let (mut key, mut value) = (ErlNifTerm::default(), ErlNifTerm::default());
    // SAFETY: the iterator is initialised and not yet destroyed; the out-pointers are valid.
    while unsafe { enif_map_iterator_get_pair(env.as_c_arg(), &mut iterator, &mut key, &mut value) } != 0 {
        // SAFETY: key and value belong to the environment of their map.
        unsafe { show(Term::new(env, key), Term::new(env, value)) };
        // SAFETY: as above.
        unsafe { enif_map_iterator_next(env.as_c_arg(), &mut iterator) };
    }
    // SAFETY: created above, destroyed once.
    unsafe { enif_map_iterator_destroy(env.as_c_arg(), &mut iterator) };
}

/// The words that a copy of the term takes in an arena. Exact but for big integers, funs and references, which the NIF
/// interface does not let us look into: these are estimated. A binary of over 64 bytes counts as its reference only.
pub fn words(term: Term<'_>) -> u32 {
    u32::try_from(block::words(term, foreign_words)).unwrap_or(u32::MAX)
}

fn foreign_words(term: Term<'_>) -> u64 {
    let mut total: u64 = 0;
    let _ = each_part(term, |part| {
        total += match part {
            Part::Tuple(arity) => 1 + arity as u64,
            Part::Cell => 2,
            Part::Map(pairs) => map_words(pairs as u64),
            Part::Leaf(term, kind) => leaf_words(term, kind),
        };
        ControlFlow::Continue(())
    });
    total
}

/// Up to 32 keys: a header, a size, a tuple of keys, the values. Above, a tree of 16-way nodes with a cell per pair.
fn map_words(pairs: u64) -> u64 {
    if pairs <= 32 {
        4 + 2 * pairs
    } else {
        3 + 3 * pairs + pairs / 4
    }
}

fn leaf_words(term: Term<'_>, kind: Type) -> u64 {
    match kind {
        Type::Atom => 0,
        Type::Float => 2,
        Type::Integer => integer_words(term),
        Type::Bitstring => match binary_len(term) {
            Some(len) if len <= 64 => 2 + (len as u64).div_ceil(8),
            // A reference to the binary, and a view of a part of it.
            _ => 6 + 5,
        },
        Type::Pid => {
            let mut pid = MaybeUninit::uninit();
            // SAFETY: `term` is alive; the out-pointer is valid and not read.
            match unsafe { enif_get_local_pid(term.get_env().as_c_arg(), term.as_c_arg(), pid.as_mut_ptr()) } {
                0 => 5,
                _ => 0,
            }
        }
        Type::Port => 4,
        Type::Reference => 5,
        _ => 8 + external_len(term) / 8,
    }
}

fn integer_words(term: Term<'_>) -> u64 {
    const SMALL: std::ops::Range<i64> = -(1 << 59)..(1 << 59);
    let mut value = 0;
    // SAFETY: `term` is alive; the out-pointer is valid.
    if unsafe { enif_get_int64(term.get_env().as_c_arg(), term.as_c_arg(), &mut value) } == 0 {
        2 + external_len(term) / 8
    } else if SMALL.contains(&value) {
        0
    } else {
        2
    }
}

fn external_len(term: Term<'_>) -> u64 {
    let mut out = Vec::new();
    encode(term, &mut out);
    out.len() as u64
}

/// The word that stands for the term. Equal words are equal terms; for atoms and local pids the reverse holds too, and
/// the word means the same in every environment, for as long as the VM runs.
pub fn word(term: Term<'_>) -> u64 {
    raw_word(term.as_c_arg()) as u64
}

/// Whether all of the term is in its word: an atom, a small integer, a local pid or port, `[]`. Saves a call into the VM where
/// most parts of most terms are such. Rests on how the VM tags its words, which [`layout::has_expected_tags`] looks at.
#[inline]
pub fn is_immediate(term: Term<'_>) -> bool {
    raw_word(term.as_c_arg()) & TAG == IMMEDIATE
}
