//! The edge at which Erlang calls in: NIFs registered without a wrapper of `rustler`'s, no panic lets through.
//!
//! `#[rustler::nif]` collects the arguments of each call in a `Vec`, a tenth of what a lookup takes.

use std::panic::{catch_unwind, AssertUnwindSafe};

use rustler::sys::{c_int, enif_consume_timeslice, enif_make_badarg, enif_raise_exception, ErlNifEnv, ErlNifTerm};
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

/// Registers a function `for<'a> fn(Env<'a>, [Term<'a>; N]) -> Answer<'a>` as a NIF of `ferrets_nif`.
macro_rules! nif {
    ($name:literal, $arity:literal, $body:path) => {
        rustler::codegen_runtime::inventory::submit!(rustler::Nif {
            name: concat!($name, "\0").as_ptr().cast(),
            arity: $arity,
            flags: 0,
            raw_func: {
                unsafe extern "C" fn raw(
                    env: *mut rustler::sys::ErlNifEnv,
                    _argc: std::ffi::c_int,
                    argv: *const rustler::sys::ErlNifTerm,
                ) -> rustler::sys::ErlNifTerm {
                    // SAFETY: registered with the arity that is given here; only the VM calls it.
                    unsafe { $crate::beam::call::enter(env, argv, $body) }
                }
                raw
            },
        });
    };
}
pub(crate) use nif;

/// Tells the VM how much of a time slice (1 to 100) the caller has used up.
pub fn consume_timeslice(env: Env<'_>, percent: u32) {
    // SAFETY: `env` is that of the present call.
    unsafe { enif_consume_timeslice(env.as_c_arg(), percent.clamp(1, 100) as c_int) };
}
