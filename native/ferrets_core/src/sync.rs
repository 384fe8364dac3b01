//! Anti-entropy: each side pulls what the other has and it has not. It runs when a link comes up; over all links when any
//! peer is lost, whose last batch may have reached some servers and not others; and over all links again when a pull has
//! brought writes of a server that is not linked, which nobody else may have. Now and then records are compared over all
//! links for no reason at all.
//!
//! A pull compares digests, then fetches the buckets that differ, chunk by chunk in ascending order of hash:
//!
//! 1. `Compare` brings the puller's total; the answer is `Equal`, or `Sums`: the sum of each bucket that is not empty. The
//!    side that finds itself unlike the other wants to pull from it, too, if it is asked to.
//! 2. `Pull` names the buckets that differ, and the versions that the puller has in some stretch of them; the answer is
//!    a `Chunk` of the entries in that stretch which the puller has not.
//! 3. `Pulled` says that this was all.
//!
//! The side that is asked keeps no state between two messages: it can serve any number of peers, and holds nothing while
//! it waits. A server pulls from one peer at a time; the others queue, and mostly find nothing left to fetch.
//!
//! The buckets are cut into [`LANES`], and one `Pull` of each is out, so that there is always a chunk to merge; but one
//! `Pull` at all while writes are on their way, as these would wait for the chunks. The next leaves when a chunk arrives, before
//! it is merged. Everything is merged by version, so writes go on meanwhile on both sides.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Time;
use crate::digest::{bucket_of, bucket_start, BucketSet, Sums, BUCKETS};
use crate::effect::{DownReason, Effect, Peer};
use crate::entries::{Entries, EntryReader, Fixed, Mark};
use crate::handshake::send;
use crate::inbox::{Incoming, Then};
use crate::link::{LinkState, Silence};
use crate::replica::{Limits, Progress, Replica};
use crate::store::{Entry, Flow, KeyHash, Kind, Stamp, Store};
use crate::version::{Origin, Origins, Version};
use crate::wire::{self, Garbled, Head, Nonce, Reader};

/// So many `Pull`s are out at most.
const LANES: usize = 4;

/// Entries that a puller has already, by their hashes.
struct Noted(Vec<(KeyHash, Version, Kind)>);

impl Noted {
    fn has(&self, entry: &dyn Entry) -> bool {
        let Stamp { version, kind } = entry.stamp();
        let first = self.0.partition_point(|(hash, _, _)| *hash < entry.hash());
        let mut of_hash = self.0.iter().skip(first).take_while(|(hash, _, _)| *hash == entry.hash());
        of_hash.any(|(_, noted, of_kind)| (*noted, *of_kind) == (version, kind))
    }
}

/// How much a pull looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whether replicas that differ in tombstones only are to be made alike.
    pub tombstones: bool,
    /// Whether the peer is to pull as well, if the two differ. A pull that has this reason does not ask for another.
    pub mutual: bool,
}

impl Scope {
    /// For every occasion on which something may be missing.
    pub const FULL: Scope = Scope { tombstones: true, mutual: true };

    /// For the comparison now and then: tombstones come and go in each replica's own time, and if they were compared as
    /// well, those forgotten here would be fetched again from there, and the other way round, for ever.
    pub const RECORDS: Scope = Scope { tombstones: false, mutual: true };

    fn and(self, other: Scope) -> Scope {
        Scope { tombstones: self.tombstones || other.tombstones, mutual: self.mutual || other.mutual }
    }
}

/// The peers to pull from, the present one first.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    queue: VecDeque<(Peer, Scope)>,
    stage: Stage,
    silence: Silence,
    /// So many chunks are asked for one by one, as writes are on their way.
    slow_chunks: u32,
    /// The present pull has brought writes of a server that is not linked, or of this one.
    news: bool,
    /// How many entries it has brought that should have been here long ago.
    late: u64,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// `Compare` is out.
    Comparing { scope: Scope },
    /// `Pull`s are out, or the last chunk is being merged.
    Fetching(Fetch),
    /// All is here; what was asked of the host is not decided yet, or its answers have not landed.
    Settling { until: Option<u64> },
}

/// A part of the hash space: from this hash to before that, or to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub from: KeyHash,
    pub to: Option<KeyHash>,
}

