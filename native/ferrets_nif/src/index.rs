//! The index: from a key's hash to the places where entries with this hash are. Extendible hashing (Fagin et al., 1979).
//!
//! The top bits of a hash select a sub-table through the directory; a sub-table has a lock and the 8-byte [`Place`]s of
//! some hundred entries. A crowded sub-table is split in two, one at a time, so nobody waits for a rehash of all; when
//! the directory is too short for that, a new one of twice the length is published. Places, not keys: whoever follows
//! one compares the key itself. Tombstones are flagged, so that readers need not follow them.
//!
//! A reader that finds that a sub-table is another table's, or does not hold its hash, came by a directory that is no
//! longer in force, and starts over.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::page::{Move, PageNumber};
use crate::places::Place;
use crate::pool::{AtomicRef, Pool, Stock};
use crate::subtable::{top_bits, Reading, Subtable, Writing};
use crate::table::TableId;

/// A directory is at most this many times longer than there are sub-tables: keys that share a hash split no further.
const SPARSENESS_MAX: usize = 16;

const BITS_MAX: u32 = 24;

/// So many places ahead, memory is asked for that will be needed.
const AHEAD: usize = 16;

/// In a walk over places, memory of entries is asked for so many places ahead, and that of their pages twice as many.
const ENTRIES_AHEAD: usize = 12;

/// With a shorter directory, some ten thousand entries, all is in the processor's cache.
const WARM_BITS: u32 = 5;

static SUBTABLES: Stock<Subtable> = Stock::new(refill);

/// Makes sub-tables, ahead of need.
pub fn refill() {
    SUBTABLES.refill();
}

static DIRECTORIES: [Pool<Directory>; BITS_MAX as usize + 1] = [const { Pool::new() }; BITS_MAX as usize + 1];

struct Directory {
    bits: u32,
    subtables: Box<[AtomicRef<Subtable>]>,
    /// The sub-tables' depths. A hint, so that a reader can fetch a place while it waits for the lock's cache line.
    depths: Box<[AtomicU8]>,
}

impl Directory {
    fn take(bits: u32) -> &'static Directory {
        DIRECTORIES[bits as usize].take(|| Directory {
            bits,
            subtables: (0..1usize << bits).map(|_| AtomicRef::none()).collect(),
            depths: (0..1usize << bits).map(|_| AtomicU8::new(0)).collect(),
        })
    }

    #[inline]
    fn get(&self, hash: u32) -> Option<&'static Subtable> {
        self.subtables[top_bits(hash, self.bits) as usize].get()
    }

    #[inline]
    fn find(&self, hash: u32) -> Option<&'static Subtable> {
        let subtable = self.get(hash)?;
        let depth = self.depths[top_bits(hash, self.bits) as usize].load(Ordering::Relaxed);
        subtable.prefetch(u32::from(depth), hash);
        Some(subtable)
    }

    /// Asks for the memory in which a place is, and its sub-table's lock.
    fn anticipate(&self, hash: u32) {
        if let Some(subtable) = self.find(hash) {
            subtable.prefetch_head();
        }
    }

    #[inline]
    fn peek(&self, hash: u32) -> Option<Place> {
        let depth = self.depths[top_bits(hash, self.bits) as usize].load(Ordering::Relaxed);
        self.get(hash)?.peek(u32::from(depth), hash)
    }

    fn set(&self, at: usize, subtable: &'static Subtable, depth: u32) {
        self.subtables[at].set(Some(subtable));
        self.depths[at].store(depth as u8, Ordering::Relaxed);
    }
}

/// Asks for the memory of entries that come soon in a walk over places. In the order of hashes each is somewhere else: so several are
/// on their way at the same time.
#[inline]
pub fn anticipate(places: &[Place], at: usize) {
    if let Some(next) = places.get(at + 2 * ENTRIES_AHEAD) {
        next.page().page().prefetch_head(next.slot());
    }
    if let Some(next) = places.get(at + ENTRIES_AHEAD) {
        next.page().page().prefetch_entry(next.slot());
    }
}

