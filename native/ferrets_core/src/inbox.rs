//! A message with entries, on its way into the store: merged in slices, so that no event takes long.

use std::borrow::Cow;

use crate::clock::Time;
use crate::conflict::Rule;
use crate::effect::{Effect, Peer};
use crate::entries::{EntryReader, Mark};
use crate::replica::{Progress, Replica};
use crate::rules;
use crate::store::{Change, Encoded, Merger, Stamp, Store, Verdict};
use crate::version::{Origin, Origins};
use crate::wire::{Garbled, Nonce, Reader};

/// Bytes of payload that count as one more entry of work.
const BYTES_PER_UNIT: usize = 1024;

/// So many entries of a slice have room from the beginning.
const ROOM: usize = 256;

/// What is to be done when all entries are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Acknowledge the batch of this number.
    Acknowledge(u64),
    /// Go on with the pull, or end it.
    PullOn {
        /// There is no further chunk.
        last: bool,
    },
}

impl Then {
    /// The entries are a chunk of a pull, not a batch.
    pub fn is_chunk(self) -> bool {
        matches!(self, Then::PullOn { .. })
    }
}

/// See the module. What one call merges is read from where it came; what is left is kept.
#[derive(Debug)]
pub(crate) struct Incoming<'b> {
    pub peer: Peer,
    pub link: Nonce,
    pub then: Then,
    /// What the entries' writers are called here.
    origins: Vec<Origin>,
    entries: Cow<'b, [u8]>,
    /// Up to here they are merged.
    merged: Mark,
    /// Some entry took effect whose writer is not linked, so that no stream brings it to the others; or is this server.
    pub news: bool,
    /// How many entries took effect that should have been here long ago.
    pub late: u64,
}

impl<'b> Incoming<'b> {
    pub fn open<W>(
        replica: &mut Replica<W>,
        peer: Peer,
        link: Nonce,
        then: Then,
        body: &'b [u8],
    ) -> Result<Self, Garbled> {
        let mut reader = Reader::new(body);
        let origins = replica.intern_all(&mut reader)?;
        Ok(Incoming {
            peer,
            link,
            then,
            origins,
            entries: Cow::Borrowed(reader.rest()),
            merged: Mark::default(),
            news: false,
            late: 0,
        })
    }

    /// The same, kept for later.
    pub fn keep(self) -> Incoming<'static> {
        let Incoming { peer, link, then, origins, entries, merged, news, late } = self;
        Incoming { peer, link, then, origins, entries: Cow::Owned(entries.into_owned()), merged, news, late }
    }

    /// Merges entries until the budget is used up or none is left. An entry that cannot be read ends it; those before it
    /// stay merged, as they are sound. What readers are to see together is merged in one call, whatever the budget.
    pub fn merge<W, S: Store>(
        &mut self,
        replica: &mut Replica<W>,
        store: &mut S,
        now: Time,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Result<Progress, Garbled> {
        let mut reader = EntryReader::resume(&self.entries, self.merged);
        let (entries, is_group, cut) = read_slice(&mut reader, &self.origins, budget);
        if is_group {
            store.begin_group();
        }
        let then = self.then;
        let mut merging =
            Merging { replica, now, peer: self.peer, then, rule: Rule::Apply, effects, news: false, late: 0 };
        let merged = store.merge_all(&entries, &mut merging);
        self.news |= merging.news;
        self.late += merging.late;
        if is_group {
            store.end_group();
        }
        self.merged = reader.mark();
        merged.map_err(|_| Garbled)?;
        cut?;
        Ok(if reader.is_at_end() { Progress::Done } else { Progress::More })
    }
}

/// The next entries, as many as the budget allows for, whether readers are to see some of them together, and whether it ends at one that
/// cannot be read.
fn read_slice<'a>(
    reader: &mut EntryReader<'a>,
    origins: &[Origin],
    budget: usize,
) -> (Vec<Encoded<'a>>, bool, Result<(), Garbled>) {
    let mut entries = Vec::with_capacity(budget.min(ROOM));
    let (mut left, mut in_group, mut is_group) = (budget, false, false);
    while left > 0 || in_group {
        let read = reader.entry().and_then(|entry| match entry {
            Some(entry) => Ok(Some((entry, entry.version(origins)?))),
            None => Ok(None),
        });
        let (entry, version) = match read {
            Ok(Some(read)) => read,
            Ok(None) => break,
            Err(garbled) => return (entries, is_group, Err(garbled)),
        };
        in_group = entry.fixed.continues;
        is_group |= in_group;
        left = left.saturating_sub(1 + entry.payload.len() / BYTES_PER_UNIT);
        entries.push(Encoded { kind: entry.fixed.kind, payload: entry.payload, version });
    }
    (entries, is_group, Ok(()))
}

/// Entries being merged.
struct Merging<'a, W> {
    replica: &'a mut Replica<W>,
    now: Time,
    peer: Peer,
    then: Then,
    /// What was decided of the entry under way.
    rule: Rule,
    effects: &'a mut Vec<Effect<W>>,
    /// See [`Incoming`].
    news: bool,
    late: u64,
}

impl<W> Merger for Merging<'_, W> {
    fn rule(&mut self, entry: &Encoded<'_>, current: Option<Stamp>) -> Verdict {
        let Encoded { kind, version, .. } = *entry;
        if self.replica.owned.is_fenced(version.origin) && kind.is_record() {
            return Verdict::Keep;
        }
        if self.then.is_chunk() {
            self.rule = self.replica.pull_rule(self.peer, current, kind, version);
        }
        match self.rule {
            Rule::Apply => rules::newer_wins(&self.replica.origins, current, kind, version),
            Rule::Leave | Rule::Ask => Verdict::Keep,
        }
    }

    fn merged(&mut self, entry: &Encoded<'_>, change: Change) {
        let Encoded { kind, payload, version } = *entry;
        self.replica.clock.observe(version.hlc);
        let rule = std::mem::replace(&mut self.rule, Rule::Apply);
        if let (Rule::Ask, Some(before)) = (rule, change.before) {
            self.replica.ask_conflict(self.peer, (before.version, version), payload, self.effects);
        }
        let took_effect = change.verdict == Verdict::Replace;
        let age_ms = self.now.ms().saturating_sub(Time::ms_of(version.hlc));
        // What this server wrote itself, and had lost with a row that took its place, others may have lost with it.
        let is_own = version.origin == Origins::OWN;
        self.news |= self.then.is_chunk() && took_effect && (is_own || !self.replica.streams(version.origin));
        // Who has not had it by the stream for so long would have been given up.
        self.late += u64::from(took_effect && age_ms > self.replica.config.stall_timeout_ms);
        self.replica.merged(self.now, change, Stamp { version, kind }, 0);
    }
}
