//! What a replica holds, in 4,096 numbers: two replicas with the same numbers hold the same records in the same versions.
//!
//! The hash space is cut into [`BUCKETS`]. A bucket's sum adds up, modulo 2^64, a mix of hash and version of each of
//! its records; so a write changes it in O(1), in whatever order writes come. Tombstones have a sum of their own, since
//! each replica forgets them in its own time: replicas with different tombstones may well hold the same.

use std::fmt;

use crate::store::{KeyHash, Kind, Stamp};
use crate::version::Incarnation;

/// Buckets of a digest.
pub const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 12;
const BUCKET_SHIFT: u32 = KeyHash::BITS - BUCKET_BITS;

/// A place in the hash space, from 0 to [`BUCKETS`].
pub type Bucket = usize;

/// The bucket that a hash is in.
pub fn bucket_of(hash: KeyHash) -> Bucket {
    (hash >> BUCKET_SHIFT) as Bucket
}

/// The least hash of a bucket; none for [`BUCKETS`], the end.
pub fn bucket_start(bucket: Bucket) -> Option<KeyHash> {
    if bucket < BUCKETS {
        Some((bucket as KeyHash) << BUCKET_SHIFT)
    } else {
        None
    }
}

/// The sums of a bucket, or of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Of the records.
    pub records: u64,
    /// Of the tombstones.
    pub tombstones: u64,
}

impl Sums {
    /// Whether these sums say that two replicas are alike.
    pub fn agree(self, other: Sums, with_tombstones: bool) -> bool {
        self.records == other.records && (!with_tombstones || self.tombstones == other.tombstones)
    }

    fn add(&mut self, kind: Kind, mixed: u64) {
        let sum = match kind {
            Kind::Record => &mut self.records,
            Kind::Tombstone | Kind::ObjectTombstone => &mut self.tombstones,
        };
        *sum = sum.wrapping_add(mixed);
    }

    fn is_zero(&self) -> bool {
        (self.records, self.tombstones) == (0, 0)
    }
}

/// See the module.
pub struct Digest {
    buckets: Vec<Sums>,
    total: Sums,
}

impl Digest {
    /// Of an empty table.
    pub fn new() -> Self {
        Digest { buckets: vec![Sums::default(); BUCKETS], total: Sums::default() }
    }

    /// An entry has come.
    pub fn add(&mut self, hash: KeyHash, stamp: Stamp, writer: Incarnation) {
        self.change(hash, stamp.kind, mix(hash, stamp, writer));
    }

    /// An entry has gone.
    pub fn remove(&mut self, hash: KeyHash, stamp: Stamp, writer: Incarnation) {
        self.change(hash, stamp.kind, mix(hash, stamp, writer).wrapping_neg());
    }

    /// The sums over all buckets.
    pub fn total(&self) -> Sums {
        self.total
    }

    /// The buckets that have entries, in ascending order, with their sums.
    pub fn sums(&self) -> impl Iterator<Item = (Bucket, Sums)> + '_ {
        // A bucket whose entries happen to add up to zero would be passed over: one in 2^64.
        self.buckets.iter().copied().enumerate().filter(|(_, sums)| !sums.is_zero())
    }

    /// A bucket's sums; those of no entries for a bucket that there is not.
    pub fn bucket(&self, bucket: Bucket) -> Sums {
        self.buckets.get(bucket).copied().unwrap_or_default()
    }

    fn change(&mut self, hash: KeyHash, kind: Kind, mixed: u64) {
        self.total.add(kind, mixed);
        if let Some(sums) = self.buckets.get_mut(bucket_of(hash)) {
            sums.add(kind, mixed);
        }
    }
}

/// What is not empty.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.sums()).finish()
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

fn mix(hash: KeyHash, stamp: Stamp, writer: Incarnation) -> u64 {
    let place = u64::from(hash) << 32 | u64::from(hash);
    scramble(scramble(place ^ stamp.version.hlc.rotate_left(17)).wrapping_add(writer))
}

/// The finaliser of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): a bijection.
pub(crate) fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A set of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSet {
    words: Vec<u64>,
}

/// Bytes of a [`BucketSet`] in a message.
pub const BUCKET_SET_BYTES: usize = BUCKETS / 8;

impl BucketSet {
    /// No bucket.
    pub fn new() -> Self {
        BucketSet { words: vec![0; BUCKETS / 64] }
    }

