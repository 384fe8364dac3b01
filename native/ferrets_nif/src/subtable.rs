//! Sub-tables: parts of the index that are locked and split one by one.
//!
//! Whoever writes, or reads more than one hash, takes the lock. A read of one hash does without, and so writes to no
//! memory that other readers need: it reads the sequence, then the places, then the sequence again, and starts over if
//! that is odd (somebody writes) or has changed (a seqlock; the order of accesses is that of Boehm, "Can seqlocks get
//! along with programming language memory models?", 2012). All that it reads is atomic, and the shell is type-stable.
//!
//! Invariant: a sub-table says whose it is and which hashes it holds. Who finds anything else came by a directory that is
//! no longer in force.

use std::sync::atomic::{fence, AtomicBool, AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::index::Candidates;
use crate::os::prefetch;
use crate::places::{Place, Places, Slots};
use crate::table::TableId;

/// So often a read without the lock is tried.
const TRIES: usize = 4;

/// The shell of a sub-table.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Subtable {
    /// Odd while the rest is being written.
    sequence: AtomicU64,
    owner: AtomicU64,
    /// Prefix and depth, of 32 bits each.
    range: AtomicU64,
    relocations: AtomicU64,
    is_spilled: AtomicBool,
    locked: RwLock<Locked>,
    slots: Slots,
}

#[derive(Default)]
struct Locked {
    records: usize,
    places: Places,
}

/// Which hashes a sub-table holds: those with a prefix of so many bits.
#[derive(Clone, Copy)]
pub struct Range {
    /// The prefix.
    pub prefix: u32,
    /// Its length.
    pub depth: u32,
}

impl Range {
    fn unpack(packed: u64) -> Self {
        Range { prefix: (packed >> 32) as u32, depth: packed as u32 & 31 }
    }

    fn pack(self) -> u64 {
        u64::from(self.prefix) << 32 | u64::from(self.depth)
    }

    fn has(self, hash: u32) -> bool {
        top_bits(hash, self.depth) == self.prefix
    }

    /// The first hash that is beyond.
    pub fn end(self) -> Option<u32> {
        u32::try_from((u64::from(self.prefix) + 1) << (32 - self.depth)).ok()
    }
}

/// The first bits of a hash, as a number.
#[inline]
pub fn top_bits(hash: u32, bits: u32) -> u32 {
    (u64::from(hash) >> (32 - bits)) as u32
}

impl Subtable {
    /// Asks for the cache line where a hash's place is most likely.
    #[inline]
    pub fn prefetch(&self, depth: u32, hash: u32) {
        prefetch((&raw const self.slots).cast(), Slots::offset(depth, hash));
    }

    /// Asks for the cache lines in which the lock is, and what it protects besides the places.
    #[inline]
    pub fn prefetch_head(&self) {
        (0..2).for_each(|line| prefetch(std::ptr::from_ref(self).cast(), line * 64));
    }

    #[inline]
    fn covers(&self, owner: TableId, hash: u32) -> bool {
        self.owner.load(Ordering::Relaxed) == owner.to_bits() && self.range().has(hash)
    }

    #[inline]
    fn range(&self) -> Range {
        Range::unpack(self.range.load(Ordering::Relaxed))
    }

    /// The count of places that have changed. Who found nothing at an old place compares it.
    pub fn relocations(&self) -> u64 {
        self.relocations.load(Ordering::Relaxed)
    }

    /// Collects the places with a hash, without the lock. Returns whether this is the sub-table of that hash, or nothing
    /// if the lock is needed.
    #[inline]
    pub fn glance(&self, owner: TableId, hash: u32, found: &mut Candidates) -> Option<bool> {
        for _ in 0..TRIES {
            let sequence = self.sequence.load(Ordering::Acquire);
            if !sequence.is_multiple_of(2) {
                std::hint::spin_loop();
                continue;
            }
            if self.is_spilled.load(Ordering::Relaxed) {
                return None;
            }
            let covers = self.covers(owner, hash);
            if covers {
                found.begin(self.relocations());
                let depth = self.range().depth;
                self.slots.each_of(depth, hash, |place| found.push(place));
            }
            // The reads above come before the one below.
            fence(Ordering::Acquire);
            if self.sequence.load(Ordering::Relaxed) == sequence {
                return Some(covers);
            }
        }
        None
    }

    /// Where the first entry with a hash may be, if this sub-table has that depth: a guess, for who can tell by what is there.
    #[inline]
    pub fn peek(&self, depth: u32, hash: u32) -> Option<Place> {
        self.slots.first_of(depth, hash)
    }

    /// Shows the places with a hash that this sub-table covers to the writer: nobody else changes them, so it needs no lock.
    pub fn each_of(&self, hash: u32, show: impl FnMut(Place)) {
        if self.is_spilled.load(Ordering::Relaxed) {
            self.locked.read().places.each_of(&self.slots, hash, show);
        } else {
            let depth = self.range().depth;
            self.slots.each_of(depth, hash, show);
        }
    }

