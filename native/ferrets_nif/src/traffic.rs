//! What has gone to peers' servers and come from them, since the table was made.

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
    /// A list, as there are few.
    by_peer: Vec<(Peer, Ways)>,
}

impl Traffic {
    /// A message of so many bytes is sent.
    pub fn sent(&mut self, peer: Peer, bytes: usize) {
        self.all.sent.count(bytes);
        self.mut_with(peer).sent.count(bytes);
    }

    /// A message of so many bytes has come.
    pub fn received(&mut self, peer: Peer, bytes: usize) {
        self.all.received.count(bytes);
        self.mut_with(peer).received.count(bytes);
    }

    /// With all peers that there ever were.
    pub fn all(&self) -> Ways {
        self.all
    }

    /// With this peer.
    pub fn with(&self, peer: Peer) -> Ways {
        self.by_peer.iter().find(|(known, _)| *known == peer).map_or(Ways::default(), |(_, ways)| *ways)
    }

    /// A peer is gone.
    pub fn forget(&mut self, peer: Peer) {
        self.by_peer.retain(|(known, _)| *known != peer);
    }

    fn mut_with(&mut self, peer: Peer) -> &mut Ways {
        let place = self.by_peer.iter().position(|(known, _)| *known == peer).unwrap_or_else(|| {
            self.by_peer.push((peer, Ways::default()));
            self.by_peer.len() - 1
        });
        &mut self.by_peer[place].1
    }
}