/// The index of a table.
pub struct Index {
    directory: AtomicRef<Directory>,
    /// How many sub-tables there are. Only the writer uses it.
    subtables: AtomicUsize,
}

/// The table has been dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Where records with a certain hash were a moment ago.
#[derive(Default)]
pub struct Candidates {
    near: [Place; 2],
    len: usize,
    far: Vec<Place>,
    subtable: Option<&'static Subtable>,
    relocations: u64,
}

impl Candidates {
    /// The places.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.near[..self.len].iter().chain(&self.far).copied()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a place, unless it is a tombstone's.
    #[inline]
    pub fn push(&mut self, place: Place) {
        if place.is_tombstone() {
            return;
        }
        match self.near.get_mut(self.len) {
            Some(near) => {
                *near = place;
                self.len += 1;
            }
            None => self.far.push(place),
        }
    }

    /// Starts over.
    #[inline]
    pub fn begin(&mut self, relocations: u64) {
        self.len = 0;
        self.far.clear();
        self.relocations = relocations;
    }
}

/// What a sweep is to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Records and tombstones.
    All,
    /// Records.
    Records,
    /// Records with the least hash.
    FirstRecords,
}

/// A part of a sweep in the order of hashes.
pub struct Sweep {
    subtable: &'static Subtable,
    relocations: u64,
    /// The first hash after those that were swept, unless all have been.
    pub next: Option<u32>,
}

impl Index {
    /// No index yet.
    pub const fn none() -> Self {
        Index { directory: AtomicRef::none(), subtables: AtomicUsize::new(0) }
    }

    /// Starts with an empty sub-table.
    pub fn open(&self, owner: TableId) {
        let subtable = SUBTABLES.take();
        subtable.write().reset(owner);
        let directory = Directory::take(0);
        directory.set(0, subtable, 0);
        self.directory.set(Some(directory));
        self.subtables.store(1, Ordering::Relaxed);
    }

    /// Gives everything back. The table has been unpublished before.
    pub fn close(&self, owner: TableId) {
        let Some(directory) = self.directory.get() else { return };
        self.directory.set(None);
        for subtable in directory.subtables.iter().filter_map(AtomicRef::get) {
            let mut writing = subtable.write();
            // A sub-table stands in the directory as often as its depth is short of the directory's.
            if writing.owner() == owner {
                writing.reset(TableId::NOBODY);
                drop(writing);
                SUBTABLES.give(subtable);
            }
        }
        DIRECTORIES[directory.bits as usize].give(directory);
    }

    /// The sub-table that holds `hash`, locked for reading.
    fn read(
        &self,
        owner: TableId,
        hash: u32,
        is_there: impl Fn() -> bool,
    ) -> Result<(&'static Subtable, Reading<'static>), Gone> {
        loop {
            if let Some(subtable) = self.directory.get().and_then(|directory| directory.get(hash)) {
                if let Some(reading) = subtable.read(owner, hash) {
                    return Ok((subtable, reading));
                }
            }
            if !is_there() {
                return Err(Gone);
            }
            std::hint::spin_loop();
        }
    }

    /// Where an entry with this hash is, most likely: a guess that costs nothing but the reading of one cache line, for who can
    /// tell by what is there whether it was right.
    #[inline]
    pub fn peek(&self, hash: u32) -> Option<Place> {
        self.directory.get()?.peek(hash)
    }

    /// Finds where records with this hash are. `is_there` says whether the table still exists.
    ///
    /// # Errors
    /// [`Gone`] if it does not.
    #[inline]
    pub fn find(
        &self,
        owner: TableId,
        hash: u32,
        is_there: impl Fn() -> bool,
        found: &mut Candidates,
    ) -> Result<(), Gone> {
        loop {
            if let Some(subtable) = self.directory.get().and_then(|directory| directory.find(hash)) {
                found.subtable = Some(subtable);
                match subtable.glance(owner, hash, found) {
                    Some(true) => return Ok(()),
                    Some(false) => {}
                    None => {
                        let (subtable, reading) = self.read(owner, hash, &is_there)?;
                        found.subtable = Some(subtable);
                        found.begin(subtable.relocations());
                        reading.each_of(hash, |place| found.push(place));
                        return Ok(());
                    }
                }
            }
            if !is_there() {
                return Err(Gone);
            }
            std::hint::spin_loop();
        }
    }

