//! Arenas: where the terms of many records live together, outside of any process.
//!
//! Nothing in an arena can be freed alone; the whole arena is. Most terms are [block]s, and lie in chunks. All others, and blocks that are larger
//! than a chunk, are in a process-independent environment, into which the VM copies them (`enif_make_copy`): so any term may be stored. A
//! large binary is shared with whoever else refers to it, and a sub-binary keeps the whole binary alive that it is a part of, as in `ets`.
//!
//! An arena does not know its terms' size: whoever fills it counts (see [`super::term::words`]).

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use rustler::sys::{
    enif_alloc_env, enif_binary_to_term, enif_clear_env, enif_free_env, enif_make_copy, ErlNifEnv, ErlNifTerm,
};
use rustler::{Env, Term};

use super::block::{self, NotBuilt};
use super::external::{LIST_EXT, NIL_EXT, VERSION};
use super::layout::{raw, raw_word, IMMEDIATE, TAG};
use super::scratch::nowhere;
use super::term::cell;
use crate::chunk::{self, Chunks};
use crate::os::prefetch;

/// A term in some arena. Says nothing about which one: whoever stores it keeps the two together.
///
/// It is one word: the term, and of a [block] its extent, which stands in those bits of an address that are always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored(u64);

/// So many bits of an address can be other than 0.
const ADDRESS_BITS: u32 = 48;

impl Stored {
    /// No term at all.
    pub fn none() -> Self {
        Stored(0)
    }

    /// Whether this is [`Stored::none`].
    pub fn is_none(self) -> bool {
        self == Self::none()
    }

    /// A term of this arena, which is a block of this extent, or with 0 none.
    ///
    /// # Panics
    /// If its address has more bits than any in use.
    fn new(term: ErlNifTerm, extent: u16) -> Self {
        let word = raw_word(term) as u64;
        if word as usize & TAG == IMMEDIATE {
            return Stored(word);
        }
        assert!(word >> ADDRESS_BITS == 0, "an address of more than {ADDRESS_BITS} bits");
        Stored(u64::from(extent) << ADDRESS_BITS | word)
    }

    #[inline]
    fn split(self) -> (ErlNifTerm, u16) {
        if self.0 as usize & TAG == IMMEDIATE {
            return (raw(self.0 as usize), 0);
        }
        let address = self.0 & ((1 << ADDRESS_BITS) - 1);
        (raw(address as usize), (self.0 >> ADDRESS_BITS) as u16)
    }

    fn prefetch_lines(self, lines: Range<usize>) {
        let start = raw_word(self.split().0) as *const u8;
        lines.for_each(|line| prefetch(start, line * 64));
    }

    /// Asks for the cache lines behind the term's first, which will be waited for in any case.
    #[inline]
    pub fn prefetch(self) {
        self.prefetch_lines(1..4);
    }

    /// Asks for the term's first cache lines, in which its key most likely is, should it be a record.
    #[inline]
    pub fn prefetch_key(self) {
        self.prefetch_lines(0..2);
    }

    /// Asks for the term's first cache lines, its very first among them.
    #[inline]
    pub fn prefetch_all(self) {
        self.prefetch_lines(0..4);
    }

    /// The term as a number: 0 for none.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The term that a number was made of.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Stored(bits)
    }

    /// A term that was found inside another term of the same arena.
    pub fn within(term: Term<'_>) -> Self {
        Stored::new(term.as_c_arg(), 0)
    }
}

/// A term in an arena, as who may look at it sees it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    term: Term<'a>,
    extent: u16,
}

impl<'a> From<Term<'a>> for Seen<'a> {
    /// Any other term.
    fn from(term: Term<'a>) -> Self {
        Seen { term, extent: 0 }
    }
}

impl<'a> Seen<'a> {
    /// The term. It may be looked at, but see [`Seen::copy`].
    #[inline]
    pub fn term(self) -> Term<'a> {
        self.term
    }

    /// Copies the term. Faster than what the VM does with the term alone, if it is a block.
    #[inline]
    pub fn copy(self, env: Env<'_>) -> Term<'_> {
        match self.extent {
            0 => self.term.in_env(env),
            // SAFETY: the extent was measured when the term came into the arena, where terms do not change.
            extent => unsafe { block::copy(env, self.term, extent) },
        }
    }
}

