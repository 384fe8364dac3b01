//! Places of entries, in the order of their hashes: the contents of a sub-table of the index.
//!
//! Linear probing, in which the entries are kept sorted: since the position that an entry wants is given by its hash's
//! next bits, ascending positions and ascending hashes are the same thing (Amble and Knuth, "Ordered hash tables", 1974).
//! A look-up reads one cache line in most cases, where a table with separate tags would read two, and the entry with the
//! next hash is next to it. What finds no room up to the end of the array, which takes many keys of one hash, is spilled.
//!
//! Invariants: used slots are ascending; between the slot that an entry wants and the one it has none is empty.

use crate::page::PageNumber;

/// The slots that hashes want are as many as this many bits tell apart.
const HOME_BITS: u32 = 10;

/// Slots, with some behind the last home for those that are crowded out.
const SLOTS: usize = (1 << HOME_BITS) + 64;

/// With more entries, runs grow long: time to split at the latest.
const CROWD_MAX: usize = (1 << HOME_BITS) * 4 / 5;

/// With fewer entries, splitting wastes memory.
const CROWD_MIN: usize = (1 << HOME_BITS) * 11 / 20;

/// Where an entry is, with its hash: 27 bits of hash, 1 of kind, 4 unused, 24 of page, 8 of slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl Place {
    /// No place: page 0 is never used.
    const EMPTY: Self = Place(0);

    const TOMBSTONE: u64 = 1 << 36;

    /// The place of a record or tombstone.
    pub fn new(hash: u32, page: PageNumber, slot: u8, tombstone: bool) -> Self {
        debug_assert!(hash.is_multiple_of(32) && page.0 != 0);
        let flag = if tombstone { Self::TOMBSTONE } else { 0 };
        Place(u64::from(hash) << 32 | flag | u64::from(page.0) << 8 | u64::from(slot))
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

    /// Whether it is this slot of this page, whatever is known of the entry.
    pub fn is_at(self, page: PageNumber, slot: u8) -> bool {
        self.page() == page && self.slot() == slot
    }
}

/// Places whose hashes have their first `depth` bits in common.
#[repr(C)]
pub struct Places {
    depth: u32,
    len: u32,
    spill: Vec<Place>,
    slots: [Place; SLOTS],
}

impl Default for Places {
    fn default() -> Self {
        Places { depth: 0, len: 0, spill: Vec::new(), slots: [Place::EMPTY; SLOTS] }
    }
}

impl Places {
    /// How many bits the hashes have in common.
    #[inline]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.len as usize + self.spill.len()
    }

    /// How far into the structure a hash's place is most likely, in bytes.
    #[inline]
    pub fn offset(depth: u32, hash: u32) -> usize {
        std::mem::offset_of!(Places, slots) + ((hash << depth) >> (32 - HOME_BITS)) as usize * size_of::<Place>()
    }

    /// Whether it is time to split. Hashes are spread so evenly that all sub-tables of a table would come to one bound
    /// at the same time, and their splits would hold up the writer: so each has a bound of its own.
    pub fn is_crowded(&self, prefix: u32) -> bool {
        let lot = prefix.wrapping_mul(0x9E37_79B1) >> 16;
        self.len() >= CROWD_MIN + lot as usize % (CROWD_MAX - CROWD_MIN)
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((hash << self.depth) >> (32 - HOME_BITS)) as usize
    }

    /// The first slot that is empty or has at least this hash.
    #[inline]
    fn seek(&self, hash: u32) -> usize {
        let bound = Place(u64::from(hash) << 32);
        let home = self.home(hash);
        let beyond = self.slots[home..].iter().position(|&place| place == Place::EMPTY || place >= bound);
        beyond.map_or(SLOTS, |steps| home + steps)
    }

    /// Shows the places with this hash.
    #[inline]
    pub fn each_of(&self, hash: u32, mut show: impl FnMut(Place)) {
        let run = &self.slots[self.seek(hash)..];
        run.iter().take_while(|place| **place != Place::EMPTY && place.hash() == hash).for_each(|&place| show(place));
        self.spill.iter().filter(|place| place.hash() == hash).for_each(|&place| show(place));
    }

    /// Shows the places with at least this hash, ascending, until told to stop.
    pub fn each_from(&self, hash: u32, mut show: impl FnMut(Place) -> bool) {
        let slots = self.slots[self.seek(hash)..].iter().filter(|place| **place != Place::EMPTY);
        if self.spill.is_empty() {
            for &place in slots {
                if !show(place) {
                    return;
                }
            }
        } else {
            let spilled = self.spill.iter().filter(|place| place.hash() >= hash);
            let mut all: Vec<Place> = slots.chain(spilled).copied().collect();
            all.sort_unstable();
            let _ = all.into_iter().all(show);
        }
    }

    /// Adds a place.
    pub fn insert(&mut self, place: Place) {
        let at = self.seek(place.hash());
        match self.slots[at..].iter().position(|&other| other == Place::EMPTY) {
            Some(steps) => {
                self.slots.copy_within(at..at + steps, at + 1);
                self.slots[at] = place;
                self.len += 1;
            }
            None => self.spill.push(place),
        }
    }

    fn position(&self, hash: u32, page: PageNumber, slot: u8) -> Option<usize> {
        let from = self.seek(hash);
        let mut run = self.slots[from..].iter().take_while(|place| **place != Place::EMPTY && place.hash() == hash);
        run.position(|place| place.is_at(page, slot)).map(|steps| from + steps)
    }

    /// The entry of a hash that is there, to be changed to another one of this hash.
    pub fn get_mut(&mut self, hash: u32, page: PageNumber, slot: u8) -> Option<&mut Place> {
        match self.position(hash, page, slot) {
            Some(at) => self.slots.get_mut(at),
            None => self.spill.iter_mut().find(|place| place.hash() == hash && place.is_at(page, slot)),
        }
    }

    /// Takes out the entry of a hash that is there.
    pub fn remove(&mut self, hash: u32, page: PageNumber, slot: u8) -> Option<Place> {
        let Some(at) = self.position(hash, page, slot) else {
            let at = self.spill.iter().position(|place| place.hash() == hash && place.is_at(page, slot))?;
            return Some(self.spill.swap_remove(at));
        };
        let removed = self.slots[at];
        let followers = &self.slots[at + 1..];
        let stays = |(i, place): (usize, &Place)| *place == Place::EMPTY || self.home(place.hash()) > at + i;
        let moved = followers.iter().enumerate().position(stays).unwrap_or(followers.len());
        self.slots.copy_within(at + 1..at + 1 + moved, at);
        self.slots[at + moved] = Place::EMPTY;
        self.len -= 1;
        Some(removed)
    }

    /// Keeps those with a 0 as the next bit of the hash, and puts those with a 1 into `other`, which is empty.
    pub fn split(&mut self, other: &mut Places) {
        let mut all = Vec::with_capacity(self.len());
        self.each_from(0, |place| {
            all.push(place);
            true
        });
        let depth = self.depth + 1;
        let cut = all.partition_point(|place| place.hash() >> (32 - depth) & 1 == 0);
        self.fill(depth, &all[..cut]);
        other.fill(depth, &all[cut..]);
    }

    fn fill(&mut self, depth: u32, ascending: &[Place]) {
        *self = Places { depth, ..Places::default() };
        let mut free = 0;
        for &place in ascending {
            let at = self.home(place.hash()).max(free);
            match self.slots.get_mut(at) {
                Some(slot) => {
                    *slot = place;
                    self.len += 1;
                    free = at + 1;
                }
                None => self.spill.push(place),
            }
        }
    }
}
