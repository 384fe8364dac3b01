//! Type-stable memory: what a reader may reach without a lock is never freed, only used again.
//!
//! Shells of tables, pages, sub-tables, directories and inner nodes are leaked when they are made and come back to
//! their pool when their table is dropped. A pointer to one is therefore valid for ever (`&'static`), and a reader that
//! came late finds a shell that belongs to somebody else: each shell says under its lock which table owns it. What
//! hangs in a shell (arenas, vectors) is freed in the ordinary way.
//!
//! The memory of shells is not given back to the system: its peak stays. It is a few percent of a table's.

use std::sync::atomic::{AtomicPtr, Ordering};

use parking_lot::Mutex;

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

const CHUNK: usize = 64;

/// The highest number of shells on a [`Shelf`]: their numbers have 24 bits.
pub const SHELF_MAX: usize = 1 << 24;

/// A pool whose shells are numbered, so that 24 bits can stand for a pointer.
pub struct Shelf<T: 'static> {
    chunks: [AtomicRef<[T; CHUNK]>; SHELF_MAX / CHUNK],
    free: Mutex<Numbers>,
}

struct Numbers {
    returned: Vec<u32>,
    fresh: u32,
}

impl<T: Sync + Default> Shelf<T> {
    /// An empty shelf.
    pub const fn new() -> Self {
        Shelf {
            chunks: [const { AtomicRef::none() }; SHELF_MAX / CHUNK],
            free: Mutex::new(Numbers { returned: Vec::new(), fresh: 0 }),
        }
    }

    /// The number of a shell that nobody uses.
    ///
    /// # Panics
    /// If all 2^24 are in use: the caller's table then stops being written to.
    pub fn take(&self) -> u32 {
        let mut free = self.free.lock();
        if let Some(number) = free.returned.pop() {
            return number;
        }
        let number = free.fresh;
        assert!((number as usize) < SHELF_MAX, "no page is left");
        let chunk = &self.chunks[number as usize / CHUNK];
        if chunk.get().is_none() {
            chunk.set(Some(Box::leak(Box::new(std::array::from_fn(|_| T::default())))));
        }
        free.fresh += 1;
        number
    }

    /// Takes back a shell that has been emptied.
    pub fn give(&self, number: u32) {
        self.free.lock().returned.push(number);
    }

    /// The shell with a number that was once taken.
    ///
    /// # Panics
    /// If it never was.
    #[inline]
    pub fn get(&self, number: u32) -> &'static T {
        match self.chunks[number as usize / CHUNK].get() {
            Some(chunk) => &chunk[number as usize % CHUNK],
            None => panic!("a page's number that was never given out"),
        }
    }
}
