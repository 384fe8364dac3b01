//! Places of entries, in the order of their hashes: the contents of a sub-table of the index.
//!
//! Linear probing, in which the entries are kept sorted: since the position that an entry wants is given by its hash's
//! next bits, ascending positions and ascending hashes are the same thing (Amble and Knuth, "Ordered hash tables", 1974).
//! A look-up reads one cache line in most cases, where a table with separate tags would read two, and the entry with the
//! next hash is next to it. What finds no room up to the end of the array, which takes many entries of one hash, is spilled.
//!
//! Invariants: used slots are ascending, and so is the spill; between the slot that an entry wants and the one it has none is
//! empty. Places of one hash are in the order in which they were added, those in the array before those in the spill: a bag's
//! objects are shown in the order of their insertion.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::page::PageNumber;

/// The slots that hashes want are as many as this many bits tell apart.
const HOME_BITS: u32 = 10;

/// Slots, with some behind the last home for those that are crowded out.
const SLOTS: usize = (1 << HOME_BITS) + 64;

/// With more entries, runs grow long: time to split at the latest.
const CROWD_MAX: usize = (1 << HOME_BITS) * 4 / 5;

/// With fewer entries, splitting wastes memory.
const CROWD_MIN: usize = (1 << HOME_BITS) * 11 / 20;

/// Where an entry is, with its hash: 27 bits of hash, 1 of kind, 4 of tag, 24 of page, 8 of slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl Place {
    /// No place: page 0 is never used.
    const EMPTY: Self = Place(0);

    const TOMBSTONE: u64 = 1 << 36;

    const WHERE: u64 = u32::MAX as u64;

    /// The place of a record. The tag has 4 bits: see [`Place::tag`].
    pub fn new(hash: u32, page: PageNumber, slot: u8, tag: u8) -> Self {
        debug_assert!(hash.is_multiple_of(32) && page.0 != 0 && tag < 16);
        Place(u64::from(hash) << 32 | u64::from(tag & 15) << 32 | Self::at(page, slot))
    }

    fn at(page: PageNumber, slot: u8) -> u64 {
        u64::from(page.0) << 8 | u64::from(slot)
    }

    /// The same entry at another place.
    pub fn moved_to(self, page: PageNumber, slot: u8) -> Self {
        Place(self.0 & !Self::WHERE | Self::at(page, slot))
    }

    /// The same place with a record or a tombstone there.
    pub fn flagged(self, tombstone: bool) -> Self {
        Place(if tombstone { self.0 | Self::TOMBSTONE } else { self.0 & !Self::TOMBSTONE })
    }

    /// In a bag, some bits of a hash of the whole object, by which one that is sought is told from most others of its key. 0
    /// for a key's tombstone, and in other tables.
    #[inline]
    pub fn tag(self) -> u8 {
        (self.0 >> 32) as u8 & 15
    }

    /// The key's hash, whose lowest 5 bits are 0.
    #[inline]
    pub fn hash(self) -> u32 {
        (self.0 >> 32) as u32 & !31
    }

    /// Whether a tombstone is there.
    #[inline]
    pub fn is_tombstone(self) -> bool {
        self.0 & Self::TOMBSTONE != 0
    }

    /// The page.
    #[inline]
    pub fn page(self) -> PageNumber {
        PageNumber((self.0 >> 8) as u32 & 0xFF_FFFF)
    }

    /// The slot in the page.
    #[inline]
    pub fn slot(self) -> u8 {
        self.0 as u8
    }

    /// Whether both are the same slot of the same page, whatever is known of the entry.
    fn is_where(self, other: Place) -> bool {
        self.0 as u32 == other.0 as u32
    }
}

/// The array. Written by one thread at a time; whoever reads it meanwhile finds single places whole, and no more than
/// that: see [`crate::subtable`].
pub struct Slots([AtomicU64; SLOTS]);

impl Default for Slots {
    fn default() -> Self {
        Slots([const { AtomicU64::new(0) }; SLOTS])
    }
}

