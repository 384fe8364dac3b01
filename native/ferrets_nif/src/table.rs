//! Tables: what a name stands for.
//!
//! A table is a shell ([`crate::pool`]) that holds the index, the order, figures, and, behind a lock, the engine through
//! which all writes go. Its [`TableId`] is never used twice: readers take the id first and pass it on; once the table
//! has been dropped, whatever the shell is used for next bears another id.

use std::ffi::CStr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustler::{Env, LocalPid, Term};

use crate::beam::compare::{compare, is_identical};
use crate::beam::hash;
use crate::beam::shared::{Kind, Share, Shared};
use crate::beam::term::word;
use crate::engine::{Engine, Settings};
use crate::index::{Gone, Index};
use crate::order::Order;
use crate::pool::Pool;
use crate::reaper;
use crate::registry;
use crate::store::Writer;
use crate::tags::Tags;

static TABLES: Pool<Table> = Pool::new();

static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// How keys are compared, and whether they are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// By `=:=`, in no order.
    Set,
    /// By `==`, in the order of terms.
    OrderedSet,
    /// By `=:=`, in no order, and any number of different records to a key.
    Bag,
}

/// A number of a table, never used twice, with its type and `keypos` in it. The default is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableId(u64);

impl TableId {
    /// The id of no table.
    pub const NOBODY: Self = TableId(0);

    /// The greatest `keypos`: no tuple has more elements.
    pub const KEYPOS_MAX: usize = (1 << 24) - 1;

    fn new(kind: Type, keypos: usize) -> Self {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        TableId(sequence << 26 | (keypos.min(Self::KEYPOS_MAX) as u64) << 2 | kind as u64)
    }

    /// The id as a number.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The id that a number was made of.
    pub fn from_bits(bits: u64) -> Self {
        TableId(bits)
    }

    /// The position of the key in a record, counted from 1.
    #[inline]
    pub fn keypos(self) -> usize {
        (self.0 >> 2) as usize & Self::KEYPOS_MAX
    }

    /// A number for the table's type.
    #[inline]
    pub fn type_code(self) -> u8 {
        self.0 as u8 & 3
    }

    /// Whether the table is an `ordered_set`.
    #[inline]
    pub fn is_ordered(self) -> bool {
        self.type_code() == Type::OrderedSet as u8
    }

    /// Whether the table is a `bag`.
    #[inline]
    pub fn is_bag(self) -> bool {
        self.type_code() == Type::Bag as u8
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(self, key: Term<'_>) -> u32 {
        if self.is_ordered() {
            hash::by_value(key)
        } else {
            hash::exact(key)
        }
    }

    /// Whether two keys are one.
    #[inline]
    pub fn is_same_key(self, a: Term<'_>, b: Term<'_>) -> bool {
        is_identical(a, b) || (self.is_ordered() && compare(a, b).is_eq())
    }
}

/// Figures about a table. Written by its writer only, so a plain read and write will do.
#[derive(Default)]
#[repr(align(128))]
pub struct Figures {
    /// Records.
    pub records: Figure,
    /// Tombstones.
    pub tombstones: Figure,
    /// Words of records and tombstones in arenas.
    pub live_words: Figure,
    /// Words in arenas that nothing refers to.
    pub garbage_words: Figure,
    /// Bytes of pages besides arenas, and of the index.
    pub overhead_bytes: Figure,
    /// Pages.
    pub pages: Figure,
}

impl Figures {
    /// Words that the table takes. Binaries of over 64 bytes are shared and count as references, as in `ets`.
    pub fn memory_words(&self) -> i64 {
        self.live_words.get() + self.garbage_words.get() + self.overhead_bytes.get() / 8
    }

    fn reset(&self) {
        let Figures { records, tombstones, live_words, garbage_words, overhead_bytes, pages } = self;
        for figure in [records, tombstones, live_words, garbage_words, overhead_bytes, pages] {
            figure.0.store(0, Ordering::Relaxed);
        }
    }
}

/// A number that one thread changes and all may read.
#[derive(Default)]
pub struct Figure(AtomicI64);

impl Figure {
    /// Its value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it. To be called by the table's writer.
    pub fn add(&self, difference: i64) {
        self.0.store(self.get() + difference, Ordering::Relaxed);
    }
}

/// Closed while records are written that are to be seen all at once.
///
/// Who begins to read while it is closed waits. Who has begun before may see some of the records and not others, which is as
/// if all reads that see any had come after, and all that do not before: for a read that sees one ends after the gate was
/// closed, and one that misses another has begun before that.
#[derive(Default)]
pub struct Gate(AtomicBool);

impl Gate {
    /// To be called by the table's writer.
    pub fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
        // Nothing that is written from here on is seen by who does not see the gate closed when it looks next.
        std::sync::atomic::fence(Ordering::Release);
    }

