//! What the protocol wants done: its only way out.

use std::sync::Arc;

/// A server that replicates the same table, as its host numbers it. A number stands for one server process for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u64);

/// Why a link went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DownReason {
    /// The host said that the peer is gone.
    Gone,
    /// A batch is missing between two that came.
    Gap,
    /// The peer owed an answer and said nothing for too long.
    Stalled,
    /// The peer dropped the link.
    DroppedByPeer,
    /// The peer has begun a new link.
    Relinked,
    /// The peer sent what is no message, or an entry that the store cannot take.
    Malformed,
}

/// Why a link is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The peer speaks another version of the protocol.
    ProtocolVersion,
    /// The peer's table is of another type.
    TableType,
    /// The peer's table has its key at another position.
    KeyPosition,
}

/// An effect of an event. `W` is what the host knows a waiting caller by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<W> {
    /// Send head and body to the peer, in order with all other sends to it. The body is shared between peers.
    Send {
        /// Whom to.
        peer: Peer,
        /// A message's head, see [`crate::wire::Head`].
        head: Vec<u8>,
        /// A message's body, empty for most messages.
        body: Arc<Vec<u8>>,
    },
    /// Every linked peer has what these callers wrote.
    Reply(Vec<W>),
    /// From here on the peer gets all writes, and writes wait for it.
    LinkUp(Peer),
    /// The peer gets nothing more, and nobody waits for it.
    LinkDown(Peer, DownReason),
    /// No link will come up with this peer.
    Refused(Peer, Refusal),
    /// This table has all that the peer had, and the other way round.
    Synced(Peer),
}