impl Slots {
    /// How far into the array a hash's place is most likely, in bytes.
    #[inline]
    pub fn offset(depth: u32, hash: u32) -> usize {
        home(depth, hash) * size_of::<Place>()
    }

    #[inline]
    fn get(&self, at: usize) -> Place {
        self.0.get(at).map_or(Place::EMPTY, |place| Place(place.load(Ordering::Relaxed)))
    }

    fn set(&self, at: usize, place: Place) {
        self.0[at].store(place.0, Ordering::Relaxed);
    }

    /// The places from a slot up to the next empty one.
    #[inline]
    fn run(&self, from: usize) -> impl Iterator<Item = Place> + '_ {
        let places = self.0[from..].iter().map(|place| Place(place.load(Ordering::Relaxed)));
        places.take_while(|place| *place != Place::EMPTY)
    }

    /// The first slot that is empty or has a higher hash.
    fn seek_beyond(&self, depth: u32, hash: u32) -> usize {
        let home = home(depth, hash);
        home + self.run(home).take_while(|place| place.hash() <= hash).count()
    }

    /// The first slot that is empty or has at least this hash.
    #[inline]
    fn seek(&self, depth: u32, hash: u32) -> usize {
        let bound = Place(u64::from(hash) << 32);
        let home = home(depth, hash);
        home + self.run(home).take_while(|place| *place < bound).count()
    }

    /// Shows the places with this hash, but for those that are spilled.
    #[inline]
    pub fn each_of(&self, depth: u32, hash: u32, show: impl FnMut(Place)) {
        let bound = Place(u64::from(hash) << 32);
        let run = self.run(home(depth, hash)).skip_while(|place| *place < bound);
        run.take_while(|place| place.hash() == hash).for_each(show);
    }

    /// The first place with this hash, unless it is spilled.
    #[inline]
    pub fn first_of(&self, depth: u32, hash: u32) -> Option<Place> {
        let bound = Place(u64::from(hash) << 32);
        self.run(home(depth, hash)).find(|place| *place >= bound).filter(|place| place.hash() == hash)
    }

    /// The used slots from one on.
    fn used(&self, from: usize) -> impl Iterator<Item = Place> + '_ {
        let places = self.0[from..].iter().map(|place| Place(place.load(Ordering::Relaxed)));
        places.filter(|place| *place != Place::EMPTY)
    }

    fn clear(&self) {
        (0..SLOTS).for_each(|at| self.set(at, Place::EMPTY));
    }
}

/// The slot that a hash wants.
#[inline]
fn home(depth: u32, hash: u32) -> usize {
    ((hash << (depth & 31)) >> (32 - HOME_BITS)) as usize
}

/// What is known about the places in an array: their hashes have the first `depth` bits in common.
#[derive(Default)]
pub struct Places {
    depth: u32,
    len: usize,
    spill: Vec<Place>,
}

impl Places {
    /// How many bits the hashes have in common.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether there are places that are not in the array.
    pub fn is_spilled(&self) -> bool {
        !self.spill.is_empty()
    }

    /// Whether it is time to split. Hashes are spread so evenly that all sub-tables of a table would come to one bound
    /// at the same time, and their splits would hold up the writer: so each has a bound of its own.
    pub fn is_crowded(&self, prefix: u32) -> bool {
        let lot = prefix.wrapping_mul(0x9E37_79B1) >> 16;
        self.len + self.spill.len() >= CROWD_MIN + lot as usize % (CROWD_MAX - CROWD_MIN)
    }

    /// Shows the places with this hash.
    pub fn each_of(&self, slots: &Slots, hash: u32, mut show: impl FnMut(Place)) {
        slots.each_of(self.depth, hash, &mut show);
        self.spilled(hash).iter().for_each(|&place| show(place));
    }

    fn spilled(&self, hash: u32) -> &[Place] {
        let begin = self.spill.partition_point(|place| place.hash() < hash);
        let end = self.spill.partition_point(|place| place.hash() <= hash);
        self.spill.get(begin..end).unwrap_or_default()
    }

    fn spill(&mut self, place: Place) {
        let end = self.spill.partition_point(|other| other.hash() <= place.hash());
        self.spill.insert(end, place);
    }

