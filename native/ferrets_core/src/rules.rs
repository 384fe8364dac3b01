//! The apply rule: what an incoming entry does to what stands under its key.
//!
//! Applying is commutative, associative and idempotent: whatever the order in which two replicas see the same
//! entries, and however often, they end with the same one. Everything else leans on that.

use std::cmp::Ordering;

use crate::store::{Kind, Stamp, Verdict};
use crate::version::{Origins, Version};

/// The newer version wins. Of a record and a tombstone of one version the tombstone wins: that is how the deletion of
/// exactly the observed record is written. In a bag, the deletion of a key wins over that of one object.
pub fn newer_wins(origins: &Origins, current: Option<Stamp>, kind: Kind, version: Version) -> Verdict {
    let Some(current) = current else { return Verdict::Replace };
    match origins.compare(version, current.version) {
        Ordering::Greater => Verdict::Replace,
        Ordering::Equal if rank(kind) > rank(current.kind) => Verdict::Replace,
        Ordering::Equal | Ordering::Less => Verdict::Keep,
    }
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Record => 0,
        Kind::ObjectTombstone => 1,
        Kind::Tombstone => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Origin, Writer};

    fn origins() -> Origins {
        let mut origins = Origins::new(Writer { incarnation: 7, node: b"a".to_vec() });
        origins.intern(3, b"b");
        origins
    }

    fn stamp(hlc: u64, origin: u32, kind: Kind) -> Stamp {
        Stamp { version: Version { hlc, origin: Origin(origin) }, kind }
    }

    fn apply(origins: &Origins, entries: &[Stamp]) -> Option<Stamp> {
        entries.iter().fold(None, |current, entry| match newer_wins(origins, current, entry.kind, entry.version) {
            Verdict::Replace => Some(*entry),
            Verdict::Keep => current,
        })
    }

    #[test]
    fn every_order_of_entries_ends_with_the_same_one() {
        let origins = origins();
        let entries = [
            stamp(1, 0, Kind::Record),
            stamp(2, 0, Kind::Record),
            stamp(2, 1, Kind::Tombstone),
            stamp(2, 0, Kind::Tombstone),
        ];
        let expected = Some(stamp(2, 0, Kind::Tombstone));
        for a in 0..4 {
            for b in (0..4).filter(|b| *b != a) {
                for c in (0..4).filter(|c| *c != a && *c != b) {
                    let d = 6 - a - b - c;
                    let order: Vec<Stamp> =
                        [a, b, c, d, b, a].iter().filter_map(|&i| entries.get(i).copied()).collect();
                    assert_eq!(apply(&origins, &order), expected);
                }
            }
        }
    }

    #[test]
    fn of_one_version_the_deletion_of_a_key_wins_over_that_of_an_object_and_both_over_the_record() {
        let origins = origins();
        let kinds = [Kind::Record, Kind::ObjectTombstone, Kind::Tombstone];
        for (a, current) in kinds.into_iter().enumerate() {
            for (b, kind) in kinds.into_iter().enumerate() {
                let expected = if b > a { Verdict::Replace } else { Verdict::Keep };
                let current = stamp(1, 0, current);
                assert_eq!(newer_wins(&origins, Some(current), kind, current.version), expected);
            }
        }
    }

    #[test]
    fn the_incarnations_id_decides_between_equal_clocks_and_not_its_index() {
        let origins = origins();
        assert_eq!(
            newer_wins(&origins, Some(stamp(1, 0, Kind::Record)), Kind::Record, stamp(1, 1, Kind::Record).version),
            Verdict::Keep
        );
    }
}
