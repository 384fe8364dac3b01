//! Messages between servers, as bytes. Nothing outside this crate looks into them.
//!
//! A message is a *head* of a few bytes and a *body*. All integers are little-endian. `docs/protocol.md` says who sends
//! what when; this module says how it is written.
//!
//! ```text
//! head           tag:u8 fields
//! entries        origins entry*               body of Batch and Chunk: see [`crate::entries`]
//! bucket sums    (bucket:u16 sums:2*u64)*     body of Sums
//! wants          buckets:512 origins note*    body of Pull
//! items          (code:u8 len:u32 payload)*   body of Ask and Answers
//! origins        count:u16 (incarnation:u64 node_len:u16 node)*
//! ```

use crate::digest::{Bucket, BucketSet, Sums, BUCKET_SET_BYTES};
use crate::effect::Refusal;
use crate::store::KeyHash;
use crate::sync::Scope;
use crate::version::{Incarnation, Writer};

/// The version of this protocol. Servers link only with their like.
pub const PROTOCOL: u16 = 3;

/// A random-looking number that one side of a link has chosen for it. Never 0.
pub type Nonce = u64;

/// What both tables must have in common to link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// The host's number for the table's type.
    pub table_type: u8,
    /// The key's position in a record, counted from 1.
    pub keypos: u32,
}

/// A message's head. `link` is always the nonce that the *receiver* chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// Asks for a link, or answers such a request.
    Hello {
        /// [`PROTOCOL`] of the sender.
        protocol: u16,
        /// The nonce that the sender chose for this link.
        nonce: Nonce,
        /// The receiver's nonce, if the sender knows it; else 0.
        echo: Nonce,
        /// The sender's table.
        shape: TableShape,
        /// The sender.
        writer: Writer,
        /// When the sender started, by its own clock.
        started_ms: u64,
        /// Whether the sender has a conflict handler.
        asks_conflicts: bool,
        /// The reading of the sender's clock.
        clock: u64,
    },
    /// The answer to a `Hello` with which there can be no link.
    Refuse {
        /// The nonce of that `Hello`.
        nonce: Nonce,
        /// Why.
        reason: Refusal,
    },
    /// Writes of the sender; its body has the entries.
    Batch {
        /// Receiver's nonce.
        link: Nonce,
        /// 1 for the first batch on this link, then one more each.
        seq: u64,
    },
    /// All batches up to `seq` have been applied.
    Ack {
        /// Receiver's nonce.
        link: Nonce,
        /// The last batch applied.
        seq: u64,
    },
    /// Asks whether the receiver's table is like the sender's.
    Compare {
        /// Receiver's nonce.
        link: Nonce,
        /// The total of the sender's digest.
        total: Sums,
        /// What of it counts, and whether the receiver is to pull as well.
        scope: Scope,
    },
    /// The answer to a `Compare`: it is.
    Equal {
        /// Receiver's nonce.
        link: Nonce,
    },
    /// The answer to a `Compare`: it is not; the body has the sums of the sender's digest.
    Sums {
        /// Receiver's nonce.
        link: Nonce,
    },
    /// Asks for a chunk of the receiver's table; the body has the buckets wanted and the versions that the sender has.
    Pull {
        /// Receiver's nonce.
        link: Nonce,
        /// The least hash wanted.
        from: KeyHash,
        /// The least hash not wanted; none if all are, from there on.
        to: Option<KeyHash>,
    },
    /// The answer to a `Pull`; its body has the entries.
    Chunk {
        /// Receiver's nonce.
        link: Nonce,
        /// That of the `Pull`.
        from: KeyHash,
        /// Where to go on, if this is not all that was asked for.
        next: Option<KeyHash>,
    },
    /// The sender has pulled all that the receiver had.
    Pulled {
        /// Receiver's nonce.
        link: Nonce,
    },
    /// The sender has dropped the link.
    Drop {
        /// Receiver's nonce.
        link: Nonce,
    },
    /// The sender has lost the servers in the body, and fenced what they wrote.
    Lost {
        /// Receiver's nonce.
        link: Nonce,
    },
    /// Leader operations of the sender's callers; the body has the questions.
    Ask {
        /// Receiver's nonce.
        link: Nonce,
        /// Counts the sender's `Ask`s.
        seq: u64,
        /// A number for the set of servers that are linked with the sender, itself included.
        members: u64,
    },
    /// The answers to an `Ask`, in its body, in the order of the questions.
    Answers {
        /// Receiver's nonce.
        link: Nonce,
        /// That of the `Ask`.
        seq: u64,
    },
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