/// See the module. The environment is made when the first term goes into it.
#[derive(Debug)]
pub struct Arena {
    /// Where blocks are.
    chunks: Chunks,
    /// Where all else is.
    env: *mut ErlNifEnv,
}

// SAFETY: a process-independent environment belongs to no thread; the VM allows any thread to use and free it, as long
// as one does so at a time. `&mut self` is needed for everything that changes it.
unsafe impl Send for Arena {}

// SAFETY: with `&self` an arena can only be read, by `view`. Reading terms and copying them out changes nothing in the
// environment: the VM copies between heaps and, for what lies outside of heaps (large binaries, funs, external
// identifiers, magic references), raises reference counts atomically. The one case in which copying writes to its source,
// a binary that its owner may still append to, does not occur: the copy that `adopt` makes has lost that right.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena without terms; costs nothing.
    pub const fn new() -> Self {
        Arena { chunks: Chunks::new(), env: ptr::null_mut() }
    }

    fn env(&mut self) -> *mut ErlNifEnv {
        if self.env.is_null() {
            // SAFETY: has no precondition. The VM ends itself rather than to return null.
            self.env = unsafe { enif_alloc_env() };
        }
        self.env
    }

    /// Copies a term into the arena.
    pub fn adopt(&mut self, term: Term<'_>) -> Stored {
        let mut built = block::build(term, self.chunks.room());
        if built == Err(NotBuilt::NoRoom) && block::fits(term, chunk::WORDS) {
            self.chunks.grow();
            built = block::build(term, self.chunks.room());
        }
        match built {
            Ok((copy, extent)) => {
                self.chunks.keep(extent);
                Stored::new(copy, extent)
            }
            Err(NotBuilt::NotPlain) => self.hold(term),
            Err(NotBuilt::NoRoom) => {
                let copy = self.adopt_any(term);
                Stored::new(copy.as_c_arg(), block::extent(copy))
            }
        }
    }

    /// Copies a term of which it is known that it is no block.
    pub fn hold(&mut self, term: Term<'_>) -> Stored {
        Stored::new(self.adopt_any(term).as_c_arg(), 0)
    }

    /// Copies a term into the environment.
    fn adopt_any(&mut self, term: Term<'_>) -> Term<'_> {
        let env = self.env();
        // SAFETY: `term` is alive by its lifetime, and the environment is ours alone by `&mut self`, and not null.
        unsafe { Term::new(Env::new(self, env), enif_make_copy(env, term.as_c_arg())) }
    }

    /// Copies what is in an arena already.
    pub fn adopt_seen(&mut self, seen: Seen<'_>) -> Stored {
        let Seen { term, extent } = seen;
        let words = usize::from(extent);
        if words == 0 || words > chunk::WORDS {
            let env = self.env();
            // SAFETY: the environment is ours alone by `&mut self`, and not null.
            return Stored::new(seen.copy(unsafe { Env::new(self, env) }).as_c_arg(), extent);
        }
        if self.chunks.room().len() < words {
            self.chunks.grow();
        }
        // SAFETY: the extent is that of the term, and there is as much room now.
        let copy = unsafe { block::copy_to(self.chunks.room(), term, extent) };
        self.chunks.keep(extent);
        Stored::new(copy, extent)
    }

    /// Looks at a term of this arena.
    ///
    /// # Safety
    /// `stored` came from this arena, is not [`Stored::none`], and the arena has not been cleared since.
    pub unsafe fn view(&self, stored: Stored) -> Term<'_> {
        // SAFETY: by contract.
        unsafe { self.see(stored).term }
    }

    /// Likewise, for who may want to copy it.
    ///
    /// # Safety
    /// As for [`Arena::view`].
    pub unsafe fn see(&self, stored: Stored) -> Seen<'_> {
        #[cfg(memcheck)]
        // SAFETY: by contract the term lives in this environment.
        unsafe {
            touch(stored);
        }
        let (raw, extent) = stored.split();
        let env = if self.env.is_null() { nowhere() } else { self.env };
        // SAFETY: by contract the term lives in this arena. It stays as long as the borrow does, since clearing
        // and freeing take the arena mutably.
        Seen { term: unsafe { Term::new(Env::new(self, env), raw) }, extent }
    }

    /// Decodes the external term format into the arena. `None` if `bytes` is not exactly one term.
    pub fn decode(&mut self, bytes: &[u8]) -> Option<Stored> {
        let mut term = MaybeUninit::uninit();
        // SAFETY: pointer and length are those of a slice; the environment is ours alone. Atoms may be created: peers
        // are as trusted as any node of a cluster.
        let read = unsafe { enif_binary_to_term(self.env(), bytes.as_ptr(), bytes.len(), term.as_mut_ptr(), 0) };
        if read != bytes.len() || read == 0 {
            return None;
        }
        // SAFETY: a result other than 0 says that the term has been written.
        let raw = unsafe { term.assume_init() };
        Some(Stored::new(raw, 0))
    }

    /// [`Arena::decode`] of many, in one go: beside each term's own cost there is one call's. Nothing if they are not one term each, as
    /// they should be, or in a form that only stands alone (compressed): then decode them one by one.
    pub fn decode_all<'p>(
        &mut self,
        all: impl ExactSizeIterator<Item = &'p [u8]>,
        out: &mut Vec<Stored>,
    ) -> Option<()> {
        let mut external = vec![VERSION, LIST_EXT];
        external.extend(u32::try_from(all.len()).ok()?.to_be_bytes());
        for bytes in all {
            external.extend(bytes.strip_prefix(&[VERSION])?);
        }
        external.push(NIL_EXT);
        let mut rest = self.decode(&external)?;
        // SAFETY: the term has just been put into this arena.
        while let Some((head, tail)) = cell(unsafe { self.view(rest) }) {
            (rest, _) = (Stored::within(tail), out.push(Stored::within(head)));
        }
        Some(())
    }

    /// Asks for the cache lines into which the next block will go.
    pub fn prefetch_room(&self) {
        self.chunks.prefetch_room();
    }

    /// Words that no term takes.
    pub fn slack(&self) -> usize {
        self.chunks.slack()
    }

    /// Frees all terms at once and keeps the environment.
    pub fn clear(&mut self) {
        self.chunks.clear();
        if !self.env.is_null() {
            // SAFETY: the environment is process-independent, and no term of it is borrowed, by `&mut self`.
            unsafe { enif_clear_env(self.env) }
        }
    }
}

