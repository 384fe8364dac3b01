//! Writes by local callers: `check, insert, insert_many, delete, delete_many, delete_objects, ask`, and
//! those to this replica alone, `local_*`.
//!
//! A call validates, hashes and, if there are peers, encodes before it takes the engine's lock. Long lists are written in
//! batches, so that the lock is never held for long, and in time slices.

use std::sync::atomic::Ordering;

use ferrets_core::leader::Operation;
use ferrets_core::replica::Progress;
use rustler::{Binary, Encoder, Env, Term};

use crate::beam::call::{nif, Answer, BadArg};
use crate::beam::encode::encode;
use crate::beam::term::{cell, element, list, Elements};
use crate::engine::{Action, Effects, Payloads, Waiter, Writes, Written};
use crate::registry;
use crate::slice::{count_steps, Slice};
use crate::store::Item;
use crate::table::{Table, TableId, Unwritten};
use crate::tags::Tagged;

/// How many records one taking of the lock deletes at most. Each may leave its page nearly empty, and have what is left moved.
const DELETES_MAX: usize = 16;

/// How many records one taking of the lock inserts at most, which readers see all at once. A few find their page full, and
/// have to move half of it, at some 25 us each; pages are made to fill up at different times.
const INSERTS_MAX: usize = 256;

/// Entries that a search for owned records looks at under one taking of the lock.
const SWEEP_ENTRIES: usize = 4096;

/// So many look-ups take as long as one write.
const WRITE_STEPS: u32 = 4;

/// A batch ends early once it has so many words.
const BATCH_WORDS: u64 = 16 * 1024;

mod atoms {
    rustler::atoms! {
        ok, wait, untagged, more, done, r#continue = "continue", record, key, undefined,
        ferrets_flush, ferrets_detour,
        insert_new, insert_new_or_lookup, insert_serial,
        insert_many, delete_many, delete_objects,
    }
}

struct Target<'a> {
    env: Env<'a>,
    table: &'static Table,
    id: TableId,
    action: Action,
    tag: Option<Tagged<'a>>,
    is_local: bool,
}

/// What a batch came to.
enum Outcome {
    Done,
    Wait,
    Untagged,
    /// The server has got the rest, and answers.
    Detour,
}

impl<'a> Target<'a> {
    fn find(env: Env<'a>, name: Term<'a>, action: Action, tag: Term<'a>) -> Result<Self, BadArg> {
        let (table, id) = registry::find(name).ok_or(BadArg)?;
        let tag = match tag {
            tag if atoms::undefined() == tag => None,
            tag if tag.is_ref() => Some(Tagged::Alias(tag)),
            tag if element(tag, 1).is_some_and(Term::is_ref) => Some(Tagged::Message(env.pid(), tag)),
            _ => return Err(BadArg),
        };
        Ok(Target { env, table, id, action, tag, is_local: false })
    }

    fn find_local(env: Env<'a>, name: Term<'a>, action: Action) -> Result<Self, BadArg> {
        let (table, id) = registry::find(name).ok_or(BadArg)?;
        Ok(Target { env, table, id, action, tag: None, is_local: true })
    }

