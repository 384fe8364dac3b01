//! What has gone to peers' servers and come from them, since the table was made.

use std::collections::BTreeMap;

use ferrets_core::effect::Peer;

/// Messages, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there were.
    pub messages: u64,
    /// How many bytes were in them, without what Erlang's distribution adds.
    pub bytes: u64,
}

impl Tally {
    fn count(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

/// To somebody and from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// There.
    pub sent: Tally,
    /// Back.
    pub received: Tally,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Traffic {
    all: Ways,
    by_peer: BTreeMap<Peer, Ways>,
}

impl Traffic {
    /// A message of so many bytes is sent.
    pub fn sent(&mut self, peer: Peer, bytes: usize) {
        self.all.sent.count(bytes);
        self.by_peer.entry(peer).or_default().sent.count(bytes);
    }

    /// A message of so many bytes has come.
    pub fn received(&mut self, peer: Peer, bytes: usize) {
        self.all.received.count(bytes);
        self.by_peer.entry(peer).or_default().received.count(bytes);
    }

    /// With all peers that there ever were.
    pub fn all(&self) -> Ways {
        self.all
    }

    /// With this peer.
    pub fn with(&self, peer: Peer) -> Ways {
        self.by_peer.get(&peer).copied().unwrap_or_default()
    }

    /// A peer is gone.
    pub fn forget(&mut self, peer: Peer) {
        self.by_peer.remove(&peer);
    }
}
