//! The replication protocol of Ferrets, as a state machine: events in, effects out.
//!
//! [`replica::Replica`] is one server's replica of a table. It decides which writes win, what goes to which peer, when a
//! write is everywhere and when a link must be given up. It has no clock, no thread, no I/O and no records: the host
//! brings the time, carries messages and holds the records in a [`store::Store`]. So any number of replicas run in one
//! test, under a scheduler that delays, cuts and restarts as a seed tells it to (`tests/simulation.rs`).
//!
//! Not here: Erlang terms, processes, user callbacks.

pub mod clock;
pub mod conflict;
pub mod digest;
pub mod effect;
pub mod entries;
mod handshake;
mod inbox;
pub mod leader;
pub mod link;
pub mod log;
mod owned;
pub mod replica;
pub mod rules;
pub mod store;
mod stream;
pub mod sync;
pub mod tombstones;
pub mod version;
mod watch;
pub mod wire;
