//! Chunks: the memory in which arenas keep blocks.
//!
//! All chunks are of one size: what one arena gives back fits the next, so that endless overwriting leaves no holes. They are cut
//! from regions of the size of a large page, since readers come to them at random ([`crate::os::advise_large_pages`]). A region is made
//! ahead of need, by the reaper, or where it falls behind by who needs it; one whose chunks are all free goes back to the system, but for a
//! reserve.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use parking_lot::Mutex;

use crate::os::{advise_large_pages, advise_small_pages, give_back, prefetch};
use crate::pool::{allocate_region, REGION};
use crate::reaper;

/// The words of a chunk that can be used.
pub const WORDS: usize = 255;

/// A region is made when fewer chunks than this are free: at full speed they last for some ten milliseconds. The system needs half a
/// millisecond to clear a large page, but ten where it has to be given memory first, as in a virtual machine.
const STOCK_MIN: usize = REGION_CHUNKS;

/// No system has smaller pages.
const SMALL_PAGE: usize = 4096;

/// So many free chunks are kept in any case, and as many more as make up this part of those that are in use.
const RESERVE_MIN: usize = 4 * REGION_CHUNKS;
const RESERVE_PART: usize = 8;

/// The first place in a region is taken by what is known about it.
const REGION_CHUNKS: usize = REGION / size_of::<Chunk>() - 1;

#[repr(C, align(2048))]
struct Chunk {
    /// In an arena or among the free ones of a region, the one before.
    next: Option<NonNull<Chunk>>,
    words: [MaybeUninit<usize>; WORDS],
}

/// What stands at the beginning of a region. Its chunks are the ones behind it.
struct Region {
    free: Option<NonNull<Chunk>>,
    /// So many chunks have been in use. Those behind are free, and perhaps have no memory yet.
    touched: usize,
    used: usize,
}

impl Region {
    fn has_free(&self) -> bool {
        self.free.is_some() || self.touched < REGION_CHUNKS
    }
}

/// All regions, by their addresses.
struct Depot {
    /// With free chunks, but not only such. The first is taken from first, so that others become empty.
    roomy: BTreeSet<usize>,
    /// With free chunks only.
    empty: BTreeSet<usize>,
    /// Whose memory the system has back.
    spare: Vec<usize>,
    free: usize,
    used: usize,
    /// The reaper has been asked to trim.
    trims: bool,
    /// The reaper has been asked for a region.
    refills: bool,
}

static DEPOT: Mutex<Depot> = Mutex::new(Depot {
    roomy: BTreeSet::new(),
    empty: BTreeSet::new(),
    spare: Vec::new(),
    free: 0,
    used: 0,
    trims: false,
    refills: false,
});

impl Depot {
    /// # Safety
    /// The address is that of a region with memory, and the depot is locked: who has it may change the region.
    unsafe fn region<'a>(address: usize) -> &'a mut Region {
        // SAFETY: `add` has put it there, and by contract nobody else looks at it.
        unsafe { &mut *(address as *mut Region) }
    }

    /// Adds a region, whose chunks are all free.
    fn add(&mut self, start: *mut u8) {
        // SAFETY: a region has room for this and so many chunks, and belonged to who brings it.
        unsafe { start.cast::<Region>().write(Region { free: None, touched: 0, used: 0 }) };
        self.empty.insert(start as usize);
        self.free += REGION_CHUNKS;
    }

    fn take(&mut self) -> Option<NonNull<Chunk>> {
        let address = *self.roomy.first().or(self.empty.first())?;
        // SAFETY: it stands among the regions, and `self` is what the lock protects.
        let region = unsafe { Self::region(address) };
        let chunk = match region.free {
            Some(chunk) => {
                // SAFETY: free chunks are nobody's but their region's.
                region.free = unsafe { chunk.as_ref().next };
                chunk
            }
            None => {
                region.touched += 1;
                NonNull::new((address as *mut Chunk).wrapping_add(region.touched))?
            }
        };
        region.used += 1;
        if region.used == 1 {
            self.empty.remove(&address);
            self.roomy.insert(address);
        }
        if !region.has_free() {
            self.roomy.remove(&address);
        }
        self.free -= 1;
        self.used += 1;
        Some(chunk)
    }

    /// # Safety
    /// The chunk came from [`Depot::take`], and nobody uses it any more.
    unsafe fn give(&mut self, mut chunk: NonNull<Chunk>) {
        let address = chunk.as_ptr() as usize & !(REGION - 1);
        // SAFETY: a chunk lies in its region, which is as large as it is aligned; `self` is what the lock protects.
        let region = unsafe { Self::region(address) };
        if !region.has_free() {
            self.roomy.insert(address);
        }
        // SAFETY: by contract it is nobody's.
        unsafe { chunk.as_mut().next = region.free };
        region.free = Some(chunk);
        region.used -= 1;
        if region.used == 0 {
            self.roomy.remove(&address);
            self.empty.insert(address);
        }
        self.free += 1;
        self.used -= 1;
    }

