//! Walks: records one after the other, in the order of keys (`ordered_set`) or of hashes (`set`).
//!
//! A walk may be resumed from where it stopped, whatever has been written meanwhile: a position is a key or a hash, never
//! a place. Each record that stays is shown once.

use std::cell::Cell;
use std::cmp::Ordering;

use rustler::Term;

use crate::beam::arena::Seen;
use crate::beam::compare::{compare, is_identical};
use crate::beam::encode::encode;
use crate::beam::scratch::shorten;
use crate::index::{anticipate, Gone, Which};
use crate::order::{Aim, Range};
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

/// Shows the record next to a key, or the first (the last, going down), if there is one. `show` runs under a page's lock.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
pub fn neighbour(
    table: &Table,
    id: TableId,
    direction: Direction,
    beyond: Option<Term<'_>>,
    show: impl FnOnce(Seen<'_>),
) -> Result<(), Gone> {
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
            if let Some((position, record)) = next_in_page(&body, direction, begin) {
                LAST_STOP.set(Stop { id, page: number, position });
                show(record);
                return Ok(());
            }
            next = match direction {
                Direction::Up => body.after,
                Direction::Down => body.before,
            };
        }
        return Ok(());
    }
}

/// The first record of a page from where [`Body::search`] has found a key on, or of all, and its position.
fn next_in_page(body: &Body, direction: Direction, begin: Option<Result<usize, usize>>) -> Option<(usize, Seen<'_>)> {
    let record = |position: usize| Some((position, body.at(position).and_then(|slot| body.record(slot))?));
    match direction {
        Direction::Up => {
            let first = begin.map_or(0, |found| found.map_or_else(|at| at, |at| at + 1));
            (first..body.len()).find_map(record)
        }
        Direction::Down => {
            let end = begin.map_or(body.len(), |found| found.unwrap_or_else(|at| at));
            (0..end).rev().find_map(record)
        }
    }
}

/// How many records ahead memory is asked for the next ones, in the order of keys.
const NEAR_AHEAD: usize = 4;

/// A walk over a range of keys.
pub struct Course<'a, 'r> {
    /// Which way it goes.
    pub direction: Direction,
    /// It goes on beyond this key.
    pub beyond: Option<Term<'a>>,
    /// The range, if it is not all keys.
    pub range: Option<Range<'r>>,
}

impl<'a> Course<'a, '_> {
    /// Where the walk starts, or goes on.
    fn aim(&self) -> Aim<'_> {
        match (self.beyond, self.range, self.direction) {
            (Some(key), _, _) => Aim::Key(shorten(key)),
            (None, Some(range), Direction::Up) => Aim::Begin(range),
            (None, Some(range), Direction::Down) => Aim::End(range),
            (None, None, Direction::Up) => Aim::First,
            (None, None, Direction::Down) => Aim::Last,
        }
    }

    /// The positions of a page that are still to be shown.
    fn positions(&self, body: &Body) -> std::ops::Range<usize> {
        let all = 0..body.len();
        let beyond = self.beyond.map(|key| body.search(key));
        match (self.direction, self.range) {
            (Direction::Up, range) => {
                let first = match (beyond, range) {
                    (Some(Ok(at)), _) => at + 1,
                    (Some(Err(at)), _) => at,
                    (None, Some(range)) => body.partition(all.clone(), |key| range(key).is_lt()),
                    (None, None) => 0,
                };
                let end = range.map_or(all.end, |range| body.gallop(first, |key| range(key).is_le()));
                first..end
            }
            (Direction::Down, range) => {
                let end = match (beyond, range) {
                    (Some(Ok(at) | Err(at)), _) => at,
                    (None, Some(range)) => body.partition(all.clone(), |key| range(key).is_le()),
                    (None, None) => all.end,
                };
                let first = range.map_or(0, |range| body.gallop_down(end, |key| range(key).is_ge()));
                first..end
            }
        }
    }

    /// Whether nothing of the range is behind a page of which these positions have been shown.
    fn is_over(&self, body: &Body, shown: &std::ops::Range<usize>) -> bool {
        self.range.is_some()
            && match self.direction {
                Direction::Up => shown.end < body.len(),
                Direction::Down => shown.start > 0,
            }
    }
}

/// Shows the records of a range in the order of keys. `show` runs under a page's lock. `keep` copies a key, from which the
/// walk can go on; it is asked once per page, and when the walk stops. `is_late` is asked once per page whether to stop.
/// Returns whether all records have been shown; if not, the course knows where to go on.
///
/// # Errors
/// [`Gone`] if the table has been dropped.
pub fn by_range<'a>(
    table: &Table,
    id: TableId,
    course: &mut Course<'a, '_>,
    keep: impl Fn(Term<'_>) -> Term<'a>,
    is_late: impl Fn() -> bool,
    mut show: impl FnMut(Seen<'_>) -> Step,
) -> Result<bool, Gone> {
    let is_there = || table.id() == id;
    'seek: loop {
        let version = table.order.settled_version();
        let mut next = Some(table.order.seek(id, course.aim(), is_there)?);
        while let Some(number) = next {
            let body = number.page().read();
            if body.owner() != id || table.order.version() != version {
                drop(body);
                if !is_there() {
                    return Err(Gone);
                }
                continue 'seek;
            }
            let positions = course.positions(&body);
            let mut visit = |position: &usize| {
                let ahead = match course.direction {
                    Direction::Up => position + NEAR_AHEAD,
                    Direction::Down => position.wrapping_sub(NEAR_AHEAD),
                };
                body.prefetch_at(ahead);
                body.at(*position).and_then(|slot| body.record(slot)).is_some_and(|record| show(record) == Step::Enough)
            };
            let stopped_at = match course.direction {
                Direction::Up => positions.clone().find(|position| visit(position)),
                Direction::Down => positions.clone().rev().find(|position| visit(position)),
            };
            let (last, neighbour) = match course.direction {
                Direction::Up => (positions.end.checked_sub(1), body.after),
                Direction::Down => (Some(positions.start), body.before),
            };
            if stopped_at.is_none() && (neighbour.is_none() || course.is_over(&body, &positions)) {
                return Ok(true);
            }
            if stopped_at.is_some() || !positions.is_empty() {
                let last = stopped_at.or(last).and_then(|at| body.at(at)).and_then(|slot| body.key(slot));
                course.beyond = last.map(&keep).or(course.beyond);
            }
            if stopped_at.is_some() || is_late() {
                return Ok(false);
            }
            next = neighbour;
        }
        return Ok(true);
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
    mut show: impl FnMut(Seen<'_>) -> Step,
) -> Result<Position, Gone> {
    let is_there = || table.id() == id;
    let mut places: Vec<Place> = Vec::new();
    loop {
        places.clear();
        let sweep = table.index.sweep(id, from, Which::Records, is_there, &mut places)?;
        let mut position = sweep.next.map_or(Position::End, Position::At);
        let mut stop_after = None;
        for (at, place) in places.iter().enumerate() {
            anticipate(&places, at);
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
