//! What the protocol asks of the place where records are kept.
//!
//! The protocol decides *whether* a write takes effect ([`Verdict`]); the store knows *how* to keep it. The NIF
//! implements [`Store`] over term arenas, the simulation over a `BTreeMap`. A store is driven by one writer at a
//! time (`&mut self`); that it may have any number of concurrent readers is its own affair.

use crate::version::{Origin, Version};

/// Hash of a key: the same on every node for keys that the table's type holds equal.
pub type KeyHash = u32;

/// Whether an entry holds a record or remembers a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A record that readers see.
    Record,
    /// The memory of a deletion: a key and the deletion's version. Readers do not see it.
    Tombstone,
    /// In a bag, the memory of the deletion of one object: all of it, and the deletion's version.
    ObjectTombstone,
}

impl Kind {
    /// Whether readers see it.
    pub fn is_record(self) -> bool {
        self == Kind::Record
    }
}

/// What stands under a key at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The version of the last write to the key that took effect.
    pub version: Version,
    /// What that write left behind.
    pub kind: Kind,
}

/// The answer of an apply rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is there stays.
    Keep,
    /// The incoming entry takes the key's place.
    Replace,
}

/// What [`Store::merge`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key's hash.
    pub hash: KeyHash,
    /// What stood in the entry's place before.
    pub before: Option<Stamp>,
    /// The rule's answer, which the store has followed.
    pub verdict: Verdict,
    /// In a bag, the objects of the key that the deletion of the key has taken out, and the memories of such.
    pub displaced: Vec<Stamp>,
}

/// An encoded entry from a peer that this store cannot decode: not a term, not a record, shorter than `keypos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// An entry that a peer has encoded, with its version.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// Record or tombstone.
    pub kind: Kind,
    /// As [`Entry::encode`] makes it.
    pub payload: &'a [u8],
    /// The version.
    pub version: Version,
}

/// Who decides about the entries of [`Store::merge_all`], and is told what has become of them.
pub trait Merger {
    /// The apply rule, as of [`Store::merge`].
    fn rule(&mut self, entry: &Encoded<'_>, current: Option<Stamp>) -> Verdict;

    /// The entry has been merged.
    fn merged(&mut self, entry: &Encoded<'_>, change: Change);
}

/// Whether a scan goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Show me the next entry.
    More,
    /// Stop once all entries of the present hash have been shown.
    Enough,
}

/// One entry under a scan. Encoding is on demand: most scans skip most entries.
pub trait Entry {
    /// The key's hash.
    fn hash(&self) -> KeyHash;
    /// The entry's version and kind.
    fn stamp(&self) -> Stamp;
    /// Appends the entry's payload to `out`, in the form that [`Store::merge_encoded`] takes: the record of a
    /// [`Kind::Record`] or [`Kind::ObjectTombstone`], the key of a [`Kind::Tombstone`].
    fn encode(&self, out: &mut Vec<u8>);
}

/// Records and tombstones under their keys, each with a version.
///
/// In most tables an entry's place is its key's: one entry to a key. In a bag each object has a place of its own, and each
/// key has one for its tombstone, which stands for the deletion of all older objects of the key.
pub trait Store {
    /// A validated record or key in the store's own form, as a local caller hands it in.
    type Item<'a>;

    /// Looks up what stands in the entry's place, asks `rule` whether the entry may replace that, and does so, in a way that
    /// a concurrent reader sees the key either before or after. `item` is a bare key if `kind` is [`Kind::Tombstone`] and a
    /// record otherwise.
    ///
    /// In a bag, an object is first held against its key's tombstone, if there is one: if it may not replace that, nothing
    /// happens. And once a key's tombstone is in its place, each object of the key that it may replace is taken out.
    fn merge(
        &mut self,
        kind: Kind,
        item: Self::Item<'_>,
        version: Version,
        rule: impl FnMut(Option<Stamp>) -> Verdict,
    ) -> Change;

    /// [`Store::merge`] of an entry that a peer encoded.
    ///
    /// # Errors
    /// [`Malformed`] if `payload` is not such an entry; nothing has changed then.
    fn merge_encoded(
        &mut self,
        kind: Kind,
        payload: &[u8],
        version: Version,
        rule: impl FnMut(Option<Stamp>) -> Verdict,
    ) -> Result<Change, Malformed>;

    /// [`Store::merge_encoded`] of several entries, in their order. A store may decode and look for all of them before it merges
    /// the first.
    ///
    /// # Errors
    /// [`Malformed`] at the first that is no entry; those before it are merged then, and no other.
    fn merge_all(&mut self, entries: &[Encoded<'_>], merger: &mut impl Merger) -> Result<(), Malformed> {
        self.merge_each(entries, merger)
    }

    /// [`Store::merge_all`], one by one.
    ///
    /// # Errors
    /// As there.
    fn merge_each(&mut self, entries: &[Encoded<'_>], merger: &mut impl Merger) -> Result<(), Malformed> {
        for entry in entries {
            let change =
                self.merge_encoded(entry.kind, entry.payload, entry.version, |current| merger.rule(entry, current))?;
            merger.merged(entry, change);
        }
        Ok(())
    }

    /// The records whose key is that of `payload`, which is an encoded record; encoded likewise. At most one, but in a bag.
    fn lookup_encoded(&mut self, payload: &[u8]) -> Vec<Vec<u8>>;

    /// Whether there is a record whose key is that of `payload`, an encoded record.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    fn is_taken(&mut self, payload: &[u8]) -> Result<bool, Malformed>;

    /// What is merged from here on is to be seen by readers all at once, in [`Store::end_group`].
    fn begin_group(&mut self) {}

    /// See [`Store::begin_group`].
    fn end_group(&mut self) {}

    /// Shows the entries whose hash is at least `from`, in ascending order of hash, until `visit` answers
    /// [`Flow::Enough`] (the entries that share the last hash are still shown) or none is left.
    ///
    /// Returns the hash to resume from, `None` at the end. An entry that is there from a scan's first call to its last
    /// is shown exactly once, whatever is written in between.
    fn scan(&mut self, from: KeyHash, visit: &mut dyn FnMut(&dyn Entry) -> Flow) -> Option<KeyHash>;

    /// Drops records whose writer `is_owned`, without a trace, and shows their hash and stamp to `dropped`. Looks at about
    /// `budget` entries, from the beginning if `from_start`, else where the last call ended. Returns whether there are
    /// more. A record that is there from the first call to the last is looked at.
    fn drop_owned(
        &mut self,
        from_start: bool,
        is_owned: &dyn Fn(Origin) -> bool,
        budget: usize,
        dropped: &mut dyn FnMut(KeyHash, Stamp),
    ) -> bool;

    /// Removes the tombstone with this hash and version, if it still stands. Returns whether it did.
    fn forget(&mut self, hash: KeyHash, version: Version) -> bool;
}
