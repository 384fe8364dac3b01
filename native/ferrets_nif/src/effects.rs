//! Effects as Erlang terms.

use std::sync::Arc;

use ferrets_core::conflict::QuestionId;
use ferrets_core::effect::{Answer, DownReason, Effect, Peer, Refusal};
use ferrets_core::leader::Operation;
use ferrets_core::store::Store;
use rustler::{Atom, Encoder, Env, NewBinary, Term};

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
            Effect::Answer(tag, answer) => answer_term(env, engine, tag, answer, &mut out.answers),
            Effect::AskConflict { id, theirs } => Some(conflict_term(env, engine, id, &theirs)),
            Effect::WrongLeader { from, operation, payload } => Some(wrong_leader_term(env, from, operation, &payload)),
            Effect::LinkUp(peer) => Some(news(env, atoms::link_up(), peer, None)),
            Effect::LinkDown(peer, reason) => Some(news(env, atoms::link_down(), peer, Some(&down_reason(reason)))),
            Effect::Refused(peer, reason) => Some(news(env, atoms::refused(), peer, Some(&refusal(reason)))),
            Effect::Synced(peer) => Some(news(env, atoms::synced(), peer, None)),
            Effect::Diverged(peer, entries) => Some(news(env, atoms::diverged(), peer, Some(&entries))),
        };
        out.terms.extend(term);
    }
}

// What is not done for each write.

#[cold]
fn answer_term<'a>(
    env: Env<'a>,
    engine: &mut Engine,
    tag: Tag,
    answer: Answer,
    answers: &mut Mail,
) -> Option<Term<'a>> {
    let answer = leader_answer(env, answer);
    let alias = engine.tags.answer(env, tag, answer, answers)?;
    Some((atoms::answer(), alias, answer).encode(env))
}

#[cold]
fn conflict_term<'a>(env: Env<'a>, engine: &mut Engine, question: QuestionId, theirs: &[u8]) -> Term<'a> {
    let ours = engine.writer.lookup_encoded(theirs).pop().unwrap_or_default();
    (atoms::conflict(), question, binary(env, &ours), binary(env, theirs)).encode(env)
}

#[cold]
fn wrong_leader_term<'a>(env: Env<'a>, from: Option<Peer>, operation: Operation, record: &[u8]) -> Term<'a> {
    let from = from.map_or_else(|| atoms::this().encode(env), |peer| peer.0.encode(env));
    (atoms::wrong_leader(), from, operation_atom(operation), binary(env, record)).encode(env)
}

/// What has come of a peer.
#[cold]
fn news<'a>(env: Env<'a>, what: Atom, peer: Peer, detail: Option<&dyn Encoder>) -> Term<'a> {
    match detail {
        None => (what, peer.0).encode(env),
        Some(detail) => (what, peer.0, detail.encode(env)).encode(env),
    }
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

fn operation_atom(operation: Operation) -> Atom {
    match operation {
        Operation::InsertNew => atoms::insert_new(),
        Operation::InsertNewOrLookup => atoms::insert_new_or_lookup(),
        Operation::InsertSerial => atoms::insert_serial(),
    }
}

fn down_reason(reason: DownReason) -> Atom {
    match reason {
        DownReason::Gone => atoms::gone(),
        DownReason::Gap => atoms::gap(),
        DownReason::Stalled => atoms::stalled(),
        DownReason::DroppedByPeer => atoms::dropped_by_peer(),
        DownReason::Relinked => atoms::relinked(),
        DownReason::Malformed => atoms::malformed(),
    }
}

fn refusal(reason: Refusal) -> Atom {
    match reason {
        Refusal::ProtocolVersion => atoms::protocol_version(),
        Refusal::TableType => atoms::table_type(),
        Refusal::KeyPosition => atoms::keypos(),
    }
}
