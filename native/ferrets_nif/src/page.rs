//! Pages: some hundred records that share a lock and an arena.
//!
//! A page has up to 256 slots; a slot holds a record or a tombstone, with its version and hash. A slot's number does not
//! change as long as the entry stays in the page, not even when the page is compacted. In a page of an `ordered_set` a
//! permutation of the slots gives the order of the keys. A page knows nothing of the index and the fences that point to
//! it: [`crate::store`] keeps them in step.
//!
//! Invariants: a slot's term (in the [front](crate::front)) is none or one of this page's arena; it is a bare key where the front's `tombstones` has the slot's
//! bit and `objects` has not, else a tuple with an element at `keypos`; `order` holds each used slot once, by ascending key, or nothing if the
//! table is not ordered; `live_words + garbage_words` is what has been put into the arena.

use ferrets_core::store::{Kind, Stamp};
use ferrets_core::version::{Origin, Version};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustler::Term;

use crate::beam::arena::{Arena, Seen, Stored};
use crate::beam::compare::compare;
use crate::beam::term::{element, words};
use crate::bits::Bits;
use crate::front::{Front, NOWHERE};
use crate::os::prefetch;
use crate::pool::Shelf;
use crate::table::TableId;

/// How many slots a page has at most.
pub const SLOTS_MAX: usize = 256;

/// How many words of entries a page takes, unless it has only one: copying so much takes less than 200 us.
pub const WORDS_MAX: u64 = 32 * 1024;

/// So many steps ahead, a search in the order of keys asks for memory.
const ANTICIPATED: usize = 3;

/// While entries are copied, memory is asked for that of the one so many places ahead.
const COPIED_AHEAD: usize = 4;

/// So many inserts, each right behind the one before, are a run.
const RUN_MIN: u8 = 8;

/// Garbage below this is not worth a compaction.
const GARBAGE_MIN: u64 = 512;

/// All pages of all tables.
static PAGES: Shelf<Page> = Shelf::new(refill);

/// Makes pages, ahead of need.
pub fn refill() {
    PAGES.refill();
}

/// The number of a page, of 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageNumber(pub u32);

impl PageNumber {
    /// The page with this number.
    #[inline]
    pub fn page(self) -> &'static Page {
        PAGES.get(self.0)
    }

    /// A page nobody uses, opened for `owner`.
    pub fn take(owner: TableId) -> Self {
        let number = PageNumber(PAGES.take());
        let page = number.page();
        page.write().front = &page.front;
        page.front.own(owner);
        number
    }

    /// Empties a page and gives it back. What hung in it is returned, to be freed wherever it does not matter.
    pub fn give(self, mut body: RwLockWriteGuard<'_, Body>) -> Contents {
        let contents = body.clear();
        drop(body);
        PAGES.give(self.0);
        contents
    }
}

/// What hangs in a page besides its shell. Readers may be looking into it still.
pub struct Contents {
    /// The entries' terms.
    _arena: Arena,
    _order: Vec<u8>,
}

/// The shell of a page.
#[derive(Default)]
#[repr(align(64))]
#[repr(C)]
pub struct Page {
    front: Front,
    body: RwLock<Body>,
}

impl Page {
    /// What a reader sees of it without its lock.
    #[inline]
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// Asks for the cache lines in which a slot's term is, and what is known of the entry, so that they come while the lock's does.
    #[inline]
    pub fn prefetch_for_writing(&self, slot: u8) {
        self.front.prefetch(slot);
        // SAFETY: only computes an address, within the page.
        let metas = unsafe { &raw const (*self.body.data_ptr()).metas };
        prefetch(metas.cast(), usize::from(slot) * size_of::<Meta>());
    }

    /// Asks for the cache lines that whoever comes to a slot needs first: the lock's, and those of the slot.
    #[inline]
    pub fn prefetch_head(&self, slot: u8) {
        self.prefetch_body();
        self.prefetch_for_writing(slot);
    }

    /// Asks for the cache lines that whoever locks the page and searches it needs first.
    #[inline]
    pub fn prefetch_body(&self) {
        (0..3).for_each(|line| prefetch((&raw const self.body).cast(), line * 64));
    }

    /// Asks for an entry's cache lines. They come while the lock is held no more.
    pub fn prefetch_entry(&self, slot: u8) {
        self.front.term(slot).prefetch_all();
    }

    /// Locks the page for reading.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, Body> {
        self.body.read()
    }

    /// Locks the page for writing.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, Body> {
        self.body.write()
    }
}

