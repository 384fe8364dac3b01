//! Looking into terms, as functions of guards do: sizes, parts, names, nodes.
//!
//! What the NIF interface does not show is read from the external term format.

use std::ffi::{c_char, c_uint};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use rustler::sys::{
    enif_get_atom, enif_get_int64, enif_get_list_length, enif_get_local_pid, enif_get_map_size, enif_get_map_value,
    enif_inspect_binary, enif_is_binary, enif_system_info, ErlNifCharEncoding, ErlNifSysInfo, ErlNifTerm,
};
use rustler::{Env, Term};

use super::encode::encode;
use super::external::{
    ATOM_EXT, ATOM_UTF8_EXT, BIT_BINARY_EXT, EXPORT_EXT, INTEGER_EXT, LARGE_BIG_EXT, LARGE_TUPLE_EXT,
    NATIVE_RECORD_EXT, NEWER_REFERENCE_EXT, NEW_FUN_EXT, NEW_PID_EXT, NEW_PORT_EXT, SMALL_ATOM_EXT,
    SMALL_ATOM_UTF8_EXT, SMALL_BIG_EXT, SMALL_INTEGER_EXT, V4_PORT_EXT, VERSION,
};
use super::kind::Type;
use super::scratch::aside;

/// An integer of 64 bits.
#[inline]
pub fn integer(term: Term<'_>) -> Option<i64> {
    let mut value = 0;
    // SAFETY: `term` is alive; the out-pointer is valid.
    (unsafe { enif_get_int64(term.get_env().as_c_arg(), term.as_c_arg(), &mut value) } != 0).then_some(value)
}

/// Whether an integer, whatever its size, is negative, and its magnitude, the least byte first.
pub fn integer_bytes(term: Term<'_>) -> Option<(bool, Vec<u8>)> {
    let external = external(term);
    match *external.get(1)? {
        SMALL_INTEGER_EXT => Some((false, vec![*external.get(2)?])),
        INTEGER_EXT => {
            let value = i32::from_be_bytes(external.get(2..6)?.try_into().ok()?);
            Some((value < 0, value.unsigned_abs().to_le_bytes().to_vec()))
        }
        SMALL_BIG_EXT => Some((*external.get(3)? != 0, external.get(4..)?.to_vec())),
        LARGE_BIG_EXT => Some((*external.get(6)? != 0, external.get(7..)?.to_vec())),
        _ => None,
    }
}

/// The name of an atom, if all of its letters are ASCII.
pub fn atom_name<'b>(atom: Term<'_>, buffer: &'b mut [u8; 256]) -> Option<&'b str> {
    let (start, len) = (buffer.as_mut_ptr().cast::<c_char>(), buffer.len() as c_uint);
    let latin1 = ErlNifCharEncoding::ERL_NIF_LATIN1;
    // SAFETY: `atom` is alive; the VM writes at most `len` bytes.
    let written = unsafe { enif_get_atom(atom.get_env().as_c_arg(), atom.as_c_arg(), start, len, latin1) };
    let name = buffer.get(..usize::try_from(written).ok()?.checked_sub(1)?)?;
    name.is_ascii().then(|| std::str::from_utf8(name).ok())?
}

/// The length of a proper list.
pub fn list_len(term: Term<'_>) -> Option<usize> {
    let mut len: c_uint = 0;
    // SAFETY: `term` is alive; the out-pointer is valid.
    let is_list = unsafe { enif_get_list_length(term.get_env().as_c_arg(), term.as_c_arg(), &mut len) } != 0;
    is_list.then_some(len as usize)
}

/// How many pairs a map has.
#[inline]
pub fn map_len(term: Term<'_>) -> Option<usize> {
    let mut len = 0;
    // SAFETY: `term` is alive; the out-pointer is valid.
    (unsafe { enif_get_map_size(term.get_env().as_c_arg(), term.as_c_arg(), &mut len) } != 0).then_some(len)
}

/// The value under a key of a map. The key may be of another environment.
#[inline]
pub fn map_get<'a>(map: Term<'a>, key: Term<'_>) -> Option<Term<'a>> {
    let env = map.get_env();
    let mut value = ErlNifTerm::default();
    // SAFETY: map and key are alive, and the key is only compared; the out-pointer is valid.
    let found = unsafe { enif_get_map_value(env.as_c_arg(), map.as_c_arg(), key.as_c_arg(), &mut value) } != 0;
    // SAFETY: a value belongs to the environment of its map.
    found.then(|| unsafe { Term::new(env, value) })
}

/// Whether the term is a bit string of whole bytes.
pub fn is_binary(term: Term<'_>) -> bool {
    // SAFETY: `term` is alive.
    unsafe { enif_is_binary(term.get_env().as_c_arg(), term.as_c_arg()) != 0 }
}

