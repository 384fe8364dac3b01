//! Links up and down.
//!
//! Either side, or both at once, sends a `Hello` with a nonce of its own; the answer echoes it. A side is up when it
//! knows both nonces. Everything is idempotent, and between two servers messages arrive in the order sent or not at all;
//! so a `Hello` that neither opens a link, nor answers one that is opening, nor repeats what is known, comes from a peer
//! that has lost its link, and takes the place of ours.

use crate::clock::Time;
use crate::effect::{DownReason, Effect, Peer, Refusal};
use crate::link::{Greeted, Link};
use crate::replica::{Progress, Replica};
use crate::store::Store;
use crate::stream;
use crate::sync::Scope;
use crate::version::Writer;
use crate::wire::{Head, Nonce, TableShape, PROTOCOL};

impl<W> Replica<W> {
    /// The peer can be reached, and a link with it is wanted. Nothing happens if there is one.
    pub fn peer_up(&mut self, peer: Peer, effects: &mut Vec<Effect<W>>) {
        if self.links.contains_key(&peer) {
            return;
        }
        let own = self.next_nonce();
        self.links.insert(peer, Link::new(own, self.clock.last()));
        effects.push(send(peer, &self.hello(peer, own, 0)));
    }

    /// The peer is gone. Nobody waits for it any more. [`Progress::More`]: go on with [`Replica::work`].
    pub fn peer_down<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        peer: Peer,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        if let Some(origin) = self.owned.forget_parted(peer) {
            self.fence(origin, effects);
        }
        self.take_down(peer, DownReason::Gone, effects);
        self.work(store, now, budget, effects)
    }

    #[cold]
    pub(crate) fn on_hello(&mut self, peer: Peer, greeting: Greeting, effects: &mut Vec<Effect<W>>) {
        if let Some(reason) = self.objection(&greeting) {
            self.take_down(peer, DownReason::DroppedByPeer, effects);
            effects.push(send(peer, &Head::Refuse { nonce: greeting.nonce, reason }));
            effects.push(Effect::Refused(peer, reason));
            return;
        }
        let known = self.links.get(&peer).map(|link| (link.own, link.up().map(|up| up.theirs)));
        if let Some((_, Some(theirs))) = known {
            if theirs == greeting.nonce {
                // The answer to a Hello, after the peer's own Hello has brought the link up; or that Hello once more, from a
                // peer that has not got the answer.
                if let Some((own, _)) = known.filter(|_| greeting.echo == 0) {
                    effects.push(send(peer, &self.hello(peer, own, greeting.nonce)));
                }
                return;
            }
        }
        if greeting.echo != 0 && known.map(|(own, _)| own) != Some(greeting.echo) {
            // The answer to a link that was given up here. The peer believes in it until it is told.
            effects.push(send(peer, &Head::Drop { link: greeting.nonce }));
            return;
        }
        let own = match known {
            Some((own, up)) if up.is_none() || greeting.echo == own => own,
            // The peer knows nothing of this link: what is still under way on it must not be taken for the new one's.
            _ => self.next_nonce(),
        };
        if let Some((_, Some(_))) = known {
            // Nobody's wait ends here: the batches in flight go out again on the new link.
            self.unlink(peer, DownReason::Relinked, effects);
        }
        self.bring_up(peer, own, greeting, effects);
    }

    #[cold]
    pub(crate) fn on_refuse(&mut self, peer: Peer, nonce: Nonce, reason: Refusal, effects: &mut Vec<Effect<W>>) {
        if self.links.get(&peer).is_some_and(|link| link.own == nonce) {
            self.take_down(peer, DownReason::DroppedByPeer, effects);
            effects.push(Effect::Refused(peer, reason));
        }
    }

    #[cold]
    pub(crate) fn on_drop(&mut self, peer: Peer, link: Nonce, effects: &mut Vec<Effect<W>>) {
        if self.links.get(&peer).is_some_and(|known| known.own == link) {
            self.take_down(peer, DownReason::DroppedByPeer, effects);
        }
    }

    /// Something was lost or garbled on the way: gives the link up on both sides. After a gap or a silence a new one is
    /// offered, whose sync makes up for what was lost; garbled messages would only come again.
    #[cold]
    pub(crate) fn abandon(&mut self, peer: Peer, reason: DownReason, effects: &mut Vec<Effect<W>>) {
        if let Some(theirs) = self.links.get(&peer).and_then(|link| link.up()).map(|up| up.theirs) {
            effects.push(send(peer, &Head::Drop { link: theirs }));
        }
        self.take_down(peer, reason, effects);
        if matches!(reason, DownReason::Gap | DownReason::Stalled) {
            self.peer_up(peer, effects);
        }
    }

    fn bring_up(&mut self, peer: Peer, own: Nonce, greeting: Greeting, effects: &mut Vec<Effect<W>>) {
        let origin = self.origins.intern(greeting.writer.incarnation, &greeting.writer.node);
        self.unfence(origin);
        self.owned.forget_parted(peer);
        let since = self.links.get(&peer).map_or_else(|| self.clock.last(), |link| link.since());
        let mut link = Link::new(own, since);
        let Greeting { nonce, echo, writer, started_ms, asks_conflicts, clock, .. } = greeting;
        self.clock.observe(clock);
        link.bring_up(Greeted { nonce, writer, started_ms, asks_conflicts, clock });
        self.links.insert(peer, link);
        if echo == 0 {
            effects.push(send(peer, &self.hello(peer, own, nonce)));
        }
        effects.push(Effect::LinkUp(peer));
        self.tell_fenced(peer, nonce, effects);
        // A write that returns from now on is on every linked server, this one included: so the batches under way, which
        // left before the link came up, go to it too.
        if let Some(up) = self.links.get_mut(&peer).and_then(Link::up_mut) {
            effects.extend(self.log.in_flight().map(|batch| stream::send_batch(peer, up, batch)));
        }
        self.want_pull(peer, Scope::FULL, effects);
    }

    fn take_down(&mut self, peer: Peer, reason: DownReason, effects: &mut Vec<Effect<W>>) {
        self.unlink(peer, reason, effects);
        self.land_if_acknowledged(effects);
        // Its last batch may have come to some of us only.
        self.want_pull_from_all(Scope::FULL, effects);
    }

    #[cold]
    fn unlink(&mut self, peer: Peer, reason: DownReason, effects: &mut Vec<Effect<W>>) {
        let Some(link) = self.links.remove(&peer) else { return };
        if let Some(up) = link.up() {
            effects.push(Effect::LinkDown(peer, reason));
            let origin = self.origins.intern(up.writer.incarnation, &up.writer.node);
            if matches!(reason, DownReason::Gone | DownReason::Stalled) {
                self.fence(origin, effects);
            } else {
                self.owned.note_parted(peer, origin);
            }
        }
        self.forget_pull(peer, effects);
        self.leader_lost(peer, effects);
    }

    fn objection(&self, greeting: &Greeting) -> Option<Refusal> {
        let own = self.config.shape;
        if greeting.protocol != PROTOCOL {
            Some(Refusal::ProtocolVersion)
        } else if greeting.shape.table_type != own.table_type {
            Some(Refusal::TableType)
        } else if greeting.shape.keypos != own.keypos {
            Some(Refusal::KeyPosition)
        } else {
            None
        }
    }

    pub(crate) fn hello(&self, peer: Peer, nonce: Nonce, echo: Nonce) -> Head {
        let writer = self.config.writer.clone();
        Head::Hello {
            protocol: PROTOCOL,
            nonce,
            echo,
            shape: self.config.shape,
            writer,
            started_ms: self.config.started_ms,
            asks_conflicts: self.config.asks_conflicts,
            // The same in every Hello of one link, so that both sides agree on what is older than it.
            clock: self.links.get(&peer).map_or(0, |link| link.since()),
        }
    }
}

/// The fields of a [`Head::Hello`].
pub(crate) struct Greeting {
    pub protocol: u16,
    pub nonce: Nonce,
    pub echo: Nonce,
    pub shape: TableShape,
    pub writer: Writer,
    pub started_ms: u64,
    pub asks_conflicts: bool,
    pub clock: u64,
}

/// A message that is a head alone.
pub(crate) fn send<W>(peer: Peer, head: &Head) -> Effect<W> {
    Effect::Send { peer, head: head.encode(), body: Default::default() }
}