    /// To be called by the table's writer.
    pub fn open(&self) {
        self.0.store(false, Ordering::Release);
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why nothing was written.
pub enum Unwritten {
    /// The table has been dropped.
    Gone,
    /// A panic broke the table, and it was dropped. Its server should be made to use its handle, and so end.
    Broken(LocalPid),
}

struct Server {
    pid: LocalPid,
    name: u64,
    /// Keeps the monitor alive, even if the server forgets its handle.
    handle: Shared<Handle>,
}

/// A table, or the shell of one that was.
#[repr(align(128))]
pub struct Table {
    id: AtomicU64,
    /// See there.
    pub gate: Gate,
    /// Finds entries by hash.
    pub index: Index,
    /// Whether peers are linked, so that writes have to be encoded.
    pub linked: AtomicBool,
    /// Finds pages by key, in an `ordered_set`.
    pub order: Order,
    /// Figures.
    pub figures: Figures,
    /// The protocol's state and the writer. Prefer [`Table::with_engine`].
    pub engine: Mutex<Option<Engine>>,
    server: Mutex<Option<Server>>,
}

impl Table {
    fn shell() -> Self {
        Table {
            id: AtomicU64::new(0),
            gate: Gate::default(),
            index: Index::none(),
            linked: AtomicBool::new(false),
            order: Order::none(),
            figures: Figures::default(),
            engine: Mutex::new(None),
            server: Mutex::new(None),
        }
    }

    /// Makes a table whose server is the calling process. It can be found once it is in the registry.
    ///
    /// # Errors
    /// [`Gone`] if the calling process is no more.
    pub fn open(
        env: Env<'_>,
        name: Term<'_>,
        kind: Type,
        keypos: usize,
        settings: Settings,
    ) -> Result<Shared<Handle>, Gone> {
        let table = TABLES.take(Table::shell);
        let id = TableId::new(kind, keypos);
        let pid = env.pid();
        table.figures.reset();
        table.linked.store(false, Ordering::Relaxed);
        table.gate.open();
        *table.engine.lock() = Some(Engine::new(Writer::open(table, id), settings));
        table.id.store(id.0, Ordering::Release);
        let handle = Shared::new(Handle { table, id, stranded: Mutex::new(None) });
        let server = Server { pid, name: word(name), handle: handle.clone() };
        *table.server.lock() = Some(server);
        if !handle.monitor(env, &pid) {
            table.drop(id);
            return Err(Gone);
        }
        Ok(handle)
    }

    /// Gives back the shell, whose contents have been taken apart.
    pub fn give_back(&'static self) {
        TABLES.give(self);
    }

    /// The table's id at present; nobody's once it has been dropped.
    #[inline]
    pub fn id(&self) -> TableId {
        TableId(self.id.load(Ordering::Acquire))
    }

    /// Waits until the gate is open, or the table gone. To be called before a read.
    #[inline]
    pub fn pass_gate(&self, id: TableId) {
        if self.gate.is_closed() {
            self.wait_at_gate(id);
        }
    }

    #[cold]
    fn wait_at_gate(&self, id: TableId) {
        let mut tries = 0u32;
        while self.gate.is_closed() && self.id() == id {
            tries += 1;
            if tries < 64 {
                std::hint::spin_loop();
            } else {
                // The writer may have lost its core.
                std::thread::yield_now();
            }
        }
    }

    /// The table's server.
    pub fn server(&self, id: TableId) -> Option<LocalPid> {
        let server = self.server.lock();
        server.as_ref().filter(|_| self.id() == id).map(|server| server.pid)
    }

    /// Unpublishes the table and has its contents freed elsewhere. Does nothing if that has been done.
    pub fn drop(&'static self, id: TableId) {
        if self.id.compare_exchange(id.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        let server = self.server.lock().take();
        if let Some(server) = &server {
            registry::unpublish(server.name, self);
        }
        if let Some(mut engine) = self.engine.lock().take() {
            if let Some(server) = &server {
                *server.handle.stranded.lock() = Some(std::mem::take(&mut engine.tags));
            }
            reaper::hand_over(Box::new((engine, server)));
        }
    }

    /// Runs `write` on the engine, under its lock. If it panics, the table may be in any state: it is dropped, and its
    /// server will find that out.
    ///
    /// # Errors
    /// [`Unwritten`] if the table has been dropped, or is now.
    pub fn with_engine<R>(&'static self, id: TableId, write: impl FnOnce(&mut Engine) -> R) -> Result<R, Unwritten> {
        let mut guard = self.engine.lock();
        if self.id() != id {
            return Err(Unwritten::Gone);
        }
        let engine = guard.as_mut().ok_or(Unwritten::Gone)?;
        catch_unwind(AssertUnwindSafe(|| write(engine))).map_err(|_| {
            drop(guard);
            let server = self.server(id);
            self.drop(id);
            server.map_or(Unwritten::Gone, Unwritten::Broken)
        })
    }
}

/// The right to drive a table. The table is dropped when the process that made it ends.
pub struct Handle {
    /// The table's shell.
    pub table: &'static Table,
    /// The table's id, to be compared with the shell's.
    pub id: TableId,
    /// Once the table has been dropped: who still waits for peers to have a write.
    stranded: Mutex<Option<Tags>>,
}

impl Handle {
    /// Who was waiting when the table was dropped; nothing if that is just being done.
    pub fn take_stranded(&self) -> Option<Tags> {
        self.stranded.lock().take()
    }
}

static KIND: Kind = Kind::new();

impl Share for Handle {
    const NAME: &'static CStr = c"table";

    fn kind() -> &'static Kind {
        &KIND
    }

    fn down(&self) {
        self.table.drop(self.id);
    }
}
