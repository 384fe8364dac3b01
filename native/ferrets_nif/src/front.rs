//! The front of a page: what a reader sees of it without its lock.
//!
//! It is written under the page's lock, and read at any time. A record's term is valid for whoever has [come](crate::epoch) before he looks
//! here: arenas are freed when nobody sees them any more. Invariant: while a slot holds a tombstone's term its bit says so, from
//! before the term is there until after it has gone.

use std::sync::atomic::{fence, AtomicU64, Ordering};

use crate::beam::arena::Stored;
use crate::bits::Bits;
use crate::os::prefetch;
use crate::page::SLOTS_MAX;
use crate::table::TableId;

/// See the module.
#[repr(C)]
pub struct Front {
    owner: AtomicU64,
    tombstones: [AtomicU64; SLOTS_MAX / 64],
    terms: [AtomicU64; SLOTS_MAX],
}

/// The front of no page.
pub static NOWHERE: Front = Front::new();

impl Default for Front {
    fn default() -> Self {
        Front::new()
    }
}

impl Front {
    const fn new() -> Self {
        Front {
            owner: AtomicU64::new(0),
            tombstones: [const { AtomicU64::new(0) }; SLOTS_MAX / 64],
            terms: [const { AtomicU64::new(0) }; SLOTS_MAX],
        }
    }

    /// The table that the page belongs to.
    #[inline]
    pub fn owner(&self) -> TableId {
        TableId::from_bits(self.owner.load(Ordering::Acquire))
    }

    /// Gives the page to a table, or to nobody.
    pub fn own(&self, owner: TableId) {
        self.owner.store(owner.to_bits(), Ordering::Release);
    }

    /// The term in a slot.
    #[inline]
    pub fn term(&self, slot: u8) -> Stored {
        Stored::from_bits(self.terms[usize::from(slot)].load(Ordering::Acquire))
    }

    /// Puts a term into a slot.
    #[inline]
    pub fn set_term(&self, slot: u8, term: Stored) {
        self.terms[usize::from(slot)].store(term.to_bits(), Ordering::Release);
    }

    /// Puts an entry into a slot. See the module for the order.
    pub fn set(&self, slot: u8, term: Stored, is_tombstone: bool) {
        if is_tombstone {
            self.mark(slot, true);
            self.set_term(slot, term);
        } else {
            self.set_term(slot, term);
            self.mark(slot, false);
        }
    }

    /// Leaves nothing in a slot.
    pub fn clear(&self, slot: u8) {
        self.set(slot, Stored::none(), false);
    }

    fn mark(&self, slot: u8, is_tombstone: bool) {
        let word = &self.tombstones[usize::from(slot >> 6)];
        let bit = 1 << (slot & 63);
        let before = word.load(Ordering::Relaxed);
        word.store(if is_tombstone { before | bit } else { before & !bit }, Ordering::Release);
    }

    /// Whether a slot holds a tombstone.
    #[inline]
    pub fn is_tombstone(&self, slot: u8) -> bool {
        self.tombstones[usize::from(slot >> 6)].load(Ordering::Acquire) >> (slot & 63) & 1 == 1
    }

    /// The slots that hold tombstones.
    pub fn tombstones(&self) -> Bits {
        Bits::of(std::array::from_fn(|word| self.tombstones[word].load(Ordering::Relaxed)))
    }

    /// The record in a slot of a page of this table. Nothing means nothing: there may be one, and what the page's lock protects is
    /// under way.
    #[inline]
    pub fn glance(&self, owner: TableId, slot: u8) -> Option<Stored> {
        let stored = self.term(slot);
        if stored.is_none() || self.is_tombstone(slot) || self.owner() != owner {
            return None;
        }
        // What was read above comes before what is read below: in between the term was that of a record of this table.
        fence(Ordering::Acquire);
        (self.terms[usize::from(slot)].load(Ordering::Relaxed) == stored.to_bits()).then_some(stored)
    }

    /// Asks for the cache lines in which it says whose the page is, and what is in a slot.
    #[inline]
    pub fn prefetch(&self, slot: u8) {
        prefetch(std::ptr::from_ref(self).cast(), 0);
        self.prefetch_term(slot);
    }

    /// Asks for the cache line in which it says what is in a slot.
    #[inline]
    pub fn prefetch_term(&self, slot: u8) {
        prefetch((&raw const self.terms).cast(), usize::from(slot) * size_of::<u64>());
    }
}
