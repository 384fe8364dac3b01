//! One server's replica of a table, as a state machine: events in, [`Effect`]s out.
//!
//! It is not a process and not a store: it owns no record, reads no clock, sends nothing. The host calls it with one
//! event at a time, with the time where time matters, and carries out the effects in their order. The
//! events that touch records borrow the [`Store`].
//!
//! The parts, one module each: the handshake brings links up and down ([`crate::handshake`]), the stream carries writes
//! over them ([`crate::stream`]), the sync fetches what a peer had before ([`crate::sync`]), and the watch does what is to
//! be done because time goes by ([`crate::watch`]).
//!
//! What is rare is marked as such (`#[cold]`, or kept from being inlined): a lone write finds nothing of this code in the
//! processor's cache, and should not have to step over more of it than it needs.
//!
//! # What holds after every event
//! - A write is in the store before it is in the log, and in the log before any effect of it is out.
//! - A batch is acknowledged only after all its entries have been merged.
//! - A link's stream starts before its first pull is served; so whatever the pull misses, the stream brings.

use std::collections::BTreeMap;

use crate::clock::{Clock, Time};
use crate::conflict::Conflicts;
use crate::digest::{scramble, Digest};
use crate::effect::{Effect, Peer};
use crate::inbox::Incoming;
use crate::leader::Leadership;
use crate::link::{Link, LinkState};
use crate::log::{Log, Logged};
use crate::owned::Owned;
use crate::rules;
use crate::store::{Change, Kind, Stamp, Store, Verdict};
use crate::sync::Pulls;
use crate::tombstones::Tombstones;
use crate::version::{Incarnation, Origin, Origins, Version, Writer};
use crate::wire::{Garbled, Nonce, Reader, TableShape};

/// What a replica is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server.
    pub writer: Writer,
    /// When this server started, by its own clock.
    pub started_ms: u64,
    /// The table's type and key position.
    pub shape: TableShape,
    /// How long a deletion is remembered.
    pub tombstone_ttl_ms: u64,
    /// A linked peer that owes an answer and says nothing for so long is given up.
    pub stall_timeout_ms: u64,
    /// Digests are compared with all peers so often, besides all other occasions.
    pub compare_interval_ms: u64,
    /// Whether the host has a conflict handler.
    pub asks_conflicts: bool,
    /// Whether rows of a lost server are dropped.
    pub drops_owned: bool,
    /// How large messages grow.
    pub limits: Limits,
}

/// Bounds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A batch of writes that has reached this many bytes is closed; it is larger by one entry at most.
    pub batch_bytes_max: usize,
    /// A batch with fewer entries than this does not follow another one that is in flight.
    pub follower_min: u64,
    /// Likewise a chunk of a sync, larger by the entries that share its last hash.
    pub chunk_bytes_max: usize,
    /// A chunk has room for this many entries, and a list of versions likewise. At most 32,768.
    pub chunk_entries_max: usize,
    /// After a batch, so many chunks of a sync are asked for one by one.
    pub slow_chunks: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            batch_bytes_max: 256 * 1024,
            follower_min: 8,
            chunk_bytes_max: 32 * 1024,
            chunk_entries_max: 256,
            slow_chunks: 64,
        }
    }
}

/// A write of a local caller. `payload` is what [`Store::merge_encoded`] would take for it on a peer; it may be missing
/// when there is no link.
pub struct Write<'a, 'p, S: Store> {
    /// Insert or delete.
    pub kind: Kind,
    /// The record or key.
    pub item: S::Item<'a>,
    /// The same, encoded for peers.
    pub payload: Option<&'p [u8]>,
    /// For the deletion of one record in the version that was seen: that version, which the tombstone then bears. A newer
    /// write to the key, wherever it is, survives it.
    pub observed: Option<Version>,
    /// Whether peers' readers are to see it together with the next write, which must come before any other event.
    pub continues: bool,
}

/// What became of local writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All is done: there is nobody to tell. The waiter, if one was given, is dropped.
    Done,
    /// The waiter will come back in an [`Effect::Reply`]. If `flush`, the host must call [`Replica::flush`] soon.
    Logged {
        /// A flush is to be asked for.
        flush: bool,
    },
}

/// Whether an event is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is.
    Done,
    /// Go on with [`Replica::work`].
    More,
}

