//! Blocks: tuples that lie in one piece of memory, and are copied as such.
//!
//! The VM copies a term by following all its pointers twice, once to measure and once to copy. A record in an arena has been
//! measured. If it also lies in one piece, and is made of nothing but tuples, lists, small maps, numbers, small binaries and what
//! is in a word, then it can be copied word by word, with pointers shifted: `ets` does so with its records.
//!
//! This rests on the [lay-out](super::layout) of these kinds. When the library is loaded, a term of all of them is copied and compared ([`learn`]);
//! should it not be the same, nothing is a block. Most blocks are [built](build) here; a term that the VM has copied is taken for a block only after all its
//! pointers have been followed and found to stay inside it ([`extent`]). What is not a block is copied by the VM.
//!
//! Room on a heap is made by the VM as well: as that of a tuple of so many elements, whose words are then those of the block.

use std::mem::MaybeUninit;

use rustler::sys::{enif_make_tuple_from_array, ErlNifTerm};
use rustler::{Encoder, Env, Term};

use super::compare::is_identical;
use super::decode::Decoder;
use super::encode::encode_by_vm;
use super::layout::{
    binary, distrust, is_known, look, pointee, raw, raw_word, target, Content, Headers, BOXED, IMMEDIATE, LIST, MARKS,
    TAG,
};
use super::term::{cons, nil};

const WORD: usize = size_of::<usize>();

/// What is known of a term after a walk over it.
struct Measured {
    words: usize,
    /// The lowest address, and the one behind the highest.
    start: usize,
    end: usize,
}

/// So many pointers are kept without allocating.
const NEAR: usize = 16;

/// A walk over a term, without recursion: terms may be nested without bound.
struct Walk<F> {
    measured: Measured,
    near: [usize; NEAR],
    len: usize,
    far: Vec<usize>,
    unknown: F,
}

impl<F: FnMut(usize) -> Option<usize>> Walk<F> {
    fn new(unknown: F) -> Self {
        let measured = Measured { words: 0, start: usize::MAX, end: 0 };
        Walk { measured, near: [0; NEAR], len: 0, far: Vec::new(), unknown }
    }

    #[inline]
    fn count(&mut self, pointer: usize, words: usize) {
        let address = pointer & !MARKS;
        let Measured { words: sum, start, end } = &mut self.measured;
        *sum += words;
        *start = address.min(*start);
        *end = (address + words * WORD).max(*end);
    }

