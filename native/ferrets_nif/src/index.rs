//! The index: from a key's hash to the places where entries with this hash are. Extendible hashing (Fagin et al., 1979).
//!
//! The top bits of a hash select a sub-table through the directory; a sub-table has a lock and a hash table of 8-byte
//! [`Place`]s. A sub-table that is full is split in two, one at a time, so nobody waits for a rehash of all; when the
//! directory is too short for that, a new one of twice the length is published. Places, not keys: whoever follows one
//! compares the key itself. Tombstones are flagged, so that readers need not follow them.
//!
//! Invariant: under its lock a sub-table says whose it is and which hashes it holds (`depth`, `prefix`). A reader that
//! finds anything else came by a directory that is no longer in force, and starts over.

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::beam::hash::{kernel, spread};
use crate::page::PageNumber;
use crate::pool::{AtomicRef, Pool};
use crate::table::TableId;

/// A sub-table is split when it holds so many: what fits into 1024 buckets of `hashbrown`.
const ENTRIES_MAX: usize = 896;

/// A directory is at most this many times longer than there are sub-tables: keys that share a hash split no further.
const SPARSENESS_MAX: usize = 16;

const BITS_MAX: u32 = 24;

static SUBTABLES: Pool<Subtable> = Pool::new();
static DIRECTORIES: [Pool<Directory>; BITS_MAX as usize + 1] = [const { Pool::new() }; BITS_MAX as usize + 1];

/// Where an entry is, with its hash: 27 bits of hash, 1 of kind, 4 unused, 24 of page, 8 of slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    const TOMBSTONE: u64 = 1 << 36;

    /// The place of a record or tombstone.
    pub fn new(hash: u32, page: PageNumber, slot: u8, tombstone: bool) -> Self {
        let flag = if tombstone { Self::TOMBSTONE } else { 0 };
        Place(u64::from(kernel(hash)) << 37 | flag | u64::from(page.0) << 8 | u64::from(slot))
    }

    /// The key's hash.
    pub fn hash(self) -> u32 {
        spread((self.0 >> 37) as u32)
    }

    /// Whether a tombstone is there.
    pub fn is_tombstone(self) -> bool {
        self.0 & Self::TOMBSTONE != 0
    }

    /// The page.
    pub fn page(self) -> PageNumber {
        PageNumber((self.0 >> 8) as u32 & 0xFF_FFFF)
    }

    /// The slot in the page.
    pub fn slot(self) -> u8 {
        self.0 as u8
    }

    fn has_hash(self, hash: u32) -> bool {
        self.0 >> 37 == u64::from(kernel(hash))
    }

    fn is_at(self, page: PageNumber, slot: u8) -> bool {
        self.page() == page && self.slot() == slot
    }
}

