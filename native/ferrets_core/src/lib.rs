//! The replication protocol of Ferrets, as a state machine: events in, effects out.

pub mod store;
pub mod version;
