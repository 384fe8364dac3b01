//! Queries, called by any process: `select, select_on`.
//!
//! The first call compiles the specification and does a slice of the work; if that is not all, it gives back the program and
//! a position, with which `select_on` does the next slice. A position is a key, as `{Key}`, or `start`, in the order of keys; the
//! least hash that has not been shown, in the order of hashes; a number of keys, where the keys are given.

use std::cell::RefCell;
use std::cmp::Ordering;

use rustler::{Encoder, Env, Term};

use crate::beam::arena::Seen;
use crate::beam::call::{is_on_dirty_scheduler, nif, on_dirty_scheduler, Answer, BadArg};
use crate::beam::shared::{find, Shared};
use crate::beam::term::{in_front_of, list};
use crate::index::Gone;
use crate::matching::{Kept, Malformed, Matcher, Program, Scope};
use crate::nif_read::{table, walk_on};
use crate::read;
use crate::slice::Slice;
use crate::table::{Table, TableId};
use crate::walk::{self, Direction, Position, Step};

mod atoms {
    rustler::atoms! { forward, backward, count, hits, infinity, start, done, more }
}

/// What is wanted of the records that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// What they give.
    Results,
    /// Those that give `true`.
    Hits,
    /// How many give `true`.
    Count,
}

/// How a query is to be run.
#[derive(Clone, Copy)]
struct Mode<'a> {
    wanted: Wanted,
    direction: Direction,
    limit: usize,
    /// The results are put before this list one by one.
    later: Option<Term<'a>>,
}

impl<'a> Mode<'a> {
    fn decode(mode: Term<'a>, limit: Term<'a>) -> Result<Self, BadArg> {
        let (wanted, direction) = match mode {
            mode if atoms::forward() == mode => (Wanted::Results, Direction::Up),
            mode if atoms::backward() == mode => (Wanted::Results, Direction::Down),
            mode if atoms::hits() == mode => (Wanted::Hits, Direction::Up),
            mode if atoms::count() == mode => (Wanted::Count, Direction::Up),
            _ => return Err(BadArg),
        };
        let (limit, later) = match limit.decode::<usize>() {
            Ok(limit) if limit > 0 => (limit, None),
            Err(_) if atoms::infinity() == limit => (usize::MAX, None),
            Err(_) if limit.is_list() => (usize::MAX, Some(limit)),
            _ => return Err(BadArg),
        };
        Ok(Mode { wanted, direction, limit, later })
    }
}

/// What has been found.
#[derive(Default)]
struct Found<'a> {
    terms: Vec<Term<'a>>,
    count: usize,
    /// Records looked at.
    steps: usize,
}

/// A slice of a query.
struct Query<'a, 'c> {
    env: Env<'a>,
    table: &'static Table,
    id: TableId,
    matcher: Matcher<'a, 'c>,
    mode: Mode<'a>,
    slice: Slice<'a>,
    found: RefCell<Found<'a>>,
}