/// `hashbrown` takes the bucket from the low bits and a tag from the top ones: all of them depend on all 27 bits.
fn bucket_hash(hash: u32) -> u64 {
    let wide = u64::from(kernel(hash)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    wide ^ wide >> 32
}

/// Part of the index: the places of all entries whose hash begins with a prefix.
#[derive(Default)]
#[repr(align(64))]
pub struct Subtable {
    body: RwLock<Body>,
}

#[derive(Default)]
struct Body {
    owner: TableId,
    depth: u32,
    prefix: u32,
    /// How many places have changed: who found nothing at an old place looks again.
    relocations: u64,
    records: usize,
    places: HashTable<Place>,
}

impl Body {
    fn covers(&self, owner: TableId, hash: u32) -> bool {
        self.owner == owner && top_bits(hash, self.depth) == self.prefix
    }

    fn end_hash(&self) -> u64 {
        (u64::from(self.prefix) + 1) << (32 - self.depth)
    }
}

fn top_bits(hash: u32, bits: u32) -> u32 {
    (u64::from(hash) >> (32 - bits)) as u32
}

struct Directory {
    bits: u32,
    subtables: Box<[AtomicRef<Subtable>]>,
}

impl Directory {
    fn take(bits: u32) -> &'static Directory {
        DIRECTORIES[bits as usize]
            .take(|| Directory { bits, subtables: (0..1usize << bits).map(|_| AtomicRef::none()).collect() })
    }

    fn get(&self, hash: u32) -> Option<&'static Subtable> {
        self.subtables[top_bits(hash, self.bits) as usize].get()
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
pub struct Candidates {
    near: [Place; 3],
    len: usize,
    far: Vec<Place>,
    subtable: &'static Subtable,
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

    #[inline]
    fn push(&mut self, place: Place) {
        match self.near.get_mut(self.len) {
            Some(near) => {
                *near = place;
                self.len += 1;
            }
            None => self.far.push(place),
        }
    }
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
        let subtable = SUBTABLES.take(Subtable::default);
        *subtable.body.write() = Body { owner, ..Body::default() };
        let directory = Directory::take(0);
        directory.subtables[0].set(Some(subtable));
        self.directory.set(Some(directory));
        self.subtables.store(1, Ordering::Relaxed);
    }

    /// Gives everything back. The table has been unpublished before.
    pub fn close(&self, owner: TableId) {
        let Some(directory) = self.directory.get() else { return };
        self.directory.set(None);
        for subtable in directory.subtables.iter().filter_map(AtomicRef::get) {
            let mut body = subtable.body.write();
            // A sub-table stands in the directory as often as its depth is short of the directory's.
            if body.owner == owner {
                *body = Body::default();
                drop(body);
                SUBTABLES.give(subtable);
            }
        }
        DIRECTORIES[directory.bits as usize].give(directory);
    }

    /// Shows the sub-table that holds `hash`, under a read lock.
    #[inline]
    fn read<R>(
        &self,
        owner: TableId,
        hash: u32,
        is_there: impl Fn() -> bool,
        show: impl FnOnce(&'static Subtable, &Body) -> R,
    ) -> Result<R, Gone> {
        loop {
            if let Some(subtable) = self.directory.get().and_then(|directory| directory.get(hash)) {
                let body = subtable.body.read();
                if body.covers(owner, hash) {
                    return Ok(show(subtable, &body));
                }
            }
            if !is_there() {
                return Err(Gone);
            }
            std::hint::spin_loop();
        }
    }

    /// Where records with this hash are. `is_there` says whether the table still exists.
    ///
    /// # Errors
    /// [`Gone`] if it does not.
    #[inline]
    pub fn candidates(&self, owner: TableId, hash: u32, is_there: impl Fn() -> bool) -> Result<Candidates, Gone> {
        self.read(owner, hash, is_there, |subtable, body| {
            let relocations = body.relocations;
            let mut found = Candidates { near: [Place(0); 3], len: 0, far: Vec::new(), subtable, relocations };
            for &place in body.places.iter_hash(bucket_hash(hash)) {
                if place.has_hash(hash) && !place.is_tombstone() {
                    found.push(place);
                }
            }
            found
        })
    }

    /// Whether nothing has moved since these candidates were found, so that what is not there is nowhere.
    pub fn is_current(&self, owner: TableId, hash: u32, candidates: &Candidates) -> bool {
        let body = candidates.subtable.body.read();
        body.covers(owner, hash) && body.relocations == candidates.relocations
    }

    /// Collects the places with a hash of at least `from` in one sub-table, in no order; those of tombstones on demand.
    ///
    /// # Errors
    /// [`Gone`] if the table has been dropped.
    pub fn sweep(
        &self,
        owner: TableId,
        from: u32,
        tombstones: bool,
        is_there: impl Fn() -> bool,
        out: &mut Vec<Place>,
    ) -> Result<Sweep, Gone> {
        self.read(owner, from, is_there, |subtable, body| {
            if tombstones || body.records > 0 {
                let wanted = |place: &&Place| place.hash() >= from && (tombstones || !place.is_tombstone());
                out.extend(body.places.iter().filter(wanted));
            }
            Sweep { subtable, relocations: body.relocations, next: u32::try_from(body.end_hash()).ok() }
        })
    }

    /// Whether nothing has moved since a sweep.
    pub fn is_sweep_current(&self, owner: TableId, from: u32, sweep: &Sweep) -> bool {
        let body = sweep.subtable.body.read();
        body.covers(owner, from) && body.relocations == sweep.relocations
    }
}

/// The writer's side: one thread at a time.
impl Index {
    fn subtable(&self, hash: u32) -> &'static Subtable {
        self.directory.get().and_then(|directory| directory.get(hash)).expect("an open index")
    }

    /// All places with this hash, tombstones included.
    pub fn places(&self, hash: u32, out: &mut Vec<Place>) {
        let body = self.subtable(hash).body.read();
        out.extend(body.places.iter_hash(bucket_hash(hash)).filter(|place| place.has_hash(hash)));
    }

    /// Adds a place. Returns how many bytes more the index takes.
    pub fn insert(&self, place: Place) -> i64 {
        let hash = place.hash();
        let mut growth = 0;
        while self.split(hash, &mut growth) {}
        let mut body = self.subtable(hash).body.write();
        let before = body.places.allocation_size();
        body.places.insert_unique(bucket_hash(hash), place, |place| bucket_hash(place.hash()));
        body.records += usize::from(!place.is_tombstone());
        growth + body.places.allocation_size() as i64 - before as i64
    }

    /// Takes a place out.
    pub fn remove(&self, hash: u32, page: PageNumber, slot: u8) {
        let mut body = self.subtable(hash).body.write();
        if let Ok(found) = body.places.find_entry(bucket_hash(hash), |place| place.is_at(page, slot)) {
            let (place, _) = found.remove();
            body.records -= usize::from(!place.is_tombstone());
        }
    }

    /// Says that an entry is at another place now.
    pub fn relocate(&self, hash: u32, from: (PageNumber, u8), to: (PageNumber, u8)) {
        let mut body = self.subtable(hash).body.write();
        if let Some(place) = body.places.find_mut(bucket_hash(hash), |place| place.is_at(from.0, from.1)) {
            *place = Place::new(hash, to.0, to.1, place.is_tombstone());
            body.relocations += 1;
        }
    }

    /// Says that an entry has become a tombstone, or a record again.
    pub fn flag(&self, hash: u32, page: PageNumber, slot: u8, tombstone: bool) {
        let mut body = self.subtable(hash).body.write();
        if let Some(place) = body.places.find_mut(bucket_hash(hash), |place| place.is_at(page, slot)) {
            let before = place.is_tombstone();
            *place = Place::new(hash, page, slot, tombstone);
            body.records += usize::from(before);
            body.records -= usize::from(tombstone);
        }
    }

    /// Splits the sub-table of `hash` if it is full and can be split. Returns whether it did.
    fn split(&self, hash: u32, growth: &mut i64) -> bool {
        let subtable = self.subtable(hash);
        let full = {
            let body = subtable.body.read();
            (body.places.len() >= ENTRIES_MAX).then_some(body.depth)
        };
        let Some(depth) = full else { return false };
        if !self.has_directory_for(depth + 1, growth) {
            return false;
        }
        let sibling = SUBTABLES.take(Subtable::default);
        let mut body = subtable.body.write();
        let mut other = sibling.body.write();
        let before = body.places.allocation_size();
        let prefix = body.prefix << 1;
        let (low, high): (Vec<Place>, Vec<Place>) =
            body.places.iter().partition(|place| top_bits(place.hash(), depth + 1) == prefix);
        let records = |places: &[Place]| places.iter().filter(|place| !place.is_tombstone()).count();
        let relocations = body.relocations;
        *other = Body {
            owner: body.owner,
            depth: depth + 1,
            prefix: prefix | 1,
            relocations,
            records: records(&high),
            places: collect(&high),
        };
        *body = Body {
            depth: depth + 1,
            prefix,
            records: records(&low),
            places: collect(&low),
            ..std::mem::take(&mut body)
        };
        *growth += (body.places.allocation_size() + other.places.allocation_size()) as i64 - before as i64;
        *growth += size_of::<Subtable>() as i64;
        self.subtables.store(self.subtables.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // Published while both are locked: who finds the old one sees at once that it no longer covers the hash.
        let directory = self.directory.get().expect("an open index");
        let shift = directory.bits - (depth + 1);
        let first = ((prefix | 1) as usize) << shift;
        for entry in &directory.subtables[first..first + (1 << shift)] {
            entry.set(Some(sibling));
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
        for (i, entry) in longer.subtables.iter().enumerate() {
            entry.set(directory.subtables[i / 2].get());
        }
        self.directory.set(Some(longer));
        *growth += (directory.subtables.len() * size_of::<usize>()) as i64;
        // A reader that still has the old one finds sub-tables by it, which say whether they are the right ones.
        DIRECTORIES[directory.bits as usize].give(directory);
        true
    }
}

fn collect(places: &[Place]) -> HashTable<Place> {
    let mut table = HashTable::with_capacity(places.len());
    for &place in places {
        table.insert_unique(bucket_hash(place.hash()), place, |place| bucket_hash(place.hash()));
    }
    table
}