impl Head {
    /// The head's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        match self {
            Head::Hello { protocol, nonce, echo, shape, writer, started_ms, asks_conflicts, clock } => {
                // The version comes first and stays there, so that any version can be told from any other.
                out.push(1);
                out.extend(protocol.to_le_bytes());
                out.extend(nonce.to_le_bytes());
                out.extend(echo.to_le_bytes());
                out.push(shape.table_type);
                out.extend(shape.keypos.to_le_bytes());
                put_writer(&mut out, writer);
                out.extend(started_ms.to_le_bytes());
                out.push(u8::from(*asks_conflicts));
                out.extend(clock.to_le_bytes());
            }
            Head::Refuse { nonce, reason } => {
                out.push(2);
                out.extend(nonce.to_le_bytes());
                out.push(refusal_code(*reason));
            }
            Head::Batch { link, seq } => put_pair(&mut out, 3, *link, *seq),
            Head::Ack { link, seq } => put_pair(&mut out, 4, *link, *seq),
            Head::Compare { link, total, scope } => {
                put_pair(&mut out, 5, *link, total.records);
                out.extend(total.tombstones.to_le_bytes());
                out.push(u8::from(scope.tombstones) | u8::from(scope.mutual) << 1);
            }
            Head::Equal { link } => put_link(&mut out, 6, *link),
            Head::Sums { link } => put_link(&mut out, 7, *link),
            Head::Pull { link, from, to } => {
                put_link(&mut out, 8, *link);
                out.extend(from.to_le_bytes());
                put_option(&mut out, *to);
            }
            Head::Chunk { link, from, next } => {
                put_link(&mut out, 9, *link);
                out.extend(from.to_le_bytes());
                put_option(&mut out, *next);
            }
            Head::Pulled { link } => put_link(&mut out, 10, *link),
            Head::Drop { link } => put_link(&mut out, 11, *link),
            Head::Ask { link, seq, members } => {
                put_pair(&mut out, 12, *link, *seq);
                out.extend(members.to_le_bytes());
            }
            Head::Answers { link, seq } => put_pair(&mut out, 13, *link, *seq),
            Head::Lost { link } => put_link(&mut out, 14, *link),
        }
        out
    }

    /// Reads a head.
    ///
    /// # Errors
    /// [`Garbled`] if the bytes are not exactly a head. A `Hello` of another protocol version is read as far as its
    /// nonce, whatever follows.
    pub fn decode(bytes: &[u8]) -> Result<Head, Garbled> {
        let mut reader = Reader::new(bytes);
        let head = match reader.u8()? {
            1 => return Self::decode_hello(reader),
            2 => Head::Refuse { nonce: reader.u64()?, reason: refusal_of(reader.u8()?)? },
            3 => Head::Batch { link: reader.u64()?, seq: reader.u64()? },
            4 => Head::Ack { link: reader.u64()?, seq: reader.u64()? },
            5 => Head::Compare { link: reader.u64()?, total: reader.bucket_sums()?, scope: reader.scope()? },
            6 => Head::Equal { link: reader.u64()? },
            7 => Head::Sums { link: reader.u64()? },
            8 => Head::Pull { link: reader.u64()?, from: reader.u32()?, to: reader.option()? },
            9 => Head::Chunk { link: reader.u64()?, from: reader.u32()?, next: reader.option()? },
            10 => Head::Pulled { link: reader.u64()? },
            11 => Head::Drop { link: reader.u64()? },
            12 => Head::Ask { link: reader.u64()?, seq: reader.u64()?, members: reader.u64()? },
            13 => Head::Answers { link: reader.u64()?, seq: reader.u64()? },
            14 => Head::Lost { link: reader.u64()? },
            _ => return Err(Garbled),
        };
        reader.end().map(|()| head)
    }

    fn decode_hello(mut reader: Reader<'_>) -> Result<Head, Garbled> {
        let protocol = reader.u16()?;
        let nonce = reader.u64()?;
        if protocol != PROTOCOL {
            let shape = TableShape { table_type: 0, keypos: 0 };
            let writer = Writer { incarnation: 0, node: Vec::new() };
            return Ok(Head::Hello {
                protocol,
                nonce,
                echo: 0,
                shape,
                writer,
                started_ms: 0,
                asks_conflicts: false,
                clock: 0,
            });
        }
        let echo = reader.u64()?;
        let shape = TableShape { table_type: reader.u8()?, keypos: reader.u32()? };
        let writer = reader.writer()?;
        let started_ms = reader.u64()?;
        let asks_conflicts = reader.u8()? != 0;
        let clock = reader.u64()?;
        reader.end().map(|()| Head::Hello { protocol, nonce, echo, shape, writer, started_ms, asks_conflicts, clock })
    }
}

