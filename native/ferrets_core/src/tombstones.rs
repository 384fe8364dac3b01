//! Which tombstones there are, and which are due to be forgotten.
//!
//! The tombstones themselves stand in the store, under their keys. This is the queue of their deadlines. A tombstone
//! that has been overwritten since still has its place here; the store then finds nothing to forget.
//!
//! The queue is in chunks: to grow a million places in one array would hold up a writer for milliseconds.

use std::collections::VecDeque;

use crate::store::KeyHash;
use crate::version::Version;

/// More tombstones than this are not kept: the oldest go first, whatever their deadline.
pub const TOMBSTONES_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Due {
    deadline_ms: u64,
    /// The log's batch that carries the deletion to the peers; 0 for a peer's deletion.
    batch: u64,
    hash: KeyHash,
    version: Version,
}

/// See the module.
#[derive(Debug)]
pub struct Tombstones {
    ttl_ms: u64,
    /// Full chunks, but for the first and the last. None is empty.
    chunks: VecDeque<VecDeque<Due>>,
    count: usize,
}

/// Places in a chunk.
const CHUNK: usize = 1024;

impl Tombstones {
    /// None yet; each will be kept for `ttl_ms`.
    pub fn new(ttl_ms: u64) -> Self {
        Tombstones { ttl_ms, chunks: VecDeque::new(), count: 0 }
    }

    /// A tombstone has been set, which the log's batch of this number carries to the peers (0: none does).
    pub fn add(&mut self, now_ms: u64, hash: KeyHash, version: Version, batch: u64) {
        let deadline_ms = now_ms.saturating_add(self.ttl_ms);
        let due = Due { deadline_ms, batch, hash, version };
        self.count += 1;
        match self.chunks.back_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push_back(due),
            None => {
                let mut chunk = VecDeque::with_capacity(CHUNK);
                chunk.push_back(due);
                self.chunks.push_back(chunk);
            }
        }
    }

    /// Takes the oldest tombstone out if it may be forgotten: its time is over, or there are too many, and every linked
    /// peer has acknowledged the deletion.
    pub fn pop_due(&mut self, now_ms: u64, completed_batch: u64) -> Option<(KeyHash, Version)> {
        let crowded = self.count > TOMBSTONES_MAX;
        let chunk = self.chunks.front_mut()?;
        let due = *chunk.front()?;
        if due.batch > completed_batch || !(crowded || due.deadline_ms <= now_ms) {
            return None;
        }
        chunk.pop_front();
        if chunk.is_empty() {
            self.chunks.pop_front();
        }
        self.count -= 1;
        Some((due.hash, due.version))
    }

    /// How many deadlines are kept.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Origin;

    const VERSION: Version = Version { hlc: 1, origin: Origin(0) };

    #[test]
    fn a_tombstone_is_due_when_its_time_is_over_and_all_peers_have_it() {
        let mut tombstones = Tombstones::new(100);
        tombstones.add(1_000, 5, VERSION, 3);
        assert_eq!(tombstones.pop_due(1_099, 3), None);
        assert_eq!(tombstones.pop_due(1_100, 2), None);
        assert_eq!(tombstones.pop_due(1_100, 3), Some((5, VERSION)));
        assert_eq!(tombstones.pop_due(9_999, 3), None);
    }

    #[test]
    fn tombstones_come_due_in_their_order_however_many_there_are() {
        let mut tombstones = Tombstones::new(0);
        let count = 3 * CHUNK as u32 + 1;
        (0..count).for_each(|hash| tombstones.add(0, hash, VERSION, 0));
        for hash in 0..count {
            assert_eq!(tombstones.count(), (count - hash) as usize);
            assert_eq!(tombstones.pop_due(0, 0), Some((hash, VERSION)));
        }
        assert_eq!((tombstones.pop_due(0, 0), tombstones.count()), (None, 0));
    }

    #[test]
    fn the_oldest_go_early_when_there_are_too_many() {
        let mut tombstones = Tombstones::new(u64::MAX);
        for hash in 0..=TOMBSTONES_MAX as u32 {
            tombstones.add(0, hash, VERSION, 0);
        }
        assert_eq!(tombstones.pop_due(0, 0), Some((0, VERSION)));
        assert_eq!(tombstones.pop_due(0, 0), None);
    }
}