/// When a message is to be taken in that comes while another one is being merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// When what came before is done. What its peer sends after it waits for it.
    Waits,
    /// When what came before is done. What its peer sends after it need not wait for it.
    StandsAside,
}

/// One peer, for [`Replica::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The host's number for it.
    pub peer: Peer,
    /// How far its link has come.
    pub state: LinkState,
    /// Batches sent to it and not acknowledged.
    pub unacked_batches: u64,
    /// For how long it has owed an answer, as far as a tick has seen that it does.
    pub lag_ms: u64,
    /// Who it is, once the link is up.
    pub writer: Option<Writer>,
}

/// A view of the replica for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This server's incarnation.
    pub incarnation: Incarnation,
    /// The server that serialises leader operations: the oldest; none means this one.
    pub leader: Option<Peer>,
    /// Writes of local callers since this server started.
    pub writes: u64,
    /// Entries that not all linked peers have acknowledged.
    pub log_entries: u64,
    /// Their bytes.
    pub log_bytes: usize,
    /// Deadlines of tombstones.
    pub tombstones: usize,
    /// Conflicts that the host has not decided.
    pub conflicts: usize,
    /// Pulls under way or waiting.
    pub pulls: usize,
    /// The links.
    pub peers: Vec<PeerStatus>,
}

/// See the module. `W` is what the host knows a waiting caller by.
#[derive(Debug)]
pub struct Replica<W> {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) digest: Digest,
    pub(crate) origins: Origins,
    pub(crate) links: BTreeMap<Peer, Link>,
    pub(crate) log: Log<W>,
    pub(crate) pulls: Pulls,
    pub(crate) incoming: Option<Incoming<'static>>,
    /// A chunk that a batch has overtaken.
    pub(crate) overtaken: Option<Incoming<'static>>,
    pub(crate) tombstones: Tombstones,
    pub(crate) leadership: Leadership<W>,
    pub(crate) conflicts: Conflicts,
    pub(crate) owned: Owned,
    pub(crate) compare_at_ms: Option<u64>,
    links_made: u64,
    writes: u64,
}

impl<W> Replica<W> {
    /// A replica without links.
    pub fn new(config: Config) -> Self {
        Replica {
            clock: Clock::default(),
            digest: Digest::new(),
            origins: Origins::new(config.writer.clone()),
            links: BTreeMap::new(),
            log: Log::new(config.limits.batch_bytes_max, config.limits.follower_min),
            pulls: Pulls::default(),
            incoming: None,
            overtaken: None,
            tombstones: Tombstones::new(config.tombstone_ttl_ms),
            compare_at_ms: None,
            leadership: Leadership::default(),
            conflicts: Conflicts::default(),
            owned: Owned::default(),
            links_made: 0,
            writes: 0,
            config,
        }
    }

    /// Whether local writes go to somebody, and so need their payload.
    pub fn is_linked(&self) -> bool {
        self.links.values().any(|link| link.up().is_some())
    }

    /// One number for all records and their versions: equal on two replicas exactly when they hold the same.
    pub fn digest(&self) -> u64 {
        self.digest.total().records
    }