impl Span {
    fn reaches(self, hash: KeyHash) -> bool {
        self.to.is_none_or(|to| hash < to)
    }
}

/// What is left of a pull.
#[derive(Debug)]
struct Fetch {
    wanted: BucketSet,
    /// What nobody has been asked for. Each begins in a wanted bucket.
    waiting: VecDeque<Span>,
    /// What a `Pull` is out for, and the end of its lane.
    out: Vec<(Span, Option<KeyHash>)>,
}

impl Fetch {
    fn new(wanted: BucketSet) -> Self {
        let starts: Vec<KeyHash> = wanted.cut(LANES).into_iter().filter_map(bucket_start).collect();
        let ends = starts.iter().skip(1).copied().map(Some).chain([None]);
        let waiting = starts.iter().zip(ends).map(|(from, to)| Span { from: *from, to }).collect();
        Fetch { wanted, waiting, out: Vec::new() }
    }

    /// The `Pull` for the stretch that begins here has been answered, up to `next` if not to its end. Whether there is such a one.
    fn answered(&mut self, from: KeyHash, next: Option<KeyHash>) -> bool {
        let Some(at) = self.out.iter().position(|(stretch, _)| stretch.from == from) else { return false };
        let (stretch, lane_to) = self.out.swap_remove(at);
        let rest = next.or(stretch.to).and_then(|next| first_wanted(&self.wanted, next));
        let rest = rest.map(|from| Span { from, to: lane_to });
        self.waiting.extend(rest.filter(|rest| rest.reaches(rest.from)));
        next.is_none_or(|next| from < next && stretch.reaches(next))
    }

    fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.out.is_empty()
    }
}

impl Pulls {
    /// Whether any sync is under way or waiting.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many are under way or waiting.
    pub fn count(&self) -> usize {
        self.queue.len()
    }

    /// For how long the present pull's peer has not answered.
    pub fn silence_ms(&mut self, now_ms: u64) -> u64 {
        let owed = match &self.stage {
            Stage::Comparing { .. } => true,
            Stage::Fetching(fetch) => !fetch.out.is_empty(),
            Stage::Idle | Stage::Settling { .. } => false,
        };
        self.silence.length_ms(now_ms, owed)
    }

    /// Whether the present pull is from this peer.
    pub fn is_with(&self, peer: Peer) -> bool {
        self.queue.front().is_some_and(|(present, _)| *present == peer)
    }
}

impl<W> Replica<W> {
    /// The peer may have what is missing here.
    #[cold]
    pub(crate) fn want_pull(&mut self, peer: Peer, scope: Scope, effects: &mut Vec<Effect<W>>) {
        // The first in the queue has begun already, before there was this reason for it; unless it is about to.
        let begun = usize::from(!matches!(self.pulls.stage, Stage::Idle));
        match self.pulls.queue.iter_mut().skip(begun).find(|(queued, _)| *queued == peer) {
            Some((_, queued)) => *queued = scope.and(*queued),
            None => self.pulls.queue.push_back((peer, scope)),
        }
        self.start_pull(effects);
    }

    /// What is here may not be with others, or the other way round, and no stream will bring it.
    pub(crate) fn want_pull_from_all(&mut self, scope: Scope, effects: &mut Vec<Effect<W>>) {
        let linked = self.links.iter().filter(|(_, link)| link.up().is_some()).map(|(peer, _)| *peer);
        for peer in linked.collect::<Vec<Peer>>() {
            self.want_pull(peer, scope, effects);
        }
    }

    /// Compares with every linked peer now, and fetches what is missing here or there.
    pub fn sync(&mut self, effects: &mut Vec<Effect<W>>) {
        self.want_pull_from_all(Scope::FULL, effects);
    }

    /// A link is gone: there is nobody to pull from.
    pub(crate) fn forget_pull(&mut self, peer: Peer, effects: &mut Vec<Effect<W>>) {
        let running = self.pulls.is_with(peer);
        self.pulls.queue.retain(|(queued, _)| *queued != peer);
        if running {
            self.pulls.stage = Stage::Idle;
            self.pulls.late = 0;
            if std::mem::take(&mut self.pulls.news) {
                self.want_pull_from_all(Scope::FULL, effects);
            }
            self.start_pull(effects);
        }
    }

