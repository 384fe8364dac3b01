//! One link: what this server knows of one peer that it streams its writes to, and that streams to it.
//!
//! Each side chooses a nonce for the link and puts the *other's* nonce on all it sends, so that what was sent on an
//! earlier link is told from what is sent on this one. A link is *opening* until the other side's nonce is known, then
//! *up*: from then on the peer gets every batch.

use crate::version::Writer;
use crate::wire::Nonce;

/// See the module.
#[derive(Debug)]
pub struct Link {
    /// The nonce chosen here: what comes in must bear it.
    pub own: Nonce,
    since: u64,
    up: Option<Up>,
    /// The peer's, when it owes an answer to a `Hello` or a batch.
    pub silence: Silence,
}

/// The part that an opening link has not got yet.
#[derive(Debug)]
pub struct Up {
    /// The nonce chosen by the peer: what goes out bears it.
    pub theirs: Nonce,
    /// Who the peer is.
    pub writer: Writer,
    /// When it started, by its own clock.
    pub started_ms: u64,
    /// Whether it has a conflict handler.
    pub asks_conflicts: bool,
    /// The greater of the two clocks' readings when each sent its `Hello`: what either side writes on this link is newer.
    pub since: u64,
    /// The last batch sent, counted from 1 on this link.
    pub sent: u64,
    /// The last batch acknowledged by the peer.
    pub acked: u64,
    /// The last batch of the peer's that was applied here.
    pub applied: u64,
    /// All that the peer had when the link came up is here.
    pub pulled: bool,
    /// All that was here when the link came up is with the peer.
    pub served: bool,
}

/// What a peer says of itself.
#[derive(Clone, Debug)]
pub struct Greeted {
    /// The nonce that it chose.
    pub nonce: Nonce,
    /// Who it is.
    pub writer: Writer,
    /// When it started, by its own clock.
    pub started_ms: u64,
    /// Whether it has a conflict handler.
    pub asks_conflicts: bool,
    /// The reading of its clock.
    pub clock: u64,
}

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The peer has not answered yet.
    Opening,
    /// The peer gets all writes; older ones are on their way in one direction or both.
    Syncing,
    /// Both sides have all that the other had.
    Synced,
}

impl Link {
    /// An opening link, begun when the own clock stood at `since`.
    pub fn new(own: Nonce, since: u64) -> Self {
        Link { own, since, up: None, silence: Silence::default() }
    }

    /// The other side's nonce is known: the link is up.
    pub fn bring_up(&mut self, peer: Greeted) {
        let Greeted { nonce: theirs, writer, started_ms, asks_conflicts, clock } = peer;
        let since = self.since.max(clock);
        self.up = Some(Up {
            theirs,
            writer,
            started_ms,
            asks_conflicts,
            since,
            sent: 0,
            acked: 0,
            applied: 0,
            pulled: false,
            served: false,
        });
    }

    /// What is written on this link is newer than this: the reading of the own clock when the link was begun, or, once it
    /// is up, the greater of both sides'.
    pub fn since(&self) -> u64 {
        self.up.as_ref().map_or(self.since, |up| up.since)
    }

    /// What an up link has; none while it is opening.
    pub fn up(&self) -> Option<&Up> {
        self.up.as_ref()
    }

    /// [`Link::up`], to change it.
    pub fn up_mut(&mut self) -> Option<&mut Up> {
        self.up.as_mut()
    }

    /// Whether the peer owes an answer to a `Hello` or a batch.
    pub fn owes(&self) -> bool {
        self.up.as_ref().is_none_or(|up| up.acked < up.sent)
    }

    /// How far the link has come.
    pub fn state(&self) -> LinkState {
        match &self.up {
            None => LinkState::Opening,
            Some(up) if up.pulled && up.served => LinkState::Synced,
            Some(_) => LinkState::Syncing,
        }
    }
}

/// For how long an answer has been owed and none has come. Measured when looked at, as the time is known only then.
#[derive(Debug, Default)]
pub struct Silence {
    since_ms: Option<u64>,
}

impl Silence {
    /// How long it has been at the last look.
    pub fn seen_ms(&self, now_ms: u64) -> u64 {
        self.since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    /// An answer has come, or the question been put again.
    pub fn end(&mut self) {
        self.since_ms = None;
    }

    /// How long it has been, counted from the first look since the last answer.
    pub fn length_ms(&mut self, now_ms: u64, owed: bool) -> u64 {
        if !owed {
            self.end();
            return 0;
        }
        now_ms.saturating_sub(*self.since_ms.get_or_insert(now_ms))
    }
}
