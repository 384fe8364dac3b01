//! The model's store: a `BTreeMap`, with two keys to each hash.

use std::collections::BTreeMap;

use ferrets_core::store::{Change, Entry, Flow, KeyHash, Kind, Malformed, Stamp, Store, Verdict};
use ferrets_core::version::{Origin, Version};

pub type Key = u8;
/// A record's value; a tombstone has none.
pub type Value = u32;

#[derive(Default)]
pub struct MapStore {
    entries: BTreeMap<(KeyHash, Key), (Stamp, Value)>,
    /// Where `drop_owned` has come to.
    swept: Option<(KeyHash, Key)>,
}

/// Neighbouring keys share a hash.
fn hash(key: Key) -> KeyHash {
    KeyHash::from(key / 2) << 24
}

pub fn encode(key: Key, value: Value) -> Vec<u8> {
    let mut out = vec![key];
    out.extend(value.to_le_bytes());
    out
}

impl MapStore {
    pub fn get(&self, key: Key) -> Option<(Stamp, Value)> {
        self.entries.get(&(hash(key), key)).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, Stamp, Value)> + '_ {
        self.entries.iter().map(|((_, key), (stamp, value))| (*key, *stamp, *value))
    }
}

impl Store for MapStore {
    type Item<'a> = (Key, Value);

    fn merge(
        &mut self,
        kind: Kind,
        (key, value): (Key, Value),
        version: Version,
        rule: impl FnOnce(Option<Stamp>) -> Verdict,
    ) -> Change {
        let slot = (hash(key), key);
        let before = self.entries.get(&slot).map(|(stamp, _)| *stamp);
        let verdict = rule(before);
        if verdict == Verdict::Replace {
            self.entries.insert(slot, (Stamp { version, kind }, value));
        }
        Change { hash: hash(key), before, verdict }
    }

    fn merge_encoded(
        &mut self,
        kind: Kind,
        payload: &[u8],
        version: Version,
        rule: impl FnOnce(Option<Stamp>) -> Verdict,
    ) -> Result<Change, Malformed> {
        let (key, value) = payload.split_first().ok_or(Malformed)?;
        let value = Value::from_le_bytes(value.try_into().map_err(|_| Malformed)?);
        Ok(self.merge(kind, (*key, value), version, rule))
    }

    fn lookup_encoded(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let key = *payload.first()?;
        let (stamp, value) = self.get(key)?;
        (stamp.kind == Kind::Record).then(|| encode(key, value))
    }

    fn scan(&mut self, from: KeyHash, visit: &mut dyn FnMut(&dyn Entry) -> Flow) -> Option<KeyHash> {
        let mut last = None;
        for ((hash, key), (stamp, value)) in self.entries.range((from, 0)..) {
            if last.is_some_and(|last| last != *hash) {
                return Some(*hash);
            }
            if visit(&MapEntry { hash: *hash, key: *key, stamp: *stamp, value: *value }) == Flow::Enough {
                last = Some(*hash);
            }
        }
        None
    }

    fn drop_owned(
        &mut self,
        from_start: bool,
        is_owned: &dyn Fn(Origin) -> bool,
        budget: usize,
        dropped: &mut dyn FnMut(KeyHash, Stamp),
    ) -> bool {
        if from_start {
            self.swept = None;
        }
        let from = self.swept.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = self.entries.range((from, std::ops::Bound::Unbounded)).take(budget);
        let looked_at: Vec<_> = range.map(|(slot, (stamp, _))| (*slot, *stamp)).collect();
        for (slot, stamp) in &looked_at {
            if stamp.kind == Kind::Record && is_owned(stamp.version.origin) {
                self.entries.remove(slot);
                dropped(slot.0, *stamp);
            }
        }
        self.swept = looked_at.last().map(|(slot, _)| *slot);
        self.swept.is_some()
    }

    fn forget(&mut self, hash: KeyHash, version: Version) -> bool {
        let found = self.entries.range((hash, 0)..=(hash, Key::MAX));
        let found = found
            .filter(|(_, (stamp, _))| stamp.kind == Kind::Tombstone && stamp.version == version)
            .map(|(slot, _)| *slot)
            .next();
        found.is_some_and(|slot| self.entries.remove(&slot).is_some())
    }
}

struct MapEntry {
    hash: KeyHash,
    key: Key,
    stamp: Stamp,
    value: Value,
}

impl Entry for MapEntry {
    fn hash(&self) -> KeyHash {
        self.hash
    }

    fn stamp(&self) -> Stamp {
        self.stamp
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(encode(self.key, self.value));
    }
}
