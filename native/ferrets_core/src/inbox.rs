//! A message with entries, on its way into the store: merged in slices, so that no event takes long.

use crate::clock::Time;
use crate::conflict::Rule;
use crate::effect::{Effect, Peer};
use crate::entries::{EntryReader, Mark, RawEntry};
use crate::replica::{Progress, Replica};
use crate::rules;
use crate::store::{Stamp, Store, Verdict};
use crate::version::Origin;
use crate::wire::{Garbled, Nonce, Reader};

/// Bytes of payload that count as one more entry of work.
const BYTES_PER_UNIT: usize = 1024;

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

/// See the module.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub peer: Peer,
    pub link: Nonce,
    pub then: Then,
    /// What the entries' writers are called here.
    origins: Vec<Origin>,
    entries: Vec<u8>,
    /// Up to here they are merged.
    merged: Mark,
    /// Some entry took effect whose writer is not linked, so that no stream brings it to the others.
    pub news: bool,
    /// How many entries took effect that should have been here long ago.
    pub late: u64,
}

impl Incoming {
    pub fn open<W>(
        replica: &mut Replica<W>,
        peer: Peer,
        link: Nonce,
        then: Then,
        body: &[u8],
    ) -> Result<Self, Garbled> {
        let mut reader = Reader::new(body);
        let origins = replica.intern_all(&reader.origins()?);
        Ok(Incoming {
            peer,
            link,
            then,
            origins,
            entries: reader.rest().to_vec(),
            merged: Mark::default(),
            news: false,
            late: 0,
        })
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
        let mut left = budget;
        let mut in_group = false;
        let mut next = |reader: &mut EntryReader<'_>, store: &mut S| -> Result<Option<Progress>, Garbled> {
            let Some(entry) = reader.entry()? else { return Ok(Some(Progress::Done)) };
            if entry.fixed.continues && !in_group {
                store.begin_group();
            }
            let was_in_group = std::mem::replace(&mut in_group, entry.fixed.continues);
            let merged = merge_one(replica, store, now, (self.peer, self.then, &self.origins), entry, effects)?;
            self.news |= merged.is_news;
            self.late += u64::from(merged.is_late);
            if was_in_group && !in_group {
                store.end_group();
            }
            left = left.saturating_sub(1 + entry.payload.len() / BYTES_PER_UNIT);
            let pauses = left == 0 && !in_group && !reader.is_at_end();
            Ok(pauses.then_some(Progress::More))
        };
        let progress = loop {
            match next(&mut reader, store) {
                Ok(None) => {}
                Ok(Some(progress)) => break Ok(progress),
                Err(garbled) => break Err(garbled),
            }
        };
        if in_group {
            store.end_group();
        }
        self.merged = reader.mark();
        progress
    }
}

/// What has become of an entry.
struct Merged {
    is_news: bool,
    is_late: bool,
}

/// Merges an entry.
fn merge_one<W, S: Store>(
    replica: &mut Replica<W>,
    store: &mut S,
    now: Time,
    (peer, then, origins): (Peer, Then, &[Origin]),
    entry: RawEntry<'_>,
    effects: &mut Vec<Effect<W>>,
) -> Result<Merged, Garbled> {
    let kind = entry.fixed.kind;
    let version = entry.version(origins)?;
    replica.clock.observe(version.hlc);
    let mut rule = Rule::Apply;
    let change = store
        .merge_encoded(kind, entry.payload, version, |current| {
            if replica.owned.is_fenced(version.origin) && kind.is_record() {
                return Verdict::Keep;
            }
            if matches!(then, Then::PullOn { .. }) {
                rule = replica.pull_rule(peer, current, kind, version);
            }
            match rule {
                Rule::Apply => rules::newer_wins(&replica.origins, current, kind, version),
                Rule::Leave | Rule::Ask => Verdict::Keep,
            }
        })
        .map_err(|_| Garbled)?;
    if let (Rule::Ask, Some(before)) = (rule, change.before) {
        replica.ask_conflict(peer, (before.version, version), entry.payload, effects);
    }
    let took_effect = change.verdict == Verdict::Replace;
    let age_ms = now.ms().saturating_sub(Time::ms_of(version.hlc));
    let merged = Merged {
        is_news: took_effect && !replica.streams(version.origin),
        // Who has not had it by the stream for so long would have been given up.
        is_late: took_effect && age_ms > replica.config.stall_timeout_ms,
    };
    replica.merged(now, change, Stamp { version, kind }, 0);
    Ok(merged)
}
