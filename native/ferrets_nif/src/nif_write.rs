//! Writes by local callers: `check, insert, insert_many, delete, delete_many`.
//!
//! A call validates, hashes and, if there are peers, encodes before it takes the engine's lock. Long lists are written in
//! batches, so that the lock is never held for long, and in time slices.

use std::sync::atomic::Ordering;

use ferrets_core::leader::Operation;
use ferrets_core::store::Kind;
use rustler::{Encoder, Env, Term};

use crate::beam::call::{nif, Answer, BadArg};
use crate::beam::term::{cell, encode, Elements};
use crate::engine::{Waiter, Write, Written};
use crate::registry;
use crate::slice::Slice;
use crate::store::Item;
use crate::table::{Table, TableId, Unwritten};

/// How many records one taking of the lock writes at most. A list of no more is written at one go.
const BATCH_MAX: usize = 100;

/// A batch ends early once it has so many words.
const BATCH_WORDS: u64 = 16 * 1024;

mod atoms {
    rustler::atoms! { ok, wait, untagged, more, record, key, undefined, ferrets_flush, insert_new, insert_new_or_lookup, insert_serial }
}

struct Target<'a> {
    env: Env<'a>,
    table: &'static Table,
    id: TableId,
    kind: Kind,
    tag: Option<Term<'a>>,
}

/// What a batch came to.
enum Outcome {
    Done,
    Wait,
    Untagged,
}

impl<'a> Target<'a> {
    fn find(env: Env<'a>, name: Term<'a>, kind: Kind, tag: Term<'a>) -> Result<Self, BadArg> {
        let (table, id) = registry::find(name).ok_or(BadArg)?;
        let tag = (atoms::undefined() != tag).then_some(tag);
        Ok(Target { env, table, id, kind, tag })
    }