    #[cold]
    fn start_pull(&mut self, effects: &mut Vec<Effect<W>>) {
        if !matches!(self.pulls.stage, Stage::Idle) {
            return;
        }
        let Some((peer, scope)) = self.pulls.queue.front().copied() else { return };
        let Some(up) = self.links.get(&peer).and_then(|link| link.up()) else { return };
        effects.push(send(peer, &Head::Compare { link: up.theirs, total: self.digest.total(), scope }));
        self.pulls.stage = Stage::Comparing { scope };
        self.pulls.silence.end();
    }

    #[cold]
    pub(crate) fn on_compare(
        &mut self,
        (peer, link): (Peer, Nonce),
        total: Sums,
        scope: Scope,
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(theirs) = self.current(peer, link).map(|up| up.theirs) else { return };
        if total.agree(self.digest.total(), scope.tombstones) {
            effects.push(send(peer, &Head::Equal { link: theirs }));
            return;
        }
        let mut body = Vec::new();
        wire::put_sums(&mut body, self.digest.sums());
        let head = Head::Sums { link: theirs }.encode();
        effects.push(Effect::Send { peer, head, body: Arc::new(body) });
        if scope.mutual {
            self.want_pull(peer, Scope { mutual: false, ..scope }, effects);
        }
    }

    #[cold]
    pub(crate) fn on_equal(&mut self, peer: Peer, link: Nonce, effects: &mut Vec<Effect<W>>) {
        if self.current(peer, link).is_some() && self.pulls.is_with(peer) {
            self.end_pull(peer, effects);
        }
    }

    #[cold]
    pub(crate) fn on_sums<S: Store>(
        &mut self,
        store: &mut S,
        (peer, link): (Peer, Nonce),
        body: &[u8],
        effects: &mut Vec<Effect<W>>,
    ) {
        if self.current(peer, link).is_none() || !self.pulls.is_with(peer) {
            return;
        }
        let Stage::Comparing { scope } = self.pulls.stage else { return };
        let Ok(sums) = Reader::new(body).sums() else {
            self.abandon(peer, DownReason::Malformed, effects);
            return;
        };
        let mut wanted = BucketSet::new();
        for (bucket, sums) in sums {
            if !self.digest.bucket(bucket).agree(sums, scope.tombstones) {
                wanted.insert(bucket);
            }
        }
        let fetch = Fetch::new(wanted);
        if fetch.is_over() {
            self.end_pull(peer, effects);
        } else {
            self.pulls.stage = Stage::Fetching(fetch);
            self.fetch(store, effects);
        }
    }

    /// A batch is on its way, in or out: whoever waits for it should not wait for many chunks.
    pub(crate) fn slow_pulls(&mut self) {
        self.pulls.slow_chunks = self.config.limits.slow_chunks;
    }

    /// Asks for the next stretches, as many as may be under way.
    fn fetch<S: Store>(&mut self, store: &mut S, effects: &mut Vec<Effect<W>>) {
        let (Some((peer, _)), Stage::Fetching(fetch)) = (self.pulls.queue.front(), &mut self.pulls.stage) else {
            return;
        };
        let Some(up) = self.links.get(peer).and_then(|link| link.up()) else { return };
        let out_max = if self.pulls.slow_chunks > 0 { 1 } else { LANES };
        while fetch.out.len() < out_max {
            let Some(lane) = fetch.waiting.pop_front() else { break };
            let mut notes = Stretch::new(self.config.limits);
            let to = walk(store, &fetch.wanted, lane, &mut |entry| notes.note(entry)).or(lane.to);
            let mut body = Vec::new();
            fetch.wanted.encode(&mut body);
            notes.encode(&self.origins, &mut body);
            let head = Head::Pull { link: up.theirs, from: lane.from, to }.encode();
            effects.push(Effect::Send { peer: *peer, head, body: Arc::new(body) });
            fetch.out.push((Span { from: lane.from, to }, lane.to));
        }
        self.pulls.silence.end();
    }