    fn item(&self, term: Term<'a>) -> Result<Item<'a>, BadArg> {
        match self.action {
            Action::Insert | Action::DeleteObject => Item::record(self.id, term).ok_or(BadArg),
            Action::Delete => Ok(Item::key(self.id, term)),
        }
    }

    /// Writes all items under one lock. The tag is used up with the last batch. `rest` is the list from these items on, if they are not all.
    fn write(&self, items: &[Item<'a>], rest: Option<Term<'a>>, is_last: bool) -> Result<Outcome, BadArg> {
        let mut is_linked = self.table.linked.load(Ordering::Relaxed);
        let is_server = || self.table.server(self.id) == Some(self.env.pid());
        self.table.index.warm(items.iter().map(Item::hash));
        loop {
            let payloads = (is_linked && !self.is_local).then(|| Payloads::encode(self.id, self.action, items));
            let writes = Writes { action: self.action, items, payloads };
            let waiter = match self.tag {
                _ if self.is_local => Waiter::Local,
                None => Waiter::None,
                Some(tag) if is_last => Waiter::Now(tag),
                Some(tag) => Waiter::Later(tag),
            };
            match self.table.with_engine(self.id, |engine| engine.write(&writes, waiter, is_server)) {
                Ok(Written::Done) => return Ok(Outcome::Done),
                Ok(Written::Wait { wake }) => {
                    if wake {
                        self.wake();
                    }
                    return Ok(Outcome::Wait);
                }
                Ok(Written::Untagged) => return Ok(Outcome::Untagged),
                Ok(Written::NeedPayload) => is_linked = true,
                Ok(Written::Detour) => {
                    let all = || list(self.env, &items.iter().map(Item::term).collect::<Vec<_>>());
                    self.detour(rest.unwrap_or_else(all));
                    return Ok(Outcome::Detour);
                }
                Err(Unwritten::Gone) => return Err(BadArg),
                Err(Unwritten::Broken(server)) => {
                    // Its next call will raise, and so end it.
                    let _ = self.env.send(&server, atoms::ferrets_flush());
                    return Err(BadArg);
                }
            }
        }
    }

    /// Sends the rest of a list to the server, which writes it and answers. From in here, so that a caller that is killed
    /// cannot leave the server waiting for it.
    fn detour(&self, rest: Term<'a>) {
        let operation = match self.action {
            Action::Insert => atoms::insert_many(),
            Action::Delete => atoms::delete_many(),
            Action::DeleteObject => atoms::delete_objects(),
        };
        if let (Some(server), Some(Tagged::Alias(tag))) = (self.table.server(self.id), self.tag) {
            let _ = self.env.send(&server, (atoms::ferrets_detour(), tag, operation, rest));
        }
    }

    fn wake(&self) {
        if let Some(server) = self.table.server(self.id) {
            // A server that is no more need not be woken.
            let _ = self.env.send(&server, atoms::ferrets_flush());
        }
    }

    fn write_one(&self, term: Term<'a>) -> Answer<'a> {
        if self.tag.is_none() && self.table.linked.load(Ordering::Relaxed) {
            // Not after all the work.
            return Ok(self.answer(Outcome::Untagged));
        }
        count_steps(self.env, WRITE_STEPS);
        let item = self.item(term)?;
        Ok(self.answer(self.write(&[item], None, true)?))
    }

    fn answer(&self, outcome: Outcome) -> Term<'a> {
        let atom = match outcome {
            Outcome::Done => atoms::ok(),
            Outcome::Wait | Outcome::Detour => atoms::wait(),
            Outcome::Untagged => atoms::untagged(),
        };
        atom.encode(self.env)
    }

    fn write_many(&self, all: Term<'a>) -> Answer<'a> {
        let slice = Slice::begin(self.env);
        let batch_max = if self.action == Action::Insert { INSERTS_MAX } else { DELETES_MAX };
        let mut batch = Vec::with_capacity(batch_max);
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
                if batch.len() == batch_max || words >= BATCH_WORDS {
                    break;
                }
            }
            let is_last = rest.is_empty_list();
            if !is_last && cell(rest).is_none() {
                return Err(BadArg);
            }
            match self.write(&batch, Some(begin), is_last)? {
                Outcome::Detour => return Ok(self.answer(Outcome::Detour)),
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
    Target::find(env, name, Action::Insert, tag)?.write_one(record)
}

fn insert_many<'a>(env: Env<'a>, [name, records, tag]: [Term<'a>; 3]) -> Answer<'a> {
    Target::find(env, name, Action::Insert, tag)?.write_many(records)
}

fn delete<'a>(env: Env<'a>, [name, key, tag]: [Term<'a>; 3]) -> Answer<'a> {
    Target::find(env, name, Action::Delete, tag)?.write_one(key)
}

fn delete_many<'a>(env: Env<'a>, [name, keys, tag]: [Term<'a>; 3]) -> Answer<'a> {
    Target::find(env, name, Action::Delete, tag)?.write_many(keys)
}

fn delete_objects<'a>(env: Env<'a>, [name, records, tag]: [Term<'a>; 3]) -> Answer<'a> {
    Target::find(env, name, Action::DeleteObject, tag)?.write_many(records)
}

fn local_insert<'a>(env: Env<'a>, [name, records]: [Term<'a>; 2]) -> Answer<'a> {
    Target::find_local(env, name, Action::Insert)?.write_many(records)
}

fn local_delete<'a>(env: Env<'a>, [name, keys]: [Term<'a>; 2]) -> Answer<'a> {
    Target::find_local(env, name, Action::Delete)?.write_many(keys)
}

fn local_delete_objects<'a>(env: Env<'a>, [name, records]: [Term<'a>; 2]) -> Answer<'a> {
    Target::find_local(env, name, Action::DeleteObject)?.write_many(records)
}

/// `continue` goes on with the search; anything else begins it.
fn local_delete_owned<'a>(env: Env<'a>, [name, node, from]: [Term<'a>; 3]) -> Answer<'a> {
    let (table, id) = registry::find(name).ok_or(BadArg)?;
    let node = node.decode::<Binary>().map_err(|_| BadArg)?;
    let slice = Slice::begin(env);
    let mut begins = atoms::r#continue() != from;
    loop {
        let swept = table.with_engine(id, |engine| {
            // What is to be told to peers can wait for the next event: a fence is told again with each link.
            let mut effects = Effects::new();
            if std::mem::take(&mut begins) {
                engine.replica.delete_owned(node.as_slice(), &mut effects);
            }
            let progress = engine.replica.sweep_owned(&mut engine.writer, SWEEP_ENTRIES);
            (progress, engine.replica.dropped())
        });
        match swept.map_err(|_| BadArg)? {
            (Progress::Done, dropped) => return Ok((atoms::done(), dropped).encode(env)),
            (Progress::More, _) if slice.is_over(0) => return Ok((atoms::more(), 0).encode(env)),
            (Progress::More, _) => {}
        }
    }
}

fn ask<'a>(env: Env<'a>, [name, operation, record, tag]: [Term<'a>; 4]) -> Answer<'a> {
    let operation = match operation {
        term if atoms::insert_new() == term => Operation::InsertNew,
        term if atoms::insert_new_or_lookup() == term => Operation::InsertNewOrLookup,
        term if atoms::insert_serial() == term => Operation::InsertSerial,
        _ => return Err(BadArg),
    };
    count_steps(env, WRITE_STEPS);
    let target = Target::find(env, name, Action::Insert, tag)?;
    let tag = target.tag.ok_or(BadArg)?;
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
nif!("delete_objects", 3, delete_objects);
nif!("local_insert", 2, local_insert);
nif!("local_delete_owned", 3, local_delete_owned);
nif!("local_delete", 2, local_delete);
nif!("local_delete_objects", 2, local_delete_objects);
nif!("check", 3, check);
nif!("insert", 3, insert);
nif!("insert_many", 3, insert_many);
nif!("delete", 3, delete);
nif!("delete_many", 3, delete_many);