    /// Adds a bucket; one beyond the last is passed over.
    pub fn insert(&mut self, bucket: Bucket) {
        if let Some(word) = self.words.get_mut(bucket / 64) {
            *word |= 1 << (bucket % 64);
        }
    }

    /// Whether a bucket is in the set.
    #[inline]
    pub fn contains(&self, bucket: Bucket) -> bool {
        self.words.get(bucket / 64).is_some_and(|word| word >> (bucket % 64) & 1 == 1)
    }

    /// The first bucket of the set that is not before this one.
    pub fn next(&self, from: Bucket) -> Option<Bucket> {
        let first = from / 64;
        let mut mask = u64::MAX << (from % 64);
        for (at, word) in self.words.iter().enumerate().skip(first) {
            let bits = word & mask;
            if bits != 0 {
                return Some(at * 64 + bits.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// All of them, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Bucket> + '_ {
        std::iter::successors(self.next(0), |bucket| self.next(bucket + 1))
    }

    /// The first bucket of each part, if the set is cut into so many of about the same size; into fewer if it is small.
    pub fn cut(&self, parts: usize) -> Vec<Bucket> {
        let buckets: Vec<Bucket> = self.iter().collect();
        let size = buckets.len().div_ceil(parts).max(1);
        buckets.into_iter().step_by(size).collect()
    }

    /// Its bytes: [`BUCKET_SET_BYTES`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        for word in &self.words {
            out.extend(word.to_le_bytes());
        }
    }

    /// Reads [`BUCKET_SET_BYTES`]; none if there are not so many.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BUCKET_SET_BYTES {
            return None;
        }
        let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes)).collect();
        Some(BucketSet { words })
    }
}

impl Default for BucketSet {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Origin, Version};

    fn stamp(hlc: u64, kind: Kind) -> Stamp {
        Stamp { version: Version { hlc, origin: Origin(0) }, kind }
    }

    #[test]
    fn the_order_of_writes_leaves_no_trace() {
        let (mut a, mut b) = (Digest::new(), Digest::new());
        let (old, new) = (stamp(1, Kind::Record), stamp(2, Kind::Record));
        a.add(5, old, 77);
        a.remove(5, old, 77);
        a.add(5, new, 77);
        a.add(1 << 31, new, 77);
        b.add(1 << 31, new, 77);
        b.add(5, new, 77);
        assert_eq!(a.total(), b.total());
        assert!(a.sums().eq(b.sums()));
    }

    #[test]
    fn versions_of_different_writers_are_different() {
        let (mut a, mut b) = (Digest::new(), Digest::new());
        a.add(5, stamp(1, Kind::Record), 77);
        b.add(5, stamp(1, Kind::Record), 78);
        assert_ne!(a.total(), b.total());
    }

    #[test]
    fn the_memory_of_a_deletion_does_not_make_records_differ() {
        let mut digest = Digest::new();
        digest.add(5, stamp(2, Kind::Tombstone), 77);
        assert_eq!(digest.total().records, 0);
        assert_eq!(digest.sums().count(), 1, "a bucket with a tombstone is not empty");
        digest.remove(5, stamp(2, Kind::Tombstone), 77);
        assert_eq!(digest.sums().count(), 0);
    }

    #[test]
    fn a_bucket_set_finds_its_members_in_order() {
        let mut set = BucketSet::new();
        let members = [0, 63, 64, 1000, BUCKETS - 1];
        members.iter().for_each(|bucket| set.insert(*bucket));
        assert!(set.iter().eq(members));
        assert_eq!(set.next(65), Some(1000));
        assert!(members.iter().all(|bucket| set.contains(*bucket)));
        assert!(![1, 62, 65, BUCKETS, BUCKETS + 64].iter().any(|bucket| set.contains(*bucket)));
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        assert_eq!(BucketSet::decode(&bytes), Some(set));
    }

    #[test]
    fn a_bucket_set_is_cut_into_parts_of_about_the_same_size() {
        let mut set = BucketSet::new();
        assert!(set.cut(4).is_empty());
        [7, 8].iter().for_each(|bucket| set.insert(*bucket));
        assert_eq!(set.cut(4), [7, 8]);
        (100..108).for_each(|bucket| set.insert(bucket));
        assert_eq!(set.cut(4), [7, 101, 104, 107]);
        assert_eq!(set.cut(1), [7]);
    }
}
