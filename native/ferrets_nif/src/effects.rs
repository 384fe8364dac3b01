//! Effects as Erlang terms.

use std::sync::Arc;

use ferrets_core::effect::{Answer, DownReason, Effect, Refusal};
use ferrets_core::leader::Operation;
use ferrets_core::store::Store;
use rustler::{Encoder, Env, NewBinary, Term};

use crate::beam::term::list;
use crate::engine::{Effects, Engine};
use crate::tags::{Mail, Tag};

mod atoms {
    rustler::atoms! {
        send, reply, answer, conflict, wrong_leader, link_up, link_down, refused, synced, diverged,
        gone, gap, stalled, dropped_by_peer, relinked, malformed,
        protocol_version, table_type, keypos,
        inserted, present, found, leader_lost,
        insert_new, insert_new_or_lookup, insert_serial,
        // `self` is a word of Rust's.
        this = "self",
    }
}

/// What an event has come to.
#[derive(Default)]
pub struct Outcome<'a> {
    terms: Vec<Term<'a>>,
    mail: Vec<Mail>,
    answers: Mail,
}

impl<'a> Outcome<'a> {
    /// Sends what is to be sent from here. Returns what is left for the server to do. To be called when the engine is no
    /// longer locked: who is sent something may at once come back with the next write.
    pub fn deliver(self, env: Env<'a>) -> Term<'a> {
        self.mail.iter().chain([&self.answers]).for_each(|mail| mail.send(env));
        list(env, &self.terms)
    }
}

/// Appends a term for each effect, as `ferrets_nif:effect/0` says, or a message.
pub fn encode_each<'a>(env: Env<'a>, engine: &mut Engine, effects: Effects, out: &mut Outcome<'a>) {
    // A body goes to all peers in a row: one binary serves them all.
    let mut last: Option<(Arc<Vec<u8>>, Term<'a>)> = None;
    for effect in effects {
        let term = match effect {
            Effect::Send { peer, head, body } => {
                engine.traffic.sent(peer, head.len() + body.len());
                let shared = last.take().filter(|(known, _)| Arc::ptr_eq(known, &body));
                let (body, term) = shared.unwrap_or_else(|| {
                    let term = binary(env, &body);
                    (body, term)
                });
                last = Some((body, term));
                Some((atoms::send(), peer.0, binary(env, &head), term).encode(env))
            }
            Effect::Reply(tags) => {
                let mut aliases = Vec::new();
                engine.tags.take_all(env, &tags, &mut aliases, &mut out.mail);
                (!aliases.is_empty()).then(|| (atoms::reply(), list(env, &aliases)).encode(env))
            }
            effect => encode_other(env, engine, effect, &mut out.answers),
        };
        out.terms.extend(term);
    }
}

/// What is not done for each write.
#[inline(never)]
fn encode_other<'a>(env: Env<'a>, engine: &mut Engine, effect: Effect<Tag>, answers: &mut Mail) -> Option<Term<'a>> {
    Some(match effect {
        // Who calls this has done them.
        Effect::Send { .. } | Effect::Reply(_) => return None,
        Effect::Answer(tag, answer) => {
            let answer = leader_answer(env, answer);
            let alias = engine.tags.answer(env, tag, answer, answers)?;
            (atoms::answer(), alias, answer).encode(env)
        }
        Effect::AskConflict { id, theirs } => {
            let ours = engine.writer.lookup_encoded(&theirs).pop().unwrap_or_default();
            (atoms::conflict(), id, binary(env, &ours), binary(env, &theirs)).encode(env)
        }
        Effect::WrongLeader { from, operation, payload } => {
            let from = from.map_or_else(|| atoms::this().encode(env), |peer| peer.0.encode(env));
            let payload = binary(env, &payload);
            (atoms::wrong_leader(), from, operation_atom(operation), payload).encode(env)
        }
        Effect::LinkUp(peer) => (atoms::link_up(), peer.0).encode(env),
        Effect::LinkDown(peer, reason) => (atoms::link_down(), peer.0, down_reason(reason)).encode(env),
        Effect::Refused(peer, reason) => (atoms::refused(), peer.0, refusal(reason)).encode(env),
        Effect::Synced(peer) => (atoms::synced(), peer.0).encode(env),
        Effect::Diverged(peer, entries) => (atoms::diverged(), peer.0, entries).encode(env),
    })
}

/// A binary with these bytes.
pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

fn leader_answer(env: Env<'_>, answer: Answer) -> Term<'_> {
    match answer {
        Answer::Inserted => atoms::inserted().encode(env),
        Answer::Present => atoms::present().encode(env),
        Answer::Found(records) => {
            let records: Vec<Term<'_>> = records.iter().map(|record| binary(env, record)).collect();
            (atoms::found(), list(env, &records)).encode(env)
        }
        Answer::WrongLeader => atoms::wrong_leader().encode(env),
        Answer::Malformed => atoms::malformed().encode(env),
        Answer::LeaderLost => atoms::leader_lost().encode(env),
    }
}

fn operation_atom(operation: Operation) -> rustler::Atom {
    match operation {
        Operation::InsertNew => atoms::insert_new(),
        Operation::InsertNewOrLookup => atoms::insert_new_or_lookup(),
        Operation::InsertSerial => atoms::insert_serial(),
    }
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