    /// Asks for the memory in which a write to a key with one of these hashes will look, as far as can be seen from here. To be
    /// called before the writer's lock is taken: then the waiting for memory is not done under it, and for all hashes at once.
    pub fn warm(&self, hashes: impl Iterator<Item = u32> + Clone) {
        let Some(directory) = self.directory.get().filter(|directory| directory.bits >= WARM_BITS) else { return };
        hashes.clone().for_each(|hash| directory.anticipate(hash));
        for hash in hashes.clone() {
            if let Some(place) = directory.peek(hash) {
                place.page().page().prefetch_for_writing(place.slot());
            }
        }
        for hash in hashes.skip(1) {
            if let Some(place) = directory.peek(hash) {
                place.page().page().prefetch_entry(place.slot());
            }
        }
    }

    /// Whether nothing has moved since these candidates were found, so that what is not there is nowhere.
    pub fn is_current(&self, owner: TableId, hash: u32, candidates: &Candidates) -> bool {
        is_current(candidates.subtable, owner, hash, candidates.relocations)
    }

    /// Collects the places with a hash of at least `from` in one sub-table, ascending by hash; those of tombstones on
    /// demand; those of the first hash only, if told so.
    ///
    /// # Errors
    /// [`Gone`] if the table has been dropped.
    pub fn sweep(
        &self,
        owner: TableId,
        from: u32,
        which: Which,
        is_there: impl Fn() -> bool,
        out: &mut Vec<Place>,
    ) -> Result<Sweep, Gone> {
        let (subtable, reading) = self.read(owner, from, is_there)?;
        if which == Which::All || reading.records() > 0 {
            reading.each_from(round_up(from), |place| {
                let is_wanted = which == Which::All || !place.is_tombstone();
                let is_beyond =
                    which == Which::FirstRecords && out.first().is_some_and(|first| first.hash() != place.hash());
                if is_wanted && !is_beyond {
                    out.push(place);
                }
                !is_beyond
            });
        }
        Ok(Sweep { subtable, relocations: subtable.relocations(), next: reading.range().end() })
    }

    /// Whether nothing has moved since a sweep.
    pub fn is_sweep_current(&self, owner: TableId, from: u32, sweep: &Sweep) -> bool {
        is_current(Some(sweep.subtable), owner, from, sweep.relocations)
    }
}

fn is_current(subtable: Option<&Subtable>, owner: TableId, hash: u32, relocations: u64) -> bool {
    subtable.is_some_and(|subtable| {
        let reading = subtable.read(owner, hash);
        reading.is_some() && subtable.relocations() == relocations
    })
}

