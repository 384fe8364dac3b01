//! Match specifications: what `ets:select/2` and its like take, compiled and run here on records where they stand.
//!
//! A specification is a list of clauses, each of a head, guards and a body. The first clause whose head matches a record
//! and whose guards are all `true` gives the result. [`pattern`] is about heads, [`expression`] compiles guards and
//! bodies, [`evaluate`] runs them, on [`value`]s, with [`function`]s and [`numbers`]; [`query`] finds out which keys can match
//! at all. [`program`] puts it all together, [`clause`] has what compiling needs on all sides.
//!
//! What comes out, and what raises `badarg`, is what `ets` does in the VM that this runs in. In particular:
//!
//! - An exception in a guard fails the clause; in a body the call that raised is worth the atom `'EXIT'`.
//! - `'$N'` is bound where it comes first, in the order in which `ets` looks: the elements of a tuple or list, then what is
//!   inside of them, the last one first.
//! - A float in a head matches a float of the same bits.
//!
//! Neither specifications nor records can make this recurse: terms may be nested without bound. Where it differs from
//! `ets`: integers that a calculation makes are bounded ([`numbers`]).

mod clause;
mod evaluate;
mod expression;
mod function;
mod numbers;
mod pattern;
mod program;
mod query;
mod value;

pub use clause::Malformed;
pub use program::{Kept, Matcher, Program};
pub use query::Scope;
