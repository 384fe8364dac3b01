//! How the VM lays out terms in memory. It has done so for long, but nobody promises it: so whatever is relied upon is looked at when
//! the library is loaded ([`look`]), and if anything is other than expected nothing is relied upon.
//!
//! But for which words are immediate: without that the library does not load ([`has_expected_tags`]).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::OnceLock;

use rustler::sys::ErlNifTerm;
use rustler::{Encoder, Env, Term};

use super::external::{BINARY_EXT, VERSION};
use super::message;
use super::term::{cons, is_immediate, nil};

/// The lowest bits of a word tell what it is.
pub const TAG: usize = 3;
pub const LIST: usize = 1;
pub const BOXED: usize = 2;
pub const IMMEDIATE: usize = 3;

/// The lowest bits of a box's first word tell what is in it, those above of how many more words it is.
pub const SUBTAG: usize = 63;
pub const SUBTAG_BITS: u32 = SUBTAG.count_ones();
pub const TUPLE: usize = 0;

/// What stands in the lowest bits of a pointer, beside an address.
pub const MARKS: usize = 7;

/// A bit for each subtag of what has no pointers in it: floats, big integers, small binaries. None if it is not [known](is_known).
static LEAVES: AtomicU64 = AtomicU64::new(0);

/// The first word of a small map. The second is how many keys it has, behind it are a tuple of keys and the values.
static SMALL_MAP: AtomicUsize = AtomicUsize::new(0);

/// Whether terms are laid out as expected.
pub fn is_known() -> bool {
    LEAVES.load(Ordering::Relaxed) != 0
}

/// The words of something that stands in memory.
///
/// # Safety
/// `pointer` is a list cell's or a box's, and that stays where it is while the answer is in use.
pub unsafe fn target<'a>(pointer: usize, len: usize) -> &'a [usize] {
    // SAFETY: without its tag, such a word is the address of the first of these words.
    unsafe { std::slice::from_raw_parts((pointer & !MARKS) as *const usize, len) }
}

/// The word that a raw term is.
#[inline]
pub fn raw_word(raw: ErlNifTerm) -> usize {
    // SAFETY: `ErlNifTerm` is a transparent wrapper of `usize`.
    unsafe { std::mem::transmute(raw) }
}

/// A word as a term. Whether it may be looked at is said by whoever does.
#[inline]
pub fn raw(word: usize) -> ErlNifTerm {
    // SAFETY: `ErlNifTerm` is a transparent wrapper of `usize`.
    unsafe { std::mem::transmute::<usize, ErlNifTerm>(word) }
}

/// How a box goes on after its first word.
pub enum Content {
    /// So many terms.
    Terms(usize),
    /// So many words that are no terms.
    Opaque(usize),
    /// A number of keys, and more terms by one than that.
    SmallMap,
    /// Something else.
    Unknown,
}

impl Content {
    /// That of a box with this first word.
    #[inline]
    pub fn of(header: usize) -> Self {
        let subtag = header & SUBTAG;
        if subtag == TUPLE {
            Content::Terms(header >> SUBTAG_BITS)
        } else if LEAVES.load(Ordering::Relaxed) >> subtag & 1 == 1 {
            Content::Opaque(header >> SUBTAG_BITS)
        } else if header == SMALL_MAP.load(Ordering::Relaxed) {
            Content::SmallMap
        } else {
            Content::Unknown
        }
    }
}

/// Whether the term is a list cell, or a box of one of the kinds that have been looked at.
#[inline]
pub fn has_usual_content(term: Term<'_>) -> bool {
    let word = raw_word(term.as_c_arg());
    // SAFETY: what is not a list cell, nor immediate, is a box, which has a first word.
    word & TAG == LIST || is_known() && !matches!(Content::of(unsafe { target(word, 1)[0] }), Content::Unknown)
}

