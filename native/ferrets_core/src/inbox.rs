//! A message with entries, on its way into the store: merged in slices, so that no event takes long.

use crate::clock::Time;
use crate::conflict::Rule;
use crate::effect::{Effect, Peer};
use crate::replica::{Progress, Replica};
use crate::rules;
use crate::store::{Kind, Stamp, Store, Verdict};
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
    merged_bytes: usize,
    /// Some entry took effect whose writer is not linked, so that no stream brings it to the others.
    pub news: bool,
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
        Ok(Incoming { peer, link, then, origins, entries: reader.rest().to_vec(), merged_bytes: 0, news: false })
    }

    /// Merges entries until the budget is used up or none is left. An entry that cannot be read ends it; those before it
    /// stay merged, as they are sound.
    pub fn merge<W, S: Store>(
        &mut self,
        replica: &mut Replica<W>,
        store: &mut S,
        now: Time,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Result<Progress, Garbled> {
        let mut reader = Reader::new(self.entries.get(self.merged_bytes..).unwrap_or_default());
        let mut left = budget;
        let is_pulled = matches!(self.then, Then::PullOn { .. });
        while let Some(entry) = reader.entry()? {
            let version = entry.version(&self.origins)?;
            replica.clock.observe(version.hlc);
            let mut rule = Rule::Apply;
            let change = store
                .merge_encoded(entry.kind, entry.payload, version, |current| {
                    if replica.owned.is_fenced(version.origin) && entry.kind == Kind::Record {
                        return Verdict::Keep;
                    }
                    if is_pulled {
                        rule = replica.pull_rule(self.peer, current, entry.kind, version);
                    }
                    match rule {
                        Rule::Apply => rules::newer_wins(&replica.origins, current, entry.kind, version),
                        Rule::Leave | Rule::Ask => Verdict::Keep,
                    }
                })
                .map_err(|_| Garbled)?;
            if let (Rule::Ask, Some(before)) = (rule, change.before) {
                replica.ask_conflict(self.peer, (before.version, version), entry.payload, effects);
            }
            self.news |= change.verdict == Verdict::Replace && !replica.streams(version.origin);
            replica.merged(now, change, Stamp { version, kind: entry.kind }, 0);
            left = left.saturating_sub(1 + entry.payload.len() / BYTES_PER_UNIT);
            if left == 0 && !reader.rest().is_empty() {
                self.merged_bytes = self.entries.len() - reader.rest().len();
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }
}
