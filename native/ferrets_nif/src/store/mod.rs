//! The writer: the only one that changes a table's pages, index, order and figures, and keeps them in step.
//!
//! [`item`] is what is to be stored, [`ordered`], [`unordered`] and [`bag`] say where, [`scout`] ahead of time; [`sweep`] drops what certain servers wrote.
//!
//! There is one writer per table, and it is used under the engine's lock. What a reader may rely on: an entry is
//! changed in its page and flagged in the index before the page's lock is released; an entry that moves is in its new
//! page, and the index says so, before the lock of either page is released. So a read of one key is as if it happened
//! at one moment.

mod bag;
mod item;
mod ordered;
mod scout;
mod sweep;
mod unordered;

use std::collections::BTreeSet;

use ferrets_core::store::{Change, Encoded, Entry, Flow, KeyHash, Kind, Malformed, Merger, Stamp, Store, Verdict};
use ferrets_core::version::{Origin, Version};
use parking_lot::RwLockWriteGuard;
use rustler::Term;

use crate::beam::arena::{Arena, Stored};
use crate::beam::compare::is_identical;
use crate::beam::decode::Decoder;
use crate::beam::encode::encode;
use crate::beam::term::words;
use crate::epoch::{self, Limbo};
use crate::index::{anticipate, Which};
use crate::page::{Body, Contents, Meta, PageNumber};
use crate::places::Place;
use crate::reaper;
use crate::table::{Table, TableId};

pub use item::Item;

use scout::Guess;
use sweep::Sweep;

/// A page with fewer entries than this, and few words, is joined with a neighbour.
const SLOTS_MIN: usize = 48;

/// Pages are joined if the sum of their entries is not above this: not so full that the next insert divides it.
const JOINED_MAX: usize = 192;

/// So many arenas of compacted pages are freed at a time.
const COMPACTED_MAX: usize = 8;

/// Of so many pages what was in them is handed over to the reaper, whom it takes microseconds to wake.
const EMPTIED_MAX: usize = 32;

/// So many bytes are decoded before their terms are let go: one by one would take longer.
const SCRATCH_MAX: usize = 16 * 1024;

/// The right to change a table. Dropping it takes the table's contents apart.
pub struct Writer {
    table: &'static Table,
    id: TableId,
    /// A tree, since a hash table of many pages would take long to grow.
    pages: BTreeSet<u32>,
    /// Where payloads of peers are decoded.
    decoder: Decoder,
    /// Where the VM decodes what is not for the decoder, and how many bytes have been since it was cleared.
    scratch: Arena,
    scratched: usize,
    /// Arenas of pages that have been compacted.
    limbo: Limbo<Arena>,
    /// What was in pages that have been given back, on its way to the reaper.
    emptied: Vec<Contents>,
    /// Places found in the index, kept for its memory only.
    found: Vec<Place>,
    /// `ordered_set`: the last page. Else: the page that is being filled.
    tail: PageNumber,
    /// `ordered_set`: whether the last new key was the greatest of all.
    is_ascending: bool,
    /// Not `ordered_set`: other pages with unused slots.
    roomy: Vec<PageNumber>,
    sweep: Sweep,
}

type Guard = RwLockWriteGuard<'static, Body>;

/// Figures of a page before a change.
struct Snapshot {
    live: i64,
    garbage: i64,
    records: i64,
    entries: i64,
    overhead: i64,
}

impl Snapshot {
    fn of(body: &Body) -> Self {
        Snapshot {
            live: body.live_words() as i64,
            garbage: body.garbage_words() as i64,
            records: body.records() as i64,
            entries: body.len() as i64,
            overhead: body.overhead_words() as i64 * 8,
        }
    }
}

impl Writer {
    /// The writer of a new table, whose index and order are opened with it.
    pub fn open(table: &'static Table, id: TableId) -> Self {
        let tail = PageNumber::take(id);
        table.index.open(id);
        if id.is_ordered() {
            table.order.open(id, tail);
        }
        table.figures.pages.add(1);
        Writer {
            table,
            id,
            pages: BTreeSet::from([tail.0]),
            decoder: Decoder::default(),
            scratch: Arena::new(),
            scratched: 0,
            limbo: Limbo::new(COMPACTED_MAX),
            emptied: Vec::new(),
            found: Vec::new(),
            tail,
            is_ascending: true,
            roomy: Vec::new(),
            sweep: Sweep::default(),
        }
    }