/// The number of bytes of a binary. Whoever shares the term's environment is not disturbed: to show a binary that does not begin with
/// a whole byte of another, the VM takes memory in the environment that it is given.
pub fn binary_len(term: Term<'_>) -> Option<usize> {
    aside(|env| {
        let mut binary = MaybeUninit::uninit();
        // SAFETY: `term` is alive; the out-pointer is valid.
        let is_shown = unsafe { enif_inspect_binary(env.as_c_arg(), term.as_c_arg(), binary.as_mut_ptr()) != 0 };
        // SAFETY: initialised if it was shown.
        is_shown.then(|| unsafe { binary.assume_init() }.size)
    })
}

/// The number of bits of a bit string.
pub fn bit_len(term: Term<'_>) -> Option<u64> {
    binary_len(term).map(|len| len as u64 * 8).or_else(|| broken_bytes(term).map(|(bits, _)| bits))
}

/// The number of bits of a bit string that does not end with a whole byte, and its whole bytes.
pub fn broken_bytes(term: Term<'_>) -> Option<(u64, Vec<u8>)> {
    if Type::of(term) != Type::Bitstring {
        return None;
    }
    let external = external(term);
    if external.get(1) != Some(&BIT_BINARY_EXT) {
        return None;
    }
    let whole = external.get(7..)?.split_last()?.1;
    Some((whole.len() as u64 * 8 + u64::from(*external.get(6)?), whole.to_vec()))
}

/// Whether a pid is of this node.
pub fn is_local_pid(term: Term<'_>) -> bool {
    let mut pid = MaybeUninit::uninit();
    // SAFETY: `term` is alive; the out-pointer is valid and not read.
    unsafe { enif_get_local_pid(term.get_env().as_c_arg(), term.as_c_arg(), pid.as_mut_ptr()) != 0 }
}

/// The node of a pid, port or reference, as an atom.
pub fn node_of<'a>(term: Term<'_>, env: Env<'a>) -> Option<Term<'a>> {
    let external = external(term);
    let name = match *external.get(1)? {
        NEW_PID_EXT | NEW_PORT_EXT | V4_PORT_EXT => external.get(2..)?,
        NEWER_REFERENCE_EXT => external.get(4..)?,
        _ => return None,
    };
    let mut atom = vec![VERSION];
    atom.extend_from_slice(name.get(..atom_ext_len(name)?)?);
    env.binary_to_term(&atom).map(|(atom, _)| atom)
}

/// A native record as a tuple: the module and the name of its definition, and the values of its fields.
pub fn native_record<'a>(term: Term<'_>, env: Env<'a>) -> Option<Term<'a>> {
    if Type::of(term) != Type::Record {
        return None;
    }
    let external = external(term);
    let [VERSION, NATIVE_RECORD_EXT, len @ ..] = external.as_slice() else { return None };
    let (len, rest) = len.split_first_chunk()?;
    let fields = u32::from_be_bytes(*len);
    let (_flags, definition) = rest.split_first()?;
    let after = |atoms: u32, from| (0..atoms).try_fold(from, |rest: &'_ [u8], _| rest.get(atom_ext_len(rest)?..));
    let names = after(2, definition)?;
    let mut tuple = vec![VERSION, LARGE_TUPLE_EXT];
    tuple.extend((fields + 2).to_be_bytes());
    tuple.extend_from_slice(&definition[..definition.len() - names.len()]);
    tuple.extend_from_slice(after(fields, names)?);
    env.binary_to_term(&tuple).map(|(tuple, _)| tuple)
}

/// How many bytes the atom takes that is at the beginning.
fn atom_ext_len(external: &[u8]) -> Option<usize> {
    match external {
        [SMALL_ATOM_EXT | SMALL_ATOM_UTF8_EXT, len, ..] => Some(2 + usize::from(*len)),
        [ATOM_EXT | ATOM_UTF8_EXT, high, low, ..] => Some(3 + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

/// How many arguments a fun takes.
pub fn fun_arity(term: Term<'_>) -> Option<u8> {
    if Type::of(term) != Type::Fun {
        return None;
    }
    let external = external(term);
    match *external.get(1)? {
        NEW_FUN_EXT => external.get(6).copied(),
        EXPORT_EXT => external.last().copied(),
        _ => None,
    }
}

fn external(term: Term<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(term, &mut out);
    out
}

/// The release of OTP that this runs in, 25 for one.
pub fn otp_release() -> u32 {
    static RELEASE: OnceLock<u32> = OnceLock::new();
    *RELEASE.get_or_init(|| {
        let mut info = MaybeUninit::<ErlNifSysInfo>::zeroed();
        // SAFETY: the VM writes at most as many bytes as the structure has.
        unsafe { enif_system_info(info.as_mut_ptr(), size_of::<ErlNifSysInfo>()) };
        // SAFETY: all of its fields are numbers and pointers, for which zeros will do where the VM has written nothing.
        let release = unsafe { info.assume_init() }.otp_release;
        if release.is_null() {
            return 0;
        }
        // SAFETY: a string of the VM's, which ends with a zero and lives as long as the VM.
        unsafe { std::ffi::CStr::from_ptr(release) }.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    })
}
