//! Making terms. Whatever is put into another term is copied first, if it is of another environment.

use rustler::sys::{
    enif_make_double, enif_make_map_put, enif_make_new_binary, enif_make_new_map, enif_make_sub_binary,
    enif_make_tuple_from_array, ErlNifTerm,
};
use rustler::{Env, Term};

use super::external::{LARGE_BIG_EXT, SMALL_BIG_EXT, VERSION};
use super::inspect::{binary_len, broken_bytes};

/// So many elements of a tuple need no allocation.
const NEAR: usize = 12;

/// A tuple.
pub fn tuple<'a>(env: Env<'a>, len: usize, element: impl Fn(usize) -> Term<'a>) -> Term<'a> {
    let raw = |at: usize| element(at).in_env(env).as_c_arg();
    let make = |elements: &[ErlNifTerm]| {
        // SAFETY: the array holds that many terms of `env`.
        unsafe { Term::new(env, enif_make_tuple_from_array(env.as_c_arg(), elements.as_ptr(), elements.len() as u32)) }
    };
    if len <= NEAR {
        let mut near = [ErlNifTerm::default(); NEAR];
        (0..len).for_each(|at| near[at] = raw(at));
        make(&near[..len])
    } else {
        make(&(0..len).map(raw).collect::<Vec<ErlNifTerm>>())
    }
}

/// A map of so many pairs. Of two pairs with one key the later one stays.
pub fn map<'a>(env: Env<'a>, len: usize, pair: impl Fn(usize) -> (Term<'a>, Term<'a>)) -> Term<'a> {
    // SAFETY: has no precondition but a live environment.
    let mut map = unsafe { enif_make_new_map(env.as_c_arg()) };
    for at in 0..len {
        let (key, value) = pair(at);
        let (before, key, value) = (map, key.in_env(env).as_c_arg(), value.in_env(env).as_c_arg());
        // SAFETY: map, key and value are of `env`; the out-pointer is valid.
        unsafe { enif_make_map_put(env.as_c_arg(), before, key, value, &mut map) };
    }
    // SAFETY: made in `env`.
    unsafe { Term::new(env, map) }
}

/// A float, which must be finite.
pub fn float(env: Env<'_>, value: f64) -> Term<'_> {
    debug_assert!(value.is_finite());
    // SAFETY: `value` is finite; for others the VM would raise an exception.
    unsafe { Term::new(env, enif_make_double(env.as_c_arg(), value)) }
}

/// An integer of any size, from its magnitude, the least byte first and the greatest not 0.
pub fn big_integer<'a>(env: Env<'a>, is_negative: bool, magnitude: &[u8]) -> Option<Term<'a>> {
    let mut external = vec![VERSION];
    match u8::try_from(magnitude.len()) {
        Ok(len) => external.extend([SMALL_BIG_EXT, len]),
        Err(_) => {
            external.push(LARGE_BIG_EXT);
            external.extend(u32::try_from(magnitude.len()).ok()?.to_be_bytes());
        }
    }
    external.push(u8::from(is_negative));
    external.extend_from_slice(magnitude);
    env.binary_to_term(&external).map(|(term, _)| term)
}

/// A part of a bit string. `None` if it has no such bytes, or is none.
pub fn binary_part<'a>(env: Env<'a>, whole: Term<'_>, start: usize, len: usize) -> Option<Term<'a>> {
    let end = start.checked_add(len)?;
    if let Some(bytes) = binary_len(whole) {
        if bytes < end {
            return None;
        }
        let whole = whole.in_env(env);
        // SAFETY: `whole` is a binary of `env` that has as many bytes, as just checked.
        return Some(unsafe { Term::new(env, enif_make_sub_binary(env.as_c_arg(), whole.as_c_arg(), start, len)) });
    }
    let (_, bytes) = broken_bytes(whole)?;
    let part = bytes.get(start..end)?;
    let mut term = ErlNifTerm::default();
    // SAFETY: the out-pointer is valid.
    let to = unsafe { enif_make_new_binary(env.as_c_arg(), len, &mut term) };
    // SAFETY: `to` has room for `len` bytes, which nobody else sees before the term is made.
    unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), to, len) };
    // SAFETY: made in `env`.
    Some(unsafe { Term::new(env, term) })
}