    /// The table's id.
    pub fn id(&self) -> TableId {
        self.id
    }

    fn account(&self, before: Snapshot, body: &Body) {
        let after = Snapshot::of(body);
        let figures = &self.table.figures;
        let records = after.records - before.records;
        figures.records.add(records);
        figures.tombstones.add(after.entries - before.entries - records);
        figures.live_words.add(after.live - before.live);
        figures.garbage_words.add(after.garbage - before.garbage);
        figures.overhead_bytes.add(after.overhead - before.overhead);
    }

    /// Changes a page and keeps the figures right.
    fn edit<R>(&self, body: &mut Body, edit: impl FnOnce(&mut Body) -> R) -> R {
        let before = Snapshot::of(body);
        let result = edit(body);
        self.account(before, body);
        result
    }

    fn index_insert(&self, item: &Item<'_>, page: PageNumber, slot: u8, kind: Kind) {
        let place = Place::new(item.hash(), page, slot, item.tag()).flagged(!kind.is_record());
        self.table.figures.overhead_bytes.add(self.table.index.insert(self.id, place));
    }

    fn compact_if_due(&mut self, body: &mut Body) {
        if body.wants_compaction() {
            // Freed here, soon: the reaper would give the memory back so late, and from so far, that it could not be used again for
            // the next arena, and it takes only a few microseconds.
            let old = self.edit(body, Body::compact);
            self.limbo.retire(old);
        }
    }

    fn new_page(&mut self) -> (PageNumber, Guard) {
        let number = PageNumber::take(self.id);
        self.pages.insert(number.0);
        let body = number.page().write();
        self.table.figures.pages.add(1);
        self.table.figures.overhead_bytes.add(body.overhead_words() as i64 * 8);
        (number, body)
    }

    fn drop_page(&mut self, number: PageNumber, mut body: Guard) {
        let contents = self.edit(&mut body, Body::clear);
        self.table.figures.overhead_bytes.add(-(body.overhead_words() as i64 * 8));
        self.table.figures.pages.add(-1);
        self.pages.remove(&number.0);
        drop(number.give(body));
        self.emptied.push(contents);
        if self.emptied.len() >= EMPTIED_MAX {
            self.hand_over_emptied();
        }
    }

    fn hand_over_emptied(&mut self) {
        if !self.emptied.is_empty() {
            reaper::retire_seen(Box::new(std::mem::take(&mut self.emptied)));
        }
    }

    /// Frees what readers no longer see. Else the last bit of that would wait for the next write.
    pub fn free_unseen(&mut self) {
        self.hand_over_emptied();
        self.limbo.free();
    }

    /// The version of the record that is the item.
    pub fn seen(&mut self, item: &Item<'_>) -> Option<Version> {
        let mut seen = None;
        self.each_record(item, |term, meta| {
            if is_identical(term, item.term()) {
                seen = Some(meta.version());
            }
        });
        seen
    }