/// Reads a term's first word, if it has one in memory. For `test/memcheck` only: AddressSanitizer sees what this library
/// reads and not what the VM does on its behalf, and an arena is freed as a whole, so that one word stands for all.
///
/// # Safety
/// As for [`Arena::view`].
#[cfg(memcheck)]
unsafe fn touch(stored: Stored) {
    let word = raw_word(stored.split().0);
    if word & TAG != IMMEDIATE {
        // SAFETY: without its tag, such a word is the address of the term's first word.
        unsafe { ((word & !TAG) as *const usize).read_volatile() };
    }
}

/// The term, wherever it is, for who may want to copy it.
///
/// # Safety
/// The arena in which it is must not be cleared or freed while the answer, or `stays`, is in use.
#[inline]
pub unsafe fn see_anywhere<T>(_stays: &T, stored: Stored) -> Seen<'_> {
    #[cfg(memcheck)]
    // SAFETY: by contract the term lives.
    unsafe {
        touch(stored);
    }
    let (raw, extent) = stored.split();
    // SAFETY: by contract. The environment is named for nothing but the lifetime: terms are only read.
    Seen { term: unsafe { Term::new(Env::new(_stays, nowhere()), raw) }, extent }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if !self.env.is_null() {
            // SAFETY: made by `enif_alloc_env`, freed once, and nothing of it is borrowed any more.
            unsafe { enif_free_env(self.env) }
        }
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}
