//! The engine of a table: the protocol's state, the writer that it drives, and the tags of callers who wait.
//!
//! It is used under the table's engine lock, one event at a time, and decides nothing: what is to be done is decided in
//! `ferrets_core`, and how records are kept in [`crate::store`].

use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use ferrets_core::clock::Time;
use ferrets_core::effect::Effect;
use ferrets_core::leader::{Asked, Operation};
use ferrets_core::replica::{self, Config, Limits, Replica};
use ferrets_core::store::Kind;
use ferrets_core::version;
use ferrets_core::wire::TableShape;
use rustler::Term;

use crate::store::{Item, Writer};
use crate::table::Table;
use crate::tags::{Tag, Tags};

/// What a table's server has set. Times in milliseconds.
pub struct Settings {
    /// The node's name, in UTF-8.
    pub node: Vec<u8>,
    /// How long tombstones are kept.
    pub tombstone_ttl_ms: u64,
    /// How long a peer may owe an answer.
    pub stall_timeout_ms: u64,
    /// How often digests are compared.
    pub compare_interval_ms: u64,
}

/// One write of a local caller.
pub struct Write<'a> {
    /// Insert or delete.
    pub kind: Kind,
    /// The record or key.
    pub item: Item<'a>,
    /// It in the external term format, if the table has peers.
    pub payload: Option<Vec<u8>>,
}

/// How a caller is told that peers have its writes.
pub enum Waiter<'a> {
    /// Not at all: there had better be no peers.
    None,
    /// Through this tag.
    Now(Term<'a>),
    /// With writes that are still to come.
    Later,
}

/// What has to be done after writes.
pub enum Written {
    /// Nothing.
    Done,
    /// The caller is to wait for a reply; the server is to be woken.
    Wait {
        /// Whether to wake it.
        wake: bool,
    },
    /// There are peers, and no tag.
    Untagged,
    /// There are peers, and no payload.
    NeedPayload,
}

/// What an event wants done.
pub type Effects = Vec<Effect<Tag>>;

/// See the module.
pub struct Engine {
    /// The protocol's state.
    pub replica: Replica<Tag>,
    /// The writer.
    pub writer: Writer,
    /// Who waits.
    pub tags: Tags,
}

impl Engine {
    /// An engine without peers, of a new incarnation.
    pub fn new(writer: Writer, settings: Settings) -> Self {
        let incarnation = getrandom::u64().map_or_else(|_| now().ms(), |id| id.max(1));
        let id = writer.id();
        let config = Config {
            writer: version::Writer { incarnation, node: settings.node },
            started_ms: now().ms(),
            shape: TableShape { table_type: u8::from(id.is_ordered()), keypos: id.keypos() as u32 },
            tombstone_ttl_ms: settings.tombstone_ttl_ms,
            stall_timeout_ms: settings.stall_timeout_ms,
            compare_interval_ms: settings.compare_interval_ms,
            limits: Limits::default(),
        };
        Engine { replica: Replica::new(config), writer, tags: Tags::default() }
    }

    /// Applies writes of a local caller.
    pub fn write(&mut self, writes: &mut dyn Iterator<Item = Write<'_>>, waiter: Waiter<'_>) -> Written {
        let mut writes = writes.peekable();
        if self.replica.is_linked() {
            if matches!(waiter, Waiter::None) {
                return Written::Untagged;
            }
            if writes.peek().is_some_and(|write| write.payload.is_none()) {
                return Written::NeedPayload;
            }
        }
        let tag = match waiter {
            Waiter::Now(tag) if self.replica.is_linked() && writes.peek().is_some() => Some(self.tags.keep(tag)),
            _ => None,
        };
        let writes = writes.map(|Write { kind, item, payload }| replica::Write { kind, item, payload });
        match self.replica.write(&mut self.writer, now(), writes, tag) {
            replica::Written::Done => Written::Done,
            replica::Written::Logged { flush } => Written::Wait { wake: flush },
        }
    }

    /// Puts a local caller's question to the leader. Returns whether the server is to be woken.
    pub fn ask(&mut self, operation: Operation, payload: Vec<u8>, tag: Term<'_>) -> bool {
        let tag = self.tags.keep(tag);
        let Asked::Logged { flush } = self.replica.ask(operation, payload, tag);
        flush
    }

    /// Lets an event happen. Whether there are peers is published afterwards, for those who write next.
    pub fn event(&mut self, table: &Table, event: impl FnOnce(&mut Engine, &mut Effects)) -> Effects {
        let mut effects = Effects::new();
        event(self, &mut effects);
        table.linked.store(self.replica.is_linked(), Ordering::Relaxed);
        effects
    }
}

/// The wall clock. One that stands before 1970 counts as standing there.
pub fn now() -> Time {
    Time::from_nanos(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos()))
}
