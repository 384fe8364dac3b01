//! Reads of one key.
//!
//! The index says where the key may be. First one looks there by a guess and without a lock, which does for nearly every key that is
//! there: what is found under the key in a page of this table is the record, however one came there. Else the page is locked and asked;
//! and if it is not there although the index said so, the entry may have moved in between, and the index is asked again, unless nothing in
//! that part of it has moved.
//!
//! In a bag a key may have many records, on many pages. They are read one by one, and read again if the index then does not
//! say of their key what it said before: so the records shown have been there together at one moment.

use rustler::Term;

use crate::beam::arena::{see_anywhere, Seen};
use crate::beam::term::element;
use crate::epoch::Visit;
use crate::index::{Candidates, Gone};
use crate::places::Place;
use crate::table::{Table, TableId};

/// Shows the record under a key, if there is one, under its page's lock: `show` should do no more than copy it.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
#[inline]
pub fn find<R>(table: &Table, id: TableId, key: Term<'_>, show: impl Fn(Seen<'_>) -> R) -> Result<Option<R>, Gone> {
    let hash = id.hash(key);
    if let Some(found) = table.index.peek(hash).and_then(|place| glance(place, id, key, &show)) {
        return Ok(Some(found));
    }
    find_hashed(table, id, key, hash, show)
}

/// Shows the record at a place, if it has this key, without a lock.
#[inline]
fn glance<R>(place: Place, id: TableId, key: Term<'_>, show: impl Fn(Seen<'_>) -> R) -> Option<R> {
    let front = place.page().page().front();
    front.prefetch(place.slot());
    let visit = Visit::begin();
    let stored = front.glance(id, place.slot())?;
    stored.prefetch();
    // SAFETY: the arena is freed only when nobody visits any more who may have seen the term.
    let record = unsafe { see_anywhere(&visit, stored) };
    id.is_same_key(element(record.term(), id.keypos())?, key).then(|| show(record))
}

/// Shows the record at a place, if it has this key.
#[inline]
fn look<R>(place: Place, id: TableId, key: Term<'_>, show: impl Fn(Seen<'_>) -> R) -> Option<R> {
    let body = place.page().page().read();
    if body.owner() != id {
        return None;
    }
    let (record, other) = body.keyed_record(place.slot())?;
    id.is_same_key(other, key).then(|| show(record))
}

/// Whether there is a record under a key.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
pub fn is_member(table: &'static Table, id: TableId, key: Term<'_>) -> Result<bool, Gone> {
    if id.is_bag() {
        return Ok(!find_all(table, id, key, |_| ())?.is_empty());
    }
    Ok(find(table, id, key, |_| ())?.is_some())
}

/// So often all records of a key are read, in the hope that none comes or goes meanwhile.
const TRIES: usize = 16;

/// Shows all records under a key of a bag, in the order of their insertion, as [`find`] does. Where others write to the key
/// without a pause, writers are kept out in the end.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
pub fn find_all<R>(
    table: &'static Table,
    id: TableId,
    key: Term<'_>,
    show: impl Fn(Seen<'_>) -> R,
) -> Result<Vec<R>, Gone> {
    let hash = id.hash(key);
    for _ in 0..TRIES {
        if let Some(found) = try_find_all(table, id, key, hash, &show)? {
            return Ok(found);
        }
    }
    let found = table.with_engine(id, |_| try_find_all(table, id, key, hash, &show));
    Ok(found.map_err(|_| Gone)??.unwrap_or_default())
}

fn try_find_all<R>(
    table: &Table,
    id: TableId,
    key: Term<'_>,
    hash: u32,
    show: impl Fn(Seen<'_>) -> R,
) -> Result<Option<Vec<R>>, Gone> {
    let is_there = || table.id() == id;
    let mut before = Candidates::default();
    table.index.find(id, hash, is_there, &mut before)?;
    let mut found = Vec::new();
    for place in before.iter() {
        let body = place.page().page().read();
        let keyed = Some(place.slot()).filter(|_| body.owner() == id).and_then(|slot| body.keyed_record(slot));
        match keyed {
            Some((record, other)) if id.is_same_key(other, key) => found.push(show(record)),
            // Another key of the same hash.
            Some(_) => {}
            None => return Ok(None),
        }
    }
    let mut after = Candidates::default();
    table.index.find(id, hash, is_there, &mut after)?;
    Ok(before.iter().eq(after.iter()).then_some(found))
}

fn find_hashed<R>(
    table: &Table,
    id: TableId,
    key: Term<'_>,
    hash: u32,
    show: impl Fn(Seen<'_>) -> R,
) -> Result<Option<R>, Gone> {
    let is_there = || table.id() == id;
    let mut candidates = Candidates::default();
    loop {
        table.index.find(id, hash, is_there, &mut candidates)?;
        for place in candidates.iter() {
            if let Some(found) = look(place, id, key, &show) {
                return Ok(Some(found));
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