fn put_link(out: &mut Vec<u8>, tag: u8, link: Nonce) {
    out.push(tag);
    out.extend(link.to_le_bytes());
}

fn put_pair(out: &mut Vec<u8>, tag: u8, link: Nonce, seq: u64) {
    put_link(out, tag, link);
    out.extend(seq.to_le_bytes());
}

fn put_option(out: &mut Vec<u8>, hash: Option<KeyHash>) {
    out.push(u8::from(hash.is_some()));
    out.extend(hash.unwrap_or(0).to_le_bytes());
}

fn refusal_code(reason: Refusal) -> u8 {
    match reason {
        Refusal::ProtocolVersion => 1,
        Refusal::TableType => 2,
        Refusal::KeyPosition => 3,
    }
}

fn refusal_of(code: u8) -> Result<Refusal, Garbled> {
    match code {
        1 => Ok(Refusal::ProtocolVersion),
        2 => Ok(Refusal::TableType),
        3 => Ok(Refusal::KeyPosition),
        _ => Err(Garbled),
    }
}

fn put_writer(out: &mut Vec<u8>, writer: &Writer) {
    out.extend(writer.incarnation.to_le_bytes());
    // A node's name is an atom: 255 characters, at most 1,020 bytes.
    let node = writer.node.get(..usize::from(u16::MAX)).unwrap_or(&writer.node);
    out.extend((node.len() as u16).to_le_bytes());
    out.extend(node);
}

/// Begins a body: the writers that its entries refer to by their place in this list.
pub fn put_origins<'a>(out: &mut Vec<u8>, writers: impl ExactSizeIterator<Item = &'a Writer>) {
    out.extend((writers.len() as u16).to_le_bytes());
    for writer in writers {
        put_writer(out, writer);
    }
}

/// Appends a number as [`Reader::varint`] reads it.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a question or an answer: a code and what belongs to it.
pub fn put_item(out: &mut Vec<u8>, code: u8, payload: &[u8]) {
    out.push(code);
    out.extend((payload.len() as u32).to_le_bytes());
    out.extend(payload);
}

/// Appends the sums of a digest's buckets.
pub fn put_sums(out: &mut Vec<u8>, sums: impl Iterator<Item = (Bucket, Sums)>) {
    for (bucket, sums) in sums {
        out.extend((bucket as u16).to_le_bytes());
        out.extend(sums.records.to_le_bytes());
        out.extend(sums.tombstones.to_le_bytes());
    }
}

