//! The VM's terms: the only place that calls `enif_*` functions directly.
//!
//! [`arena`] keeps terms outside of any process, [`scratch`] those of a moment; [`block`] copies those that lie in one piece; [`term`], [`kind`], [`inspect`] and [`visit`] look into
//! them, [`build`] makes them, [`mod@encode`] and [`decode`] are about their external form, [`hash`] hashes keys so that equal keys hash alike,
//! [`message`] sends them, [`shared`] is what they refer to, [`call`] is the edge at which Erlang calls in. What leaves this module is safe to use, or is marked
//! `unsafe` with the contract that its caller has to keep.

pub mod arena;
pub mod block;
pub mod build;
pub mod call;
pub mod compare;
pub mod decode;
pub mod encode;
pub mod external;
pub mod hash;
pub mod inspect;
pub mod kind;
pub mod layout;
pub mod message;
pub mod scratch;
pub mod shared;
pub mod term;
pub mod visit;
