//! The model's store: a `BTreeMap`, with two keys to each hash.

use std::collections::BTreeMap;

use ferrets_core::store::{Change, Entry, Flow, KeyHash, Kind, Malformed, Stamp, Store, Verdict};
use ferrets_core::version::{Origin, Version};

pub type Key = u8;
/// A record's value; a key's tombstone has none.
pub type Value = u32;

/// Where an entry stands. In a bag an object's place is its key and value; all else stands under its key.
pub type Place = (Key, Option<Value>);

type Slot = (KeyHash, Key, Option<Value>);

#[derive(Default)]
pub struct MapStore {
    is_bag: bool,
    entries: BTreeMap<Slot, (Stamp, Value)>,
    /// Where `drop_owned` has come to.
    swept: Option<Slot>,
    /// Between `begin_group` and `end_group`.
    pub in_group: bool,
    /// How often it has been scanned.
    pub scans: usize,
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

pub fn decode(payload: &[u8]) -> Result<(Key, Value), Malformed> {
    let (key, value) = payload.split_first().ok_or(Malformed)?;
    Ok((*key, Value::from_le_bytes(value.try_into().map_err(|_| Malformed)?)))
}

#[allow(dead_code)] // Each of the tests that share this uses its own part.
impl MapStore {
    pub fn new(is_bag: bool) -> Self {
        MapStore { is_bag, ..MapStore::default() }
    }

    /// Where an entry of this kind would stand.
    pub fn place(&self, kind: Kind, key: Key, value: Value) -> Place {
        (key, (self.is_bag && kind != Kind::Tombstone).then_some(value))
    }

    pub fn get(&self, (key, object): Place) -> Option<(Stamp, Value)> {
        self.entries.get(&(hash(key), key, object)).copied()
    }

    /// The records of a key.
    pub fn records(&self, key: Key) -> impl Iterator<Item = (Stamp, Value)> + '_ {
        let of_key = self.entries.range((hash(key), key, None)..=(hash(key), key, Some(Value::MAX)));
        of_key.map(|(_, entry)| *entry).filter(|(stamp, _)| stamp.kind.is_record())
    }

    pub fn iter(&self) -> impl Iterator<Item = (Place, Stamp, Value)> + '_ {
        self.entries.iter().map(|((_, key, object), (stamp, value))| ((*key, *object), *stamp, *value))
    }

    fn displace(&mut self, key: Key, rule: &mut impl FnMut(Option<Stamp>) -> Verdict) -> Vec<Stamp> {
        let objects = self.entries.range((hash(key), key, Some(0))..=(hash(key), key, Some(Value::MAX)));
        let objects: Vec<_> = objects.map(|(slot, (stamp, _))| (*slot, *stamp)).collect();
        let mut displaced = Vec::new();
        for (slot, stamp) in objects {
            if rule(Some(stamp)) == Verdict::Replace {
                self.entries.remove(&slot);
                displaced.push(stamp);
            }
        }
        displaced
    }
}

impl Store for MapStore {
    type Item<'a> = (Key, Value);

    fn merge(
        &mut self,
        kind: Kind,
        (key, value): (Key, Value),
        version: Version,
        mut rule: impl FnMut(Option<Stamp>) -> Verdict,
    ) -> Change {
        let (_, object) = self.place(kind, key, value);
        let slot = (hash(key), key, object);
        let before = self.entries.get(&slot).map(|(stamp, _)| *stamp);
        let mut change = Change { hash: hash(key), before, verdict: Verdict::Keep, displaced: Vec::new() };
        let of_key = object.and_then(|_| self.get((key, None)));
        if of_key.is_some_and(|(stamp, _)| rule(Some(stamp)) == Verdict::Keep) {
            return change;
        }
        change.verdict = rule(before);
        if change.verdict == Verdict::Replace {
            self.entries.insert(slot, (Stamp { version, kind }, value));
            if self.is_bag && kind == Kind::Tombstone {
                change.displaced = self.displace(key, &mut rule);
            }
        }
        change
    }

    fn merge_encoded(
        &mut self,
        kind: Kind,
        payload: &[u8],
        version: Version,
        rule: impl FnMut(Option<Stamp>) -> Verdict,
    ) -> Result<Change, Malformed> {
        if kind == Kind::ObjectTombstone && !self.is_bag {
            return Err(Malformed);
        }
        Ok(self.merge(kind, decode(payload)?, version, rule))
    }

    fn lookup_encoded(&mut self, payload: &[u8]) -> Vec<Vec<u8>> {
        let Ok((key, _)) = decode(payload) else { return Vec::new() };
        self.records(key).map(|(_, value)| encode(key, value)).collect()
    }

    fn is_taken(&mut self, payload: &[u8]) -> Result<bool, Malformed> {
        let (key, _) = decode(payload)?;
        Ok(self.records(key).next().is_some())
    }

    fn begin_group(&mut self) {
        assert!(!std::mem::replace(&mut self.in_group, true), "a group within a group");
    }

    fn end_group(&mut self) {
        assert!(std::mem::replace(&mut self.in_group, false), "the end of no group");
    }

    fn scan(&mut self, from: KeyHash, visit: &mut dyn FnMut(&dyn Entry) -> Flow) -> Option<KeyHash> {
        self.scans += 1;
        let mut last = None;
        for ((hash, key, _), (stamp, value)) in self.entries.range((from, 0, None)..) {
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
            if stamp.kind.is_record() && is_owned(stamp.version.origin) {
                self.entries.remove(slot);
                dropped(slot.0, *stamp);
            }
        }
        self.swept = looked_at.last().map(|(slot, _)| *slot);
        self.swept.is_some()
    }

    fn forget(&mut self, hash: KeyHash, version: Version) -> bool {
        let found = self.entries.range((hash, 0, None)..=(hash, Key::MAX, Some(Value::MAX)));
        let found = found
            .filter(|(_, (stamp, _))| !stamp.kind.is_record() && stamp.version == version)
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
