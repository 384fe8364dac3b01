//! Reads of one key.
//!
//! The index says where the key may be; the page there is locked and asked. If it is not there although the index said
//! so, the entry may have moved in between, and the index is asked again, unless nothing in that part of it has moved.

use rustler::Term;

use crate::index::{Candidates, Gone};
use crate::table::{Table, TableId};

/// Shows the record under a key, if there is one, under its page's lock: `show` should do no more than copy it.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
#[inline]
pub fn find<R>(table: &Table, id: TableId, key: Term<'_>, show: impl Fn(Term<'_>) -> R) -> Result<Option<R>, Gone> {
    find_hashed(table, id, key, id.hash(key), show)
}

#[inline]
fn find_hashed<R>(
    table: &Table,
    id: TableId,
    key: Term<'_>,
    hash: u32,
    show: impl Fn(Term<'_>) -> R,
) -> Result<Option<R>, Gone> {
    let is_there = || table.id() == id;
    let mut candidates = Candidates::default();
    loop {
        table.index.find(id, hash, is_there, &mut candidates)?;
        for place in candidates.iter() {
            let page = place.page().page();
            page.prefetch(place.slot());
            let body = page.read();
            if body.owner() != id {
                continue;
            }
            let found = body.keyed_record(place.slot());
            if let Some((record, _)) = found.filter(|(_, other)| id.is_same_key(*other, key)) {
                return Ok(Some(show(record)));
            }
        }
        if candidates.is_empty() || table.index.is_current(id, hash, &candidates) {
            return Ok(None);
        }
        if !is_there() {
            return Err(Gone);
        }
    }
}