    #[inline]
    fn push(&mut self, pointer: usize) {
        match self.near.get_mut(self.len) {
            Some(near) => {
                *near = pointer;
                self.len += 1;
            }
            None => self.far.push(pointer),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<usize> {
        if let Some(pointer) = self.far.pop() {
            return Some(pointer);
        }
        self.len = self.len.checked_sub(1)?;
        Some(self.near[self.len])
    }

    /// # Safety
    /// The root is a term that stays where it is, and terms are laid out as expected.
    unsafe fn run(mut self, root: usize, words_max: usize) -> Option<Measured> {
        if root & TAG != IMMEDIATE {
            self.push(root);
        }
        while let Some(pointer) = self.pop() {
            // SAFETY: parts of a term are terms, and stay as long as it does.
            match unsafe { pointee(pointer) } {
                Some((words, head)) => {
                    self.count(pointer, words.len());
                    // The last goes first, and is looked into last: so a long list does not fill the stack.
                    words[head..]
                        .iter()
                        .rev()
                        .filter(|word| **word & TAG != IMMEDIATE)
                        .for_each(|word| self.push(*word));
                }
                None => self.measured.words += (self.unknown)(pointer)?,
            }
            if self.measured.words > words_max {
                return None;
            }
        }
        Some(self.measured)
    }
}

/// The words that a copy of a term takes. `unknown` is asked for those of what has no known lay-out.
#[inline]
pub fn words<'a>(term: Term<'a>, mut unknown: impl FnMut(Term<'a>) -> u64) -> u64 {
    if !is_known() {
        return unknown(term);
    }
    let env = term.get_env();
    // SAFETY: a part of `term` is of the same environment.
    let unknown = |word| Some(unknown(unsafe { Term::new(env, raw(word)) }) as usize);
    // SAFETY: the term is alive.
    let measured = unsafe { Walk::new(unknown).run(raw_word(term.as_c_arg()), usize::MAX) };
    measured.map_or(0, |measured| measured.words as u64)
}

/// The word that a term is, if it is a tuple that has elements.
fn root(term: Term<'_>) -> Option<usize> {
    let root = raw_word(term.as_c_arg());
    let is_box = root & TAG == BOXED && is_known();
    // SAFETY: a box has a first word.
    is_box.then_some(root).filter(|root| matches!(Content::of(unsafe { target(*root, 1) }[0]), Content::Terms(1..)))
}

fn measured(term: Term<'_>, words_max: usize) -> Option<Measured> {
    // SAFETY: the term is alive.
    unsafe { Walk::new(|_| None).run(root(term)?, words_max) }
}

/// Whether a block of so many words could be built of a term.
pub fn fits(term: Term<'_>, words_max: usize) -> bool {
    measured(term, words_max).is_some()
}

/// How many words the block is that a term is. 0 if it is none, or a very large one.
pub fn extent(term: Term<'_>) -> u16 {
    let Some(Measured { words, start, end }) = measured(term, usize::from(u16::MAX)) else { return 0 };
    let is_block = start == raw_word(term.as_c_arg()) & !MARKS && end - start == words * WORD;
    u16::try_from(words).ok().filter(|_| is_block).unwrap_or(0)
}

/// Why a block has not been built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBuilt {
    /// There is less room than words.
    NoRoom,
    /// The term has parts of other kinds.
    NotPlain,
}

/// Builds a block that is a copy of a term. Returns it and its extent.
pub fn build(term: Term<'_>, room: &mut [MaybeUninit<usize>]) -> Result<(ErlNifTerm, u16), NotBuilt> {
    let mut site = Site { room, len: 0 };
    // SAFETY: the term is alive.
    let copy = unsafe { site.append(root(term).ok_or(NotBuilt::NotPlain)?)? };
    let mut at = 0;
    while let Some(word) = site.word(at) {
        at += match word & TAG {
            IMMEDIATE => 1,
            LIST | BOXED => {
                // SAFETY: pointers in what has been copied are those of the term.
                site.room[at] = MaybeUninit::new(unsafe { site.append(word)? });
                1
            }
            _ => skip(word),
        };
    }
    Ok((raw(copy), u16::try_from(site.len).map_err(|_| NotBuilt::NoRoom)?))
}

/// Where a block is being built.
struct Site<'r> {
    room: &'r mut [MaybeUninit<usize>],
    len: usize,
}

impl Site<'_> {
    #[inline]
    fn word(&self, at: usize) -> Option<usize> {
        // SAFETY: `append` has written the first `len` words.
        (at < self.len).then(|| unsafe { self.room[at].assume_init() })
    }

    /// Copies what a pointer points to, pointers in it as they are. Returns a pointer to the copy.
    ///
    /// # Safety
    /// The pointer is a term that stays where it is.
    #[inline]
    unsafe fn append(&mut self, pointer: usize) -> Result<usize, NotBuilt> {
        // SAFETY: by contract.
        let (words, _) = unsafe { pointee(pointer) }.ok_or(NotBuilt::NotPlain)?;
        let place = self.room.get_mut(self.len..self.len + words.len()).ok_or(NotBuilt::NoRoom)?;
        place.iter_mut().zip(words).for_each(|(place, word)| *place = MaybeUninit::new(*word));
        self.len += words.len();
        Ok(place.as_ptr() as usize | pointer & MARKS)
    }
}

/// How many words go by in a block from the first of a box to the next that may be a term.
#[inline]
fn skip(header: usize) -> usize {
    match Content::of(header) {
        Content::Opaque(len) => 1 + len,
        Content::SmallMap => 2,
        Content::Terms(_) | Content::Unknown => 1,
    }
}

/// Has the pointers in a block point so much further.
#[inline]
pub(super) fn shift(block: &mut [usize], offset: usize) {
    let mut at = 0;
    while let Some(word) = block.get_mut(at) {
        at += match *word & TAG {
            IMMEDIATE => 1,
            LIST | BOXED => {
                *word = word.wrapping_add(offset);
                1
            }
            _ => skip(*word),
        };
    }
}