    fn item(&self, term: Term<'a>) -> Result<Item<'a>, BadArg> {
        match self.kind {
            Kind::Record => Item::record(self.id, term).ok_or(BadArg),
            Kind::Tombstone => Ok(Item::key(self.id, term)),
        }
    }

    /// Writes all items under one lock. The tag is used up with the last batch.
    fn write(&self, items: &[Item<'a>], is_last: bool) -> Result<Outcome, BadArg> {
        let mut is_linked = self.table.linked.load(Ordering::Relaxed);
        loop {
            let payload = |item: &Item<'a>| {
                let mut payload = Vec::new();
                encode(item.term(), &mut payload);
                payload
            };
            let payloads: Vec<Vec<u8>> = items.iter().filter(|_| is_linked).map(payload).collect();
            let mut payloads = payloads.into_iter();
            let mut writes = items.iter().map(|&item| Write { kind: self.kind, item, payload: payloads.next() });
            let waiter = match self.tag {
                None => Waiter::None,
                Some(tag) if is_last => Waiter::Now(tag),
                Some(_) => Waiter::Later,
            };
            let written = self.table.with_engine(self.id, |engine| engine.write(&mut writes, waiter));
            match written {
                Ok(Written::Done) => return Ok(Outcome::Done),
                Ok(Written::Wait { wake }) => {
                    if wake {
                        self.wake();
                    }
                    return Ok(Outcome::Wait);
                }
                Ok(Written::Untagged) => return Ok(Outcome::Untagged),
                Ok(Written::NeedPayload) => is_linked = true,
                Err(Unwritten::Gone) => return Err(BadArg),
                Err(Unwritten::Broken(server)) => {
                    // Its next call will raise, and so end it.
                    let _ = self.env.send(&server, atoms::ferrets_flush());
                    return Err(BadArg);
                }
            }
        }
    }

    fn wake(&self) {
        if let Some(server) = self.table.server(self.id) {
            // A server that is no more need not be woken.
            let _ = self.env.send(&server, atoms::ferrets_flush());
        }
    }

    fn write_one(&self, term: Term<'a>) -> Answer<'a> {
        let item = self.item(term)?;
        Ok(self.answer(self.write(&[item], true)?))
    }

    fn answer(&self, outcome: Outcome) -> Term<'a> {
        let atom = match outcome {
            Outcome::Done => atoms::ok(),
            Outcome::Wait => atoms::wait(),
            Outcome::Untagged => atoms::untagged(),
        };
        atom.encode(self.env)
    }

    fn write_many(&self, all: Term<'a>) -> Answer<'a> {
        let slice = Slice::begin(self.env);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut rest = all;
        loop {
            let begin = rest;
            batch.clear();
            let mut words = 0;
            while let Some((head, tail)) = cell(rest) {
                let item = self.item(head)?;
                words += u64::from(item.words());
                batch.push(item);
                rest = tail;
                if batch.len() == BATCH_MAX || words >= BATCH_WORDS {
                    break;
                }
            }
            let is_last = rest.is_empty_list();
            if !is_last && cell(rest).is_none() {
                return Err(BadArg);
            }
            match self.write(&batch, is_last)? {
                // A peer has come in the middle of the list: the rest needs a tag.
                Outcome::Untagged if begin != all => return Ok((atoms::more(), begin).encode(self.env)),
                outcome if is_last => return Ok(self.answer(outcome)),
                Outcome::Untagged => return Ok(self.answer(Outcome::Untagged)),
                _ if slice.is_over(0) => return Ok((atoms::more(), rest).encode(self.env)),
                _ => {}
            }
        }
    }
}

fn insert<'a>(env: Env<'a>, [name, record, tag]: [Term<'a>; 3]) -> Answer<'a> {
    Target::find(env, name, Kind::Record, tag)?.write_one(record)
}

fn insert_many<'a>(env: Env<'a>, [name, records, tag]: [Term<'a>; 3]) -> Answer<'a> {
    Target::find(env, name, Kind::Record, tag)?.write_many(records)
}

fn delete<'a>(env: Env<'a>, [name, key, tag]: [Term<'a>; 3]) -> Answer<'a> {
    Target::find(env, name, Kind::Tombstone, tag)?.write_one(key)
}

fn delete_many<'a>(env: Env<'a>, [name, keys, tag]: [Term<'a>; 3]) -> Answer<'a> {
    Target::find(env, name, Kind::Tombstone, tag)?.write_many(keys)
}

fn ask<'a>(env: Env<'a>, [name, operation, record, tag]: [Term<'a>; 4]) -> Answer<'a> {
    let operation = match operation {
        term if atoms::insert_new() == term => Operation::InsertNew,
        term if atoms::insert_new_or_lookup() == term => Operation::InsertNewOrLookup,
        term if atoms::insert_serial() == term => Operation::InsertSerial,
        _ => return Err(BadArg),
    };
    if !tag.is_ref() {
        return Err(BadArg);
    }
    let target = Target::find(env, name, Kind::Record, tag)?;
    let item = target.item(record)?;
    let mut payload = Vec::new();
    encode(item.term(), &mut payload);
    match target.table.with_engine(target.id, |engine| engine.ask(operation, payload, tag)) {
        Ok(wake) => {
            if wake {
                target.wake();
            }
            Ok(atoms::wait().encode(env))
        }
        Err(_) => Err(BadArg),
    }
}

fn check<'a>(env: Env<'a>, [name, kind, terms]: [Term<'a>; 3]) -> Answer<'a> {
    let (_, id) = registry::find(name).ok_or(BadArg)?;
    let is_record = match kind {
        kind if atoms::record() == kind => true,
        kind if atoms::key() == kind => false,
        _ => return Err(BadArg),
    };
    let slice = Slice::begin(env);
    let mut rest = terms;
    let mut checked = 0;
    while let Some((head, tail)) = cell(rest) {
        if is_record && Elements::of(head).is_none_or(|elements| elements.len() < id.keypos()) {
            return Err(BadArg);
        }
        rest = tail;
        checked += 1;
        if slice.is_over(checked) && !rest.is_empty_list() {
            return Ok((atoms::more(), rest).encode(env));
        }
    }
    if rest.is_empty_list() {
        Ok(atoms::ok().encode(env))
    } else {
        Err(BadArg)
    }
}

nif!("ask", 4, ask);
nif!("check", 3, check);
nif!("insert", 3, insert);
nif!("insert_many", 3, insert_many);
nif!("delete", 3, delete);
nif!("delete_many", 3, delete_many);
