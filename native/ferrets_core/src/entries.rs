//! Entries in a message's body: what a batch, a chunk and the list of versions of a pull are made of.
//!
//! ```text
//! entry          head:u8 origin:varint? hlc:varint len:varint payload
//! head           kind, 2 bits: 0 record, 1 tombstone, 2 tombstone of a bag's object
//!                origin, 5 bits: the place in the body's list of writers, if below 31; else 31, and the place follows
//!                1 bit: readers see the entry together with the next one
//! hlc            the difference to that of the entry before (to 0 for the first), signed: 2n for n, -2n - 1 for n < 0
//! note           an entry whose payload is hash:u32
//! ```
//!
//! Clocks are written as differences because neighbours in a batch, and most records of a table, are close to each other.

use crate::store::{KeyHash, Kind};
use crate::version::{Origin, Version};
use crate::wire::{put_varint, Garbled, Reader};

const KIND_BITS: u32 = 2;
const ORIGIN_FOLLOWS: u8 = 31;
const CONTINUES: u8 = 128;

/// What each entry has besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Record or tombstone.
    pub kind: Kind,
    /// Whether readers are to see it together with the next entry.
    pub continues: bool,
    /// The writer's place in the body's list.
    pub origin: u16,
    /// The clock's part of the version.
    pub hlc: u64,
}

/// Entries being written.
#[derive(Debug, Default)]
pub struct Entries {
    bytes: Vec<u8>,
    last_hlc: u64,
    payload: Vec<u8>,
}

impl Entries {
    /// Adds an entry with its payload.
    pub fn put(&mut self, fixed: Fixed, payload: &[u8]) {
        let kind = match fixed.kind {
            Kind::Record => 0,
            Kind::Tombstone => 1,
            Kind::ObjectTombstone => 2,
        };
        let origin = u8::try_from(fixed.origin).map_or(ORIGIN_FOLLOWS, |origin| origin.min(ORIGIN_FOLLOWS));
        self.bytes.push(kind | origin << KIND_BITS | if fixed.continues { CONTINUES } else { 0 });
        if origin == ORIGIN_FOLLOWS {
            put_varint(&mut self.bytes, u64::from(fixed.origin));
        }
        let difference = fixed.hlc.wrapping_sub(self.last_hlc) as i64;
        put_varint(&mut self.bytes, (difference << 1 ^ difference >> 63) as u64);
        self.last_hlc = fixed.hlc;
        put_varint(&mut self.bytes, payload.len() as u64);
        self.bytes.extend(payload);
    }

    /// Adds an entry whose payload `encode` appends.
    pub fn put_encoded(&mut self, fixed: Fixed, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        encode(&mut payload);
        self.put(fixed, &payload);
        self.payload = payload;
    }

    /// Adds a note of an entry: its hash instead of a payload.
    pub fn put_note(&mut self, fixed: Fixed, hash: KeyHash) {
        self.put(fixed, &hash.to_le_bytes());
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Starts anew.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.last_hlc = 0;
    }
}

/// An entry as it stands in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry<'a> {
    /// All but the payload.
    pub fixed: Fixed,
    /// What the store encoded.
    pub payload: &'a [u8],
}

impl RawEntry<'_> {
    /// The entry's version, its writer looked up in the interned list of the body's writers.
    ///
    /// # Errors
    /// [`Garbled`] if the body has no such writer.
    pub fn version(&self, origins: &[Origin]) -> Result<Version, Garbled> {
        let origin = *origins.get(usize::from(self.fixed.origin)).ok_or(Garbled)?;
        Ok(Version { hlc: self.fixed.hlc, origin })
    }
}

/// Where the reading of entries has come to. The default is their beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    read: usize,
    last_hlc: u64,
}

/// Reads entries one after the other.
#[derive(Clone, Copy, Debug)]
pub struct EntryReader<'a> {
    reader: Reader<'a>,
    total: usize,
    last_hlc: u64,
}