    #[inline(never)]
    pub(crate) fn on_pull<S: Store>(
        &mut self,
        store: &mut S,
        (peer, link): (Peer, Nonce),
        stretch: Span,
        body: &[u8],
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(theirs) = self.current(peer, link).map(|up| up.theirs) else { return };
        let Ok((wanted, had)) = self.read_pull(body) else {
            self.abandon(peer, DownReason::Malformed, effects);
            return;
        };
        let mut chunk = Stretch::new(self.config.limits);
        let next = walk(store, &wanted, stretch, &mut |entry| {
            if had.has(entry) {
                chunk.pass()
            } else {
                chunk.take(entry)
            }
        });
        let mut body = Vec::new();
        chunk.encode(&self.origins, &mut body);
        let head = Head::Chunk { link: theirs, from: stretch.from, next }.encode();
        effects.push(Effect::Send { peer, head, body: Arc::new(body) });
    }

    fn read_pull(&mut self, body: &[u8]) -> Result<(BucketSet, Noted), Garbled> {
        let mut reader = Reader::new(body);
        let wanted = reader.bucket_set()?;
        let origins = self.intern_all(&mut reader)?;
        let mut had = Vec::new();
        let mut notes = EntryReader::resume(reader.rest(), Mark::default());
        while let Some((hash, entry)) = notes.noted()? {
            had.push((hash, entry.version(&origins)?, entry.fixed.kind));
        }
        had.sort_by_key(|(hash, _, _)| *hash);
        Ok((wanted, Noted(had)))
    }

    #[inline(never)]
    pub(crate) fn on_chunk<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        (peer, link, from, next): (Peer, Nonce, KeyHash, Option<KeyHash>),
        body: &[u8],
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        let is_expected = self.current(peer, link).is_some() && self.pulls.is_with(peer);
        if let (true, Stage::Fetching(fetch)) = (is_expected, &mut self.pulls.stage) {
            if fetch.answered(from, next) {
                let last = fetch.is_over();
                self.fetch(store, effects);
                self.pulls.slow_chunks = self.pulls.slow_chunks.saturating_sub(1);
                return self.receive(store, now, (peer, link, Then::PullOn { last }), body, budget, effects);
            }
            self.abandon(peer, DownReason::Malformed, effects);
        }
        self.work(store, now, budget, effects)
    }

    /// A chunk's entries are all in the store.
    #[inline(never)]
    pub(crate) fn chunk_merged(&mut self, incoming: &Incoming<'_>, last: bool, effects: &mut Vec<Effect<W>>) {
        if !self.pulls.is_with(incoming.peer) {
            return;
        }
        self.pulls.news |= incoming.news;
        self.pulls.late += incoming.late;
        if last {
            self.settle(incoming.peer, effects);
        }
    }

    /// All chunks are merged. The pull is over when what it has asked the host is decided, and everywhere.
    fn settle(&mut self, peer: Peer, effects: &mut Vec<Effect<W>>) {
        if self.config.asks_conflicts {
            self.pulls.stage = Stage::Settling { until: None };
            self.settle_pull(effects);
        } else {
            self.end_pull(peer, effects);
        }
    }

    /// A question has been decided, or a batch has landed.
    #[inline]
    pub(crate) fn settle_pull(&mut self, effects: &mut Vec<Effect<W>>) {
        if matches!(self.pulls.stage, Stage::Settling { .. }) {
            self.settle_on(effects);
        }
    }

    #[cold]
    fn settle_on(&mut self, effects: &mut Vec<Effect<W>>) {
        let (Some((peer, _)), Stage::Settling { until }) = (self.pulls.queue.front().copied(), &mut self.pulls.stage)
        else {
            return;
        };
        if self.conflicts.concern(peer) {
            return;
        }
        let last_number = self.log.last_number();
        if *until.get_or_insert(last_number) <= self.log.completed() {
            self.end_pull(peer, effects);
        }
    }

    /// All that the peer had when it was asked is here.
    #[cold]
    fn end_pull(&mut self, peer: Peer, effects: &mut Vec<Effect<W>>) {
        let scope = self.pulls.queue.pop_front().map(|(_, scope)| scope);
        self.pulls.stage = Stage::Idle;
        let late = std::mem::take(&mut self.pulls.late);
        if late > 0 && scope.is_some_and(|scope| !scope.tombstones) {
            effects.push(Effect::Diverged(peer, late));
        }
        if let Some(link) = self.links.get_mut(&peer) {
            let before = link.state();
            if let Some(up) = link.up_mut() {
                up.pulled = true;
                effects.push(send(peer, &Head::Pulled { link: up.theirs }));
            }
            announce(peer, before, link.state(), effects);
        }
        if std::mem::take(&mut self.pulls.news) {
            self.want_pull_from_all(Scope::FULL, effects);
        }
        self.start_pull(effects);
    }

    #[cold]
    pub(crate) fn on_pulled(&mut self, peer: Peer, link: Nonce, effects: &mut Vec<Effect<W>>) {
        let Some(link) = self.links.get_mut(&peer).filter(|known| known.own == link) else { return };
        let before = link.state();
        if let Some(up) = link.up_mut() {
            up.served = true;
        }
        announce(peer, before, link.state(), effects);
    }
}