    /// Shows the records with the item's key: one at most, but in a bag.
    pub fn each_record(&mut self, item: &Item<'_>, mut show: impl FnMut(Term<'_>, &Meta)) {
        self.look_up(item.hash());
        for place in self.found.iter().filter(|place| !place.is_tombstone()) {
            let body = place.page().page().read();
            let has_key = body.key(place.slot()).is_some_and(|key| self.id.is_same_key(key, item.key_term()));
            if let Some((term, _, meta)) = body.entry(place.slot()).filter(|_| has_key) {
                show(term, meta);
                if !self.id.is_bag() {
                    return;
                }
            }
        }
    }

    /// Does something with a term that a peer has encoded, and the words that it takes in an arena.
    fn decoded<R>(
        &mut self,
        payload: &[u8],
        show: impl FnOnce(&mut Self, Term<'_>, u32) -> Result<R, Malformed>,
    ) -> Result<R, Malformed> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let result = match decoder.decode(payload) {
            Some(decoded) => {
                decoder.settle();
                show(self, decoder.view(decoded), decoded.words)
            }
            None => self.decoded_by_vm(payload, show),
        };
        decoder.clear();
        self.decoder = decoder;
        result
    }

    fn decoded_by_vm<R>(
        &mut self,
        payload: &[u8],
        show: impl FnOnce(&mut Self, Term<'_>, u32) -> Result<R, Malformed>,
    ) -> Result<R, Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = scratch.decode(payload).ok_or(Malformed).and_then(|stored| {
            // SAFETY: `decode` has just put the term into this arena, which is not cleared before the last use of the term.
            let term = unsafe { scratch.view(stored) };
            show(self, term, words(term))
        });
        self.reuse(scratch, payload.len());
        result
    }

    /// So many bytes have been decoded into the scratch arena; no term of it is needed any more.
    fn reuse(&mut self, mut scratch: Arena, bytes: usize) {
        self.scratched += bytes;
        if self.scratched >= SCRATCH_MAX {
            scratch.clear();
            self.scratched = 0;
        }
        self.scratch = scratch;
    }

    fn look_up(&mut self, hash: u32) {
        self.found.clear();
        self.table.index.places(hash, &mut self.found);
    }

    /// The page and slot of the entry with this key, the page locked. Not in a bag.
    fn find(&mut self, item: &Item<'_>) -> Option<(PageNumber, u8, Guard)> {
        self.look_up(item.hash());
        for place in &self.found {
            let page = place.page().page();
            page.prefetch_for_writing(place.slot());
            let body = page.write();
            if body.key(place.slot()).is_some_and(|key| self.id.is_same_key(key, item.key_term())) {
                return Some((place.page(), place.slot(), body));
            }
        }
        None
    }

    fn replace(&mut self, at: (PageNumber, u8, Guard), kind: Kind, item: Item<'_>, version: Version, before: Kind) {
        let (number, slot, mut body) = at;
        let meta = Meta::new(version, item.hash(), item.words());
        self.edit(&mut body, |body| body.replace(slot, kind, item.term(), meta));
        if before.is_record() != kind.is_record() {
            if kind.is_record() && self.id.is_bag() {
                self.table.index.revive(Place::new(item.hash(), number, slot, item.tag()));
            } else {
                self.table.index.flag(item.hash(), number, slot, !kind.is_record());
            }
        }
        self.compact_if_due(&mut body);
        if body.is_overfull() {
            if self.id.is_ordered() {
                self.divide_overfull(number, body);
            } else {
                self.evict(number, slot, body);
            }
        }
    }

    fn insert(&mut self, kind: Kind, item: Item<'_>, version: Version, guess: Option<Guess>) {
        let meta = Meta::new(version, item.hash(), item.words());
        if self.id.is_ordered() {
            self.insert_in_order(kind, item, meta, guess);
        } else {
            let (number, mut body) = self.page_with_room(item.words());
            self.insert_at(number, &mut body, kind, item, meta, 0);
        }
    }

    fn insert_at(&self, number: PageNumber, body: &mut Body, kind: Kind, item: Item<'_>, meta: Meta, position: usize) {
        let slot = self.edit(body, |body| body.insert(kind, item.term(), meta, position));
        self.index_insert(&item, number, slot, kind);
    }

    /// Removes entries of a page, given by slot and hash, without a trace.
    fn remove(&mut self, number: PageNumber, mut body: Guard, entries: &[(u8, u32)]) {
        let mut arena = Arena::new();
        let emptied = self.vacate(&mut body, entries.iter().map(|(slot, _)| *slot), entries.len(), &mut arena);
        entries.iter().for_each(|(slot, hash)| self.table.index.remove(*hash, number, *slot));
        // SAFETY: `vacate` has just put the key into this arena.
        self.shrink(number, body, emptied.map(|key| unsafe { arena.view(key) }));
    }

    /// Takes so many entries out of a page, but not out of the index. Of a page in the order of keys that has no other entry,
    /// the least key is put into the arena, to find the page's fence by.
    fn vacate(
        &self,
        body: &mut Body,
        slots: impl Iterator<Item = u8>,
        count: usize,
        arena: &mut Arena,
    ) -> Option<Stored> {
        let is_last = self.id.is_ordered() && body.len() == count;
        let least = body.at(0).filter(|_| is_last).and_then(|slot| body.key(slot)).map(|key| arena.adopt(key));
        self.edit(body, |body| body.remove(slots));
        least
    }

    /// What is to be done with a page after entries have gone; with the key that was its least, if all have.
    fn shrink(&mut self, number: PageNumber, mut body: Guard, emptied: Option<Term<'_>>) {
        if let Some(least) = emptied {
            return self.unlink(number, body, least);
        }
        self.compact_if_due(&mut body);
        if self.id.is_ordered() {
            self.join(number, body);
        } else {
            self.tidy(number, body);
        }
    }

    /// Moves entries behind those of another page.
    fn transfer(&mut self, slots: &[u8], from: (PageNumber, &mut Body), into: (PageNumber, &mut Body)) {
        self.sweep.again(into.0);
        let moves = self.edit(into.1, |into| self.edit(from.1, |from| from.transfer(slots, into)));
        self.table.index.relocate_all(&moves, from.0, into.0);
    }
}

