//! NIFs for a table's server: events in, effects out.

use ferrets_core::conflict::Decision;
use ferrets_core::effect::Peer;
use ferrets_core::link::LinkState;
use ferrets_core::replica::{PeerStatus, Progress, Turn};
use rustler::{Binary, Decoder, Encoder, Env, Term};

use crate::beam::call::{nif, Answer, BadArg};
use crate::beam::encode::encode;
use crate::beam::shared::find;
use crate::beam::term::list;
use crate::effects::{binary, encode_each, Outcome};
use crate::engine::{now, Effects, Engine};
use crate::nif_table::store_status;
use crate::slice::{count_steps, Slice};
use crate::store::Item;
use crate::table::Handle;
use crate::tags::Tagged;
use crate::traffic::Ways;

/// Entries merged under one hold of the engine's lock, which each may find its page full, and have to move half of it.
const SLICE_ENTRIES: usize = 32;

/// An event by itself takes as long as so many look-ups, and each entry that it merges so many more, being of so many bytes or more.
const EVENT_STEPS: u32 = 4;
const ENTRY_STEPS: u32 = 4;
const ENTRY_BYTES: usize = 32;

/// Tombstones forgotten under one hold of the engine's lock.
const SLICE_TOMBSTONES: usize = 64;

mod atoms {
    rustler::atoms! {
        done, more, waits, stands_aside,
        incarnation, leader, writes, log_entries, log_bytes, pulls, conflicts, peers,
        // `self` is a word of Rust's.
        this = "self",
        all, messages_sent, bytes_sent, messages_received, bytes_received,
        peer, state, unacked, lag_ms, node, opening, syncing, synced,
    }
}

nif!("peer_up", 2, peer_up);
nif!("peer_down", 2, peer_down);
nif!("message", 4, message);
nif!("overtake", 4, overtake);
nif!("work", 1, work);
nif!("flush", 1, flush);
nif!("barrier", 2, barrier);
nif!("tick", 1, tick);
nif!("status", 1, status);
nif!("traffic", 2, traffic);
nif!("digest", 1, digest);
nif!("force_leader", 2, force_leader);
nif!("sync", 1, sync);
nif!("pause", 2, pause);
nif!("end_detour", 1, end_detour);
nif!("decide", 3, decide);

fn decode<'a, T: Decoder<'a>>(term: Term<'a>) -> Result<T, BadArg> {
    term.decode().map_err(|_| BadArg)
}

fn handle(term: Term<'_>) -> Result<&Handle, BadArg> {
    find(term).ok_or(BadArg)
}

/// One event that takes no long.
fn event<'a>(env: Env<'a>, term: Term<'a>, event: impl FnOnce(&mut Engine, &mut Effects)) -> Answer<'a> {
    let handle = handle(term)?;
    let mut out = Outcome::default();
    let happened = handle.table.with_engine(handle.id, |engine| {
        let effects = engine.event(handle.table, event);
        encode_each(env, engine, effects, &mut out);
    });
    happened.map_err(|_| BadArg)?;
    Ok(out.deliver(env))
}

/// An event, which is taken to last so many steps, and then the work that it leaves, slice by slice, as long as the call may take.
fn sliced<'a>(
    env: Env<'a>,
    term: Term<'a>,
    steps: u32,
    first: impl FnOnce(&mut Engine, &mut Effects) -> Progress,
    mut next: impl FnMut(&mut Engine, &mut Effects) -> Progress,
) -> Answer<'a> {
    let handle = handle(term)?;
    count_steps(env, steps);
    let mut out = Outcome::default();
    let mut slice = |run: &mut dyn FnMut(&mut Engine, &mut Effects) -> Progress| {
        handle
            .table
            .with_engine(handle.id, |engine| {
                let mut progress = Progress::Done;
                let effects = engine.event(handle.table, |engine, effects| progress = run(engine, effects));
                encode_each(env, engine, effects, &mut out);
                progress
            })
            .map_err(|_| BadArg)
    };
    let mut first = Some(first);
    let mut progress = slice(&mut |engine, effects| match first.take() {
        Some(first) => first(engine, effects),
        None => Progress::Done,
    })?;
    if progress == Progress::More {
        let time = Slice::begin(env);
        while progress == Progress::More && !time.is_over(0) {
            progress = slice(&mut next)?;
        }
    }
    let progress = match progress {
        Progress::Done => atoms::done(),
        Progress::More => atoms::more(),
    };
    Ok((progress, out.deliver(env)).encode(env))
}

