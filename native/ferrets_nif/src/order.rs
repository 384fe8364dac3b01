//! The order of an `ordered_set`: which page holds which range of keys. A two-level list of fences, as in a B+-tree.
//!
//! The pages are the leaves, linked in the order of their keys. An inner node holds the fences of some hundred pages: a
//! key that is not above any of the page's and above all of the page before. The root holds the fences of the inner
//! nodes. The first fence of each node is never looked at. Each node has an arena for its fences.
//!
//! Who writes holds the locks of the pages concerned and makes the version odd for as long as the structure changes.
//! Who reads takes one lock at a time, and trusts the page it has come to if, under the page's lock, the version is what
//! it was when it started: then no page has been divided, joined or removed meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustler::Term;

use crate::beam::arena::{Arena, Stored};
use crate::beam::compare::compare;
use crate::index::Gone;
use crate::page::PageNumber;
use crate::pool::Pool;
use crate::reaper;
use crate::table::TableId;

/// How many fences an inner node holds at most.
const FANOUT_MAX: usize = 256;

static INNERS: Pool<Inner> = Pool::new();

/// Where a walk starts.
#[derive(Clone, Copy)]
pub enum Aim<'a> {
    /// At the first page.
    First,
    /// At the last page.
    Last,
    /// At the page that has the key, or would.
    Key(Term<'a>),
    /// At the page that has the first key of a range, or would.
    Begin(Range<'a>),
    /// At the page that has the last key of a range, or would.
    End(Range<'a>),
}

/// A range of keys: says of a key whether it is before the range, in it, or beyond.
pub type Range<'a> = &'a dyn Fn(Term<'_>) -> std::cmp::Ordering;

/// The shell of an inner node.
#[derive(Default)]
struct Inner {
    node: RwLock<Node<PageNumber>>,
}

/// The fences of a table.
pub struct Order {
    version: AtomicU64,
    root: RwLock<Node<&'static Inner>>,
}

/// Fences and what is behind them.
struct Node<T> {
    owner: TableId,
    arena: Arena,
    fences: Vec<Stored>,
    targets: Vec<T>,
    discarded: usize,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { owner: TableId::default(), arena: Arena::new(), fences: Vec::new(), targets: Vec::new(), discarded: 0 }
    }
}

impl<T: Copy> Node<T> {
    fn with(owner: TableId, target: T) -> Self {
        Node { owner, fences: vec![Stored::none()], targets: vec![target], ..Node::default() }
    }

    fn fence(&self, at: usize) -> Option<Term<'_>> {
        let stored = *self.fences.get(at)?;
        // SAFETY: what stands in `fences` and is not none is a term of `arena`, which is never cleared.
        (!stored.is_none()).then(|| unsafe { self.arena.view(stored) })
    }

    /// The last place whose fence is not above the key.
    fn locate(&self, key: Term<'_>) -> usize {
        self.locate_by(|fence| compare(fence, key).is_gt())
    }

    /// The last place whose fence is not too high.
    fn locate_by(&self, is_too_high: impl Fn(Term<'_>) -> bool) -> usize {
        let (mut low, mut high) = (1, self.fences.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.fence(middle) {
                Some(fence) if is_too_high(fence) => high = middle,
                _ => low = middle + 1,
            }
        }
        low.saturating_sub(1)
    }

    fn aim(&self, aim: Aim<'_>) -> Option<T> {
        let at = match aim {
            Aim::First => 0,
            Aim::Last => self.targets.len().checked_sub(1)?,
            Aim::Key(key) => self.locate(key),
            // Keys of the range may also be on the page before the first fence in it.
            Aim::Begin(range) => self.locate_by(|fence| range(fence).is_ge()),
            Aim::End(range) => self.locate_by(|fence| range(fence).is_gt()),
        };
        self.targets.get(at).copied()
    }

    fn insert(&mut self, at: usize, fence: Term<'_>, target: T) {
        let fence = self.arena.adopt(fence);
        self.fences.insert(at, fence);
        self.targets.insert(at, target);
    }

    fn remove(&mut self, at: usize) {
        self.fences.remove(at);
        self.targets.remove(at);
        self.discard();
    }

    fn set_fence(&mut self, at: usize, fence: Term<'_>) {
        self.fences[at] = self.arena.adopt(fence);
        self.discard();
    }

    /// Counts a fence that nothing refers to any more, and copies the others when these have become many.
    fn discard(&mut self) {
        self.discarded += 1;
        if self.discarded > self.fences.len() + 64 {
            let mut arena = Arena::new();
            let copies =
                (0..self.fences.len()).map(|at| self.fence(at).map_or(Stored::none(), |term| arena.adopt(term)));
            self.fences = copies.collect();
            self.discarded = 0;
            reaper::retire(Box::new(std::mem::replace(&mut self.arena, arena)));
        }
    }

    /// Moves what stands from `at` on to a node of its own.
    fn split_off(&mut self, at: usize) -> Self {
        let mut other = Node { owner: self.owner, targets: self.targets.split_off(at), ..Node::default() };
        for i in at..self.fences.len() {
            let fence = self.fence(i).map_or(Stored::none(), |term| other.arena.adopt(term));
            other.fences.push(fence);
        }
        self.fences.truncate(at);
        self.discarded += other.fences.len();
        other
    }
}

/// While this lives, the structure is changing and readers wait.
pub struct Change<'a>(&'a AtomicU64);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

impl Order {
    /// No order.
    pub const fn none() -> Self {
        let node =
            Node { owner: TableId::NOBODY, arena: Arena::new(), fences: Vec::new(), targets: Vec::new(), discarded: 0 };
        Order { version: AtomicU64::new(0), root: RwLock::new(node) }
    }

    /// Starts with one page.
    pub fn open(&self, owner: TableId, page: PageNumber) {
        let inner = INNERS.take(Inner::default);
        *inner.node.write() = Node::with(owner, page);
        *self.root.write() = Node::with(owner, inner);
    }

    /// Gives everything back. The table has been unpublished before.
    pub fn close(&self) {
        let root = std::mem::take(&mut *self.root.write());
        for inner in root.targets {
            drop(std::mem::take(&mut *inner.node.write()));
            INNERS.give(inner);
        }
    }

    /// The version, to be compared with [`Order::version`] once the page is locked. Waits while the structure changes.
    pub fn settled_version(&self) -> u64 {
        let mut tries = 0u32;
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version.is_multiple_of(2) {
                return version;
            }
            tries += 1;
            if tries < 64 {
                std::hint::spin_loop();
            } else {
                // The writer may have lost its core.
                std::thread::yield_now();
            }
        }
    }

    /// The version at present.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The page that a walk starts at. To be trusted only if the version has not changed once the page is locked.
    ///
    /// # Errors
    /// [`Gone`] if the table has been dropped.
    pub fn seek(&self, owner: TableId, aim: Aim<'_>, is_there: impl Fn() -> bool) -> Result<PageNumber, Gone> {
        loop {
            let inner = {
                let root = self.root.read();
                root.aim(aim).filter(|_| root.owner == owner)
            };
            if let Some(inner) = inner {
                let node = inner.node.read();
                if let Some(page) = node.aim(aim).filter(|_| node.owner == owner) {
                    return Ok(page);
                }
            }
            if !is_there() {
                return Err(Gone);
            }
            std::hint::spin_loop();
        }
    }
}