    /// Shows the places with at least this hash, ascending, until told to stop.
    pub fn each_from(&self, slots: &Slots, hash: u32, show: impl FnMut(Place) -> bool) {
        let mut used = slots.used(slots.seek(self.depth, hash));
        if self.spill.is_empty() {
            let _ = used.all(show);
        } else {
            let spilled = self.spill.iter().copied().filter(|place| place.hash() >= hash);
            let mut all: Vec<Place> = used.chain(spilled).collect();
            all.sort_by_key(|place| place.hash());
            let _ = all.into_iter().all(show);
        }
    }

    /// Adds a place.
    pub fn insert(&mut self, slots: &Slots, place: Place) {
        let at = slots.seek_beyond(self.depth, place.hash());
        let end = at + slots.run(at).count();
        if end == SLOTS || !self.spilled(place.hash()).is_empty() {
            return self.spill(place);
        }
        (at..end).rev().for_each(|i| slots.set(i + 1, slots.get(i)));
        slots.set(at, place);
        self.len += 1;
    }

    fn position(&self, slots: &Slots, place: Place) -> Option<usize> {
        let from = slots.seek(self.depth, place.hash());
        slots
            .run(from)
            .take_while(|other| other.hash() == place.hash())
            .position(|other| other.is_where(place))
            .map(|i| from + i)
    }

    fn spill_position(&self, place: Place) -> Option<usize> {
        let begin = self.spill.partition_point(|other| other.hash() < place.hash());
        self.spilled(place.hash()).iter().position(|other| other.is_where(place)).map(|i| begin + i)
    }

    /// Changes what stands for an entry, but for its hash. Returns what stood there before and what stands there now.
    pub fn update(
        &mut self,
        slots: &Slots,
        place: Place,
        change: impl FnOnce(Place) -> Place,
    ) -> Option<(Place, Place)> {
        if let Some(at) = self.position(slots, place) {
            let before = slots.get(at);
            let after = change(before);
            slots.set(at, after);
            return Some((before, after));
        }
        let at = self.spill_position(place)?;
        let spilled = self.spill.get_mut(at)?;
        let before = *spilled;
        *spilled = change(before);
        Some((before, *spilled))
    }

    /// Takes a place out. Returns what was there.
    pub fn remove(&mut self, slots: &Slots, place: Place) -> Option<Place> {
        let Some(mut at) = self.position(slots, place) else {
            let at = self.spill_position(place)?;
            return Some(self.spill.remove(at));
        };
        let removed = slots.get(at);
        // Those behind it that are not where they want to be move up.
        loop {
            let next = slots.get(at + 1);
            if next == Place::EMPTY || home(self.depth, next.hash()) > at {
                break;
            }
            slots.set(at, next);
            at += 1;
        }
        slots.set(at, Place::EMPTY);
        self.len -= 1;
        Some(removed)
    }

    /// Forgets all places.
    pub fn clear(&mut self, slots: &Slots) {
        slots.clear();
        *self = Places::default();
    }

    /// Keeps those with a 0 as the next bit of the hash, and puts those with a 1 into others, which are empty.
    pub fn split(&mut self, slots: &Slots, others: &mut Places, other_slots: &Slots) {
        let mut all = Vec::with_capacity(self.len + self.spill.len());
        self.each_from(slots, 0, |place| {
            all.push(place);
            true
        });
        let depth = self.depth + 1;
        let cut = all.partition_point(|place| place.hash() >> (32 - depth) & 1 == 0);
        self.fill(slots, depth, &all[..cut]);
        others.fill(other_slots, depth, &all[cut..]);
    }

    fn fill(&mut self, slots: &Slots, depth: u32, ascending: &[Place]) {
        self.clear(slots);
        self.depth = depth;
        let mut free = 0;
        for &place in ascending {
            let at = home(depth, place.hash()).max(free);
            if at < SLOTS {
                slots.set(at, place);
                self.len += 1;
                free = at + 1;
            } else {
                self.spill.push(place);
            }
        }
    }
}