/// The writer's side: one thread at a time.
impl Index {
    fn subtable(&self, hash: u32) -> &'static Subtable {
        self.directory.get().and_then(|directory| directory.get(hash)).expect("an open index")
    }

    /// All places with this hash, tombstones included.
    pub fn places(&self, hash: u32, out: &mut Vec<Place>) {
        self.subtable(hash).each_of(hash, |place| out.push(place));
    }

    /// Adds a place. Returns how many bytes more the index takes.
    pub fn insert(&self, owner: TableId, place: Place) -> i64 {
        let mut growth = 0;
        loop {
            let subtable = self.subtable(place.hash());
            let mut writing = subtable.write();
            if !writing.is_crowded() {
                writing.insert(place);
                return growth;
            }
            let depth = writing.range().depth;
            drop(writing);
            if !self.split(owner, subtable, depth, &mut growth) {
                subtable.write().insert(place);
                return growth;
            }
        }
    }

    /// Takes out the places of many slots, best in about the order of their hashes.
    pub fn remove_all(&self, entries: impl Iterator<Item = (u32, PageNumber, u8)> + Clone) {
        let Some(directory) = self.directory.get() else { return };
        let mut ahead = entries.clone().skip(AHEAD);
        entries.clone().take(AHEAD).for_each(|(hash, _, _)| directory.anticipate(hash));
        let mut present: Option<(&Subtable, Writing<'_>)> = None;
        for (hash, page, slot) in entries {
            ahead.next().into_iter().for_each(|(hash, _, _)| directory.anticipate(hash));
            let Some(subtable) = directory.get(hash) else { continue };
            if present.as_ref().is_none_or(|(locked, _)| !std::ptr::eq(*locked, subtable)) {
                // The one before is unlocked first.
                drop(present.take());
                present = Some((subtable, subtable.write()));
            }
            if let Some((_, writing)) = &mut present {
                writing.remove(Place::new(hash, page, slot, 0));
            }
        }
    }

    /// Takes out the place of a slot.
    pub fn remove(&self, hash: u32, page: PageNumber, slot: u8) {
        self.subtable(hash).write().remove(Place::new(hash, page, slot, 0));
    }

    /// Says that entries of a page are in another one now.
    pub fn relocate_all(&self, moves: &[Move], from: PageNumber, to: PageNumber) {
        let Some(directory) = self.directory.get() else { return };
        moves.iter().take(AHEAD).for_each(|moved| directory.anticipate(moved.hash));
        for (at, moved) in moves.iter().enumerate() {
            moves.get(at + AHEAD).into_iter().for_each(|moved| directory.anticipate(moved.hash));
            let mut writing = self.subtable(moved.hash).write();
            let place = Place::new(moved.hash, from, moved.from, 0);
            writing.update(place, |place| place.moved_to(to, moved.to));
            writing.count_relocation();
        }
    }

    /// Says that an entry has become a tombstone, or a record again.
    pub fn flag(&self, hash: u32, page: PageNumber, slot: u8, tombstone: bool) {
        let place = Place::new(hash, page, slot, 0);
        self.subtable(hash).write().update(place, |place| place.flagged(tombstone));
    }

    /// Says that a tombstone has become a record again, the last of its hash.
    pub fn revive(&self, place: Place) {
        let mut writing = self.subtable(place.hash()).write();
        writing.remove(place);
        writing.insert(place);
    }

    /// Splits a sub-table of this depth, if that is worth it. Returns whether it did.
    fn split(&self, owner: TableId, subtable: &'static Subtable, depth: u32, growth: &mut i64) -> bool {
        if !self.has_directory_for(depth + 1, growth) {
            return false;
        }
        let sibling = SUBTABLES.take();
        let (mut writing, mut other) = (subtable.write(), sibling.write());
        other.reset(owner);
        let range = writing.split(&mut other);
        *growth += size_of::<Subtable>() as i64;
        self.subtables.store(self.subtables.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // Published while both are locked: who finds the old one sees at once that it no longer covers the hash.
        let directory = self.directory.get().expect("an open index");
        let width = 1 << (directory.bits - range.depth);
        let first = range.prefix as usize * width;
        for at in first..first + width {
            directory.set(at, sibling, range.depth);
            directory.set(at - width, subtable, range.depth);
        }
        true
    }

    /// Makes the directory long enough for sub-tables of a depth, if that is worth it.
    fn has_directory_for(&self, depth: u32, growth: &mut i64) -> bool {
        let directory = self.directory.get().expect("an open index");
        if depth <= directory.bits {
            return true;
        }
        let sparse = directory.subtables.len() * 2 > self.subtables.load(Ordering::Relaxed) * SPARSENESS_MAX;
        if depth > BITS_MAX || sparse {
            return false;
        }
        let longer = Directory::take(directory.bits + 1);
        for (at, entry) in longer.subtables.iter().enumerate() {
            entry.set(directory.subtables[at / 2].get());
            longer.depths[at].store(directory.depths[at / 2].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.directory.set(Some(longer));
        *growth += (directory.subtables.len() * (size_of::<usize>() + 1)) as i64;
        // A reader that still has the old one finds sub-tables by it, which say whether they are the right ones.
        DIRECTORIES[directory.bits as usize].give(directory);
        true
    }
}

/// The least hash that is not below: hashes have 27 bits. (Above the greatest hash there is only that itself.)
fn round_up(from: u32) -> u32 {
    from.checked_next_multiple_of(32).unwrap_or(u32::MAX)
}
