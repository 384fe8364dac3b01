//! Walks: records one after the other, in the order of keys (`ordered_set`) or of hashes (`set`).
//!
//! A walk may be resumed from where it stopped, whatever has been written meanwhile: a position is a key or a hash, never
//! a place. Each record that stays is shown once.

use std::cell::Cell;
use std::cmp::Ordering;

use rustler::Term;

use crate::beam::term::{compare, encode, is_identical};
use crate::index::{Gone, Which};
use crate::order::Aim;
use crate::page::{Body, PageNumber};
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

/// Where a thread has last stopped in the order of keys. Who asks for one key after the other mostly goes on from there; it
/// is no more than a guess, as the entry may have gone since.
#[derive(Clone, Copy)]
struct Stop {
    id: TableId,
    page: PageNumber,
    position: usize,
}

thread_local! {
    static LAST_STOP: Cell<Stop> = const { Cell::new(Stop { id: TableId::NOBODY, page: PageNumber(0), position: 0 }) };
}

impl Stop {
    fn last(id: TableId) -> Option<Self> {
        Some(LAST_STOP.get()).filter(|stop| stop.id == id)
    }

    fn is_at(&self, body: &Body, key: Term<'_>) -> bool {
        let there = body.at(self.position).and_then(|slot| body.key(slot));
        there.is_some_and(|there| is_identical(there, key))
    }
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
    let mut guess = beyond.and_then(|_| Stop::last(id));
    'seek: loop {
        let version = table.order.settled_version();
        let aim = match (beyond, direction) {
            (Some(key), _) => Aim::Key(key),
            (None, Direction::Up) => Aim::First,
            (None, Direction::Down) => Aim::Last,
        };
        let mut next = match guess {
            Some(stop) => Some(stop.page),
            None => Some(table.order.seek(id, aim, is_there)?),
        };
        while let Some(number) = next {
            let body = number.page().read();
            if body.owner() != id || table.order.version() != version {
                drop(body);
                if !is_there() {
                    return Err(Gone);
                }
                guess = None;
                continue 'seek;
            }
            let begin = match (guess.take(), beyond) {
                (Some(stop), Some(key)) if !stop.is_at(&body, key) => continue 'seek,
                (Some(stop), _) => Some(Ok(stop.position)),
                (None, beyond) => beyond.map(|key| body.search(key)),
            };
            let mut show = |record: Term<'_>| {
                let (key, step) = show(record);
                beyond = Some(key);
                step
            };
            if let Some(position) = show_page(&body, direction, begin, &mut show) {
                LAST_STOP.set(Stop { id, page: number, position });
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

/// Shows the records of a page from where [`Body::search`] has found a key on, or all. Returns the position at which `show` has
/// had enough.
fn show_page(
    body: &Body,
    direction: Direction,
    begin: Option<Result<usize, usize>>,
    show: &mut impl FnMut(Term<'_>) -> Step,
) -> Option<usize> {
    let mut stops_at = |position: &usize| {
        let record = body.at(*position).and_then(|slot| body.record(slot));
        record.is_some_and(|record| show(record) == Step::Enough)
    };
    match direction {
        Direction::Up => {
            let first = begin.map_or(0, |found| found.map_or_else(|at| at, |at| at + 1));
            (first..body.len()).find(&mut stops_at)
        }
        Direction::Down => {
            let end = begin.map_or(body.len(), |found| found.unwrap_or_else(|at| at));
            (0..end).rev().find(stops_at)
        }
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
