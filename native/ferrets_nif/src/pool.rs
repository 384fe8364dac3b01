//! Type-stable memory: what a reader may reach without a lock is never freed, only used again.
//!
//! Shells of tables, pages, sub-tables, directories and inner nodes are leaked when they are made and come back to
//! their pool when their table is dropped. A pointer to one is therefore valid for ever (`&'static`), and a reader that
//! came late finds a shell that belongs to somebody else: each shell says under its lock which table owns it. What
//! hangs in a shell (arenas, vectors) is freed in the ordinary way.
//!
//! The memory of shells is not given back to the system: its peak stays. It is a few percent of a table's.

use std::alloc::Layout;
use std::sync::atomic::{AtomicPtr, Ordering};

use parking_lot::Mutex;

use crate::os::advise_large_pages;
use crate::reaper;

/// Shells of one kind that nobody uses.
pub struct Pool<T: 'static> {
    free: Mutex<Vec<&'static T>>,
}

impl<T: Sync> Pool<T> {
    /// An empty pool.
    pub const fn new() -> Self {
        Pool { free: Mutex::new(Vec::new()) }
    }

    /// A shell: a used one if there is one, else what `make` makes.
    pub fn take(&self, make: impl FnOnce() -> T) -> &'static T {
        let used = self.free.lock().pop();
        used.unwrap_or_else(|| Box::leak(Box::new(make())))
    }

    /// Takes back a shell that has been emptied.
    pub fn give(&self, shell: &'static T) {
        self.free.lock().push(shell);
    }
}

/// A place for a `&'static T` that can be read and replaced by any thread.
pub struct AtomicRef<T: 'static>(AtomicPtr<T>);

impl<T: Sync> AtomicRef<T> {
    /// A place with nothing in it.
    pub const fn none() -> Self {
        AtomicRef(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// What is there.
    pub fn get(&self) -> Option<&'static T> {
        let pointer = self.0.load(Ordering::Acquire);
        // SAFETY: only `set` stores, and only null or what came from a `&'static T`; `T: Sync` allows to share it.
        unsafe { pointer.as_ref() }
    }

    /// Puts something there.
    pub fn set(&self, target: Option<&'static T>) {
        self.0.store(
            target.map_or(std::ptr::null_mut(), |target| std::ptr::from_ref(target).cast_mut()),
            Ordering::Release,
        );
    }
}

/// The size and alignment of a large page of memory.
pub const REGION: usize = 2 << 20;

/// A region is made when fewer shells than this are left.
const STOCK_MIN: usize = 128;

/// Memory for a region, which is never freed, of any content.
pub fn allocate_region() -> *mut u8 {
    const LAYOUT: Layout = match Layout::from_size_align(REGION, REGION) {
        Ok(layout) => layout,
        Err(_) => panic!("a size that is a power of 2"),
    };
    // SAFETY: the layout has a size other than 0.
    let start = unsafe { std::alloc::alloc(LAYOUT) };
    if start.is_null() {
        std::alloc::handle_alloc_error(LAYOUT);
    }
    advise_large_pages(start.cast(), REGION);
    start
}

/// Makes shells side by side in a region of memory of their own, which lasts for ever.
fn region<T: Default>() -> &'static [T] {
    const { assert!(STOCK_MIN < REGION / size_of::<T>(), "the reaper is asked when so many are left") };
    let count = REGION / size_of::<T>();
    let start: *mut T = allocate_region().cast();
    for i in 0..count {
        // SAFETY: `count` shells fit into the region, whose alignment is above that of any type in use here.
        unsafe { start.add(i).write(T::default()) };
    }
    // SAFETY: all `count` shells have just been written, and are neither moved nor freed.
    unsafe { std::slice::from_raw_parts(start, count) }
}

/// A pool of many shells, made by the region. New regions are made ahead of need, by the reaper.
pub struct Stock<T: 'static> {
    free: Mutex<Vec<&'static T>>,
    refill: fn(),
}

impl<T: Sync + Default> Stock<T> {
    /// An empty stock. `refill` is to call [`Stock::refill`].
    pub const fn new(refill: fn()) -> Self {
        Stock { free: Mutex::new(Vec::new()), refill }
    }

    /// A shell that nobody uses.
    pub fn take(&self) -> &'static T {
        let (shell, left) = {
            let mut free = self.free.lock();
            (free.pop(), free.len())
        };
        if left == STOCK_MIN {
            reaper::run(self.refill);
        }
        shell.unwrap_or_else(|| Box::leak(Box::default()))
    }

    /// Takes back a shell that has been emptied.
    pub fn give(&self, shell: &'static T) {
        self.free.lock().push(shell);
    }

    /// Makes more shells.
    pub fn refill(&self) {
        let shells = region::<T>();
        self.free.lock().extend(shells.iter().rev());
    }
}

/// The highest number of shells on a [`Shelf`]: their numbers have 24 bits.
const SHELF_MAX: usize = 1 << 24;

/// No region has fewer shells: none is larger than 16 KB.
const REGIONS_MAX: usize = SHELF_MAX / 128;

/// A stock whose shells are numbered from 1, so that 24 bits can stand for a pointer.
pub struct Shelf<T: 'static> {
    regions: [AtomicRef<T>; REGIONS_MAX],
    free: Mutex<Numbers>,
    refill: fn(),
}

struct Numbers {
    free: Vec<u32>,
    regions: usize,
}

impl<T: Sync + Default> Shelf<T> {
    const COUNT: usize = REGION / size_of::<T>();

    /// An empty shelf. `refill` is to call [`Shelf::refill`].
    pub const fn new(refill: fn()) -> Self {
        let regions = [const { AtomicRef::none() }; REGIONS_MAX];
        Shelf { regions, free: Mutex::new(Numbers { free: Vec::new(), regions: 0 }), refill }
    }

    /// The number of a shell that nobody uses.
    ///
    /// # Panics
    /// If all 2^24 are in use: the caller's table then stops being written to.
    pub fn take(&self) -> u32 {
        loop {
            let (number, left) = {
                let mut numbers = self.free.lock();
                (numbers.free.pop(), numbers.free.len())
            };
            if left == STOCK_MIN {
                reaper::run(self.refill);
            }
            match number {
                Some(number) => return number,
                None => self.refill(),
            }
        }
    }

    /// Takes back a shell that has been emptied.
    pub fn give(&self, number: u32) {
        self.free.lock().free.push(number);
    }

    /// Makes more shells.
    ///
    /// # Panics
    /// If there are 2^24.
    pub fn refill(&self) {
        let shells = region::<T>();
        let mut numbers = self.free.lock();
        let first = numbers.regions * Self::COUNT;
        assert!(first + Self::COUNT <= SHELF_MAX, "no page is left");
        self.regions[numbers.regions].set(shells.first());
        numbers.regions += 1;
        let fresh = first.max(1)..first + Self::COUNT;
        numbers.free.extend(fresh.rev().map(|number| number as u32));
    }

    /// The shell with a number that was once taken.
    ///
    /// # Panics
    /// If it never was.
    #[inline]
    pub fn get(&self, number: u32) -> &'static T {
        let number = number as usize;
        match self.regions[number / Self::COUNT].get() {
            // SAFETY: `refill` has put the first of `COUNT` shells there that lie side by side and last for ever.
            Some(first) => unsafe { &*std::ptr::from_ref(first).add(number % Self::COUNT) },
            None => panic!("a page's number that was never given out"),
        }
    }
}