impl<'a> EntryReader<'a> {
    /// Goes on from a mark.
    pub fn resume(entries: &'a [u8], mark: Mark) -> Self {
        let rest = entries.get(mark.read..).unwrap_or_default();
        EntryReader { reader: Reader::new(rest), total: entries.len(), last_hlc: mark.last_hlc }
    }

    /// Where to go on from.
    pub fn mark(&self) -> Mark {
        Mark { read: self.total - self.reader.rest().len(), last_hlc: self.last_hlc }
    }

    /// Whether all have been read.
    pub fn is_at_end(&self) -> bool {
        self.reader.rest().is_empty()
    }

    /// The next entry, none at the end.
    ///
    /// # Errors
    /// [`Garbled`] if it is cut short or of no kind.
    pub fn entry(&mut self) -> Result<Option<RawEntry<'a>>, Garbled> {
        if self.is_at_end() {
            return Ok(None);
        }
        let head = self.reader.u8()?;
        let kind = match head & 3 {
            0 => Kind::Record,
            1 => Kind::Tombstone,
            2 => Kind::ObjectTombstone,
            _ => return Err(Garbled),
        };
        let origin = match head >> KIND_BITS & ORIGIN_FOLLOWS {
            ORIGIN_FOLLOWS => u16::try_from(self.reader.varint()?).map_err(|_| Garbled)?,
            origin => u16::from(origin),
        };
        let difference = self.reader.varint()?;
        let difference = (difference >> 1) as i64 ^ -((difference & 1) as i64);
        self.last_hlc = self.last_hlc.wrapping_add(difference as u64);
        let len = usize::try_from(self.reader.varint()?).map_err(|_| Garbled)?;
        let fixed = Fixed { kind, continues: head & CONTINUES != 0, origin, hlc: self.last_hlc };
        Ok(Some(RawEntry { fixed, payload: self.reader.take(len)? }))
    }

    /// The next note of an entry, and the entry's hash; none at the end.
    ///
    /// # Errors
    /// [`Garbled`] if it is cut short or of no kind.
    pub fn noted(&mut self) -> Result<Option<(KeyHash, RawEntry<'a>)>, Garbled> {
        let Some(entry) = self.entry()? else { return Ok(None) };
        let hash = entry.payload.try_into().map(KeyHash::from_le_bytes).map_err(|_| Garbled)?;
        Ok(Some((hash, entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written_and_from_any_mark_on() {
        let mut written = Vec::new();
        for (i, hlc) in [77, 78, 5, u64::MAX, 0, 1 << 63].into_iter().enumerate() {
            for kind in [Kind::Record, Kind::Tombstone, Kind::ObjectTombstone] {
                for origin in [0, 30, 31, 300, u16::MAX] {
                    written.push((Fixed { kind, continues: i % 2 == 0, origin, hlc }, vec![7; i * 50]));
                }
            }
        }
        let mut entries = Entries::default();
        written.iter().for_each(|(fixed, payload)| entries.put_encoded(*fixed, |out| out.extend(payload)));
        let mut mark = Mark::default();
        for (fixed, payload) in &written {
            let mut reader = EntryReader::resume(entries.bytes(), mark);
            assert_eq!(reader.entry(), Ok(Some(RawEntry { fixed: *fixed, payload })));
            mark = reader.mark();
        }
        assert_eq!(EntryReader::resume(entries.bytes(), mark).entry(), Ok(None));
    }

    #[test]
    fn an_entry_cut_short_or_of_no_kind_is_garbled() {
        let mut entries = Entries::default();
        let fixed = Fixed { kind: Kind::Record, continues: false, origin: 400, hlc: 1 << 60 };
        entries.put(fixed, b"payload");
        for len in 1..entries.len() {
            let cut = entries.bytes().get(..len).unwrap_or_default();
            assert_eq!(EntryReader::resume(cut, Mark::default()).entry(), Err(Garbled), "cut to {len}");
        }
        assert_eq!(EntryReader::resume(&[3, 0, 0], Mark::default()).entry(), Err(Garbled));
    }
}
