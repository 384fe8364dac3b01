//! The edge at which Erlang calls in: NIFs registered without a wrapper of `rustler`'s, no panic lets through.
//!
//! `#[rustler::nif]` collects the arguments of each call in a `Vec`, a tenth of what a lookup takes.

use std::panic::{catch_unwind, AssertUnwindSafe};

use rustler::sys::{
    c_char, c_int, c_void, enif_consume_timeslice, enif_make_badarg, enif_raise_exception, ErlNifEnv, ErlNifTerm,
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
pub unsafe fn enter<const N: usize>(
    env: *mut ErlNifEnv,
    argv: *const ErlNifTerm,
    body: for<'a> fn(Env<'a>, [Term<'a>; N]) -> Answer<'a>,
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
                    unsafe { $crate::beam::call::enter::<$arity>(env, argv, $body) }
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

extern "C" {
    fn dladdr(address: *const c_void, info: *mut SymbolOrigin) -> c_int;
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
}

#[repr(C)]
struct SymbolOrigin {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

/// Keeps the library mapped for good: the reaper's thread runs its code even when the VM lets go of it.
pub fn pin_library() {
    const RTLD_LAZY: c_int = 1;
    const RTLD_NODELETE: c_int = if cfg!(target_os = "macos") { 0x80 } else { 0x1000 };
    let mut origin = std::mem::MaybeUninit::uninit();
    let here: fn() = pin_library;
    // SAFETY: the address is one of this library; the out-pointer is valid.
    if unsafe { dladdr(here as *const c_void, origin.as_mut_ptr()) } == 0 {
        return;
    }
    // SAFETY: initialised, as `dladdr` answered other than 0; the path is that of this library, which is open, so that
    // nothing runs but a counter.
    unsafe { dlopen(origin.assume_init().file, RTLD_LAZY | RTLD_NODELETE) };
}
