//! What is to be stored or deleted: a term that has been found fit for its table.

use ferrets_core::store::Kind;
use rustler::Term;

use crate::beam::hash;
use crate::beam::term::{element, words};
use crate::table::TableId;

/// A record or a bare key of a local caller or a peer: valid for its table, and hashed.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    term: Term<'a>,
    key: Term<'a>,
    hash: u32,
    words: u32,
    tag: u8,
}

impl<'a> Item<'a> {
    /// A record; `None` if it is none for this table.
    pub fn record(id: TableId, term: Term<'a>) -> Option<Self> {
        Item::of_kind(id, Kind::Record, term, words(term))
    }

    /// A bare key.
    pub fn key(id: TableId, key: Term<'a>) -> Self {
        Item::bare(id, key, words(key))
    }

    /// A record, or a bare key, of so many words, as an entry of this kind has it; `None` if it is none.
    pub fn of_kind(id: TableId, kind: Kind, term: Term<'a>, words: u32) -> Option<Self> {
        match kind {
            Kind::Tombstone => Some(Item::bare(id, term, words)),
            Kind::ObjectTombstone if !id.is_bag() => None,
            Kind::Record | Kind::ObjectTombstone => Some(Item::keyed(id, term, element(term, id.keypos())?, words)),
        }
    }

    fn keyed(id: TableId, term: Term<'a>, key: Term<'a>, words: u32) -> Self {
        let tag = if id.is_bag() { tag(term) } else { 0 };
        Item { term, key, hash: id.hash(key), words, tag }
    }

    fn bare(id: TableId, key: Term<'a>, words: u32) -> Self {
        Item { term: key, key, hash: id.hash(key), words, tag: 0 }
    }

    /// The bare key of a record.
    pub fn to_key(self) -> Self {
        Item { term: self.key, words: words(self.key), tag: 0, ..self }
    }

    /// The key's hash.
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// See [`crate::places::Place::tag`].
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// The words that it takes in an arena.
    pub fn words(&self) -> u32 {
        self.words
    }

    /// The key.
    pub fn key_term(&self) -> Term<'a> {
        self.key
    }

    /// The record, or the bare key.
    pub fn term(&self) -> Term<'a> {
        self.term
    }
}

/// From 1 to 15, by the hash of all of an object.
fn tag(object: Term<'_>) -> u8 {
    (hash::exact(object) >> 5) as u8 % 15 + 1
}
