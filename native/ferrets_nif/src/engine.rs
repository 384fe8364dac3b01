//! A stand-in for the protocol: versions that increase, no peers.

use std::time::Duration;

use ferrets_core::store::{Kind, Store, Verdict};
use ferrets_core::version::{Origins, Version};
use rustler::Term;

use crate::store::{Item, Writer};
use crate::table::Table;

/// What a table's server has set.
pub struct Settings {
    /// The node's name, in UTF-8.
    pub node: Vec<u8>,
    /// How long tombstones are kept.
    pub tombstone_ttl: Duration,
}

/// One write of a local caller.
pub struct Write<'a> {
    /// Insert or delete.
    pub kind: Kind,
    /// The record or key.
    pub item: Item<'a>,
    /// It in the external term format, if the table has peers.
    pub payload: Option<Vec<u8>>,
}

/// How the caller of a write wants to be told that all peers have it.
#[derive(Clone, Copy)]
pub enum Tag<'a> {
    /// Not at all: if there are peers, nothing is written.
    None,
    /// With a later write of the same caller.
    Later,
    /// Through this alias.
    Now(Term<'a>),
}

/// What has to be done after writes.
pub enum Written {
    /// Nothing.
    Done,
    /// The caller is to wait for a reply; the server is to be woken.
    Wait {
        /// Whether to wake it.
        wake: bool,
    },
    /// There are peers, and no tag.
    Untagged,
    /// There are peers, and no payload.
    NeedPayload,
}

/// The protocol's state, and the writer.
pub struct Engine {
    writer: Writer,
    clock: u64,
}

impl Engine {
    /// An engine without peers.
    pub fn new(writer: Writer, _settings: Settings) -> Self {
        Engine { writer, clock: 0 }
    }

    /// Applies writes of a local caller.
    pub fn write(
        &mut self,
        _table: &Table,
        now_ms: u64,
        writes: &mut dyn Iterator<Item = Write<'_>>,
        _tag: Tag<'_>,
    ) -> Written {
        for write in writes {
            self.clock = (self.clock + 1).max(now_ms << 16);
            let version = Version { hlc: self.clock, origin: Origins::OWN };
            self.writer.merge(write.kind, write.item, version, |before| match before {
                Some(before) if before.version.hlc >= version.hlc => Verdict::Keep,
                _ => Verdict::Replace,
            });
        }
        Written::Done
    }
}
