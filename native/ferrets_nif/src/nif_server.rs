//! NIFs for a table's server: events in, effects out.

use std::sync::Arc;

use ferrets_core::effect::{DownReason, Effect, Peer, Refusal};
use ferrets_core::link::LinkState;
use ferrets_core::replica::{PeerStatus, Progress};
use rustler::{Binary, Decoder, Encoder, Env, NewBinary, ResourceArc, Term};

use crate::beam::call::{nif, Answer, BadArg};
use crate::beam::term::list;
use crate::engine::{now_ms, Effects, Engine};
use crate::nif_table::store_status;
use crate::slice::Slice;
use crate::table::Handle;
use crate::tags::Tag;

/// Entries merged under one hold of the engine's lock.
const SLICE_ENTRIES: usize = 64;

/// Tombstones forgotten under one hold of the engine's lock.
const SLICE_TOMBSTONES: usize = 64;

mod atoms {
    rustler::atoms! {
        done, more,
        send, reply, link_up, link_down, refused, synced,
        gone, gap, stalled, dropped_by_peer, relinked, malformed,
        protocol_version, table_type, keypos,
        incarnation, leader, log_entries, log_bytes, pulls, peers,
        // `self` is a word of Rust's.
        this = "self",
        peer, state, unacked, node, opening, syncing,
    }
}

nif!("peer_up", 2, peer_up);
nif!("peer_down", 2, peer_down);
nif!("message", 4, message);
nif!("work", 1, work);
nif!("flush", 1, flush);
nif!("barrier", 2, barrier);
nif!("tick", 1, tick);
nif!("status", 1, status);
nif!("digest", 1, digest);

fn decode<'a, T: Decoder<'a>>(term: Term<'a>) -> Result<T, BadArg> {
    term.decode().map_err(|_| BadArg)
}

fn handle(term: Term<'_>) -> Result<ResourceArc<Handle>, BadArg> {
    decode(term)
}

/// One event that takes no long.
fn event<'a>(env: Env<'a>, term: Term<'a>, event: impl FnOnce(&mut Engine, &mut Effects)) -> Answer<'a> {
    let handle = handle(term)?;
    handle
        .table
        .with_engine(handle.id, |engine| {
            let effects = engine.event(handle.table, event);
            encode_effects(env, engine, effects)
        })
        .map_err(|_| BadArg)
}

/// An event, and then the work that it leaves, slice by slice, as long as the call may take.
fn sliced<'a>(
    env: Env<'a>,
    term: Term<'a>,
    first: impl FnOnce(&mut Engine, &mut Effects) -> Progress,
    mut next: impl FnMut(&mut Engine, &mut Effects) -> Progress,
) -> Answer<'a> {
    let handle = handle(term)?;
    let time = Slice::begin(env);
    let mut parts = Vec::new();
    let mut slice = |run: &mut dyn FnMut(&mut Engine, &mut Effects) -> Progress| {
        handle
            .table
            .with_engine(handle.id, |engine| {
                let mut progress = Progress::Done;
                let effects = engine.event(handle.table, |engine, effects| progress = run(engine, effects));
                encode_each(env, engine, effects, &mut parts);
                progress
            })
            .map_err(|_| BadArg)
    };
    let mut first = Some(first);
    let mut progress = slice(&mut |engine, effects| match first.take() {
        Some(first) => first(engine, effects),
        None => Progress::Done,
    })?;
    while progress == Progress::More && !time.is_over(0) {
        progress = slice(&mut next)?;
    }
    let progress = match progress {
        Progress::Done => atoms::done(),
        Progress::More => atoms::more(),
    };
    Ok((progress, list(env, &parts)).encode(env))
}

fn peer_up<'a>(env: Env<'a>, [term, peer]: [Term<'a>; 2]) -> Answer<'a> {
    let peer = Peer(decode(peer)?);
    event(env, term, |engine, effects| engine.replica.peer_up(peer, effects))
}

fn peer_down<'a>(env: Env<'a>, [term, peer]: [Term<'a>; 2]) -> Answer<'a> {
    let peer = Peer(decode(peer)?);
    event(env, term, |engine, effects| engine.replica.peer_down(peer, effects))
}

fn message<'a>(env: Env<'a>, [term, peer, head, body]: [Term<'a>; 4]) -> Answer<'a> {
    let peer = Peer(decode(peer)?);
    let (head, body): (Binary<'a>, Binary<'a>) = (decode(head)?, decode(body)?);
    let message = (head.as_slice(), body.as_slice());
    let first = |engine: &mut Engine, effects: &mut Effects| {
        engine.replica.message(&mut engine.writer, now_ms(), peer, message, SLICE_ENTRIES, effects)
    };
    sliced(env, term, first, go_on)
}

fn work<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    sliced(env, term, go_on, go_on)
}

fn go_on(engine: &mut Engine, effects: &mut Effects) -> Progress {
    engine.replica.work(&mut engine.writer, now_ms(), SLICE_ENTRIES, effects)
}

fn flush<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    event(env, term, |engine, effects| engine.replica.flush(effects))
}

fn barrier<'a>(env: Env<'a>, [term, tag]: [Term<'a>; 2]) -> Answer<'a> {
    if !tag.is_ref() {
        return Err(BadArg);
    }
    event(env, term, |engine, effects| {
        let tag = engine.tags.keep(tag);
        engine.replica.barrier(tag, effects);
    })
}

fn tick<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    let forget = |engine: &mut Engine, effects: &mut Effects| {
        engine.replica.tick(&mut engine.writer, now_ms(), SLICE_TOMBSTONES, effects)
    };
    sliced(env, term, forget, forget)
}

fn digest<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    let handle = handle(term)?;
    let digest = handle.table.with_engine(handle.id, |engine| engine.replica.digest()).map_err(|_| BadArg)?;
    Ok(digest.encode(env))
}