/// All words of what a pointer points to, and how many of them come before the first that is a term. Nothing, if its lay-out is not known; nor
/// of `{}`, which is shared by all in some releases.
///
/// # Safety
/// The pointer is a term that stays where it is, and terms are laid out as expected.
#[inline]
pub unsafe fn pointee<'a>(pointer: usize) -> Option<(&'a [usize], usize)> {
    // SAFETY: a list cell has two words; a box has a first one, that tells how many there are; a small map has a second one.
    unsafe {
        if pointer & TAG == LIST {
            return Some((target(pointer, 2), 0));
        }
        let (len, head) = match Content::of(target(pointer, 1)[0]) {
            Content::Terms(0) | Content::Unknown => return None,
            Content::Terms(arity) => (1 + arity, 1),
            Content::Opaque(len) => (1 + len, 1 + len),
            Content::SmallMap => (3 + target(pointer, 2)[1], 2),
        };
        Some((target(pointer, len), head))
    }
}

/// The elements of a tuple, if the word is one.
///
/// # Safety
/// The word is a term that stays where it is, and terms are laid out as expected.
#[inline]
pub unsafe fn elements<'a>(word: usize) -> Option<&'a [ErlNifTerm]> {
    if word & TAG != BOXED {
        return None;
    }
    // SAFETY: a box has a first word, that of a tuple tells how many words are behind it, and they are terms.
    unsafe {
        let header = target(word, 1)[0];
        let elements = ((word & !MARKS) as *const ErlNifTerm).add(1);
        (header & SUBTAG == TUPLE).then(|| std::slice::from_raw_parts(elements, header >> SUBTAG_BITS))
    }
}

/// The lowest bits of a word that is a small integer. Those above are its value.
const SMALL: usize = 15;
const SMALL_BITS: u32 = SMALL.count_ones();

/// The value of a small integer, if it is one for sure.
#[inline]
pub fn small(word: usize) -> Option<isize> {
    (word & SMALL == SMALL && is_known()).then_some(word as isize >> SMALL_BITS)
}

/// A small integer's word, if the value is one.
#[inline]
pub fn small_word(value: i64) -> Option<usize> {
    let word = (value as usize) << SMALL_BITS | SMALL;
    (word as isize >> SMALL_BITS == value as isize).then_some(word)
}

/// First words of boxes, and what else has to be known to make terms word by word.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// The word that `[]` is.
    pub nil: usize,
    pub float: usize,
    /// Of integers of one word.
    pub positive: usize,
    pub negative: usize,
    /// That of a small binary, if it had no more words.
    pub binary: usize,
    /// The second word of a binary of one byte: its length in whatever the VM counts.
    pub binary_unit: usize,
    pub small_map: usize,
    /// Of references, if it is known how they look.
    pub reference: Option<usize>,
}

static HEADERS: OnceLock<Headers> = OnceLock::new();

impl Headers {
    /// Those of this VM, once they have been published.
    #[inline]
    pub fn known() -> Option<&'static Headers> {
        HEADERS.get()
    }

    /// Looks at terms made in `env`. Nothing if they are not laid out as expected.
    pub fn look(env: Env<'_>) -> Option<Headers> {
        if !is_known() {
            return None;
        }
        let [float, bits] = head::<2>((1.5).encode(env))?;
        let [positive, greatest] = head::<2>(i64::MAX.encode(env))?;
        let [negative, least] = head::<2>(i64::MIN.encode(env))?;
        let [two_words, binary_unit, bytes] = head::<3>(binary(env, 1)?)?;
        let header = |words: usize| two_words & SUBTAG | words << SUBTAG_BITS;
        let are_numbers =
            bits as u64 == 1.5_f64.to_bits() && greatest == i64::MAX as usize && least == i64::MIN as usize;
        let are_binaries = bytes.to_ne_bytes()[0] == 1
            && two_words == header(2)
            && head::<2>(binary(env, 0)?)? == [header(1), 0]
            && head::<2>(binary(env, 64)?)? == [header(9), 64 * binary_unit];
        let (nil, small_map) = (raw_word(nil(env).as_c_arg()), SMALL_MAP.load(Ordering::Relaxed));
        let reference = message::look(env);
        let headers = Headers { nil, float, positive, negative, binary: header(0), binary_unit, small_map, reference };
        (are_numbers && are_binaries).then_some(headers)
    }

    /// They have been tried out. To be called once.
    pub fn publish(self) {
        HEADERS.get_or_init(|| self);
    }
}

