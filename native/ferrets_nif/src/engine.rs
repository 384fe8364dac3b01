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
use ferrets_core::store::{Kind, Store};
use ferrets_core::version::{self, Version};
use ferrets_core::wire::TableShape;

use crate::beam::encode::encode;
use crate::store::{Item, Writer};
use crate::table::{Table, TableId};
use crate::tags::{Tag, Tagged, Tags};
use crate::traffic::Traffic;

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
    /// Whether there is a conflict handler.
    pub asks_conflicts: bool,
    /// Whether rows of a lost server are dropped.
    pub drops_owned: bool,
}

/// What a local caller wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Insert a record.
    Insert,
    /// Delete a key.
    Delete,
    /// Delete a record, if it is there as it is.
    DeleteObject,
}

/// Writes of a local caller.
pub struct Writes<'s, 'a> {
    /// What is to be done with each item.
    pub action: Action,
    /// Records or keys.
    pub items: &'s [Item<'a>],
    /// What peers are to get, if the table has any.
    pub payloads: Option<Payloads>,
}

/// What peers are to get of each write, encoded, one after the other.
#[derive(Default)]
pub struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Payloads {
    /// Of a deletion no more than they need.
    pub fn encode(id: TableId, action: Action, items: &[Item<'_>]) -> Self {
        let words: usize = items.iter().map(|item| item.words() as usize).sum();
        let mut payloads =
            Payloads { bytes: Vec::with_capacity(64 + words * 8), ends: Vec::with_capacity(items.len()) };
        for item in items {
            let term = match action {
                Action::Insert => item.term(),
                Action::DeleteObject if id.is_bag() => item.term(),
                Action::Delete | Action::DeleteObject => item.key_term(),
            };
            encode(term, &mut payloads.bytes);
            payloads.ends.push(payloads.bytes.len());
        }
        payloads
    }

    fn get(&self, i: usize) -> Option<&[u8]> {
        let begin = if i == 0 { 0 } else { *self.ends.get(i - 1)? };
        self.bytes.get(begin..*self.ends.get(i)?)
    }
}

/// Who is told that peers have the writes.
pub enum Waiter<'a> {
    /// Nobody: there had better be no peers.
    None,
    /// The caller, through this tag.
    Now(Tagged<'a>),
    /// The caller, with writes that are still to come.
    Later(Tagged<'a>),
    /// No peer gets them.
    Local,
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
    /// There are peers, or the table is paused, and there is no tag that would do.
    Untagged,
    /// There are peers, and no payload.
    NeedPayload,
    /// The table is paused, or was just now: nothing has been written, and the writes have to go through the server.
    Detour,
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
    /// What has been sent and received.
    pub traffic: Traffic,
    is_paused: bool,
    /// Writes that callers have sent to the server because of a pause, and that it has not done yet. Until it has, others'
    /// writes follow them there, lest one caller's overtake each other.
    detours: u64,
}

impl Engine {
    /// An engine without peers, of a new incarnation.
    pub fn new(writer: Writer, settings: Settings) -> Self {
        let incarnation = getrandom::u64().map_or_else(|_| now().ms(), |id| id.max(1));
        let id = writer.id();
        let config = Config {
            writer: version::Writer { incarnation, node: settings.node },
            started_ms: now().ms(),
            shape: TableShape { table_type: id.type_code(), keypos: id.keypos() as u32 },
            tombstone_ttl_ms: settings.tombstone_ttl_ms,
            stall_timeout_ms: settings.stall_timeout_ms,
            compare_interval_ms: settings.compare_interval_ms,
            asks_conflicts: settings.asks_conflicts,
            drops_owned: settings.drops_owned,
            limits: Limits::default(),
        };
        let replica = Replica::new(config);
        let (tags, traffic) = (Tags::default(), Traffic::default());
        Engine { replica, writer, tags, traffic, is_paused: false, detours: 0 }
    }

    /// Applies writes of a local caller; `is_server` says whether that is the server itself. Readers see several inserts all
    /// at once.
    pub fn write(&mut self, writes: &Writes<'_, '_>, waiter: Waiter<'_>, is_server: impl FnOnce() -> bool) -> Written {
        // One reading for all: the hybrid clock counts on from it.
        let now = now();
        let is_linked = self.replica.is_linked();
        let is_detour = (self.is_paused || self.detours > 0) && !is_server();
        let tag = match waiter {
            Waiter::Local => {
                self.in_group(writes, |engine, i, _| {
                    let write = engine.resolve(writes, i, true);
                    engine.replica.write_local(&mut engine.writer, now, write);
                });
                return Written::Done;
            }
            Waiter::None if is_linked || is_detour => return Written::Untagged,
            Waiter::None => None,
            // The server answers through aliases only.
            Waiter::Now(Tagged::Message(..)) | Waiter::Later(Tagged::Message(..)) if is_detour => {
                return Written::Untagged
            }
            Waiter::Now(_) | Waiter::Later(_) if is_detour => {
                self.detours += 1;
                return Written::Detour;
            }
            Waiter::Now(tag) => Some(tag),
            Waiter::Later(_) => None,
        };
        if is_linked && writes.payloads.is_none() {
            return Written::NeedPayload;
        }
        let mut wake = false;
        let mut apply = |engine: &mut Self, write, tag| match engine.replica.write(&mut engine.writer, now, write, tag)
        {
            replica::Written::Logged { flush } => {
                wake |= flush;
                true
            }
            replica::Written::Done => false,
        };
        self.in_group(writes, |engine, i, continues| {
            let write = engine.resolve(writes, i, false).map(|write| replica::Write { continues, ..write });
            apply(engine, write, None);
        });
        let tag = tag.filter(|_| is_linked).map(|tag| self.tags.keep(tag));
        if apply(self, None, tag) {
            return Written::Wait { wake };
        }
        tag.into_iter().for_each(|tag| self.tags.forget(tag));
        Written::Done
    }

    /// Does each write, by its number, and lets readers see inserts all at once. `apply` is told whether another one follows.
    fn in_group(&mut self, writes: &Writes<'_, '_>, mut apply: impl FnMut(&mut Self, usize, bool)) {
        let count = writes.items.len();
        let is_group = count > 1 && writes.action == Action::Insert;
        if is_group {
            self.writer.begin_group();
        }
        (0..count).for_each(|i| apply(self, i, is_group && i + 1 < count));
        if is_group {
            self.writer.end_group();
        }
    }

    /// A write as the protocol knows it; none for the deletion of a record that is not there. A local deletion is always
    /// of the version that is there, in a bag of the newest.
    fn resolve<'a, 'p>(
        &mut self,
        writes: &'p Writes<'_, 'a>,
        i: usize,
        is_local: bool,
    ) -> Option<replica::Write<'a, 'p, Writer>> {
        let item = *writes.items.get(i)?;
        let (kind, item, observed) = match writes.action {
            Action::Insert => (Kind::Record, item, None),
            Action::Delete if !is_local => (Kind::Tombstone, item, None),
            Action::Delete => (Kind::Tombstone, item, Some(self.newest(&item)?)),
            Action::DeleteObject if self.writer.id().is_bag() => {
                (Kind::ObjectTombstone, item, Some(self.writer.seen(&item)?))
            }
            Action::DeleteObject => (Kind::Tombstone, item.to_key(), Some(self.writer.seen(&item)?)),
        };
        let payload = writes.payloads.as_ref().and_then(|payloads| payloads.get(i));
        Some(replica::Write { kind, item, payload, observed, continues: false })
    }

    /// The newest version of the records under a key.
    fn newest(&mut self, item: &Item<'_>) -> Option<Version> {
        let mut versions = Vec::new();
        self.writer.each_record(item, |_, meta| versions.push(meta.version()));
        versions.into_iter().max_by(|a, b| self.replica.origins().compare(*a, *b))
    }

    /// The table is paused, or no more.
    pub fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.replica.pause(is_paused);
    }

    /// The server has done what one caller's detour brought it.
    pub fn end_detour(&mut self) {
        self.detours = self.detours.saturating_sub(1);
    }

    /// Puts a local caller's question to the leader. Returns whether the server is to be woken.
    pub fn ask(&mut self, operation: Operation, payload: Vec<u8>, tag: Tagged<'_>) -> bool {
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
    Time::after_1970(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