/// What is known of an entry besides its term.
///
/// Packed, since there is one for each slot, and a fifth of them would be nothing.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
pub struct Meta {
    hlc: u64,
    origin: u32,
    /// The key's hash.
    pub hash: u32,
    /// The words that the term takes in the arena.
    pub words: u32,
}

impl Meta {
    /// Meta-data of an entry about to be stored.
    pub fn new(version: Version, hash: u32, words: u32) -> Self {
        Meta { hlc: version.hlc, origin: version.origin.0, hash, words }
    }

    /// The entry's version.
    pub fn version(&self) -> Version {
        Version { hlc: self.hlc, origin: Origin(self.origin) }
    }
}

/// What a page consists of, under its lock.
#[repr(C)]
pub struct Body {
    /// What readers see: whose the page is, terms, and which of them are tombstones. Of this page; of none if it has never been used.
    front: &'static Front,
    arena: Arena,
    len: u16,
    records: u16,
    order: Vec<u8>,
    used: Bits,
    /// In a bag, which tombstones are of objects, and not of keys.
    objects: Bits,
    live_words: u64,
    garbage_words: u64,
    /// The neighbours in the order of keys, in an `ordered_set`.
    pub before: Option<PageNumber>,
    /// See [`Body::before`].
    pub after: Option<PageNumber>,
    /// Whether the writer remembers that the page has room.
    pub listed: bool,
    /// The position behind the last insert, and how many came each right behind the one before.
    run: (u16, u8),
    /// In the shell itself, so that the writer finds it without another step.
    metas: [Meta; SLOTS_MAX],
}

impl Default for Body {
    fn default() -> Self {
        Body {
            front: &NOWHERE,
            arena: Arena::new(),
            len: 0,
            records: 0,
            order: Vec::new(),
            used: Bits::default(),
            objects: Bits::default(),
            live_words: 0,
            garbage_words: 0,
            before: None,
            after: None,
            listed: false,
            run: (0, 0),
            metas: [Meta::default(); SLOTS_MAX],
        }
    }
}

/// An entry that was moved to another page.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// The key's hash.
    pub hash: u32,
    /// Its slot in the old page.
    pub from: u8,
    /// Its slot in the new one.
    pub to: u8,
}

impl Body {
    /// Makes the page nobody's, without entries. Meta-data stay, as they mean nothing without an entry.
    pub fn clear(&mut self) -> Contents {
        let contents = Contents { _arena: std::mem::take(&mut self.arena), _order: std::mem::take(&mut self.order) };
        self.front.own(TableId::NOBODY);
        self.used.iter().for_each(|slot| self.front.clear(slot));
        (self.len, self.records) = (0, 0);
        (self.live_words, self.garbage_words) = (0, 0);
        (self.before, self.after, self.listed, self.run) = (None, None, false, (0, 0));
        (self.used, self.objects) = (Bits::default(), Bits::default());
        contents
    }

    /// The table that the page belongs to.
    #[inline]
    pub fn owner(&self) -> TableId {
        self.front.owner()
    }

    /// How many slots are used.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// How many slots hold a record.
    pub fn records(&self) -> usize {
        usize::from(self.records)
    }

    /// Words of entries.
    pub fn live_words(&self) -> u64 {
        self.live_words
    }

    /// Words in the arena that nothing refers to any more.
    pub fn garbage_words(&self) -> u64 {
        self.garbage_words
    }

    /// Words that the page takes besides its arena's.
    pub fn overhead_words(&self) -> u64 {
        let bytes = self.order.capacity() + size_of::<Page>();
        (bytes / 8 + self.arena.slack()) as u64
    }

