//! Arenas: process-independent environments in which the terms of many records live together.
//!
//! Nothing in an arena can be freed alone; the whole arena is. Terms go in and out by the VM's own copying
//! (`enif_make_copy`), so any term may be stored. A large binary is shared with whoever else refers to it, and a
//! sub-binary keeps the whole binary alive that it is a part of, as in `ets`.
//!
//! An arena does not know its terms' size: whoever fills it counts (see [`super::term::words`]).

use std::mem::MaybeUninit;
use std::ptr;

use rustler::sys::{
    enif_alloc_env, enif_binary_to_term, enif_clear_env, enif_free_env, enif_make_copy, ErlNifEnv, ErlNifTerm,
};
use rustler::{Env, Term};

use super::term::{cell, raw_word as word};
use crate::os::prefetch;

/// A term in some arena. Says nothing about which one: whoever stores it keeps the two together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored(ErlNifTerm);

impl Stored {
    /// No term at all.
    pub fn none() -> Self {
        Stored(ErlNifTerm::default())
    }

    /// Whether this is [`Stored::none`].
    pub fn is_none(self) -> bool {
        self == Self::none()
    }

    /// Asks for the cache lines behind the term's first, which will be waited for in any case.
    #[inline]
    pub fn prefetch(self) {
        let start = word(self.0) as *const u8;
        (1..4).for_each(|line| prefetch(start, line * 64));
    }

    /// Asks for the term's first cache lines, in which its key most likely is, should it be a record.
    #[inline]
    pub fn prefetch_key(self) {
        let start = word(self.0) as *const u8;
        (0..2).for_each(|line| prefetch(start, line * 64));
    }

    /// Asks for the term's first cache lines, its very first among them.
    #[inline]
    pub fn prefetch_all(self) {
        prefetch(word(self.0) as *const u8, 0);
        self.prefetch();
    }

    /// The term as a number: 0 for none.
    #[inline]
    pub fn to_bits(self) -> u64 {
        word(self.0) as u64
    }

    /// The term that a number was made of.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        // SAFETY: `ErlNifTerm` is a transparent wrapper of `usize`, which has 64 bits where this library loads. Whether it may be looked
        // at is said by whoever does, in `Arena::view`.
        Stored(unsafe { std::mem::transmute::<usize, ErlNifTerm>(bits as usize) })
    }

    /// A term that was found inside another term of the same arena.
    pub fn within(term: Term<'_>) -> Self {
        Stored(term.as_c_arg())
    }
}

/// A process-independent environment, made when the first term goes in.
#[derive(Debug)]
pub struct Arena {
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
        Arena { env: ptr::null_mut() }
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
        // SAFETY: `term` is alive by its lifetime, and the environment is ours alone by `&mut self`.
        Stored(unsafe { enif_make_copy(self.env(), term.as_c_arg()) })
    }

    /// Looks at a term of this arena.
    ///
    /// # Safety
    /// `stored` came from this arena, is not [`Stored::none`], and the arena has not been cleared since.
    pub unsafe fn view(&self, stored: Stored) -> Term<'_> {
        #[cfg(memcheck)]
        // SAFETY: by contract the term lives in this environment.
        unsafe {
            touch(stored);
        }
        // SAFETY: by contract the term lives in this environment. It stays as long as the borrow does, since clearing
        // and freeing take the arena mutably.
        unsafe { Term::new(Env::new(self, self.env), stored.0) }
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
        Some(Stored(unsafe { term.assume_init() }))
    }

    /// [`Arena::decode`] of many, in one go: beside each term's own cost there is one call's. Nothing if they are not one term each, as
    /// they should be, or in a form that only stands alone (compressed): then decode them one by one.
    pub fn decode_all<'p>(
        &mut self,
        all: impl ExactSizeIterator<Item = &'p [u8]>,
        out: &mut Vec<Stored>,
    ) -> Option<()> {
        const VERSION: u8 = 131;
        const LIST: u8 = 108;
        const NIL: u8 = 106;
        let mut external = vec![VERSION, LIST];
        external.extend(u32::try_from(all.len()).ok()?.to_be_bytes());
        for bytes in all {
            external.extend(bytes.strip_prefix(&[VERSION])?);
        }
        external.push(NIL);
        let mut rest = self.decode(&external)?;
        // SAFETY: the term has just been put into this arena.
        while let Some((head, tail)) = cell(unsafe { self.view(rest) }) {
            (rest, _) = (Stored::within(tail), out.push(Stored::within(head)));
        }
        Some(())
    }

    /// Frees all terms at once and keeps the environment.
    pub fn clear(&mut self) {
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
    const TAG: usize = 3;
    const LIST: usize = 1;
    const BOXED: usize = 2;
    let raw = word(stored.0);
    if matches!(raw & TAG, LIST | BOXED) {
        // SAFETY: without its tag, such a word is the address of the term's first word.
        unsafe { ((raw & !TAG) as *const usize).read_volatile() };
    }
}

/// The term, wherever it is.
///
/// # Safety
/// The arena in which it is must not be cleared or freed while the answer, or `stays`, is in use.
#[inline]
pub unsafe fn view_anywhere<T>(_stays: &T, stored: Stored) -> Term<'_> {
    #[cfg(memcheck)]
    // SAFETY: by contract the term lives.
    unsafe {
        touch(stored);
    }
    // SAFETY: by contract. The environment is named for nothing but the lifetime: terms are only read, by functions that take no
    // environment, or look at none.
    unsafe { Term::new(Env::new(_stays, ptr::null_mut()), stored.0) }
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
