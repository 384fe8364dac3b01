//! Epochs: when what a reader may still see, having come without a lock, can be freed (Fraser, "Practical lock-freedom", 2004).
//!
//! A thread that reads says so in a word of its own: which epoch it came in. So readers write to no memory that others need. Whoever
//! has taken something out of the readers' reach begins a new epoch, and frees it when nobody reads any more who came in an older
//! one: who came later does not see it.
//!
//! A reader's word must be seen before anything that it then reads. Where the system can have all threads pass a barrier
//! (`membarrier` on Linux), those who free ask for that, and a read costs no barrier; elsewhere each reader passes one.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{compiler_fence, fence, AtomicBool, AtomicPtr, AtomicU64, Ordering};

use crate::os;

/// The present epoch. In epoch 0 nobody reads.
static EPOCH: AtomicU64 = AtomicU64::new(1);

/// Whether a barrier can be had for all threads at once.
static ASYMMETRIC: AtomicBool = AtomicBool::new(false);

/// All threads that have ever read.
static READERS: AtomicPtr<Reader> = AtomicPtr::new(ptr::null_mut());

/// What a thread says of itself. Leaked, as are the VM's schedulers.
#[repr(align(128))]
struct Reader {
    /// In which epoch it came; 0 while it does not read.
    since: AtomicU64,
    next: AtomicPtr<Reader>,
}

thread_local! {
    static READER: Cell<Option<&'static Reader>> = const { Cell::new(None) };
}

/// To be called once, before the first read.
pub fn start() {
    ASYMMETRIC.store(os::offer_barriers(), Ordering::SeqCst);
}

/// A thread reads. What it sees stays as long as this does.
pub struct Visit {
    reader: &'static Reader,
    before: u64,
}

impl Visit {
    /// Begins to read.
    #[inline]
    pub fn begin() -> Self {
        let reader = READER.get().unwrap_or_else(introduce);
        let before = reader.since.load(Ordering::Relaxed);
        if before == 0 {
            reader.since.store(EPOCH.load(Ordering::Acquire), Ordering::Relaxed);
            if ASYMMETRIC.load(Ordering::Relaxed) {
                compiler_fence(Ordering::SeqCst);
            } else {
                fence(Ordering::SeqCst);
            }
        }
        Visit { reader, before }
    }
}

impl Drop for Visit {
    #[inline]
    fn drop(&mut self) {
        self.reader.since.store(self.before, Ordering::Release);
    }
}

#[cold]
fn introduce() -> &'static Reader {
    let first = READERS.load(Ordering::Acquire);
    let reader: &'static Reader = Box::leak(Box::new(Reader { since: AtomicU64::new(0), next: AtomicPtr::new(first) }));
    let mut expected = first;
    while let Err(other) =
        READERS.compare_exchange(expected, ptr::from_ref(reader).cast_mut(), Ordering::AcqRel, Ordering::Acquire)
    {
        reader.next.store(other, Ordering::Relaxed);
        expected = other;
    }
    READER.set(Some(reader));
    reader
}

/// Begins a new epoch, and returns it: who comes in it or later does not see what has been taken away before this call.
fn begin_epoch() -> u64 {
    let epoch = EPOCH.fetch_add(1, Ordering::SeqCst) + 1;
    if ASYMMETRIC.load(Ordering::Relaxed) {
        os::barrier();
    } else {
        fence(Ordering::SeqCst);
    }
    epoch
}

/// The oldest epoch in which somebody came who still reads; none if nobody does.
fn oldest() -> Option<u64> {
    let mut oldest = None;
    let mut next = READERS.load(Ordering::Acquire);
    // SAFETY: null, or a reader that has been leaked.
    while let Some(reader) = unsafe { next.as_ref() } {
        let since = reader.since.load(Ordering::Acquire);
        if since != 0 {
            oldest = Some(oldest.map_or(since, |oldest: u64| oldest.min(since)));
        }
        next = reader.next.load(Ordering::Relaxed);
    }
    oldest
}

/// Waits until nobody reads who came before this call.
pub fn wait_for_readers() {
    let epoch = begin_epoch();
    while oldest().is_some_and(|oldest| oldest < epoch) {
        std::thread::yield_now();
    }
}

/// What has been taken out of the readers' reach, and waits to be freed.
pub struct Limbo<T> {
    /// So much is taken in before an epoch is ended for it.
    fresh_max: usize,
    /// Since the last epoch was ended.
    fresh: Vec<T>,
    /// Before: with the first epoch in which nobody sees it.
    waiting: Vec<(u64, T)>,
}

impl<T> Limbo<T> {
    /// Nothing yet. An epoch is ended for each so many that are taken in.
    pub const fn new(fresh_max: usize) -> Self {
        Limbo { fresh_max, fresh: Vec::new(), waiting: Vec::new() }
    }

    /// Takes something in that no reader can reach any more who comes from now on. Frees what can be, when there is enough of it.
    pub fn retire(&mut self, retired: T) {
        self.fresh.push(retired);
        if self.fresh.len() >= self.fresh_max {
            self.free();
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.waiting.is_empty()
    }

    /// Frees what nobody sees any more.
    pub fn free(&mut self) {
        if self.is_empty() {
            return;
        }
        let epoch = begin_epoch();
        self.waiting.extend(self.fresh.drain(..).map(|retired| (epoch, retired)));
        let oldest = oldest().unwrap_or(u64::MAX);
        self.waiting.retain(|(epoch, _)| *epoch > oldest);
    }
}

impl<T> Drop for Limbo<T> {
    fn drop(&mut self) {
        if !self.is_empty() {
            wait_for_readers();
        }
    }
}
