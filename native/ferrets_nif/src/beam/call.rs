//! The edge at which Erlang calls in: NIFs registered without a wrapper of `rustler`'s, no panic lets through.
//!
//! `#[rustler::nif]` collects the arguments of each call in a `Vec`, a tenth of what a lookup takes.

use std::panic::{catch_unwind, AssertUnwindSafe};

use rustler::sys::{
    c_int, enif_consume_timeslice, enif_make_badarg, enif_raise_exception, enif_schedule_nif, enif_thread_type,
    ErlNifEnv, ErlNifTerm, ERL_NIF_DIRTY_JOB_CPU_BOUND, ERL_NIF_THR_DIRTY_CPU_SCHEDULER,
};
use rustler::{Encoder, Env, Term};

/// The caller's mistake: becomes the exception `badarg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadArg;

/// What a NIF answers.
pub type Answer<'a> = Result<Term<'a>, BadArg>;

mod atoms {
    rustler::atoms! { nif_panicked }
}

/// Runs a NIF's body with its arguments.
///
/// # Safety
/// To be called by the VM only, as the NIF of arity `N`, with the arguments it got.
#[inline]
pub unsafe fn enter<const N: usize>(
    env: *mut ErlNifEnv,
    argv: *const ErlNifTerm,
    body: impl for<'a> FnOnce(Env<'a>, [Term<'a>; N]) -> Answer<'a>,
) -> ErlNifTerm {
    let lifetime = ();
    // SAFETY: the VM passes the environment of this call, which outlives it.
    let env = unsafe { Env::new(&lifetime, env) };
    // SAFETY: a NIF of arity N gets N arguments, and they are of `env`.
    let arguments = std::array::from_fn(|i| unsafe { Term::new(env, *argv.add(i)) });
    match catch_unwind(AssertUnwindSafe(|| body(env, arguments))) {
        Ok(Ok(term)) => term.as_c_arg(),
        // SAFETY: `env` is the environment of this call.
        Ok(Err(BadArg)) => unsafe { enif_make_badarg(env.as_c_arg()) },
        // SAFETY: as above.
        Err(_) => unsafe { enif_raise_exception(env.as_c_arg(), atoms::nif_panicked().encode(env).as_c_arg()) },
    }
}

/// Registers a function `for<'a> fn(Env<'a>, [Term<'a>; N]) -> Answer<'a>` as a NIF of `ferrets_nif`. As a `Raw`, it may also be
/// given to [`on_dirty_scheduler`].
macro_rules! nif {
    ($name:literal, $arity:literal, $body:path) => {
        const _: () = {
            $crate::beam::call::nif!($name, $arity, $body, RAW);
        };
    };
    ($name:literal, $arity:literal, $body:path, $raw:ident) => {
        const $raw: $crate::beam::call::Raw<$arity> = {
            unsafe extern "C" fn raw(
                env: *mut rustler::sys::ErlNifEnv,
                _argc: std::ffi::c_int,
                argv: *const rustler::sys::ErlNifTerm,
            ) -> rustler::sys::ErlNifTerm {
                // SAFETY: registered with the arity that is given here; only the VM calls it.
                unsafe { $crate::beam::call::enter(env, argv, $body) }
            }
            $crate::beam::call::Raw { name: concat!($name, "\0"), function: raw }
        };
        rustler::codegen_runtime::inventory::submit!(rustler::Nif {
            name: $raw.name.as_ptr().cast(),
            arity: $arity,
            flags: 0,
            raw_func: $raw.function,
        });
    };
}
pub(crate) use nif;

/// A NIF as the VM calls it.
pub struct Raw<const N: usize> {
    /// Its name, with a zero at the end.
    pub name: &'static str,
    /// To be called by the VM only.
    pub function: unsafe extern "C" fn(*mut ErlNifEnv, c_int, *const ErlNifTerm) -> ErlNifTerm,
}

/// Whether the present call may take its time.
pub fn is_on_dirty_scheduler() -> bool {
    // SAFETY: has no precondition.
    unsafe { enif_thread_type() == ERL_NIF_THR_DIRTY_CPU_SCHEDULER }
}

/// Has a NIF called where it may take its time. What this returns must be the answer of the present call.
pub fn on_dirty_scheduler<'a, const N: usize>(env: Env<'a>, nif: &Raw<N>, arguments: [Term<'a>; N]) -> Term<'a> {
    let raw = arguments.map(|term| term.as_c_arg());
    let (name, flags) = (nif.name.as_ptr().cast(), ERL_NIF_DIRTY_JOB_CPU_BOUND as c_int);
    // SAFETY: the name ends with a zero; the function takes as many arguments as there are, all of `env`.
    unsafe { Term::new(env, enif_schedule_nif(env.as_c_arg(), name, flags, nif.function, N as c_int, raw.as_ptr())) }
}

/// Tells the VM how much of a time slice (1 to 100) the caller has used up. There are none on a dirty scheduler.
pub fn consume_timeslice(env: Env<'_>, percent: u32) {
    if is_on_dirty_scheduler() {
        return;
    }
    // SAFETY: `env` is that of the present call.
    unsafe { enif_consume_timeslice(env.as_c_arg(), percent.clamp(1, 100) as c_int) };
}