    #[inline]
    fn seen(&self, slot: u8) -> Option<Seen<'_>> {
        let stored = self.front.term(slot);
        // SAFETY: what stands in the front and is not none is a term of `arena`, which is never cleared.
        (!stored.is_none()).then(|| unsafe { self.arena.see(stored) })
    }

    #[inline]
    fn term(&self, slot: u8) -> Option<Term<'_>> {
        self.seen(slot).map(Seen::term)
    }

    /// The record in a slot, if there is one.
    #[inline]
    pub fn record(&self, slot: u8) -> Option<Seen<'_>> {
        if self.front.is_tombstone(slot) {
            return None;
        }
        self.front.term(slot).prefetch();
        self.seen(slot)
    }

    /// The record in a slot and its key.
    #[inline]
    pub fn keyed_record(&self, slot: u8) -> Option<(Seen<'_>, Term<'_>)> {
        let record = self.record(slot)?;
        Some((record, element(record.term(), self.owner().keypos())?))
    }

    /// The key of the entry in a slot.
    #[inline]
    pub fn key(&self, slot: u8) -> Option<Term<'_>> {
        self.key_at(slot, self.owner().keypos())
    }

    #[inline]
    fn key_at(&self, slot: u8, keypos: usize) -> Option<Term<'_>> {
        let term = self.term(slot)?;
        if self.front.is_tombstone(slot) && !self.objects.has(slot) {
            Some(term)
        } else {
            element(term, keypos)
        }
    }

    /// Record or bare key, as it stands in the slot, with what is known about it.
    pub fn entry(&self, slot: u8) -> Option<(Term<'_>, Kind, &Meta)> {
        Some((self.term(slot)?, self.kind(slot), self.metas.get(usize::from(slot))?))
    }

    /// What is known about the entry in a slot.
    pub fn meta(&self, slot: u8) -> Option<&Meta> {
        self.term(slot)?;
        self.metas.get(usize::from(slot))
    }

    /// Version and kind of the entry in a slot.
    pub fn stamp(&self, slot: u8) -> Option<Stamp> {
        Some(Stamp { version: self.meta(slot)?.version(), kind: self.kind(slot) })
    }

    /// What is in a used slot.
    #[inline]
    pub fn kind(&self, slot: u8) -> Kind {
        match (self.front.is_tombstone(slot), self.objects.has(slot)) {
            (false, _) => Kind::Record,
            (true, false) => Kind::Tombstone,
            (true, true) => Kind::ObjectTombstone,
        }
    }

    fn set(&mut self, slot: u8, kind: Kind, stored: Stored) {
        self.front.set(slot, stored, !kind.is_record());
        self.objects.set(slot, kind == Kind::ObjectTombstone);
    }

    /// The used slots, in their own order.
    pub fn used_slots(&self) -> impl Iterator<Item = u8> + '_ {
        self.used.iter()
    }

    /// The used slots, in the order of keys if the table is ordered.
    pub fn slots(&self) -> Vec<u8> {
        if self.owner().is_ordered() {
            self.order.clone()
        } else {
            self.used.iter().collect()
        }
    }

    /// The slot at a position in the order of keys.
    #[inline]
    pub fn at(&self, position: usize) -> Option<u8> {
        self.order.get(position).copied()
    }

    /// The position of a key in the order: `Ok` if it is there, else where it would go.
    pub fn search(&self, key: Term<'_>) -> Result<usize, usize> {
        self.search_by::<true>(key)
    }

    /// Likewise, in a table of which most is in the processor's cache.
    pub fn search_near(&self, key: Term<'_>) -> Result<usize, usize> {
        self.search_by::<false>(key)
    }

    fn search_by<const ANTICIPATES: bool>(&self, key: Term<'_>) -> Result<usize, usize> {
        let keypos = self.owner().keypos();
        let (mut low, mut high) = (0, self.order.len());
        let mut steps = 0;
        while low < high {
            if ANTICIPATES && steps % ANTICIPATED == 0 && high - low > ANTICIPATED {
                self.anticipate(low, high, ANTICIPATED);
            }
            steps += 1;
            let middle = low + (high - low) / 2;
            match self.order.get(middle).and_then(|&slot| self.key_at(slot, keypos)).map(|other| compare(other, key)) {
                Some(std::cmp::Ordering::Greater) => high = middle,
                Some(std::cmp::Ordering::Equal) => return Ok(middle),
                Some(std::cmp::Ordering::Less) | None => low = middle + 1,
            }
        }
        Err(low)
    }

    /// Asks for the entries at which the next so many steps of a search may look: their memory is then waited for at once, and
    /// not step by step.
    fn anticipate(&self, low: usize, high: usize, steps: usize) {
        if low >= high || steps == 0 {
            return;
        }
        let middle = low + (high - low) / 2;
        self.prefetch_key_at(middle);
        self.anticipate(low, middle, steps - 1);
        self.anticipate(middle + 1, high, steps - 1);
    }

    /// Whether a new key goes between the one before this position and the one at it.
    pub fn is_between(&self, position: usize, key: Term<'_>) -> bool {
        let key_at = |at| self.key(self.at(at)?);
        let below = position.checked_sub(1).and_then(key_at);
        below.is_some_and(|below| compare(below, key).is_lt())
            && key_at(position).is_some_and(|above| compare(above, key).is_gt())
    }

    /// Asks for the cache lines in which the order is.
    pub fn prefetch_order(&self) {
        (0..self.order.len()).step_by(64).for_each(|offset| prefetch(self.order.as_ptr(), offset));
    }

    /// Asks for the cache line in which it says where the entry at a position is.
    pub fn prefetch_slot_at(&self, position: usize) {
        if let Some(slot) = self.at(position) {
            self.front.prefetch_term(slot);
        }
    }

    /// Asks for the cache lines in which the key at a position is.
    #[inline]
    pub fn prefetch_key_at(&self, position: usize) {
        if let Some(slot) = self.at(position) {
            self.front.term(slot).prefetch_key();
        }
    }

    /// Asks for the cache lines that the next insert will write to.
    pub fn prefetch_room(&self) {
        if let Some(slot) = self.used.first_clear() {
            self.front.prefetch_term(slot);
            prefetch(self.metas.as_ptr().cast(), usize::from(slot) * size_of::<Meta>());
        }
        self.arena.prefetch_room();
    }

    /// Takes note of where an entry is about to be inserted. Returns whether it is one of a run of ascending keys.
    pub fn note_insert(&mut self, position: usize) -> bool {
        let (expected, length) = self.run;
        let length = if usize::from(expected) == position { length.saturating_add(1) } else { 0 };
        self.run = (position as u16 + 1, length);
        length >= RUN_MIN
    }

    /// The next of a run of another page's come here, from the beginning on.
    pub fn continue_run(&mut self, of: &Body) {
        self.run = (1, of.run.1);
    }

    /// The first of these positions of whose key this does not hold, else their end. It must hold of all keys before.
    pub fn partition(&self, positions: std::ops::Range<usize>, holds: impl Fn(Term<'_>) -> bool) -> usize {
        let (mut low, mut high) = (positions.start, positions.end);
        let mut steps = 0;
        while low < high {
            if steps % ANTICIPATED == 0 && high - low > ANTICIPATED {
                self.anticipate(low, high, ANTICIPATED);
            }
            steps += 1;
            let middle = low + (high - low) / 2;
            if self.at(middle).and_then(|slot| self.key(slot)).is_none_or(&holds) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Asks for the cache lines of the entry at a position.
    #[inline]
    pub fn prefetch_at(&self, position: usize) {
        if let Some(slot) = self.at(position) {
            self.front.term(slot).prefetch_all();
        }
    }

    /// Likewise from a position on, looking at near positions first.
    pub fn gallop(&self, from: usize, holds: impl Fn(Term<'_>) -> bool) -> usize {
        let (mut first, mut stride) = (from, 1);
        while let Some(slot) = self.at(first + stride - 1) {
            if !self.key(slot).is_none_or(&holds) {
                return self.partition(first..first + stride - 1, holds);
            }
            first += stride;
            stride *= 2;
        }
        self.partition(first..self.len().max(first), holds)
    }

    /// The least position from which on this holds of all keys up to a position, looking at near positions first.
    pub fn gallop_down(&self, to: usize, holds: impl Fn(Term<'_>) -> bool) -> usize {
        let (mut end, mut stride) = (to, 1);
        while let Some(slot) = end.checked_sub(stride).and_then(|at| self.at(at)) {
            if !self.key(slot).is_none_or(&holds) {
                return self.partition(end - stride + 1..end, |key| !holds(key));
            }
            end -= stride;
            stride *= 2;
        }
        self.partition(0..end, |key| !holds(key))
    }

    /// Whether an entry of so many words can be added.
    pub fn has_room(&self, words: u32) -> bool {
        self.len() < SLOTS_MAX && (self.len == 0 || self.live_words + u64::from(words) <= WORDS_MAX)
    }

    /// Whether the page has grown beyond what may be copied at one go, and can be divided.
    pub fn is_overfull(&self) -> bool {
        self.live_words > WORDS_MAX && self.len > 1
    }

    /// Adds an entry in an unused slot: `position` is its place in the order, where there is one.
    ///
    /// # Panics
    /// If all slots are used.
    pub fn insert(&mut self, kind: Kind, term: Term<'_>, meta: Meta, position: usize) -> u8 {
        let stored = self.arena.adopt(term);
        self.place_entry(kind, stored, meta, position)
    }

    fn place_entry(&mut self, kind: Kind, stored: Stored, meta: Meta, position: usize) -> u8 {
        let slot = self.used.first_clear().expect("a page with room");
        let index = usize::from(slot);
        self.metas[index] = meta;
        self.used.set(slot, true);
        self.set(slot, kind, stored);
        self.len += 1;
        self.records += u16::from(kind.is_record());
        self.live_words += u64::from(meta.words);
        if self.owner().is_ordered() {
            self.order.insert(position, slot);
        }
        slot
    }

    /// Puts a newer entry of the same key in a slot; in a bag, of the same object. A tombstone keeps using the key inside the
    /// old record, or the object that is there.
    ///
    /// # Panics
    /// If the slot is not used.
    pub fn replace(&mut self, slot: u8, kind: Kind, term: Term<'_>, meta: Meta) {
        let index = usize::from(slot);
        let before = self.kind(slot);
        let old_words = self.metas[index].words;
        let (stored, added, kept) = match kind {
            // A bag's object is the same as before.
            Kind::Record if self.owner().is_bag() && before.is_record() => (self.front.term(slot), 0, old_words),
            Kind::Record => (self.arena.adopt(term), meta.words, meta.words),
            Kind::ObjectTombstone => (self.front.term(slot), 0, old_words),
            Kind::Tombstone => {
                let key = self.key(slot).expect("a used slot");
                let kept = words(key);
                (Stored::within(key), 0, kept)
            }
        };
        self.metas[index] = Meta { words: kept, ..meta };
        self.set(slot, kind, stored);
        self.records += u16::from(kind.is_record());
        self.records -= u16::from(before.is_record());
        let total = self.live_words + self.garbage_words + u64::from(added);
        self.live_words = self.live_words - u64::from(old_words) + u64::from(kept);
        self.garbage_words = total.saturating_sub(self.live_words);
    }

    /// Takes entries out.
    ///
    /// # Panics
    /// If a slot is not used.
    pub fn remove(&mut self, slots: impl Iterator<Item = u8>) {
        let mut gone = Bits::default();
        let tombstones = self.front.tombstones();
        for slot in slots {
            let index = usize::from(slot);
            let words = u64::from(self.metas[index].words);
            self.live_words -= words;
            self.garbage_words += words;
            self.front.clear(slot);
            gone.set(slot, true);
        }
        assert!(gone.without(&self.used).is_empty(), "only entries can be removed");
        self.len -= gone.count();
        self.records -= gone.without(&tombstones).count();
        for bits in [&mut self.used, &mut self.objects] {
            *bits = bits.without(&gone);
        }
        self.order.retain(|&slot| !gone.has(slot));
    }

    /// Whether enough of the arena is garbage to be worth copying the rest.
    pub fn wants_compaction(&self) -> bool {
        self.garbage_words >= GARBAGE_MIN.max(self.live_words)
    }

    /// Copies the entries to a new arena and returns the old one, into which readers may be looking still.
    pub fn compact(&mut self) -> Arena {
        let slots: Vec<u8> = self.slots();
        let mut arena = Arena::new();
        let copies = self.copy_to(&slots, &mut arena);
        for (&slot, stored) in slots.iter().zip(copies) {
            self.front.set_term(slot, stored);
        }
        self.garbage_words = 0;
        std::mem::replace(&mut self.arena, arena)
    }

    /// Copies the entries in `slots`. One by one: a copy of all in one term would lay out their parts level by level, and
    /// a record's parts should be close to each other.
    fn copy_to(&self, slots: &[u8], arena: &mut Arena) -> Vec<Stored> {
        let copy = |(at, &slot): (usize, &u8)| {
            slots.get(at + COPIED_AHEAD).into_iter().for_each(|&ahead| self.front.term(ahead).prefetch_all());
            self.seen(slot).map_or(Stored::none(), |seen| arena.adopt_seen(seen))
        };
        slots.iter().enumerate().map(copy).collect()
    }

    /// Moves the entries in `slots`, which are in order, behind those of another page.
    ///
    /// # Panics
    /// If the other page has too few slots.
    pub fn transfer(&mut self, slots: &[u8], into: &mut Body) -> Vec<Move> {
        let copies = self.copy_to(slots, &mut into.arena);
        let mut moves = Vec::with_capacity(slots.len());
        for (&slot, stored) in slots.iter().zip(copies) {
            let meta = self.metas[usize::from(slot)];
            let to = into.place_entry(self.kind(slot), stored, meta, into.order.len());
            moves.push(Move { hash: meta.hash, from: slot, to });
        }
        self.remove(slots.iter().copied());
        moves
    }

    /// Where to divide the page so that both parts have about as many words: a position in the order, not at its ends.
    pub fn middle(&self) -> usize {
        let mut sum = 0;
        let half = self.live_words / 2;
        let position = self.order.iter().position(|&slot| {
            sum += u64::from(self.metas[usize::from(slot)].words);
            sum > half
        });
        position.unwrap_or(0).clamp(1, self.order.len().saturating_sub(1).max(1))
    }
}
