//! Messages to processes.

use std::ptr;

use rustler::sys::enif_send;
use rustler::{Env, LocalPid, Term};

/// Sends a term of whatever environment to a process of this node. One that is no more gets nothing.
pub fn send_stored(env: Env<'_>, to: &LocalPid, message: Term<'_>) {
    // SAFETY: `env` is that of the present call; without an environment of its own the message is copied, and only read.
    unsafe { enif_send(env.as_c_arg(), to.as_c_arg(), ptr::null_mut(), message.as_c_arg()) };
}
