//! Writes on their way: batches out, acknowledgements in, and the other way round.

use std::sync::Arc;

use crate::clock::Time;
use crate::effect::{DownReason, Effect, Peer};
use crate::handshake::{send, Greeting};
use crate::inbox::{Incoming, Then};
use crate::link::{Link, Up};
use crate::log::Batch;
use crate::replica::{Progress, Replica, Turn};
use crate::store::Store;
use crate::sync::Span;
use crate::wire::{Head, Nonce};

/// So many entries are looked at by a sweep in the time that it takes to merge one.
const SWEPT_PER_UNIT: usize = 128;

impl<W> Replica<W> {
    /// Sends what callers have written and asked, unless enough is in flight: then its acknowledgement will. To be called
    /// when [`crate::replica::Written::Logged`] or [`crate::leader::Asked::Logged`] asks for it. [`Progress::More`]: go on
    /// with [`Replica::work`].
    pub fn flush_all<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        self.flush(effects);
        self.flush_questions(effects);
        self.work(store, now, budget, effects)
    }

    pub(crate) fn flush(&mut self, effects: &mut Vec<Effect<W>>) {
        while let Some(batch) = self.log.take_off() {
            for (peer, link) in &mut self.links {
                if let Some(up) = link.up_mut() {
                    effects.push(send_batch(*peer, up, batch));
                }
            }
            self.slow_pulls();
            self.land_acknowledged(effects);
        }
    }

    /// When to take in a message that comes before the present one is done. While a chunk is being merged, batches, acknowledgements
    /// and the peers' own pulls go first: merging commutes, so neither a write nor another server need wait for a sync. To be asked
    /// only of a peer of whom no other message [waits](Turn::Waits).
    pub fn turn(&self, head: &[u8]) -> Turn {
        let is_merging_chunk = self.incoming.as_ref().is_some_and(|incoming| incoming.then.is_chunk());
        let may_overtake = self.overtaken.is_none() && is_merging_chunk;
        match Head::decode(head) {
            Ok(Head::Batch { .. } | Head::Ack { .. } | Head::Pull { .. }) if may_overtake => Turn::Now,
            Ok(Head::Chunk { .. } | Head::Pull { .. }) => Turn::StandsAside,
            _ => Turn::Waits,
        }
    }

    /// Takes a message in. `budget` bounds the work of this call, in entries; [`Progress::More`] means that
    /// [`Replica::work`] must go on until it is done, before any other event but local writes, flushes, and messages whose
    /// [turn](Replica::turn) it is.
    pub fn message<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        peer: Peer,
        message: (&[u8], &[u8]),
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        let (head, body) = message;
        if self.incoming.is_some() && self.turn(head) == Turn::Now {
            self.overtaken = self.incoming.take();
        }
        while self.incoming.is_some() {
            // The host has not kept to the rule above; order matters more than this call's length.
            self.work(store, now, usize::MAX, effects);
        }
        let Ok(head) = Head::decode(head) else {
            self.abandon(peer, DownReason::Malformed, effects);
            return Progress::Done;
        };
        match head {
            Head::Hello { protocol, nonce, echo, shape, writer, started_ms, asks_conflicts, clock } => {
                let greeting = Greeting { protocol, nonce, echo, shape, writer, started_ms, asks_conflicts, clock };
                self.on_hello(peer, greeting, effects);
            }
            Head::Refuse { nonce, reason } => self.on_refuse(peer, nonce, reason, effects),
            Head::Drop { link } => self.on_drop(peer, link, effects),
            Head::Batch { link, seq } => return self.on_batch(store, now, (peer, link, seq), body, budget, effects),
            Head::Chunk { link, from, next } => {
                return self.on_chunk(store, now, (peer, link, from, next), body, budget, effects);
            }
            Head::Ack { link, seq } => self.on_ack(peer, link, seq, effects),
            Head::Compare { link, total, scope } => self.on_compare((peer, link), total, scope, effects),
            Head::Equal { link } => self.on_equal(peer, link, effects),
            Head::Sums { link } => self.on_sums(store, (peer, link), body, effects),
            Head::Pull { link, from, to } => self.on_pull(store, (peer, link), Span { from, to }, body, effects),
            Head::Pulled { link } => self.on_pulled(peer, link, effects),
            Head::Ask { link, seq, members } => {
                if self.on_ask((peer, link, seq, members), body).is_err() {
                    self.abandon(peer, DownReason::Malformed, effects);
                }
            }
            Head::Lost { link } => {
                if self.on_lost((peer, link), body, effects).is_err() {
                    self.abandon(peer, DownReason::Malformed, effects);
                }
            }
            Head::Answers { link, seq } => self.on_answers((peer, link, seq), body, effects),
        }
        self.work(store, now, budget, effects)
    }

    /// Goes on with what was not finished.
    pub fn work<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        if let Some(incoming) = self.incoming.take() {
            if self.merge(incoming, store, now, budget, effects) == Progress::More {
                return Progress::More;
            }
        }
        if self.overtaken.is_some() {
            self.incoming = self.overtaken.take();
            return Progress::More;
        }
        if self.sweep_owned(store, budget.saturating_mul(SWEPT_PER_UNIT)) == Progress::More {
            return Progress::More;
        }
        self.serve(store, now, budget, effects)
    }

    /// Takes in the entries of a message, as far as the budget goes.
    pub(crate) fn receive<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        incoming: (Peer, Nonce, Then),
        body: &[u8],
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        let (peer, link, then) = incoming;
        let progress = match Incoming::open(self, peer, link, then, body) {
            Ok(incoming) => self.merge(incoming, store, now, budget, effects),
            Err(_) => {
                self.abandon(peer, DownReason::Malformed, effects);
                Progress::Done
            }
        };
        match progress {
            Progress::More => Progress::More,
            Progress::Done => self.work(store, now, budget, effects),
        }
    }

    fn merge<S: Store>(
        &mut self,
        mut incoming: Incoming<'_>,
        store: &mut S,
        now: Time,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        match incoming.merge(self, store, now, budget, effects) {
            Ok(Progress::More) => {
                self.incoming = Some(incoming.keep());
                return Progress::More;
            }
            Ok(Progress::Done) => self.finish(&incoming, effects),
            Err(_) => self.abandon(incoming.peer, DownReason::Malformed, effects),
        }
        Progress::Done
    }

    fn on_batch<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        (peer, link, seq): (Peer, Nonce, u64),
        body: &[u8],
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        match self.current(peer, link) {
            Some(up) if seq == up.applied + 1 => {}
            Some(_) => {
                self.abandon(peer, DownReason::Gap, effects);
                return self.work(store, now, budget, effects);
            }
            None => return self.work(store, now, budget, effects),
        }
        self.slow_pulls();
        self.receive(store, now, (peer, link, Then::Acknowledge(seq)), body, budget, effects)
    }

    fn finish(&mut self, incoming: &Incoming<'_>, effects: &mut Vec<Effect<W>>) {
        let Some(up) = self.current(incoming.peer, incoming.link) else { return };
        match incoming.then {
            Then::Acknowledge(seq) => {
                up.applied = seq;
                effects.push(send(incoming.peer, &Head::Ack { link: up.theirs, seq }));
            }
            Then::PullOn { last } => self.chunk_merged(incoming, last, effects),
        }
    }

    fn on_ack(&mut self, peer: Peer, link: Nonce, seq: u64, effects: &mut Vec<Effect<W>>) {
        let Some(up) = self.current(peer, link) else { return };
        if seq > up.sent {
            self.abandon(peer, DownReason::Malformed, effects);
            return;
        }
        up.acked = up.acked.max(seq);
        if let Some(link) = self.links.get_mut(&peer) {
            link.silence.end();
        }
        self.land_if_acknowledged(effects);
    }

    /// Serves who waits for a batch in flight that all linked peers have, and sends the next.
    pub(crate) fn land_if_acknowledged(&mut self, effects: &mut Vec<Effect<W>>) {
        if self.land_acknowledged(effects) {
            self.flush(effects);
        }
    }

    /// Batches leave for all peers in the same order, and each peer has all of them but the last few: what it has not acknowledged.
    fn land_acknowledged(&mut self, effects: &mut Vec<Effect<W>>) -> bool {
        let unacknowledged = self.links.values().filter_map(Link::up).map(|up| up.sent - up.acked).max().unwrap_or(0);
        let landed = self.log.in_flight().len().saturating_sub(unacknowledged as usize);
        for _ in 0..landed {
            let waiters = self.log.land();
            if !waiters.is_empty() {
                effects.push(Effect::Reply(waiters));
            }
        }
        if landed > 0 {
            self.give_answers(effects);
            self.settle_pull(effects);
            self.compare_after_sweep(effects);
        }
        landed > 0
    }

    /// The link that a message belongs to; none if that is not the present one.
    pub(crate) fn current(&mut self, peer: Peer, link: Nonce) -> Option<&mut Up> {
        self.links.get_mut(&peer).filter(|known| known.own == link)?.up_mut()
    }
}

pub(crate) fn send_batch<W>(peer: Peer, up: &mut Up, batch: &Batch<W>) -> Effect<W> {
    up.sent += 1;
    let head = Head::Batch { link: up.theirs, seq: up.sent }.encode();
    Effect::Send { peer, head, body: Arc::clone(&batch.body) }
}