    /// Locks the sub-table for reading, if it is the one of that hash.
    pub fn read(&self, owner: TableId, hash: u32) -> Option<Reading<'_>> {
        let locked = self.locked.read();
        self.covers(owner, hash).then_some(Reading { subtable: self, locked })
    }

    /// Locks the sub-table for writing.
    pub fn write(&self) -> Writing<'_> {
        let locked = self.locked.write();
        self.sequence.store(self.sequence.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // What is written from here on must not be seen by who sees the old sequence before and after.
        fence(Ordering::Release);
        Writing { subtable: self, locked }
    }
}

/// A sub-table that is locked for reading.
pub struct Reading<'a> {
    subtable: &'a Subtable,
    locked: RwLockReadGuard<'a, Locked>,
}

impl Reading<'_> {
    /// Which hashes it holds.
    pub fn range(&self) -> Range {
        self.subtable.range()
    }

    /// How many places are of records.
    pub fn records(&self) -> usize {
        self.locked.records
    }

    /// Shows the places with a hash.
    pub fn each_of(&self, hash: u32, show: impl FnMut(Place)) {
        self.locked.places.each_of(&self.subtable.slots, hash, show);
    }

    /// Shows the places with at least this hash, ascending, until told to stop.
    pub fn each_from(&self, hash: u32, show: impl FnMut(Place) -> bool) {
        self.locked.places.each_from(&self.subtable.slots, hash, show);
    }
}

/// A sub-table that is being written.
pub struct Writing<'a> {
    subtable: &'a Subtable,
    locked: RwLockWriteGuard<'a, Locked>,
}

impl Writing<'_> {
    /// Whose it is.
    pub fn owner(&self) -> TableId {
        TableId::from_bits(self.subtable.owner.load(Ordering::Relaxed))
    }

    /// Which hashes it holds.
    pub fn range(&self) -> Range {
        self.subtable.range()
    }

    /// Whether it is time to split.
    pub fn is_crowded(&self) -> bool {
        self.locked.places.is_crowded(self.range().prefix)
    }

    /// Empties it and gives it to a table, or to nobody.
    pub fn reset(&mut self, owner: TableId) {
        let Locked { records, places } = &mut *self.locked;
        *records = 0;
        places.clear(&self.subtable.slots);
        self.own(owner, Range { prefix: 0, depth: 0 });
        self.subtable.relocations.store(0, Ordering::Relaxed);
    }

    fn own(&mut self, owner: TableId, range: Range) {
        self.subtable.owner.store(owner.to_bits(), Ordering::Relaxed);
        self.subtable.range.store(range.pack(), Ordering::Relaxed);
        self.note_spill();
    }

    fn note_spill(&self) {
        self.subtable.is_spilled.store(self.locked.places.is_spilled(), Ordering::Relaxed);
    }

    /// Adds a place.
    pub fn insert(&mut self, place: Place) {
        self.locked.places.insert(&self.subtable.slots, place);
        self.locked.records += usize::from(!place.is_tombstone());
        self.note_spill();
    }

    /// Takes a place out.
    pub fn remove(&mut self, place: Place) {
        if let Some(removed) = self.locked.places.remove(&self.subtable.slots, place) {
            self.locked.records -= usize::from(!removed.is_tombstone());
        }
        self.note_spill();
    }

    /// Says that an entry has changed its place, or its kind.
    pub fn update(&mut self, place: Place, change: impl FnOnce(Place) -> Place) {
        if let Some((before, after)) = self.locked.places.update(&self.subtable.slots, place, change) {
            self.locked.records += usize::from(!after.is_tombstone());
            self.locked.records -= usize::from(!before.is_tombstone());
        }
    }

    /// Counts a relocation.
    pub fn count_relocation(&mut self) {
        self.subtable.relocations.store(self.subtable.relocations() + 1, Ordering::Relaxed);
    }

    /// Moves the upper half of the hashes to another sub-table, which is empty. Returns the other's range.
    pub fn split(&mut self, other: &mut Writing<'_>) -> Range {
        let (mine, its) = (&mut *self.locked, &mut *other.locked);
        mine.places.split(&self.subtable.slots, &mut its.places, &other.subtable.slots);
        its.places.each_from(&other.subtable.slots, 0, |place| {
            its.records += usize::from(!place.is_tombstone());
            true
        });
        mine.records -= its.records;
        let prefix = self.range().prefix << 1;
        let depth = self.locked.places.depth();
        let upper = Range { prefix: prefix | 1, depth };
        let owner = self.owner();
        self.own(owner, Range { prefix, depth });
        other.own(owner, upper);
        upper
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.subtable.sequence.store(self.subtable.sequence.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}
