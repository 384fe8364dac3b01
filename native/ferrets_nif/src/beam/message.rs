//! Messages to processes.

use std::ptr;

use rustler::sys::{enif_make_ref, enif_send};
use rustler::{Encoder, Env, LocalPid, Term};

use super::compare::is_identical;
use super::layout::{elements, raw, raw_word, target, Headers, BOXED, IMMEDIATE, SUBTAG_BITS, TAG, TUPLE};
use super::scratch::nowhere;

/// Sends a term of whatever environment to a process of this node. One that is no more gets nothing.
pub fn send_stored(env: Env<'_>, to: &LocalPid, message: Term<'_>) {
    // SAFETY: `env` is that of the present call; without an environment of its own the message is copied, and only read.
    unsafe { enif_send(env.as_c_arg(), to.as_c_arg(), ptr::null_mut(), message.as_c_arg()) };
}

/// Words of a reference.
const REFERENCE: usize = 3;

/// A short message: a pair of a reference and something that is in its word. It needs no environment, which takes longer to make
/// and to free than the message to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    reference: [usize; REFERENCE],
    other: usize,
}

impl Note {
    /// Nothing if the message is no such pair, or it is not known how references look in this VM.
    pub fn of(message: Term<'_>) -> Option<Self> {
        Note::of_kind(message, Headers::known()?.reference?)
    }

    fn of_kind(message: Term<'_>, header: usize) -> Option<Self> {
        // SAFETY: the message is alive.
        let [reference, other] = unsafe { elements(raw_word(message.as_c_arg())) }?.try_into().ok()?;
        let (reference, other) = (raw_word(reference), raw_word(other));
        if reference & TAG != BOXED || other & TAG != IMMEDIATE {
            return None;
        }
        // SAFETY: a box has a first word, which tells how many there are.
        let has_kind = unsafe { target(reference, 1) }[0] == header;
        // SAFETY: so many, if it is of that kind.
        let words = has_kind.then(|| unsafe { target(reference, REFERENCE) })?;
        is_plain(words).then(|| Note { reference: std::array::from_fn(|at| words[at]), other })
    }

    /// Shows the message.
    pub fn show<R>(&self, show: impl FnOnce(Term<'_>) -> R) -> R {
        let [first, second, third] = self.reference;
        let mut block = [TUPLE | 2 << SUBTAG_BITS, 0, self.other, first, second, third];
        block[1] = (&raw const block[3]) as usize | BOXED;
        let message = raw(block.as_ptr() as usize | BOXED);
        // SAFETY: the block is a pair and its reference, in one piece, and stays while it is shown.
        show(unsafe { Term::new(Env::new(&block, nowhere()), message) })
    }

    /// Sends the message to a process of this node. One that is no more gets nothing.
    pub fn send(&self, env: Env<'_>, to: &LocalPid) {
        self.show(|message| send_stored(env, to, message));
    }
}

/// Whether these words are a reference and nothing else: behind the first stand, as nobody promises, 32 bits that are all set. One
/// that refers to an object of ours has a pointer there.
fn is_plain(words: &[usize]) -> bool {
    let [a, b, c, d, ..] = words[1].to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d]) == u32::MAX
}

/// The first word of references in this VM, if all is as it is relied upon here.
pub fn look(env: Env<'_>) -> Option<usize> {
    // SAFETY: has no precondition but a live environment.
    let reference = unsafe { Term::new(env, enif_make_ref(env.as_c_arg())) };
    let word = raw_word(reference.as_c_arg());
    // SAFETY: a box has a first word.
    let header = (word & TAG == BOXED).then(|| unsafe { target(word, 1) }[0])?;
    let message = (reference, true).encode(env);
    let note = (header >> SUBTAG_BITS == REFERENCE - 1).then(|| Note::of_kind(message, header))??;
    note.show(|shown| is_identical(shown, message)).then_some(header)
}