    /// The incarnations that versions refer to.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Writes of one local caller, in their order. Each gets a version greater than all that this server has seen.
    ///
    /// Every write must bring its payload if [`Replica::is_linked`]. A caller without a waiter is not told when its
    /// writes are everywhere.
    pub fn write<'a, 'p, S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        writes: impl IntoIterator<Item = Write<'a, 'p, S>>,
        waiter: Option<W>,
    ) -> Written {
        let linked = self.is_linked();
        for write in writes {
            self.apply(store, now, write, linked);
        }
        if !linked {
            return Written::Done;
        }
        match waiter.map(|waiter| self.log.wait(waiter)) {
            // Nothing was written, by this caller or any other that is still under way.
            Some(Some(_)) => Written::Done,
            Some(None) | None => Written::Logged { flush: self.log.request_flush() },
        }
    }

    /// Writes to this replica alone. No peer is told; what a deletion removes is remembered in the version that it had, so
    /// that no peer's copy of it comes back.
    pub fn write_local<'a, 'p, S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        writes: impl IntoIterator<Item = Write<'a, 'p, S>>,
    ) {
        for write in writes {
            self.apply(store, now, write, false);
        }
    }

    fn apply<S: Store>(&mut self, store: &mut S, now: Time, write: Write<'_, '_, S>, is_logged: bool) {
        let Write { kind, item, payload, observed, continues } = write;
        self.writes += 1;
        let own = Version { hlc: self.clock.tick(now), origin: Origins::OWN };
        let version = observed.unwrap_or(own);
        let rule = |current| rules::newer_wins(&self.origins, current, kind, version);
        let change = store.merge(kind, item, version, rule);
        let batch = match payload {
            Some(payload) if is_logged => self.log_entry(kind, version, payload, continues),
            Some(_) => 0,
            None => {
                assert!(!is_logged, "a write without its payload would be lost on every peer");
                0
            }
        };
        self.merged(now, change, Stamp { version, kind }, batch);
    }

    /// While a table is paused its server asks the leader nothing, and as a leader answers nothing. The host holds back the
    /// writes of its callers.
    pub fn pause(&mut self, is_paused: bool) {
        self.leadership.paused = is_paused;
    }

    /// The waiter comes back once every linked peer has all that was written here until now: at once, if that is so.
    pub fn barrier(&mut self, waiter: W, effects: &mut Vec<Effect<W>>) {
        if let Some(waiter) = self.log.wait(waiter) {
            effects.push(Effect::Reply(vec![waiter]));
        }
    }

    /// How things stand.
    pub fn status(&self, now: Time) -> Status {
        let (log_entries, log_bytes) = self.log.backlog();
        Status {
            incarnation: self.config.writer.incarnation,
            leader: self.leader(),
            writes: self.writes,
            log_entries,
            log_bytes,
            tombstones: self.tombstones.count(),
            conflicts: self.conflicts.count(),
            pulls: self.pulls.count(),
            peers: self.links.iter().map(|(peer, link)| peer_status(*peer, link, now)).collect(),
        }
    }

    /// Appends a write to the log. Returns the number of its batch.
    pub(crate) fn log_own(&mut self, kind: Kind, version: Version, payload: &[u8]) -> u64 {
        self.log_entry(kind, version, payload, false)
    }

    fn log_entry(&mut self, kind: Kind, version: Version, payload: &[u8], continues: bool) -> u64 {
        let writer = self.origins.get(version.origin).unwrap_or(&self.config.writer);
        self.log.append(&Logged { kind, continues, hlc: version.hlc, payload }, writer)
    }

    /// Keeps the books on what the store has done.
    pub(crate) fn merged(&mut self, now: Time, change: Change, stamp: Stamp, batch: u64) {
        if change.verdict == Verdict::Keep {
            return;
        }
        for gone in change.displaced.into_iter().chain(change.before) {
            self.digest.remove(change.hash, gone, self.origins.id(gone.version.origin));
        }
        self.digest.add(change.hash, stamp, self.origins.id(stamp.version.origin));
        if !stamp.kind.is_record() {
            self.tombstones.add(now.ms(), change.hash, stamp.version, batch);
        }
    }

    /// Whether what this server wrote or writes comes to every linked server by itself, from the one that wrote it.
    pub(crate) fn streams(&self, origin: Origin) -> bool {
        let incarnation = self.origins.id(origin);
        let linked = |link: &Link| link.up().is_some_and(|up| up.writer.incarnation == incarnation);
        origin == Origins::OWN || self.links.values().any(linked)
    }

    /// What the writers of a message, which come next, are called here.
    pub(crate) fn intern_all(&mut self, reader: &mut Reader<'_>) -> Result<Vec<Origin>, Garbled> {
        reader.origins(|incarnation, node| self.origins.intern(incarnation, node))
    }

    /// A nonce that no link of this server has had, and that no other server is likely to choose.
    pub(crate) fn next_nonce(&mut self) -> Nonce {
        self.links_made += 1;
        // A bijection: distinct inputs, distinct nonces.
        let input = self.config.writer.incarnation.wrapping_add(self.links_made.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        scramble(input).max(1)
    }
}

fn peer_status(peer: Peer, link: &Link, now: Time) -> PeerStatus {
    PeerStatus {
        peer,
        state: link.state(),
        unacked_batches: link.up().map_or(0, |up| up.sent - up.acked),
        lag_ms: link.silence.seen_ms(now.ms()),
        writer: link.up().map(|up| up.writer.clone()),
    }
}
