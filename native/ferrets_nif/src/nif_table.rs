//! A table's life: `abi, create, close`, and the store's part of `status`.

use rustler::{Atom, Binary, Encoder, Env, Term};

use crate::beam::call::{nif, Answer, BadArg};
use crate::beam::layout;
use crate::beam::shared::find;
use crate::engine::Settings;
use crate::registry;
use crate::table::{Handle, Table, TableId, Type};
use crate::ABI;

mod atoms {
    rustler::atoms! {
        ok, error, again, already_exists, set, ordered_set, bag, node, undefined,
        tombstone_ttl_ms, stall_timeout_ms, compare_interval_ms, asks_conflicts, drops_owned,
        size, memory, garbage, pages, tombstones
    }
}

fn abi<'a>(env: Env<'a>, []: [Term<'a>; 0]) -> Answer<'a> {
    Ok(ABI.encode(env))
}

fn create<'a>(env: Env<'a>, [name, kind, keypos, settings]: [Term<'a>; 4]) -> Answer<'a> {
    if !name.is_atom() || atoms::undefined() == name {
        return Err(BadArg);
    }
    let keypos = keypos.decode::<usize>().map_err(|_| BadArg)?;
    if !(1..=TableId::KEYPOS_MAX).contains(&keypos) {
        return Err(BadArg);
    }
    let settings = decode_settings(settings).ok_or(BadArg)?;
    let kind = match kind {
        kind if atoms::set() == kind => Type::Set,
        kind if atoms::ordered_set() == kind => Type::OrderedSet,
        kind if atoms::bag() == kind => Type::Bag,
        _ => return Err(BadArg),
    };
    if let Some((table, id)) = registry::find(name) {
        if table.server(id).is_some_and(|server| server.is_alive(env)) {
            return Ok(failure(env, atoms::already_exists()));
        }
        // Its server is dead, though the VM has not told us yet.
        table.drop(id);
    }
    let handle = Table::open(env, name, kind, keypos, settings).map_err(|_| BadArg)?;
    if !registry::publish(name, handle.table) {
        handle.table.drop(handle.id);
        return Ok(failure(env, atoms::already_exists()));
    }
    Ok((atoms::ok(), handle).encode(env))
}

fn failure(env: Env<'_>, reason: Atom) -> Term<'_> {
    (atoms::error(), reason).encode(env)
}

fn decode_settings(settings: Term<'_>) -> Option<Settings> {
    let node = settings.map_get(atoms::node()).ok()?.decode::<Binary>().ok()?;
    let flag = |key: Atom| settings.map_get(key).ok()?.decode::<bool>().ok();
    let time = |key: Atom| settings.map_get(key).ok()?.decode::<u64>().ok();
    Some(Settings {
        node: node.as_slice().to_vec(),
        tombstone_ttl_ms: time(atoms::tombstone_ttl_ms())?,
        stall_timeout_ms: time(atoms::stall_timeout_ms())?,
        compare_interval_ms: time(atoms::compare_interval_ms())?,
        asks_conflicts: flag(atoms::asks_conflicts())?,
        drops_owned: flag(atoms::drops_owned())?,
    })
}

/// Whether it is known how this VM lays out terms: else it copies and decodes all of them itself.
fn has_blocks<'a>(env: Env<'a>, []: [Term<'a>; 0]) -> Answer<'a> {
    Ok((layout::is_known() && layout::Headers::known().is_some_and(|headers| headers.reference.is_some())).encode(env))
}

fn close<'a>(env: Env<'a>, [handle]: [Term<'a>; 1]) -> Answer<'a> {
    let handle = find::<Handle>(handle).ok_or(BadArg)?;
    handle.table.drop(handle.id);
    Ok(atoms::ok().encode(env))
}

/// The server has died: whoever waits for peers to have a write is told why.
fn strand<'a>(env: Env<'a>, [handle, why]: [Term<'a>; 2]) -> Answer<'a> {
    let handle = find::<Handle>(handle).ok_or(BadArg)?;
    handle.table.drop(handle.id);
    let Some(stranded) = handle.take_stranded() else { return Ok(atoms::again().encode(env)) };
    stranded.strand(env, why);
    Ok(atoms::ok().encode(env))
}

/// The store's part of `status/1`: names and figures.
pub fn store_status(table: &Table) -> [(Atom, i64); 5] {
    let figures = &table.figures;
    [
        (atoms::size(), figures.records.get()),
        (atoms::memory(), figures.memory_words()),
        (atoms::garbage(), figures.garbage_words.get()),
        (atoms::pages(), figures.pages.get()),
        (atoms::tombstones(), figures.tombstones.get()),
    ]
}

nif!("abi", 0, abi);
nif!("has_blocks", 0, has_blocks);
nif!("create", 4, create);
nif!("close", 1, close);
nif!("strand", 2, strand);
