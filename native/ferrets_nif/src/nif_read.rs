//! Reads, called by any process: `lookup, lookup_element, member, size, first, last, next, prev, scan, scan_back`.

use std::cell::RefCell;

use rustler::{Encoder, Env, Term};

use crate::beam::arena::Seen;
use crate::beam::call::{nif, Answer, BadArg};
use crate::beam::term::{element, in_front_of, list, nil, singleton};
use crate::index::Gone;
use crate::order::Range;
use crate::read;
use crate::registry;
use crate::slice::{count_steps, Slice};
use crate::table::{Table, TableId};
use crate::walk::{self, Course, Direction, Position, Step};

mod atoms {
    rustler::atoms! { end_of_table = "$end_of_table", start, done }
}

impl From<Gone> for BadArg {
    fn from(_: Gone) -> Self {
        BadArg
    }
}

/// The table of a name, as soon as it may be read.
pub fn table(name: Term<'_>) -> Result<(&'static Table, TableId), BadArg> {
    let (table, id) = registry::find(name).ok_or(BadArg)?;
    table.pass_gate(id);
    Ok((table, id))
}

fn lookup<'a>(env: Env<'a>, [name, key]: [Term<'a>; 2]) -> Answer<'a> {
    let (table, id) = table(name)?;
    count_steps(env, 1);
    if id.is_bag() {
        let found = read::find_all(table, id, key, |record| record.copy(env))?;
        count_steps(env, found.len() as u32);
        return Ok(list(env, &found));
    }
    let found = read::find(table, id, key, |record| record.copy(env))?;
    Ok(found.map_or_else(|| nil(env), |record| singleton(env, record)))
}

fn lookup_element<'a>(env: Env<'a>, [name, key, position]: [Term<'a>; 3]) -> Answer<'a> {
    find_element(env, name, key, position)?.ok_or(BadArg)
}

fn lookup_element_or<'a>(env: Env<'a>, [name, key, position, default]: [Term<'a>; 4]) -> Answer<'a> {
    Ok(find_element(env, name, key, position)?.unwrap_or(default))
}

/// One element of the record under a key, in a bag a list of those of all records; `None` if there is no record.
fn find_element<'a>(
    env: Env<'a>,
    name: Term<'a>,
    key: Term<'a>,
    position: Term<'a>,
) -> Result<Option<Term<'a>>, BadArg> {
    let (table, id) = table(name)?;
    count_steps(env, 1);
    let position = position.decode::<usize>().ok().filter(|position| *position > 0).ok_or(BadArg)?;
    let copy = |record: Seen<'_>| element(record.term(), position).map(|element| element.in_env(env)).ok_or(BadArg);
    if !id.is_bag() {
        return read::find(table, id, key, copy)?.transpose();
    }
    let found = read::find_all(table, id, key, copy)?.into_iter().collect::<Result<Vec<Term<'a>>, BadArg>>()?;
    Ok((!found.is_empty()).then(|| list(env, &found)))
}

fn member<'a>(env: Env<'a>, [name, key]: [Term<'a>; 2]) -> Answer<'a> {
    let (table, id) = table(name)?;
    count_steps(env, 1);
    Ok(read::is_member(table, id, key)?.encode(env))
}

fn size<'a>(env: Env<'a>, [name]: [Term<'a>; 1]) -> Answer<'a> {
    let (table, id) = table(name)?;
    let records = table.figures.records.get();
    if table.id() != id {
        return Err(BadArg);
    }
    Ok(records.encode(env))
}

fn first<'a>(env: Env<'a>, [name]: [Term<'a>; 1]) -> Answer<'a> {
    let (table, id) = table(name)?;
    if id.is_ordered() {
        neighbour(env, table, id, Direction::Up, None)
    } else {
        Ok(first_by_hash(env, table, id, 0)?)
    }
}

fn last<'a>(env: Env<'a>, [name]: [Term<'a>; 1]) -> Answer<'a> {
    let (table, id) = table(name)?;
    if id.is_ordered() {
        neighbour(env, table, id, Direction::Down, None)
    } else {
        Ok(first_by_hash(env, table, id, 0)?)
    }
}

fn next<'a>(env: Env<'a>, [name, key]: [Term<'a>; 2]) -> Answer<'a> {
    let (table, id) = table(name)?;
    if id.is_ordered() {
        neighbour(env, table, id, Direction::Up, Some(key))
    } else {
        next_by_hash(env, table, id, key)
    }
}

fn prev<'a>(env: Env<'a>, [name, key]: [Term<'a>; 2]) -> Answer<'a> {
    let (table, id) = table(name)?;
    if id.is_ordered() {
        neighbour(env, table, id, Direction::Down, Some(key))
    } else {
        next_by_hash(env, table, id, key)
    }
}

fn neighbour<'a>(
    env: Env<'a>,
    table: &'static Table,
    id: TableId,
    direction: Direction,
    beyond: Option<Term<'a>>,
) -> Answer<'a> {
    let mut found = atoms::end_of_table().encode(env);
    count_steps(env, 1);
    walk::neighbour(table, id, direction, beyond, |record| {
        found = element(record.term(), id.keypos()).unwrap_or(record.term()).in_env(env);
    })?;
    Ok(found)
}

fn first_by_hash<'a>(env: Env<'a>, table: &Table, id: TableId, from: u32) -> Result<Term<'a>, Gone> {
    let keys = walk::least_hash(table, id, from, |key| key.in_env(env))?;
    let least = keys.and_then(|(_, keys)| keys.into_iter().min_by(walk::compare_exactly));
    Ok(least.unwrap_or_else(|| atoms::end_of_table().encode(env)))
}

/// The next key by hash; keys that share a hash are in the order of terms.
fn next_by_hash<'a>(env: Env<'a>, table: &'static Table, id: TableId, key: Term<'a>) -> Answer<'a> {
    count_steps(env, 2);
    if !read::is_member(table, id, key)? {
        return Err(BadArg);
    }
    let hash = id.hash(key);
    if let Some((least, keys)) = walk::least_hash(table, id, hash, |key| key.in_env(env))? {
        let above = keys.into_iter().filter(|other| least != hash || walk::compare_exactly(other, &key).is_gt());
        if let Some(next) = above.min_by(walk::compare_exactly) {
            return Ok(next);
        }
    }
    match hash.checked_add(1) {
        Some(above) => Ok(first_by_hash(env, table, id, above)?),
        None => Ok(atoms::end_of_table().encode(env)),
    }
}

fn scan<'a>(env: Env<'a>, [name, position]: [Term<'a>; 2]) -> Answer<'a> {
    let (records, next) = scan_on(env, name, position, Direction::Up)?;
    Ok((list(env, &records), next).encode(env))
}

fn scan_back<'a>(env: Env<'a>, [name, position, later]: [Term<'a>; 3]) -> Answer<'a> {
    let (records, next) = scan_on(env, name, position, Direction::Down)?;
    Ok((in_front_of(env, later, &records), next).encode(env))
}

/// The records of a slice, as the walk comes by them, and where to go on.
fn scan_on<'a>(
    env: Env<'a>,
    name: Term<'a>,
    position: Term<'a>,
    direction: Direction,
) -> Result<(Vec<Term<'a>>, Term<'a>), BadArg> {
    let (table, id) = table(name)?;
    let slice = Slice::begin(env);
    if id.is_ordered() {
        scan_by_key(env, (table, id), direction, position, &slice)
    } else {
        scan_by_hash(env, table, id, position, &slice)
    }
}

/// Shows the records of a range, or all, in the order of keys from a position on, which is `start` or `{Key}`, the key shown last. Returns the
/// position to go on from, unless all have been shown.
pub fn walk_on<'a>(
    env: Env<'a>,
    (table, id): (&Table, TableId),
    (direction, range): (Direction, Option<Range<'_>>),
    position: Term<'a>,
    slice: &Slice<'a>,
    show: impl FnMut(Seen<'_>) -> Step,
) -> Result<Option<Term<'a>>, BadArg> {
    let beyond = match element(position, 1) {
        Some(key) => Some(key),
        None if atoms::start() == position => None,
        None => return Err(BadArg),
    };
    let mut course = Course { direction, beyond, range };
    if walk::by_range(table, id, &mut course, |key| key.in_env(env), || slice.is_over(0), show)? {
        return Ok(None);
    }
    Ok(Some(course.beyond.map_or(position, |key| (key,).encode(env))))
}

fn scan_by_key<'a>(
    env: Env<'a>,
    (table, id): (&Table, TableId),
    direction: Direction,
    position: Term<'a>,
    slice: &Slice<'a>,
) -> Result<(Vec<Term<'a>>, Term<'a>), BadArg> {
    let mut records = Vec::new();
    let show = |record: Seen<'_>| {
        records.push(record.copy(env));
        if slice.is_over(records.len()) {
            Step::Enough
        } else {
            Step::More
        }
    };
    let next = walk_on(env, (table, id), (direction, None), position, slice, show)?;
    Ok((records, next.unwrap_or_else(|| atoms::done().encode(env))))
}