/// Whether this VM tags its words as [`is_immediate`] takes them, as all releases with words of 64 bits do.
pub fn has_expected_tags(env: Env<'_>) -> bool {
    let (number, float) = ((-1_i64).encode(env), 1.0_f64.encode(env));
    let immediate = [number, i32::MAX.encode(env), true.encode(env), nil(env)];
    let boxed = [float, i64::MAX.encode(env), (number,).encode(env), cons(env, number, nil(env)), Term::map_new(env)];
    immediate.into_iter().all(is_immediate) && !boxed.into_iter().any(is_immediate)
}

/// Looks at terms made in `env`. Returns whether they are laid out as expected.
pub fn look(env: Env<'_>) -> bool {
    let (leaves, small_map) = lay_out(env).unwrap_or_default();
    SMALL_MAP.store(small_map, Ordering::Relaxed);
    LEAVES.store(leaves, Ordering::Relaxed);
    is_known()
}

/// Nothing is to be relied upon after all.
pub fn distrust() {
    LEAVES.store(0, Ordering::Relaxed);
}

/// The first words of a box, if it has so many.
fn head<const N: usize>(term: Term<'_>) -> Option<[usize; N]> {
    let word = raw_word(term.as_c_arg());
    // SAFETY: a box has a first word; one that has as many behind it as its first word tells has them.
    unsafe {
        let is_box = word & MARKS == BOXED;
        let len = if is_box { 1 + (target(word, 1)[0] >> SUBTAG_BITS) } else { 0 };
        (len >= N).then(|| std::array::from_fn(|at| target(word, N)[at]))
    }
}

/// A binary of so many bytes.
pub fn binary(env: Env<'_>, len: u8) -> Option<Term<'_>> {
    let mut external = vec![VERSION, BINARY_EXT, 0, 0, 0, len];
    external.extend(1..=len);
    env.binary_to_term(&external).map(|(term, _)| term)
}

/// What [`LEAVES`] and [`SMALL_MAP`] are to be; nothing if one of the kinds is not laid out as expected.
fn lay_out(env: Env<'_>) -> Option<(u64, usize)> {
    let header = |subtag, len: usize| subtag & SUBTAG | len << SUBTAG_BITS;
    let one = 1.encode(env);
    let tuples = head::<2>((1,).encode(env))? == [header(TUPLE, 1), raw_word(one.as_c_arg())]
        && head::<1>((1, 2, 3).encode(env))? == [header(TUPLE, 3)];
    let has_value = |value: i64| raw_word(value.encode(env).as_c_arg()) == (value as usize) << SMALL_BITS | SMALL;
    let smalls = [0, 1, -1, i64::from(i32::MAX), -(1 << 59), (1 << 59) - 1].into_iter().all(has_value);
    let mut leaves = 0;
    let numbers = [(1.5).encode(env), i64::MAX.encode(env), i64::MIN.encode(env)];
    let binaries = [(binary(env, 1)?, 2), (binary(env, 64)?, 9)];
    for (leaf, len) in numbers.map(|number| (number, 1)).into_iter().chain(binaries) {
        let [first] = head::<1>(leaf)?;
        if first != header(first, len) || first & SUBTAG == TUPLE || first & TAG != 0 {
            return None;
        }
        leaves |= 1 << (first & SUBTAG);
    }
    let map = Term::map_new(env);
    let single = map.map_put(one, one).ok()?;
    let pair = single.map_put(2, one).ok()?;
    let [small_map, keys] = head_of_map(single);
    let maps = keys == 1 && head_of_map(pair) == [small_map, 2] && small_map & TAG == 0;
    let is_other = leaves >> (small_map & SUBTAG) & 1 == 0 && small_map & SUBTAG != TUPLE;
    (tuples && smalls && maps && is_other).then_some((leaves, small_map))
}

fn head_of_map(map: Term<'_>) -> [usize; 2] {
    let word = raw_word(map.as_c_arg());
    // SAFETY: a map with a key is a box of more than two words, whatever they are.
    unsafe { [target(word, 2)[0], target(word, 2)[1]] }
}