impl<'a> Query<'a, '_> {
    /// Does a slice, from a position or the beginning. Returns the position to go on from, unless all is done.
    fn run(&self, from: Option<Term<'a>>) -> Result<Option<Term<'a>>, BadArg> {
        match &self.matcher.code().scope {
            Scope::Keys(keys) => self.look_up(keys, from),
            Scope::Range(prefix) => {
                let range = |key: Term<'_>| prefix.place(key, self.matcher.literals());
                self.walk(from, Some(&range))
            }
            Scope::All if self.id.is_ordered() => self.walk(from, None),
            Scope::All => self.sweep(from),
        }
    }

    /// Looks at a record.
    #[inline]
    fn show(&self, record: Seen<'_>) -> Step {
        let mut found = self.found.borrow_mut();
        match self.mode.wanted {
            Wanted::Results => {
                if let Some(result) = self.matcher.result(record) {
                    found.terms.push(result);
                    found.count += 1;
                }
            }
            Wanted::Hits | Wanted::Count => {
                if self.matcher.is_hit(record.term()) {
                    found.count += 1;
                    if self.mode.wanted == Wanted::Hits {
                        found.terms.push(record.copy(self.env));
                    }
                }
            }
        }
        found.steps += 1;
        if found.count >= self.mode.limit || self.slice.is_over(found.steps) {
            Step::Enough
        } else {
            Step::More
        }
    }

    fn walk(
        &self,
        from: Option<Term<'a>>,
        range: Option<&dyn Fn(Term<'_>) -> Ordering>,
    ) -> Result<Option<Term<'a>>, BadArg> {
        let from = from.unwrap_or_else(|| atoms::start().encode(self.env));
        let at = (self.table, self.id);
        walk_on(self.env, at, (self.mode.direction, range), from, &self.slice, |record| self.show(record))
    }

    fn sweep(&self, from: Option<Term<'a>>) -> Result<Option<Term<'a>>, BadArg> {
        let mut from = from.map_or(Ok(0), |from| from.decode::<u32>().map_err(|_| BadArg))?;
        loop {
            let (terms, count) = {
                let found = self.found.borrow();
                (found.terms.len(), found.count)
            };
            let restart = || {
                let mut found = self.found.borrow_mut();
                found.terms.truncate(terms);
                found.count = count;
            };
            match walk::by_hash(self.table, self.id, from, restart, |record| self.show(record))? {
                Position::End => return Ok(None),
                Position::At(hash) => from = hash,
            }
            if self.found.borrow().count >= self.mode.limit || self.slice.is_over(0) {
                return Ok(Some(from.encode(self.env)));
            }
        }
    }

    fn look_up(&self, keys: &[u32], from: Option<Term<'a>>) -> Result<Option<Term<'a>>, BadArg> {
        let from = from.map_or(Ok(0), |from| from.decode::<usize>().map_err(|_| BadArg))?;
        let mut is_enough = false;
        for at in from..keys.len() {
            if is_enough {
                return Ok(Some(at.encode(self.env)));
            }
            let at = if self.mode.direction == Direction::Up { at } else { keys.len() - 1 - at };
            let key = keys.get(at).and_then(|&key| self.matcher.literals().get(key as usize)).ok_or(BadArg)?;
            is_enough = self.look_up_one(*key)? || self.slice.is_over(0);
        }
        Ok(None)
    }

    /// Looks at the records under a key, and returns whether that is enough.
    fn look_up_one(&self, key: Term<'_>) -> Result<bool, Gone> {
        if !self.id.is_bag() {
            let step = read::find(self.table, self.id, key, |record| self.show(record))?;
            return Ok(step == Some(Step::Enough));
        }
        // They may have to be read several times, until they have been read all at once.
        let mut records = read::find_all(self.table, self.id, key, |record| record.copy(self.env))?;
        if self.mode.direction == Direction::Down {
            records.reverse();
        }
        Ok(records.into_iter().map(|record| self.show(record.into())).filter(|step| *step == Step::Enough).count() > 0)
    }

    /// What the slice has found, and how many.
    fn into_found(self) -> (usize, Term<'a>) {
        let found = self.found.into_inner();
        let terms = match self.mode.later {
            Some(later) => in_front_of(self.env, later, &found.terms),
            None => list(self.env, &found.terms),
        };
        (found.count, terms)
    }
}

fn select<'a>(env: Env<'a>, arguments: [Term<'a>; 4]) -> Answer<'a> {
    let [name, specification, mode, limit] = arguments;
    let (table, id) = table(name)?;
    let mode = Mode::decode(mode, limit)?;
    let slice = Slice::begin(env);
    let program = match Program::compile(id, specification, !is_on_dirty_scheduler()) {
        Ok(program) => program,
        Err(Malformed::BadArg) => return Err(BadArg),
        Err(Malformed::TooLarge) => return Ok(on_dirty_scheduler(env, &SELECT, arguments)),
    };
    let matcher = Matcher::new(env, &program.code, &program.literals);
    let query = Query { env, table, id, matcher, mode, slice, found: RefCell::default() };
    let next = query.run(None)?;
    let (count, found) = query.into_found();
    match next {
        None => Ok((atoms::done(), count, found).encode(env)),
        Some(position) => {
            let program = Shared::new(program.keep(id));
            Ok((atoms::more(), count, found, position, program).encode(env))
        }
    }
}

fn select_on<'a>(env: Env<'a>, arguments: [Term<'a>; 5]) -> Answer<'a> {
    let [name, program, position, mode, limit] = arguments;
    let (table, id) = table(name)?;
    let mode = Mode::decode(mode, limit)?;
    let kept = find::<Kept>(program).ok_or(BadArg)?;
    if kept.id != id {
        return Err(BadArg);
    }
    if kept.code.is_large && !is_on_dirty_scheduler() {
        return Ok(on_dirty_scheduler(env, &SELECT_ON, arguments));
    }
    let slice = Slice::begin(env);
    let literals = kept.literals();
    let matcher = Matcher::new(env, &kept.code, &literals);
    let query = Query { env, table, id, matcher, mode, slice, found: RefCell::default() };
    let next = query.run(Some(position))?;
    let (count, found) = query.into_found();
    match next {
        None => Ok((atoms::done(), count, found).encode(env)),
        Some(position) => Ok((atoms::more(), count, found, position, program).encode(env)),
    }
}

nif!("select", 4, select, SELECT);
nif!("select_on", 5, select_on, SELECT_ON);