/// A position in the order of hashes is an integer, the least hash that has not been shown.
fn scan_by_hash<'a>(
    env: Env<'a>,
    table: &'static Table,
    id: TableId,
    position: Term<'a>,
    slice: &Slice<'a>,
) -> Result<(Vec<Term<'a>>, Term<'a>), BadArg> {
    let mut from = match position.decode::<u32>() {
        Ok(hash) => hash,
        Err(_) if atoms::start() == position => 0,
        Err(_) => return Err(BadArg),
    };
    let records: RefCell<Vec<Term<'a>>> = RefCell::default();
    loop {
        let kept = records.borrow().len();
        let restart = || records.borrow_mut().truncate(kept);
        let show = |record: Seen<'_>| {
            let mut records = records.borrow_mut();
            records.push(record.copy(env));
            if slice.is_over(records.len()) {
                Step::Enough
            } else {
                Step::More
            }
        };
        match walk::by_hash(table, id, from, restart, show)? {
            Position::End => return Ok((records.take(), atoms::done().encode(env))),
            Position::At(hash) => from = hash,
        }
        if slice.is_over(0) {
            return Ok((records.take(), from.encode(env)));
        }
    }
}

nif!("lookup", 2, lookup);
nif!("lookup_element", 3, lookup_element);
nif!("lookup_element", 4, lookup_element_or);
nif!("member", 2, member);
nif!("size", 1, size);
nif!("first", 1, first);
nif!("last", 1, last);
nif!("next", 2, next);
nif!("prev", 2, prev);
nif!("scan", 2, scan);
nif!("scan_back", 3, scan_back);
