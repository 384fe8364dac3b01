//! What the protocol wants done: its only way out.

use std::sync::Arc;

use crate::conflict::QuestionId;
use crate::leader::Operation;

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

/// The answer to a leader operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The record has been inserted, and every linked server has it.
    Inserted,
    /// There is a record with the key.
    Present,
    /// There are these records with the key (in a bag any number, else one), encoded as in [`crate::store::Entry::encode`].
    Found(Vec<Vec<u8>>),
    /// The server that was asked is not the leader. Nothing was done.
    WrongLeader,
    /// The leader cannot take the record. Nothing was done.
    Malformed,
    /// The leader was lost before it answered. What was asked may or may not have been done.
    LeaderLost,
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
    /// The answer to this caller's question to the leader.
    Answer(W, Answer),
    /// A leader operation came to this server, which is not the leader; its caller is told so. For the host's records.
    WrongLeader {
        /// The server that sent it; none: this one.
        from: Option<Peer>,
        /// What was asked.
        operation: Operation,
        /// The record, encoded.
        payload: Vec<u8>,
    },
    /// Ask the user what is to stand under a key: the record that is there, or this one of a peer's. The answer goes to
    /// [`crate::replica::Replica::decide`].
    AskConflict {
        /// The question.
        id: QuestionId,
        /// The peer's record, encoded.
        theirs: Vec<u8>,
    },
    /// From here on the peer gets all writes, and writes wait for it.
    LinkUp(Peer),
    /// The peer gets nothing more, and nobody waits for it.
    LinkDown(Peer, DownReason),
    /// No link will come up with this peer.
    Refused(Peer, Refusal),
    /// This table has all that the peer had, and the other way round.
    Synced(Peer),
    /// A comparison that was made for no reason has brought so many entries from the peer that should have been here long ago.
    Diverged(Peer, u64),
}
