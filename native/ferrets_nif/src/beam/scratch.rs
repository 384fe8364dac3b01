//! Scratch space: an environment for terms that are made while one record is looked at, and thrown away after it.
//!
//! What a guard builds (a tuple to compare with, a number too large for a word) goes here and not to the caller's heap,
//! which would grow with each record that does not match.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustler::sys::{enif_alloc_env, enif_clear_env, enif_free_env, ErlNifEnv};
use rustler::{Env, Term};

/// A process-independent environment, made when it is first asked for.
#[derive(Debug)]
pub struct Scratch {
    env: Cell<*mut ErlNifEnv>,
    is_used: Cell<bool>,
}

impl Scratch {
    /// Costs nothing until it is used.
    pub const fn new() -> Self {
        Scratch { env: Cell::new(ptr::null_mut()), is_used: Cell::new(false) }
    }

    /// The environment. Terms may be made in it until it is cleared.
    pub fn env(&self) -> Env<'_> {
        if self.env.get().is_null() {
            // SAFETY: has no precondition. The VM ends itself rather than to return null.
            self.env.set(unsafe { enif_alloc_env() });
        }
        self.is_used.set(true);
        // SAFETY: the environment is alive as long as `self` is borrowed, since clearing and freeing take it mutably. It
        // is used by one thread at a time: `Scratch` is not `Sync`.
        unsafe { Env::new(self, self.env.get()) }
    }

    /// Throws away all terms.
    pub fn clear(&mut self) {
        if self.is_used.replace(false) {
            // SAFETY: process-independent, and no term of it is borrowed, by `&mut self`.
            unsafe { enif_clear_env(self.env.get()) }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.env.get().is_null() {
            // SAFETY: made by `enif_alloc_env`, freed once, and nothing of it is borrowed any more.
            unsafe { enif_free_env(self.env.get()) }
        }
    }
}

thread_local! {
    /// Never freed: threads of the VM do not end before it does.
    static ASIDE: RefCell<ManuallyDrop<Scratch>> = const { RefCell::new(ManuallyDrop::new(Scratch::new())) };
}

/// Does something in an environment of this thread alone, whose terms are then thrown away.
pub fn aside<R>(work: impl FnOnce(Env<'_>) -> R) -> R {
    ASIDE.with_borrow_mut(|scratch| {
        let result = work(scratch.env());
        scratch.clear();
        result
    })
}

static NOWHERE: AtomicPtr<ErlNifEnv> = AtomicPtr::new(ptr::null_mut());

/// An environment for terms that are in none, or in which it is not known. Nothing is ever made in it, but the VM may look at
/// it. The same for all threads; made at the first call, which is that of loading.
#[inline]
pub fn nowhere() -> *mut ErlNifEnv {
    let env = NOWHERE.load(Ordering::Relaxed);
    if env.is_null() {
        make_nowhere()
    } else {
        env
    }
}

#[cold]
fn make_nowhere() -> *mut ErlNifEnv {
    // SAFETY: has no precondition. The VM ends itself rather than to return null.
    NOWHERE.store(unsafe { enif_alloc_env() }, Ordering::Relaxed);
    NOWHERE.load(Ordering::Relaxed)
}

/// The same term, known to live for a shorter time. So terms of several environments can be used side by side.
///
/// `rustler` forbids it by invariance, lest a term of one environment be taken for one of another. Here that is seen to
/// at run time: whatever in this module puts terms into others copies those that are of another environment.
#[inline]
pub fn shorten<'short, 'long: 'short>(term: Term<'long>) -> Term<'short> {
    // SAFETY: the two types differ in the lifetime alone, and what lives for 'long lives for 'short.
    unsafe { std::mem::transmute::<Term<'long>, Term<'short>>(term) }
}

/// See [`shorten`].
#[inline]
pub fn shorten_all<'short, 'long: 'short>(terms: &'short [Term<'long>]) -> &'short [Term<'short>] {
    // SAFETY: as in `shorten`; nothing can be written through the slice.
    unsafe { std::mem::transmute::<&'short [Term<'long>], &'short [Term<'short>]>(terms) }
}

/// See [`shorten`].
#[inline]
pub fn shorten_env<'short, 'long: 'short>(env: Env<'long>) -> Env<'short> {
    // SAFETY: as in `shorten`.
    unsafe { std::mem::transmute::<Env<'long>, Env<'short>>(env) }
}
