//! Erlang distribution as the protocol meets it: between two servers messages arrive in order or, once the connection is
//! cut, not at all; each side learns of the cut in its own time, after the last message that came through.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A server process: never used again after its death.
pub type ServerId = u64;

#[derive(Debug)]
pub enum Parcel {
    Message {
        head: Vec<u8>,
        body: Arc<Vec<u8>>,
    },
    /// The monitor of the sender has fired.
    Down,
}

#[derive(Default)]
pub struct Network {
    queues: BTreeMap<(ServerId, ServerId), VecDeque<Parcel>>,
    cut: BTreeSet<(ServerId, ServerId)>,
    /// Ways on which messages vanish, and nobody is told.
    deaf: BTreeSet<(ServerId, ServerId)>,
}

fn pair(a: ServerId, b: ServerId) -> (ServerId, ServerId) {
    (a.min(b), a.max(b))
}

impl Network {
    pub fn is_cut(&self, a: ServerId, b: ServerId) -> bool {
        self.cut.contains(&pair(a, b))
    }

    pub fn send(&mut self, from: ServerId, to: ServerId, parcel: Parcel) {
        if !self.is_cut(from, to) && !self.deaf.contains(&(from, to)) {
            self.queues.entry((from, to)).or_default().push_back(parcel);
        }
    }

    /// The next message on this way is lost.
    pub fn lose(&mut self, from: ServerId, to: ServerId) -> bool {
        let queue = self.queues.entry((from, to)).or_default();
        let is_message = matches!(queue.front(), Some(Parcel::Message { .. }));
        if is_message {
            queue.pop_front();
        }
        is_message
    }

    /// All messages on this way are lost, until the pair is healed.
    pub fn turn_deaf(&mut self, from: ServerId, to: ServerId) {
        self.deaf.insert((from, to));
    }

    /// No way loses messages any more.
    pub fn listen_again(&mut self) {
        self.deaf.clear();
    }

    /// Cuts a connection: of what is under way only a prefix arrives, of random length in each direction.
    pub fn cut(&mut self, a: ServerId, b: ServerId, rng: &mut fastrand::Rng) {
        if !self.cut.insert(pair(a, b)) {
            return;
        }
        for way in [(a, b), (b, a)] {
            let queue = self.queues.entry(way).or_default();
            let arrives = rng.usize(0..=queue.len());
            // What an earlier cut had to say is known by now on any real node: a monitor that fired stays fired.
            let kept = queue.iter().rposition(|parcel| matches!(parcel, Parcel::Down)).map_or(0, |at| at + 1);
            queue.truncate(arrives.max(kept));
            queue.push_back(Parcel::Down);
        }
    }

    pub fn heal(&mut self, a: ServerId, b: ServerId) {
        self.cut.remove(&pair(a, b));
        self.deaf.remove(&(a, b));
        self.deaf.remove(&(b, a));
    }

    /// A server has died: what it sent may still arrive, then its peers learn of it; nothing reaches it any more.
    pub fn kill(&mut self, dead: ServerId, peers: &[ServerId], rng: &mut fastrand::Rng) {
        for peer in peers {
            self.cut(dead, *peer, rng);
        }
        self.queues.retain(|(_, to), _| *to != dead);
    }

    pub fn cut_pairs(&self) -> Vec<(ServerId, ServerId)> {
        self.cut.iter().copied().collect()
    }

    /// The pairs between which something is under way.
    pub fn busy(&self) -> Vec<(ServerId, ServerId)> {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(way, _)| *way).collect()
    }

    /// The next message on this way.
    pub fn deliver(&mut self, way: (ServerId, ServerId)) -> Option<Parcel> {
        self.queues.get_mut(&way)?.pop_front()
    }
}