/// Reads bytes from front to back; never past the end.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What `intern` makes of each in the body's list of writers.
    ///
    /// # Errors
    /// [`Garbled`] if it is cut short.
    pub fn origins<T>(&mut self, mut intern: impl FnMut(Incarnation, &[u8]) -> T) -> Result<Vec<T>, Garbled> {
        let count = self.u16()?;
        (0..count).map(|_| self.writer_parts().map(|(incarnation, node)| intern(incarnation, node))).collect()
    }

    /// The next question or answer; none at the end.
    ///
    /// # Errors
    /// [`Garbled`] if it is cut short.
    pub fn item(&mut self) -> Result<Option<(u8, &'a [u8])>, Garbled> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let code = self.u8()?;
        let len = self.u32()?;
        Ok(Some((code, self.take(len as usize)?)))
    }

    /// A set of buckets.
    ///
    /// # Errors
    /// [`Garbled`] if it is cut short.
    pub fn bucket_set(&mut self) -> Result<BucketSet, Garbled> {
        BucketSet::decode(self.take(BUCKET_SET_BYTES)?).ok_or(Garbled)
    }

    /// The sums of a digest's buckets, up to the end.
    ///
    /// # Errors
    /// [`Garbled`] if the last is cut short.
    pub fn sums(&mut self) -> Result<Vec<(Bucket, Sums)>, Garbled> {
        let mut sums = Vec::with_capacity(self.rest.len() / 18);
        while !self.rest.is_empty() {
            sums.push((Bucket::from(self.u16()?), self.bucket_sums()?));
        }
        Ok(sums)
    }

    fn bucket_sums(&mut self) -> Result<Sums, Garbled> {
        Ok(Sums { records: self.u64()?, tombstones: self.u64()? })
    }

    fn scope(&mut self) -> Result<Scope, Garbled> {
        let bits = self.u8()?;
        Ok(Scope { tombstones: bits & 1 != 0, mutual: bits & 2 != 0 })
    }

    fn option(&mut self) -> Result<Option<KeyHash>, Garbled> {
        let some = self.u8()? != 0;
        let hash = self.u32()?;
        Ok(some.then_some(hash))
    }

    fn writer(&mut self) -> Result<Writer, Garbled> {
        self.writer_parts().map(|(incarnation, node)| Writer { incarnation, node: node.to_vec() })
    }

    fn writer_parts(&mut self) -> Result<(Incarnation, &'a [u8]), Garbled> {
        let incarnation = self.u64()?;
        let len = self.u16()?;
        Ok((incarnation, self.take(usize::from(len))?))
    }

    fn end(&self) -> Result<(), Garbled> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Garbled)
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Garbled)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        self.take(N)?.try_into().map_err(|_| Garbled)
    }

    /// A number in groups of 7 bits, the least first; all bytes but the last have the top bit.
    pub(crate) fn varint(&mut self) -> Result<u64, Garbled> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let group = u64::from(byte & 0x7F);
            if group << shift >> shift != group {
                return Err(Garbled);
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Garbled)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Garbled> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Garbled> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Garbled> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Garbled> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Vec<Head> {
        let writer = Writer { incarnation: 9, node: b"a@b".to_vec() };
        let shape = TableShape { table_type: 2, keypos: 3 };
        vec![
            Head::Hello {
                protocol: PROTOCOL,
                nonce: 1,
                echo: 2,
                shape,
                writer,
                started_ms: 3,
                asks_conflicts: true,
                clock: 4,
            },
            Head::Refuse { nonce: 4, reason: Refusal::KeyPosition },
            Head::Batch { link: 5, seq: 6 },
            Head::Ack { link: 5, seq: 6 },
            Head::Compare { link: 5, total: Sums { records: 6, tombstones: 7 }, scope: Scope::FULL },
            Head::Equal { link: 5 },
            Head::Sums { link: 5 },
            Head::Pull { link: 5, from: 7, to: Some(9) },
            Head::Pull { link: 5, from: 7, to: None },
            Head::Chunk { link: 5, from: 0, next: None },
            Head::Chunk { link: 5, from: 6, next: Some(7) },
            Head::Pulled { link: 5 },
            Head::Drop { link: 5 },
            Head::Ask { link: 5, seq: 6, members: 7 },
            Head::Answers { link: 5, seq: 6 },
            Head::Lost { link: 5 },
        ]
    }

    #[test]
    fn every_head_is_read_as_it_was_written() {
        for head in heads() {
            assert_eq!(Head::decode(&head.encode()), Ok(head));
        }
    }

    #[test]
    fn a_head_cut_short_or_with_a_tail_is_garbled() {
        for head in heads() {
            let mut bytes = head.encode();
            for len in 0..bytes.len() {
                assert_eq!(Head::decode(bytes.get(..len).unwrap_or_default()), Err(Garbled), "{head:?} cut to {len}");
            }
            bytes.push(0);
            assert_eq!(Head::decode(&bytes), Err(Garbled), "{head:?} with a tail");
        }
    }

    #[test]
    fn a_hello_of_another_version_is_read_up_to_its_nonce() {
        let mut bytes = vec![1];
        bytes.extend(99_u16.to_le_bytes());
        bytes.extend(5_u64.to_le_bytes());
        bytes.extend(b"whatever comes later");
        assert!(matches!(Head::decode(&bytes), Ok(Head::Hello { protocol: 99, nonce: 5, .. })));
    }

    #[test]
    fn numbers_of_any_size_are_read_as_they_were_written() {
        for value in (0..64).map(|bits| 1_u64 << bits).flat_map(|power| [power - 1, power]).chain([u64::MAX]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(Reader::new(&bytes).varint(), Ok(value));
            bytes.pop();
            assert_eq!(Reader::new(&bytes).varint(), Err(Garbled));
        }
        assert_eq!(Reader::new(&[0xFF; 11]).varint(), Err(Garbled));
        assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2]).varint(), Err(Garbled));
    }
}