/// Merging.
impl Writer {
    fn merge_at(
        &mut self,
        kind: Kind,
        item: Item<'_>,
        version: Version,
        guess: Option<Guess>,
        mut rule: impl FnMut(Option<Stamp>) -> Verdict,
    ) -> Change {
        if self.id.is_bag() {
            return self.merge_in_bag(kind, item, version, &mut rule);
        }
        let found = self.find(&item);
        let before = found.as_ref().and_then(|(_, slot, body)| body.stamp(*slot));
        let verdict = rule(before);
        if verdict == Verdict::Replace {
            match (found, before) {
                (Some(at), Some(before)) => self.replace(at, kind, item, version, before.kind),
                _ => self.insert(kind, item, version, guess),
            }
        }
        Change { hash: item.hash(), before, verdict, displaced: Vec::new() }
    }
}

impl Writer {
    #[inline(never)]
    fn merge_several(&mut self, entries: &[Encoded<'_>], merger: &mut impl Merger) -> Result<(), Malformed> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let mut decoded = Vec::with_capacity(entries.len());
        decoded.extend(entries.iter().map_while(|entry| decoder.decode(entry.payload)));
        decoder.settle();
        let merged = if decoded.len() == entries.len() {
            let terms = decoded.iter().map(|decoded| (decoder.view(*decoded), decoded.words));
            self.merge_terms(entries, terms, merger)
        } else {
            self.merge_by_vm(entries, merger)
        };
        decoder.clear();
        self.decoder = decoder;
        merged
    }

    /// [`Store::merge_all`], what the entries hold being decoded by the VM.
    fn merge_by_vm(&mut self, entries: &[Encoded<'_>], merger: &mut impl Merger) -> Result<(), Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut decoded = Vec::with_capacity(entries.len());
        let payloads = entries.iter().map(|entry| entry.payload);
        let merged = match scratch.decode_all(payloads, &mut decoded) {
            Some(()) => {
                // SAFETY: `decode_all` has just put the terms into this arena, which is not cleared before their last use.
                let terms = decoded.iter().map(|stored| unsafe { scratch.view(*stored) });
                self.merge_terms(entries, terms.map(|term| (term, words(term))), merger)
            }
            None => self.merge_each(entries, merger),
        };
        self.reuse(scratch, entries.iter().map(|entry| entry.payload.len()).sum());
        merged
    }

    /// [`Store::merge_all`], these terms, of so many words, being what the entries hold.
    fn merge_terms<'t>(
        &mut self,
        entries: &[Encoded<'_>],
        terms: impl Iterator<Item = (Term<'t>, u32)>,
        merger: &mut impl Merger,
    ) -> Result<(), Malformed> {
        let item = |(entry, (term, words)): (&Encoded<'_>, _)| Item::of_kind(self.id, entry.kind, term, words);
        let mut items = Vec::with_capacity(entries.len());
        items.extend(entries.iter().zip(terms).map_while(item));
        if items.len() < entries.len() {
            // One by one, up to the first that is bad.
            return self.merge_each(entries, merger);
        }
        self.table.index.warm(items.iter().map(Item::hash));
        let guesses = self.scout(&items);
        for ((entry, item), guess) in entries.iter().zip(items).zip(guesses) {
            let rule = |current| merger.rule(entry, current);
            let change = self.merge_at(entry.kind, item, entry.version, guess, rule);
            merger.merged(entry, change);
        }
        Ok(())
    }
}

impl Store for Writer {
    type Item<'a> = Item<'a>;

    fn merge(
        &mut self,
        kind: Kind,
        item: Item<'_>,
        version: Version,
        rule: impl FnMut(Option<Stamp>) -> Verdict,
    ) -> Change {
        self.merge_at(kind, item, version, None, rule)
    }

    fn merge_encoded(
        &mut self,
        kind: Kind,
        payload: &[u8],
        version: Version,
        rule: impl FnMut(Option<Stamp>) -> Verdict,
    ) -> Result<Change, Malformed> {
        self.decoded(payload, |writer, term, words| {
            let item = Item::of_kind(writer.id, kind, term, words).ok_or(Malformed)?;
            Ok(writer.merge(kind, item, version, rule))
        })
    }

    fn merge_all(&mut self, entries: &[Encoded<'_>], merger: &mut impl Merger) -> Result<(), Malformed> {
        match entries {
            [_] => self.merge_each(entries, merger),
            _ => self.merge_several(entries, merger),
        }
    }

    fn lookup_encoded(&mut self, payload: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let _ = self.decoded(payload, |writer, term, words| {
            let item = Item::of_kind(writer.id, Kind::Record, term, words).ok_or(Malformed)?;
            writer.each_record(&item, |record, _| {
                let mut out = Vec::new();
                encode(record, &mut out);
                found.push(out);
            });
            Ok(())
        });
        found
    }

    fn is_taken(&mut self, payload: &[u8]) -> Result<bool, Malformed> {
        self.decoded(payload, |writer, term, words| {
            let item = Item::of_kind(writer.id, Kind::Record, term, words).ok_or(Malformed)?;
            let mut is_taken = false;
            writer.each_record(&item, |_, _| is_taken = true);
            Ok(is_taken)
        })
    }

    fn begin_group(&mut self) {
        self.table.gate.close();
    }

    fn end_group(&mut self) {
        self.table.gate.open();
    }

    fn scan(&mut self, from: KeyHash, visit: &mut dyn FnMut(&dyn Entry) -> Flow) -> Option<KeyHash> {
        let mut next = Some(from);
        while let Some(from) = next {
            self.found.clear();
            let sweep = self.table.index.sweep(self.id, from, Which::All, || true, &mut self.found).ok()?;
            let mut enough_at = None;
            for (at, place) in self.found.iter().enumerate() {
                anticipate(&self.found, at);
                if enough_at.is_some_and(|hash| hash != place.hash()) {
                    return Some(place.hash());
                }
                let body = place.page().page().read();
                if let Some((term, kind, meta)) = body.entry(place.slot()) {
                    if visit(&Shown { term, kind, meta }) == Flow::Enough {
                        enough_at = Some(place.hash());
                    }
                }
            }
            if enough_at.is_some() {
                return sweep.next;
            }
            next = sweep.next;
        }
        None
    }

    fn drop_owned(
        &mut self,
        from_start: bool,
        is_owned: &dyn Fn(Origin) -> bool,
        budget: usize,
        dropped: &mut dyn FnMut(KeyHash, Stamp),
    ) -> bool {
        if from_start {
            self.sweep = Sweep::begin();
        }
        self.sweep_on(is_owned, budget, dropped)
    }

    fn forget(&mut self, hash: KeyHash, version: Version) -> bool {
        self.look_up(hash);
        for place in self.found.iter().filter(|place| place.is_tombstone()) {
            let (number, slot) = (place.page(), place.slot());
            let body = number.page().write();
            if body.stamp(slot).is_none_or(|stamp| stamp.version != version || stamp.kind.is_record()) {
                continue;
            }
            self.remove(number, body, &[(slot, hash)]);
            return true;
        }
        false
    }
}

/// An entry under a scan.
struct Shown<'a> {
    term: Term<'a>,
    kind: Kind,
    meta: &'a Meta,
}

impl Entry for Shown<'_> {
    fn hash(&self) -> KeyHash {
        self.meta.hash
    }

    fn stamp(&self) -> Stamp {
        Stamp { version: self.meta.version(), kind: self.kind }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode(self.term, out);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let pages = self.pages.iter().map(|&number| PageNumber(number));
        let contents: Vec<Contents> = pages.map(|number| number.give(number.page().write())).collect();
        epoch::wait_for_readers();
        drop((contents, std::mem::take(&mut self.emptied)));
        self.table.index.close(self.id);
        self.table.order.close();
        self.table.give_back();
    }
}