    fn has_too_many(&self) -> bool {
        self.free > RESERVE_MIN + REGION_CHUNKS + self.used / RESERVE_PART && !self.empty.is_empty()
    }
}

/// Memory for a region, and a large page of it if the system sees to that.
fn region_memory() -> *mut u8 {
    let spare = DEPOT.lock().spare.pop();
    spare.map_or_else(allocate_region, |address| address as *mut u8)
}

/// Makes a region ahead of need. Its memory is there when this is done.
fn restock() {
    let start = region_memory();
    for page in (0..REGION).step_by(SMALL_PAGE) {
        // SAFETY: the region is ours alone.
        unsafe { start.wrapping_add(page).write_volatile(0) };
    }
    let mut depot = DEPOT.lock();
    depot.add(start);
    depot.refills = false;
}

/// Makes a region for who needs a chunk at once. To clear a large page takes long: so its memory comes by small ones, as it is used.
fn make_do() {
    let start = region_memory();
    advise_small_pages(start.cast(), REGION);
    DEPOT.lock().add(start);
    // Now that it has begun with small pages, the system may put them together when it has time.
    advise_large_pages(start.cast(), REGION);
}

/// Gives the memory of empty regions back to the system, but for the reserve.
fn trim() {
    loop {
        let mut depot = DEPOT.lock();
        // The last, as the first is taken from first.
        let Some(address) = depot.has_too_many().then(|| depot.empty.pop_last()).flatten() else {
            depot.trims = false;
            return;
        };
        depot.free -= REGION_CHUNKS;
        drop(depot);
        // SAFETY: none of its chunks is in use, and the depot knows it no more.
        unsafe { give_back(address as *mut _, REGION) };
        DEPOT.lock().spare.push(address);
    }
}

fn take() -> NonNull<Chunk> {
    loop {
        let (chunk, is_short) = {
            let mut depot = DEPOT.lock();
            let chunk = depot.take();
            let is_short = depot.free < STOCK_MIN && !depot.refills;
            depot.refills |= is_short;
            (chunk, is_short)
        };
        if is_short {
            reaper::run(restock);
        }
        match chunk {
            Some(chunk) => return chunk,
            None => make_do(),
        }
    }
}

/// Chunks that are filled one after the other.
#[derive(Debug)]
pub struct Chunks {
    last: Option<NonNull<Chunk>>,
    /// Words of the last one that are in use.
    used: usize,
}

// SAFETY: they belong to whoever has this, and to no thread.
unsafe impl Send for Chunks {}

// SAFETY: with `&self` nothing is changed.
unsafe impl Sync for Chunks {}

impl Chunks {
    /// None yet.
    pub const fn new() -> Self {
        Chunks { last: None, used: WORDS }
    }

    /// What is left of the last chunk.
    pub fn room(&mut self) -> &mut [MaybeUninit<usize>] {
        match &mut self.last {
            // SAFETY: the chunk is ours. Nobody refers to those behind the used ones.
            Some(chunk) => unsafe { &mut chunk.as_mut().words[self.used..] },
            None => &mut [],
        }
    }

    /// Asks for the first cache lines of the room.
    pub fn prefetch_room(&self) {
        if let Some(chunk) = self.last {
            let room = chunk.as_ptr().cast::<usize>().wrapping_add(1 + self.used).cast::<u8>();
            (0..4).for_each(|line| prefetch(room, line * 64));
        }
    }

    /// So many words of the room are used now, and stay as they are.
    pub fn keep(&mut self, words: u16) {
        self.used += usize::from(words);
        debug_assert!(self.used <= WORDS);
    }

    /// Adds a chunk.
    pub fn grow(&mut self) {
        let mut chunk = if cfg!(memcheck) { take_alone() } else { take() };
        // SAFETY: it is ours.
        unsafe { chunk.as_mut().next = self.last };
        (self.last, self.used) = (Some(chunk), 0);
    }

    /// The words of the last chunk that are not in use.
    pub fn slack(&self) -> usize {
        WORDS - self.used
    }

    /// Gives all of them back.
    pub fn clear(&mut self) {
        let mut last = self.last.take();
        self.used = WORDS;
        if last.is_none() {
            return;
        }
        let mut depot = DEPOT.lock();
        while let Some(chunk) = last {
            // SAFETY: it was ours.
            last = unsafe { chunk.as_ref().next };
            // SAFETY: likewise, and it came from where it goes.
            unsafe {
                if cfg!(memcheck) {
                    drop(Box::from_raw(chunk.as_ptr()));
                } else {
                    depot.give(chunk);
                }
            }
        }
        if depot.has_too_many() && !depot.trims {
            depot.trims = true;
            drop(depot);
            reaper::run(trim);
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.clear();
    }
}

/// For `test/memcheck`: one of its own, so that AddressSanitizer sees who looks at it after it was given back.
fn take_alone() -> NonNull<Chunk> {
    NonNull::from(Box::leak(Box::new(Chunk { next: None, words: [const { MaybeUninit::uninit() }; WORDS] })))
}