fn announce<W>(peer: Peer, before: LinkState, after: LinkState, effects: &mut Vec<Effect<W>>) {
    if before != after && after == LinkState::Synced {
        effects.push(Effect::Synced(peer));
    }
}

/// The first hash, from this one on, that lies in a wanted bucket.
fn first_wanted(wanted: &BucketSet, from: KeyHash) -> Option<KeyHash> {
    let bucket = wanted.next(bucket_of(from))?;
    bucket_start(bucket).map(|start| start.max(from))
}

/// Shows the entries of the wanted buckets in `span`. Returns where to go on if `visit` has had enough before its end, and
/// `None` at the end.
fn walk<S: Store>(
    store: &mut S,
    wanted: &BucketSet,
    span: Span,
    visit: &mut dyn FnMut(&dyn Entry) -> Flow,
) -> Option<KeyHash> {
    let mut position = first_wanted(wanted, span.from);
    while let Some(start) = position.filter(|start| span.reaches(*start)) {
        let (mut enough, mut beyond) = (false, None);
        let next = store.scan(start, &mut |entry| {
            let hash = entry.hash();
            if !span.reaches(hash) || !wanted.contains(bucket_of(hash)) {
                beyond = Some(hash);
                return Flow::Enough;
            }
            let flow = visit(entry);
            enough |= flow == Flow::Enough;
            flow
        });
        position = if enough { next } else { beyond }.and_then(|next| first_wanted(wanted, next));
        if enough {
            return position.filter(|position| span.reaches(*position));
        }
    }
    None
}

/// Entries, or notes of them, gathered for a message.
struct Stretch {
    limits: Limits,
    writers: Vec<Origin>,
    entries: Entries,
    visited: usize,
}

impl Stretch {
    fn new(limits: Limits) -> Self {
        Stretch { limits, writers: Vec::new(), entries: Entries::default(), visited: 0 }
    }

    /// The entry itself, for a chunk.
    fn take(&mut self, entry: &dyn Entry) -> Flow {
        let fixed = self.fixed(entry);
        self.entries.put_encoded(fixed, |out| entry.encode(out));
        self.pass()
    }

    /// Only its hash and version, for a pull.
    fn note(&mut self, entry: &dyn Entry) -> Flow {
        let fixed = self.fixed(entry);
        self.entries.put_note(fixed, entry.hash());
        self.pass()
    }

    /// An entry that is not wanted costs time all the same.
    fn pass(&mut self) -> Flow {
        self.visited += 1;
        let full = self.entries.len() >= self.limits.chunk_bytes_max;
        let enough = full || self.visited >= self.limits.chunk_entries_max;
        if enough {
            Flow::Enough
        } else {
            Flow::More
        }
    }

    fn fixed(&mut self, entry: &dyn Entry) -> Fixed {
        let Stamp { kind, version } = entry.stamp();
        Fixed { kind, continues: false, origin: self.place(version.origin), hlc: version.hlc }
    }

    fn place(&mut self, origin: Origin) -> u16 {
        let place = self.writers.iter().position(|known| *known == origin).unwrap_or_else(|| {
            self.writers.push(origin);
            self.writers.len() - 1
        });
        // There are no more writers than entries: `chunk_entries_max` and those that share the last one's hash.
        place as u16
    }

    fn encode(&self, origins: &Origins, out: &mut Vec<u8>) {
        let writers: Vec<_> = self.writers.iter().filter_map(|origin| origins.get(*origin)).collect();
        debug_assert_eq!(writers.len(), self.writers.len(), "every version in the store has a known origin");
        wire::put_origins(out, writers.into_iter());
        out.extend(self.entries.bytes());
    }
}

const _: () = assert!(BUCKETS <= u16::MAX as usize + 1, "a bucket's number fits 16 bits in a message");