/// Copies a block to where there is room for it.
///
/// # Safety
/// `term` is one of this [`extent`], which is not 0, and not above the length of the room.
pub unsafe fn copy_to(room: &mut [MaybeUninit<usize>], term: Term<'_>, extent: u16) -> ErlNifTerm {
    let word = raw_word(term.as_c_arg());
    let (from, to) = ((word & !MARKS) as *const usize, room.as_mut_ptr().cast::<usize>());
    let words = usize::from(extent);
    debug_assert!(words <= room.len());
    // SAFETY: by contract there are so many words, and room for as many, which is borrowed for writing.
    let block = unsafe {
        std::ptr::copy_nonoverlapping(from, to, words);
        std::slice::from_raw_parts_mut(to, words)
    };
    shift(block, (to as usize).wrapping_sub(from as usize));
    raw(to as usize | word & MARKS)
}

/// Copies a block to an environment.
///
/// # Safety
/// `term` is one of this [`extent`], which is not 0.
#[inline]
pub unsafe fn copy<'a>(env: Env<'a>, term: Term<'_>, extent: u16) -> Term<'a> {
    let words = usize::from(extent);
    let from = raw_word(term.as_c_arg()) & !MARKS;
    let elements = (from + WORD) as *const ErlNifTerm;
    // SAFETY: the array is the block but for its first word. That its words are put into a tuple as if they were terms does no harm: they
    // are not looked at before they have been put right below, where they become what they were.
    let copy = unsafe { enif_make_tuple_from_array(env.as_c_arg(), elements, u32::from(extent) - 1) };
    let to = raw_word(copy) & !MARKS;
    let offset = to.wrapping_sub(from);
    // SAFETY: the tuple that has just been made is of as many words, and nobody else has seen it.
    let block = unsafe { std::slice::from_raw_parts_mut(to as *mut usize, words) };
    // SAFETY: the block has a first word.
    block[0] = unsafe { *(from as *const usize) };
    shift(block, offset);
    // SAFETY: made in `env`.
    unsafe { Term::new(env, copy) }
}

/// Looks at how this VM lays out terms, in an environment for that. Whether there will be blocks, [`is_known`] tells.
pub fn learn(env: Env<'_>) {
    if look(env) && !sample(env).is_some_and(|sample| is_copied(env, sample)) {
        distrust();
    }
    if let Some(headers) = Headers::look(env).filter(|headers| is_decoded(env, headers)) {
        headers.publish();
    }
}

fn is_decoded(env: Env<'_>, headers: &Headers) -> bool {
    let Some(sample) = simple_sample(env) else { return false };
    let mut bytes = Vec::new();
    encode_by_vm(sample, 0, &mut bytes);
    let mut decoder = Decoder::default();
    let decoded = decoder.decode_as(headers, &bytes);
    decoder.settle();
    decoded.is_some_and(|decoded| is_identical(decoder.view(decoded), sample))
}

fn is_copied(env: Env<'_>, sample: Term<'_>) -> bool {
    let mut room = [const { MaybeUninit::uninit() }; 255];
    build(sample, &mut room).is_ok_and(|(block, extent)| {
        // SAFETY: the block stays in the room while it is copied, and has just been built of so many words.
        let copy = unsafe { copy(env, Term::new(env, block), extent) };
        is_identical(copy, sample)
    })
}

/// A tuple of all that a block may be made of.
fn sample(env: Env<'_>) -> Option<Term<'_>> {
    let map = Term::map_new(env).map_put("key", (1.5, i64::MAX)).ok()?.map_put(2, binary(env, 64)?).ok()?;
    let list = cons(env, map, cons(env, (-2.5).encode(env), 3.encode(env)));
    let inner = (i64::MIN, list, binary(env, 7)?).encode(env);
    Some((map, inner, cons(env, inner, list), true, -1).encode(env))
}

/// A tuple of all that is [decoded](super::decode) without the VM.
fn simple_sample(env: Env<'_>) -> Option<Term<'_>> {
    let map = Term::map_new(env).map_put("key", (1.5, i64::MAX)).ok()?;
    let list = cons(env, map, cons(env, (-2.5).encode(env), 300.encode(env)));
    let bytes = [7_u8, 255].encode(env);
    let smalls = (0, -1, i32::MAX, i32::MIN, (1_i64 << 59) - 1, -(1_i64 << 59)).encode(env);
    let larges = (1_i64 << 59, -(1_i64 << 59) - 1, u64::MAX, i64::MIN).encode(env);
    let binaries = (binary(env, 0)?, binary(env, 1)?, binary(env, 8)?, binary(env, 64)?).encode(env);
    let numbers = (smalls, larges).encode(env);
    Some((map, list, bytes, numbers, binaries, true, cons(env, list, nil(env))).encode(env))
}