fn peer_up<'a>(env: Env<'a>, [term, peer]: [Term<'a>; 2]) -> Answer<'a> {
    let peer = Peer(decode(peer)?);
    event(env, term, |engine, effects| engine.replica.peer_up(peer, effects))
}

fn peer_down<'a>(env: Env<'a>, [term, peer]: [Term<'a>; 2]) -> Answer<'a> {
    let peer = Peer(decode(peer)?);
    let first = |engine: &mut Engine, effects: &mut Effects| {
        engine.traffic.forget(peer);
        engine.replica.peer_down(&mut engine.writer, now(), peer, SLICE_ENTRIES, effects)
    };
    sliced(env, term, EVENT_STEPS, first, go_on)
}

fn message<'a>(env: Env<'a>, [term, peer, head, body]: [Term<'a>; 4]) -> Answer<'a> {
    let peer = Peer(decode(peer)?);
    let (head, body): (Binary<'a>, Binary<'a>) = (decode(head)?, decode(body)?);
    let message = (head.as_slice(), body.as_slice());
    let first = |engine: &mut Engine, effects: &mut Effects| {
        engine.traffic.received(peer, head.len() + body.len());
        engine.replica.message(&mut engine.writer, now(), peer, message, SLICE_ENTRIES, effects)
    };
    let entries = (body.len() / ENTRY_BYTES).min(SLICE_ENTRIES) as u32;
    sliced(env, term, EVENT_STEPS + entries * ENTRY_STEPS, first, go_on)
}

/// A message that came while another one is not done: `waits` or `stands_aside` if it is not its turn.
fn overtake<'a>(env: Env<'a>, [term, peer, head, body]: [Term<'a>; 4]) -> Answer<'a> {
    let at = handle(term)?;
    let bytes: Binary<'a> = decode(head)?;
    let turn = at.table.with_engine(at.id, |engine| engine.replica.turn(bytes.as_slice())).map_err(|_| BadArg)?;
    match turn {
        // Nobody but the server, which calls this, could have changed that meanwhile.
        Turn::Now => message(env, [term, peer, head, body]),
        Turn::Waits => Ok(atoms::waits().encode(env)),
        Turn::StandsAside => Ok(atoms::stands_aside().encode(env)),
    }
}

fn work<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    sliced(env, term, EVENT_STEPS, go_on, go_on)
}

fn go_on(engine: &mut Engine, effects: &mut Effects) -> Progress {
    engine.replica.work(&mut engine.writer, now(), SLICE_ENTRIES, effects)
}

fn flush<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    let first = |engine: &mut Engine, effects: &mut Effects| {
        engine.replica.flush_all(&mut engine.writer, now(), SLICE_ENTRIES, effects)
    };
    sliced(env, term, EVENT_STEPS, first, go_on)
}

fn pause<'a>(env: Env<'a>, [term, is_paused]: [Term<'a>; 2]) -> Answer<'a> {
    let is_paused = decode(is_paused)?;
    let first = |engine: &mut Engine, effects: &mut Effects| {
        engine.pause(is_paused);
        engine.replica.flush_all(&mut engine.writer, now(), SLICE_ENTRIES, effects)
    };
    sliced(env, term, EVENT_STEPS, first, go_on)
}

fn end_detour<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    event(env, term, |engine, _| engine.end_detour())
}

/// The conflict handler's answer: a record, or anything else for the newer of the two.
fn decide<'a>(env: Env<'a>, [term, question, record]: [Term<'a>; 3]) -> Answer<'a> {
    let question = decode(question)?;
    let id = handle(term)?.id;
    let mut payload = Vec::new();
    if Item::record(id, record).is_some() {
        encode(record, &mut payload);
    }
    event(env, term, |engine, effects| {
        let decision = if payload.is_empty() { Decision::Newer } else { Decision::Record(&payload) };
        engine.replica.decide(&mut engine.writer, now(), question, decision, effects);
    })
}

fn sync<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    event(env, term, |engine, effects| engine.replica.sync(effects))
}

fn force_leader<'a>(env: Env<'a>, [term, is_leader]: [Term<'a>; 2]) -> Answer<'a> {
    let is_leader = decode(is_leader)?;
    event(env, term, |engine, _| engine.replica.force_leader(is_leader))
}

fn barrier<'a>(env: Env<'a>, [term, tag]: [Term<'a>; 2]) -> Answer<'a> {
    if !tag.is_ref() {
        return Err(BadArg);
    }
    event(env, term, |engine, effects| {
        let tag = engine.tags.keep(Tagged::Alias(tag));
        engine.replica.barrier(tag, effects);
    })
}

fn tick<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    let forget = |engine: &mut Engine, effects: &mut Effects| {
        engine.writer.free_unseen();
        engine.replica.tick(&mut engine.writer, now(), SLICE_TOMBSTONES, effects)
    };
    sliced(env, term, EVENT_STEPS, forget, forget)
}

fn digest<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    let handle = handle(term)?;
    let digest = handle.table.with_engine(handle.id, |engine| engine.replica.digest()).map_err(|_| BadArg)?;
    Ok(digest.encode(env))
}

fn status<'a>(env: Env<'a>, [term]: [Term<'a>; 1]) -> Answer<'a> {
    let handle = handle(term)?;
    let status = handle.table.with_engine(handle.id, |engine| engine.replica.status(now())).map_err(|_| BadArg)?;
    let leader = match status.leader {
        Some(peer) => peer.0.encode(env),
        None => atoms::this().encode(env),
    };
    let peers: Vec<Term<'a>> = status.peers.iter().map(|peer| peer_status(env, peer)).collect();
    let pairs = [
        (atoms::incarnation(), status.incarnation.encode(env)),
        (atoms::leader(), leader),
        (atoms::writes(), status.writes.encode(env)),
        (atoms::log_entries(), status.log_entries.encode(env)),
        (atoms::log_bytes(), status.log_bytes.encode(env)),
        (atoms::pulls(), status.pulls.encode(env)),
        (atoms::conflicts(), status.conflicts.encode(env)),
        (atoms::peers(), list(env, &peers)),
    ];
    let figures = store_status(handle.table).map(|(key, figure)| (key, figure.encode(env)));
    let mut map = Term::map_new(env);
    for (key, value) in figures.into_iter().chain(pairs) {
        map = map.map_put(key, value).map_err(|_| BadArg)?;
    }
    Ok(map)
}

/// With one peer, or all that there ever were.
fn traffic<'a>(env: Env<'a>, [term, with]: [Term<'a>; 2]) -> Answer<'a> {
    let handle = handle(term)?;
    let peer = if atoms::all() == with { None } else { Some(Peer(decode(with)?)) };
    let ways = |engine: &mut Engine| peer.map_or(engine.traffic.all(), |peer| engine.traffic.with(peer));
    let Ways { sent, received } = handle.table.with_engine(handle.id, ways).map_err(|_| BadArg)?;
    let mut map = Term::map_new(env);
    for (key, figure) in [
        (atoms::messages_sent(), sent.messages),
        (atoms::bytes_sent(), sent.bytes),
        (atoms::messages_received(), received.messages),
        (atoms::bytes_received(), received.bytes),
    ] {
        map = map.map_put(key, figure).map_err(|_| BadArg)?;
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
    put(atoms::lag_ms(), peer.lag_ms.encode(env));
    if let Some(writer) = &peer.writer {
        put(atoms::incarnation(), writer.incarnation.encode(env));
        put(atoms::node(), binary(env, &writer.node));
    }
    map
}