/// The writer's side: one thread at a time. Each call that changes something needs a [`Change`] to be alive.
impl Order {
    /// Announces a change of the structure. The pages concerned must be locked.
    pub fn change(&self) -> Change<'_> {
        self.version.store(self.version.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // What is written from here on must not be seen by who still sees the old version.
        std::sync::atomic::fence(Ordering::Release);
        Change(&self.version)
    }

    /// The page that has a key, or would. Takes no lock: each would cost as much as a step of the search.
    ///
    /// # Safety
    /// Nobody but the caller changes the order meanwhile.
    pub unsafe fn page_of(&self, key: Term<'_>) -> Option<PageNumber> {
        // SAFETY: the pointer is valid, and by contract nobody has more than a lock for reading.
        let inner = unsafe { &*self.root.data_ptr() }.aim(Aim::Key(key))?;
        // SAFETY: likewise.
        unsafe { &*inner.node.data_ptr() }.aim(Aim::Key(key))
    }

    fn inner(&self, key: Term<'_>) -> (usize, &'static Inner) {
        let root = self.root.read();
        let at = root.locate(key);
        (at, root.targets[at])
    }

    /// Adds a page whose keys are not below `fence`, which lies in the range of the page before it.
    pub fn insert(&self, fence: Term<'_>, page: PageNumber) {
        let (at, inner) = self.inner(fence);
        let mut node = inner.node.write();
        let place = node.locate(fence) + 1;
        node.insert(place, fence, page);
        self.divide(at, &mut node, place);
    }

    /// Divides an inner node that has grown too long. A node that grows at its end stays full.
    fn divide(&self, at: usize, node: &mut Node<PageNumber>, grown_at: usize) {
        let len = node.targets.len();
        if len <= FANOUT_MAX {
            return;
        }
        let cut = if grown_at + 1 == len { grown_at } else { len / 2 };
        let other = node.split_off(cut);
        let inner = INNERS.take(Inner::default);
        let mut root = self.root.write();
        if let Some(fence) = other.fence(0) {
            root.insert(at + 1, fence, inner);
        }
        *inner.node.write() = other;
    }

    /// Adds a page before all others. `displaced` is the least key of what was the first page.
    pub fn insert_first(&self, page: PageNumber, displaced: Term<'_>) {
        let inner = self.root.read().targets[0];
        let mut node = inner.node.write();
        let first = std::mem::replace(&mut node.targets[0], page);
        node.insert(1, displaced, first);
        self.divide(0, &mut node, 1);
    }

    /// Extends the range of the page that has `key` down to `fence`.
    pub fn lower(&self, key: Term<'_>, fence: Term<'_>) {
        let (at, inner) = self.inner(key);
        let mut node = inner.node.write();
        match node.locate(key) {
            0 if at > 0 => self.root.write().set_fence(at, fence),
            0 => {}
            place => node.set_fence(place, fence),
        }
    }

    /// Takes out the page whose range has `key`; its range falls to the page before it, or else to the one after.
    pub fn remove(&self, key: Term<'_>, page: PageNumber) {
        let (at, inner) = self.inner(key);
        let mut node = inner.node.write();
        let place = node.locate(key);
        debug_assert_eq!(node.targets[place], page);
        node.remove(place);
        if node.targets.is_empty() {
            self.root.write().remove(at);
            let emptied = std::mem::take(&mut *node);
            drop(node);
            INNERS.give(inner);
            reaper::retire(Box::new(emptied.arena));
        }
    }
}
