//! Tables by name.
//!
//! A read finds its table without writing to shared memory: each name that a table has ever had owns a cell for good,
//! found by the atom's word in an open hash of which nothing is ever removed; in the cell stands the name's present
//! table, or nothing. So names of tables are never freed, like the atoms that they are.

use parking_lot::Mutex;
use rustler::Term;

use crate::beam::term::word;
use crate::pool::AtomicRef;
use crate::table::{Table, TableId};

const BUCKETS: usize = 1024;

static HEADS: [AtomicRef<Cell>; BUCKETS] = [const { AtomicRef::none() }; BUCKETS];

/// Held while tables come and go.
static CHANGE: Mutex<()> = Mutex::new(());

struct Cell {
    name: u64,
    table: AtomicRef<Table>,
    next: Option<&'static Cell>,
}

fn head(name: u64) -> &'static AtomicRef<Cell> {
    // An atom's word is its number and a tag of 6 bits.
    &HEADS[(name >> 6) as usize % BUCKETS]
}

#[inline]
fn cell(name: u64) -> Option<&'static Cell> {
    let mut next = head(name).get();
    while let Some(cell) = next {
        if cell.name == name {
            return Some(cell);
        }
        next = cell.next;
    }
    None
}

/// The table of a name, and its id, which says whether it is still the same later on.
#[inline]
pub fn find(name: Term<'_>) -> Option<(&'static Table, TableId)> {
    let table = cell(word(name))?.table.get()?;
    let id = table.id();
    (id != TableId::default()).then_some((table, id))
}

/// Gives a name, which must be an atom, to a table. Returns whether the name was free.
pub fn publish(name: Term<'_>, table: &'static Table) -> bool {
    debug_assert!(name.is_atom());
    let name = word(name);
    let _change = CHANGE.lock();
    match cell(name) {
        Some(cell) if cell.table.get().is_some() => return false,
        Some(cell) => cell.table.set(Some(table)),
        None => {
            let head = head(name);
            let cell = Cell { name, table: AtomicRef::none(), next: head.get() };
            cell.table.set(Some(table));
            head.set(Some(Box::leak(Box::new(cell))));
        }
    }
    true
}

/// Takes the name away from a table, if it has it.
pub fn unpublish(name: u64, table: &'static Table) {
    let _change = CHANGE.lock();
    if let Some(cell) = cell(name) {
        if cell.table.get().is_some_and(|present| std::ptr::eq(present, table)) {
            cell.table.set(None);
        }
    }
}
