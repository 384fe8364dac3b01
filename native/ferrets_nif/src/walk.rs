//! Walks: records one after the other, in the order of keys (`ordered_set`) or of hashes (`set`).
//!
//! A walk may be resumed from where it stopped, whatever has been written meanwhile: a position is a key or a hash, never
//! a place. Each record that stays is shown once.

use std::cmp::Ordering;

use rustler::Term;

use crate::beam::term::{compare, encode, is_identical};
use crate::index::{Gone, Which};
use crate::order::Aim;
use crate::page::Body;
use crate::places::Place;
use crate::table::{Table, TableId};

/// Which way a walk in the order of keys goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending.
    Up,
    /// Descending.
    Down,
}

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Show me the next record.
    More,
    /// Stop here.
    Enough,
}

/// Shows the records beyond a key (all, if there is none), in the order of keys. `show` runs under a page's lock; it
/// copies what it wants and returns its copy of the key, from which the walk goes on should the page have moved.
/// Returns whether all records have been shown.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
pub fn by_key<'a>(
    table: &Table,
    id: TableId,
    direction: Direction,
    mut beyond: Option<Term<'a>>,
    mut show: impl FnMut(Term<'_>) -> (Term<'a>, Step),
) -> Result<bool, Gone> {
    let is_there = || table.id() == id;
    'seek: loop {
        let version = table.order.settled_version();
        let aim = match (beyond, direction) {
            (Some(key), _) => Aim::Key(key),
            (None, Direction::Up) => Aim::First,
            (None, Direction::Down) => Aim::Last,
        };
        let mut next = Some(table.order.seek(id, aim, is_there)?);
        while let Some(number) = next {
            let body = number.page().read();
            if body.owner() != id || table.order.version() != version {
                drop(body);
                if !is_there() {
                    return Err(Gone);
                }
                continue 'seek;
            }
            if body.records() > 0 && show_page(&body, direction, &mut beyond, &mut show) == Step::Enough {
                return Ok(false);
            }
            next = match direction {
                Direction::Up => body.after,
                Direction::Down => body.before,
            };
        }
        return Ok(true);
    }
}

fn show_page<'a>(
    body: &Body,
    direction: Direction,
    beyond: &mut Option<Term<'a>>,
    show: &mut impl FnMut(Term<'_>) -> (Term<'a>, Step),
) -> Step {
    let from = *beyond;
    let mut visit = |position: usize| match body.at(position).and_then(|slot| body.record(slot)) {
        None => Step::More,
        Some(record) => {
            let (key, step) = show(record);
            *beyond = Some(key);
            step
        }
    };
    let stops = match direction {
        Direction::Up => {
            let first = from.map_or(0, |key| body.search(key).map_or_else(|at| at, |at| at + 1));
            (first..body.len()).any(|position| visit(position) == Step::Enough)
        }
        Direction::Down => {
            let end = from.map_or(body.len(), |key| body.search(key).unwrap_or_else(|at| at));
            (0..end).rev().any(|position| visit(position) == Step::Enough)
        }
    };
    if stops {
        Step::Enough
    } else {
        Step::More
    }
}

/// Where a slice of a walk in the order of hashes has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Go on with the records of this hash.
    At(u32),
    /// All have been shown.
    End,
}

/// Shows a slice of the records whose hash is at least `from`, in the order of hashes, and says where to go on. `show`
/// runs under a page's lock. It is asked between two hashes whether to stop, so that records that share a hash are in
/// one slice. If entries were moved under way, nothing of the slice counts: `restart` is called, and it begins anew.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
pub fn by_hash(
    table: &Table,
    id: TableId,
    from: u32,
    mut restart: impl FnMut(),
    mut show: impl FnMut(Term<'_>) -> Step,
) -> Result<Position, Gone> {
    let is_there = || table.id() == id;
    let mut places: Vec<Place> = Vec::new();
    loop {
        places.clear();
        let sweep = table.index.sweep(id, from, Which::Records, is_there, &mut places)?;
        let mut position = sweep.next.map_or(Position::End, Position::At);
        let mut stop_after = None;
        for place in &places {
            if stop_after.is_some_and(|hash| hash != place.hash()) {
                position = Position::At(place.hash());
                break;
            }
            let body = place.page().page().read();
            if is_at(&body, id, place) {
                if let Some(record) = body.record(place.slot()) {
                    if show(record) == Step::Enough {
                        stop_after = Some(place.hash());
                    }
                }
            }
        }
        if table.index.is_sweep_current(id, from, &sweep) {
            return Ok(position);
        }
        if !is_there() {
            return Err(Gone);
        }
        restart();
    }
}

/// The keys of records that have the least hash of at least `from`, together with that hash.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
pub fn least_hash<'a>(
    table: &Table,
    id: TableId,
    from: u32,
    copy_key: impl Fn(Term<'_>) -> Term<'a>,
) -> Result<Option<(u32, Vec<Term<'a>>)>, Gone> {
    let is_there = || table.id() == id;
    let mut places: Vec<Place> = Vec::new();
    let mut next = Some(from);
    while let Some(from) = next {
        places.clear();
        let sweep = table.index.sweep(id, from, Which::FirstRecords, is_there, &mut places)?;
        let mut keys = Vec::with_capacity(places.len());
        for place in &places {
            let body = place.page().page().read();
            let key = body.key(place.slot()).filter(|_| is_at(&body, id, place));
            keys.extend(key.filter(|_| body.record(place.slot()).is_some()).map(&copy_key));
        }
        let is_current = table.index.is_sweep_current(id, from, &sweep);
        if !is_current && !is_there() {
            return Err(Gone);
        }
        match places.first().map(|place| place.hash()) {
            _ if !is_current => {}
            None => next = sweep.next,
            // Records may have been deleted since: then the next hash it is.
            Some(hash) if keys.is_empty() => next = hash.checked_add(1),
            Some(hash) => return Ok(Some((hash, keys))),
        }
    }
    Ok(None)
}

/// Whether what a place was written down for may still be there: an entry with its hash.
fn is_at(body: &Body, id: TableId, place: &Place) -> bool {
    body.owner() == id && body.meta(place.slot()).is_some_and(|meta| meta.hash == place.hash())
}

/// A total order of terms that agrees with `=:=`: the order of terms, and where this holds an integer and a float equal,
/// that of the external term format.
pub fn compare_exactly(a: &Term<'_>, b: &Term<'_>) -> Ordering {
    compare(*a, *b).then_with(|| {
        if is_identical(*a, *b) {
            return Ordering::Equal;
        }
        let (mut left, mut right) = (Vec::new(), Vec::new());
        encode(*a, &mut left);
        encode(*b, &mut right);
        left.cmp(&right)
    })
}
