//! The index: from a key's hash to the places where entries with this hash are. Extendible hashing (Fagin et al., 1979).
//!
//! The top bits of a hash select a sub-table through the directory; a sub-table has a lock and the 8-byte [`Place`]s of
//! some hundred entries. A crowded sub-table is split in two, one at a time, so nobody waits for a rehash of all; when
//! the directory is too short for that, a new one of twice the length is published. Places, not keys: whoever follows
//! one compares the key itself. Tombstones are flagged, so that readers need not follow them.
//!
//! Invariant: under its lock a sub-table says whose it is and which hashes it holds (`depth`, `prefix`). A reader that
//! finds anything else came by a directory that is no longer in force, and starts over.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::os::prefetch;
use crate::page::PageNumber;
use crate::places::{Place, Places};
use crate::pool::{AtomicRef, Pool, Stock};
use crate::table::TableId;

/// A directory is at most this many times longer than there are sub-tables: keys that share a hash split no further.
const SPARSENESS_MAX: usize = 16;

const BITS_MAX: u32 = 24;

static SUBTABLES: Stock<Subtable> = Stock::new(refill);

/// Makes sub-tables, ahead of need.
pub fn refill() {
    SUBTABLES.refill();
}

static DIRECTORIES: [Pool<Directory>; BITS_MAX as usize + 1] = [const { Pool::new() }; BITS_MAX as usize + 1];

/// Part of the index: the places of all entries whose hash begins with a prefix.
#[derive(Default)]
#[repr(align(64))]
pub struct Subtable {
    body: RwLock<Body>,
}

#[derive(Default)]
#[repr(C)]
struct Body {
    owner: TableId,
    /// How many places have changed: who found nothing at an old place looks again.
    relocations: u64,
    prefix: u32,
    records: u32,
    places: Places,
}

impl Body {
    fn covers(&self, owner: TableId, hash: u32) -> bool {
        self.owner == owner && top_bits(hash, self.places.depth()) == self.prefix
    }

    /// The first hash that is beyond.
    fn end(&self) -> Option<u32> {
        u32::try_from((u64::from(self.prefix) + 1) << (32 - self.places.depth())).ok()
    }
}

fn top_bits(hash: u32, bits: u32) -> u32 {
    (u64::from(hash) >> (32 - bits)) as u32
}

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
    fn prefetch(&self, subtable: &Subtable, hash: u32) {
        let depth = self.depths[top_bits(hash, self.bits) as usize].load(Ordering::Relaxed);
        // SAFETY: only computes an address, within the sub-table.
        let places = unsafe { &raw const (*subtable.body.data_ptr()).places };
        prefetch(places.cast(), Places::offset(u32::from(depth), hash));
    }

    fn set(&self, at: usize, subtable: &'static Subtable, depth: u32) {
        self.subtables[at].set(Some(subtable));
        self.depths[at].store(depth as u8, Ordering::Relaxed);
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
        *subtable.body.write() = Body { owner, ..Body::default() };
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
            if let Some((directory, subtable)) = self.directory.get().and_then(|all| Some((all, all.get(hash)?))) {
                directory.prefetch(subtable, hash);
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
            let mut found = Candidates { near: [Place::default(); 3], len: 0, far: Vec::new(), subtable, relocations };
            body.places.each_of(hash, |place| {
                if !place.is_tombstone() {
                    found.push(place);
                }
            });
            found
        })
    }

    /// Whether nothing has moved since these candidates were found, so that what is not there is nowhere.
    pub fn is_current(&self, owner: TableId, hash: u32, candidates: &Candidates) -> bool {
        let body = candidates.subtable.body.read();
        body.covers(owner, hash) && body.relocations == candidates.relocations
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
        self.read(owner, from, is_there, |subtable, body| {
            if which == Which::All || body.records > 0 {
                body.places.each_from(round_up(from), |place| {
                    let is_wanted = which == Which::All || !place.is_tombstone();
                    let is_beyond =
                        which == Which::FirstRecords && out.first().is_some_and(|first| first.hash() != place.hash());
                    if is_wanted && !is_beyond {
                        out.push(place);
                    }
                    !is_beyond
                });
            }
            Sweep { subtable, relocations: body.relocations, next: body.end() }
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
        body.places.each_of(hash, |place| out.push(place));
    }

    /// Adds a place. Returns how many bytes more the index takes.
    pub fn insert(&self, place: Place) -> i64 {
        let hash = place.hash();
        let mut growth = 0;
        while self.split(hash, &mut growth) {}
        let mut body = self.subtable(hash).body.write();
        body.places.insert(place);
        body.records += u32::from(!place.is_tombstone());
        growth
    }

    /// Takes a place out.
    pub fn remove(&self, hash: u32, page: PageNumber, slot: u8) {
        let mut body = self.subtable(hash).body.write();
        if let Some(place) = body.places.remove(hash, page, slot) {
            body.records -= u32::from(!place.is_tombstone());
        }
    }

    /// Says that an entry is at another place now.
    pub fn relocate(&self, hash: u32, from: (PageNumber, u8), to: (PageNumber, u8)) {
        let mut body = self.subtable(hash).body.write();
        if let Some(place) = body.places.get_mut(hash, from.0, from.1) {
            *place = Place::new(hash, to.0, to.1, place.is_tombstone());
            body.relocations += 1;
        }
    }

    /// Says that an entry has become a tombstone, or a record again.
    pub fn flag(&self, hash: u32, page: PageNumber, slot: u8, tombstone: bool) {
        let mut body = self.subtable(hash).body.write();
        if let Some(place) = body.places.get_mut(hash, page, slot) {
            let before = place.is_tombstone();
            *place = Place::new(hash, page, slot, tombstone);
            body.records += u32::from(before);
            body.records -= u32::from(tombstone);
        }
    }

    /// Splits the sub-table of `hash` if it is crowded and can be split. Returns whether it did.
    fn split(&self, hash: u32, growth: &mut i64) -> bool {
        let subtable = self.subtable(hash);
        let crowded = {
            let body = subtable.body.read();
            body.places.is_crowded(body.prefix).then_some(body.places.depth())
        };
        let Some(depth) = crowded else { return false };
        if !self.has_directory_for(depth + 1, growth) {
            return false;
        }
        let sibling = SUBTABLES.take();
        let mut body = subtable.body.write();
        let mut other = sibling.body.write();
        body.places.split(&mut other.places);
        let mut records = 0;
        other.places.each_from(0, |place| {
            records += u32::from(!place.is_tombstone());
            true
        });
        body.prefix <<= 1;
        body.records -= records;
        other.owner = body.owner;
        other.prefix = body.prefix | 1;
        other.records = records;
        *growth += size_of::<Subtable>() as i64;
        self.subtables.store(self.subtables.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // Published while both are locked: who finds the old one sees at once that it no longer covers the hash.
        let directory = self.directory.get().expect("an open index");
        let shift = directory.bits - (depth + 1);
        let first = (other.prefix as usize) << shift;
        for at in first..first + (1 << shift) {
            directory.set(at, sibling, depth + 1);
            directory.set(at - (1 << shift), subtable, depth + 1);
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
