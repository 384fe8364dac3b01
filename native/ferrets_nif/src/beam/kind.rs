//! Of which type a term is.

use rustler::sys::ErlNifTermType;
use rustler::Term;

use super::compare::compare;
use super::inspect::otp_release;
use super::layout::has_usual_content;
use super::scratch::aside;
use super::term::is_immediate;

/// The types that guards tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Atom,
    Bitstring,
    Float,
    Fun,
    Integer,
    List,
    Map,
    Pid,
    Port,
    /// A native record, as there are since OTP 29. (Others are tuples.)
    Record,
    Reference,
    Tuple,
}

impl Type {
    /// That of a term.
    #[inline]
    pub fn of(term: Term<'_>) -> Self {
        // The NIF interface has no type for native records: being asked for it, the VM would abort.
        if !is_immediate(term) && has_native_records() && !has_usual_content(term) && !has_nif_type(term) {
            return Type::Record;
        }
        match term.get_erl_type() {
            ErlNifTermType::ERL_NIF_TERM_TYPE_ATOM => Type::Atom,
            ErlNifTermType::ERL_NIF_TERM_TYPE_BITSTRING => Type::Bitstring,
            ErlNifTermType::ERL_NIF_TERM_TYPE_FLOAT => Type::Float,
            ErlNifTermType::ERL_NIF_TERM_TYPE_FUN => Type::Fun,
            ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER => Type::Integer,
            ErlNifTermType::ERL_NIF_TERM_TYPE_LIST => Type::List,
            ErlNifTermType::ERL_NIF_TERM_TYPE_MAP => Type::Map,
            ErlNifTermType::ERL_NIF_TERM_TYPE_PID => Type::Pid,
            ErlNifTermType::ERL_NIF_TERM_TYPE_PORT => Type::Port,
            ErlNifTermType::ERL_NIF_TERM_TYPE_REFERENCE => Type::Reference,
            ErlNifTermType::ERL_NIF_TERM_TYPE_TUPLE => Type::Tuple,
            ErlNifTermType::ERL_NIF_TERM_TYPE__MISSING_DEFAULT_CASE__READ_THE_MANUAL => Type::Record,
        }
    }
}

/// Whether this release of OTP has native records.
pub fn has_native_records() -> bool {
    otp_release() >= 29
}

/// Whether the NIF interface knows the type of what is no list. It has a test for each but bit strings, which alone are greater than any map.
fn has_nif_type(term: Term<'_>) -> bool {
    let is_tested = term.is_tuple()
        || term.is_map()
        || term.is_number()
        || term.is_pid()
        || term.is_ref()
        || term.is_fun()
        || term.is_port();
    is_tested || aside(|env| compare(term, Term::map_new(env)).is_gt())
}