fn status<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    let handle = handle(term)?;
    let status = handle.table.with_engine(handle.id, |engine| engine.replica.status()).map_err(|_| BadArg)?;
    let leader = match status.leader {
        Some(peer) => peer.0.encode(env),
        None => atoms::this().encode(env),
    };
    let peers: Vec<Term<'a>> = status.peers.iter().map(|peer| peer_status(env, peer)).collect();
    let pairs = [
        (atoms::incarnation(), status.incarnation.encode(env)),
        (atoms::leader(), leader),
        (atoms::log_entries(), status.log_entries.encode(env)),
        (atoms::log_bytes(), status.log_bytes.encode(env)),
        (atoms::pulls(), status.pulls.encode(env)),
        (atoms::peers(), list(env, &peers)),
    ];
    let figures = store_status(handle.table).map(|(key, figure)| (key, figure.encode(env)));
    let mut map = Term::map_new(env);
    for (key, value) in figures.into_iter().chain(pairs) {
        map = map.map_put(key, value).map_err(|_| BadArg)?;
    }
    Ok(map)
}

fn peer_status<'a>(env: Env<'a>, peer: &PeerStatus) -> Term<'a> {
    let state = match peer.state {
        LinkState::Opening => atoms::opening(),
        LinkState::Syncing => atoms::syncing(),
        LinkState::Synced => atoms::synced(),
    };
    let mut map = Term::map_new(env);
    let mut put = |key: rustler::Atom, value: Term<'a>| {
        // A map takes any key.
        if let Ok(with) = map.map_put(key, value) {
            map = with;
        }
    };
    put(atoms::peer(), peer.peer.0.encode(env));
    put(atoms::state(), state.encode(env));
    put(atoms::unacked(), peer.unacked_batches.encode(env));
    if let Some(writer) = &peer.writer {
        put(atoms::incarnation(), writer.incarnation.encode(env));
        put(atoms::node(), binary(env, &writer.node));
    }
    map
}

fn encode_effects<'a>(env: Env<'a>, engine: &mut Engine, effects: Effects) -> Term<'a> {
    let mut terms = Vec::new();
    encode_each(env, engine, effects, &mut terms);
    list(env, &terms)
}

fn encode_each<'a>(env: Env<'a>, engine: &mut Engine, effects: Effects, terms: &mut Vec<Term<'a>>) {
    // A body goes to all peers in a row: one binary serves them all.
    let mut last: Option<(Arc<Vec<u8>>, Term<'a>)> = None;
    for effect in effects {
        terms.push(match effect {
            Effect::Send { peer, head, body } => {
                let shared = last.take().filter(|(known, _)| Arc::ptr_eq(known, &body));
                let (body, term) = shared.unwrap_or_else(|| {
                    let term = binary(env, &body);
                    (body, term)
                });
                last = Some((body, term));
                (atoms::send(), peer.0, binary(env, &head), term).encode(env)
            }
            Effect::Reply(tags) => (atoms::reply(), take_tags(env, engine, &tags)).encode(env),
            Effect::LinkUp(peer) => (atoms::link_up(), peer.0).encode(env),
            Effect::LinkDown(peer, reason) => (atoms::link_down(), peer.0, down_reason(reason)).encode(env),
            Effect::Refused(peer, reason) => (atoms::refused(), peer.0, refusal(reason)).encode(env),
            Effect::Synced(peer) => (atoms::synced(), peer.0).encode(env),
        });
    }
}

fn take_tags<'a>(env: Env<'a>, engine: &mut Engine, tags: &[Tag]) -> Term<'a> {
    let tags: Vec<Term<'a>> = tags.iter().map(|tag| engine.tags.take(env, *tag)).collect();
    list(env, &tags)
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

fn down_reason(reason: DownReason) -> rustler::Atom {
    match reason {
        DownReason::Gone => atoms::gone(),
        DownReason::Gap => atoms::gap(),
        DownReason::Stalled => atoms::stalled(),
        DownReason::DroppedByPeer => atoms::dropped_by_peer(),
        DownReason::Relinked => atoms::relinked(),
        DownReason::Malformed => atoms::malformed(),
    }
}

fn refusal(reason: Refusal) -> rustler::Atom {
    match reason {
        Refusal::ProtocolVersion => atoms::protocol_version(),
        Refusal::TableType => atoms::table_type(),
        Refusal::KeyPosition => atoms::keypos(),
    }
}
