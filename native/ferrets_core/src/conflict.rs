//! Conflicts: keys that two clusters have both written before they were joined, and that the user's function decides.
//!
//! Only with a conflict handler. A pull that brings a record for a key with another record, both written before the link
//! came up, merges nothing as long as this server's leader has not pulled from it. The leader asks the host, once, and
//! writes the answer as a new version, which goes everywhere by its stream. Its pull is over when all it asked for is
//! decided and everywhere. Since the leader pulls from everybody, every conflict is asked about; and since it
//! remembers which versions it has had decided, the same records in the next peer's table are no conflict any more.
//!
//! Where servers are cut and linked faster than they sync, one may leave a key alone for a leader that finds no conflict
//! there. The comparison that comes now and then puts that right.
//!
//! What was written after the link came up comes by the stream as well, and is no conflict: the newer write wins.

use std::collections::{HashMap, HashSet};

use crate::clock::Time;
use crate::effect::{Effect, Peer};
use crate::replica::Replica;
use crate::rules;
use crate::store::{Kind, Stamp, Store, Verdict};
use crate::version::{Origins, Version};

/// A question to the host's conflict handler.
pub type QuestionId = u64;

/// What the handler said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// This record, encoded, is to stand under the key.
    Record(&'a [u8]),
    /// It said nothing that can be used: the newer of the two records stays.
    Newer,
}

#[derive(Debug)]
struct Open {
    peer: Peer,
    ours: Version,
    theirs: Version,
    payload: Vec<u8>,
}

/// The questions that the host has not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    asked: QuestionId,
    open: HashMap<QuestionId, Open>,
    /// Versions that a decision has had before it. The answer to it stands above them, so they are in no conflict any more,
    /// whoever else still has them and is linked later.
    decided: HashSet<Version>,
}

/// So many decided versions are remembered. Beyond, all are forgotten, and a key may be asked about again.
const DECIDED_MAX: usize = 1_000_000;

impl Conflicts {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Whether a pull from this peer waits for any.
    pub fn concern(&self, peer: Peer) -> bool {
        self.open.values().any(|open| open.peer == peer)
    }

    fn knows(&self, ours: Version, theirs: Version) -> bool {
        self.open.values().any(|open| (open.ours, open.theirs) == (ours, theirs))
    }
}

/// What a pull does with an entry, given what stands under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The apply rule.
    Apply,
    /// Nothing: the leader will see to it.
    Leave,
    /// Nothing as yet: the host is to be asked.
    Ask,
}

impl<W> Replica<W> {
    /// What is to be done with a record that a pull from this peer has brought.
    pub(crate) fn pull_rule(&self, peer: Peer, current: Option<Stamp>, kind: Kind, version: Version) -> Rule {
        let Some(current) = current.filter(|current| current.kind == Kind::Record && kind == Kind::Record) else {
            return Rule::Apply;
        };
        let Some(up) = self.links.get(&peer).and_then(|link| link.up()) else { return Rule::Apply };
        let is_old = |hlc: u64| hlc <= up.since;
        if self.conflicts.decided.contains(&version) {
            return Rule::Apply;
        }
        if !self.config.asks_conflicts
            || current.version == version
            || !is_old(current.version.hlc)
            || !is_old(version.hlc)
        {
            return Rule::Apply;
        }
        let Some(leader) = self.leader() else { return Rule::Ask };
        match self.links.get(&leader).and_then(|link| link.up()) {
            // It has yet to see what stands here.
            Some(up) if up.asks_conflicts && !up.served => Rule::Leave,
            _ => Rule::Apply,
        }
    }

    #[cold]
    pub(crate) fn ask_conflict(
        &mut self,
        peer: Peer,
        (ours, theirs): (Version, Version),
        payload: &[u8],
        effects: &mut Vec<Effect<W>>,
    ) {
        if self.conflicts.knows(ours, theirs) {
            return;
        }
        self.conflicts.asked += 1;
        let id = self.conflicts.asked;
        self.conflicts.open.insert(id, Open { peer, ours, theirs, payload: payload.to_vec() });
        effects.push(Effect::AskConflict { id, theirs: payload.to_vec() });
    }

    /// The host's answer to [`Effect::AskConflict`]. An answer to no question is passed over, and one that comes after the
    /// key was written again changes nothing.
    pub fn decide<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        id: QuestionId,
        decision: Decision<'_>,
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(open) = self.conflicts.open.remove(&id) else { return };
        if self.conflicts.decided.len() >= DECIDED_MAX {
            self.conflicts.decided.clear();
        }
        self.conflicts.decided.extend([open.ours, open.theirs]);
        let newer_is_ours = self.origins.compare(open.ours, open.theirs).is_gt();
        let newer = if newer_is_ours { store.lookup_encoded(&open.payload).pop() } else { Some(open.payload.clone()) };
        let written = match decision {
            Decision::Record(record) => self.rewrite(store, now, &open, record),
            Decision::Newer => false,
        };
        if let Some(newer) = newer.filter(|_| !written) {
            self.rewrite(store, now, &open, &newer);
        }
        self.flush(effects);
        self.settle_pull(effects);
    }

    /// Writes a record in the place of the one that was asked about. False if the store cannot take it.
    fn rewrite<S: Store>(&mut self, store: &mut S, now: Time, open: &Open, record: &[u8]) -> bool {
        let version = Version { hlc: self.clock.tick(now), origin: Origins::OWN };
        let ours = open.ours;
        let change = store.merge_encoded(Kind::Record, record, version, |current| match current {
            Some(current) if current.version == ours => {
                rules::newer_wins(&self.origins, Some(current), Kind::Record, version)
            }
            _ => Verdict::Keep,
        });
        let Ok(change) = change else { return false };
        if change.verdict == Verdict::Replace {
            let batch = if self.is_linked() { self.log_own(Kind::Record, version, record) } else { 0 };
            self.merged(now, change, Stamp { version, kind: Kind::Record }, batch);
        }
        true
    }
}
