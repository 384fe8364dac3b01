//! The writer: the only one that changes a table's pages, index, order and figures, and keeps them in step.
//!
//! There is one writer per table, and it is used under the engine's lock. What a reader may rely on: an entry is
//! changed in its page and flagged in the index before the page's lock is released; an entry that moves is in its new
//! page, and the index says so, before the lock of either page is released. So a read of one key is as if it happened
//! at one moment.

use std::collections::HashSet;

use ferrets_core::store::{Change, Entry, Flow, KeyHash, Kind, Malformed, Stamp, Store, Verdict};
use ferrets_core::version::{Origin, Version};
use parking_lot::RwLockWriteGuard;
use rustler::Term;

use crate::beam::arena::Arena;
use crate::beam::term::{compare, element, encode, is_identical, words};
use crate::index::Which;
use crate::order::Aim;
use crate::page::{Body, Meta, Move, PageNumber, SLOTS_MAX, WORDS_MAX};
use crate::places::Place;
use crate::reaper;
use crate::table::{Table, TableId};

/// A page with fewer entries than this, and few words, is joined with a neighbour.
const SLOTS_MIN: usize = 48;

/// Pages are joined if the sum of their entries is not above this: not so full that the next insert divides it.
const JOINED_MAX: usize = 192;

/// A record or a bare key of a local caller or a peer: valid for its table, and hashed.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    term: Term<'a>,
    key: Term<'a>,
    hash: u32,
    words: u32,
}

impl<'a> Item<'a> {
    /// A record; `None` if it is none for this table.
    pub fn record(id: TableId, term: Term<'a>) -> Option<Self> {
        let key = element(term, id.keypos())?;
        Some(Item { term, key, hash: id.hash(key), words: words(term) })
    }

    /// A bare key.
    pub fn key(id: TableId, key: Term<'a>) -> Self {
        Item { term: key, key, hash: id.hash(key), words: words(key) }
    }

    /// The bare key of a record.
    pub fn to_key(self) -> Self {
        Item { term: self.key, words: words(self.key), ..self }
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

/// The right to change a table. Dropping it takes the table's contents apart.
pub struct Writer {
    table: &'static Table,
    id: TableId,
    pages: HashSet<u32>,
    /// Where payloads of peers are decoded.
    scratch: Arena,
    /// Places found in the index, kept for its memory only.
    found: Vec<Place>,
    /// `ordered_set`: the last page. `set`: the page that is being filled.
    tail: PageNumber,
    /// `ordered_set`: whether the last new key was the greatest of all.
    is_ascending: bool,
    /// `set`: other pages with unused slots.
    roomy: Vec<PageNumber>,
    /// Pages that the present search for owned records has not looked at.
    unswept: Vec<PageNumber>,
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
            pages: HashSet::from([tail.0]),
            scratch: Arena::new(),
            found: Vec::new(),
            tail,
            is_ascending: true,
            roomy: Vec::new(),
            unswept: Vec::new(),
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

    fn index_insert(&self, hash: u32, page: PageNumber, slot: u8, kind: Kind) {
        let place = Place::new(hash, page, slot, kind == Kind::Tombstone);
        self.table.figures.overhead_bytes.add(self.table.index.insert(self.id, place));
    }

    fn compact_if_due(&self, body: &mut Body) {
        if body.wants_compaction() {
            reaper::retire(Box::new(self.edit(body, Body::compact)));
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
        let before = Snapshot::of(&body);
        let contents = std::mem::take(&mut *body);
        self.account(before, &body);
        self.table.figures.overhead_bytes.add(-(Body::default().overhead_words() as i64 * 8));
        self.table.figures.pages.add(-1);
        self.pages.remove(&number.0);
        number.give(body);
        reaper::retire(Box::new(contents));
    }

    /// The version of the record with the item's key; if `is_exact`, of a record that is the item.
    pub fn seen(&mut self, item: &Item<'_>, is_exact: bool) -> Option<Version> {
        let (_, slot, body) = self.find(item)?;
        let (term, kind, meta) = body.entry(slot)?;
        let is_it = kind == Kind::Record && (!is_exact || is_identical(term, item.term));
        is_it.then(|| meta.version())
    }

    /// The page and slot of the entry with this key, the page locked.
    fn find(&mut self, item: &Item<'_>) -> Option<(PageNumber, u8, Guard)> {
        self.found.clear();
        self.table.index.places(self.id, item.hash, &mut self.found);
        for place in &self.found {
            let body = place.page().page().write();
            if body.key(place.slot()).is_some_and(|key| self.id.is_same_key(key, item.key)) {
                return Some((place.page(), place.slot(), body));
            }
        }
        None
    }

    fn replace(&mut self, at: (PageNumber, u8, Guard), kind: Kind, item: Item<'_>, version: Version, before: Kind) {
        let (number, slot, mut body) = at;
        let meta = Meta::new(version, item.hash, item.words);
        self.edit(&mut body, |body| body.replace(slot, kind, item.term, meta));
        if before != kind {
            self.table.index.flag(Place::new(item.hash, number, slot, kind == Kind::Tombstone));
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

    fn insert(&mut self, kind: Kind, item: Item<'_>, version: Version) {
        let meta = Meta::new(version, item.hash, item.words);
        if self.id.is_ordered() {
            self.insert_in_order(kind, item, meta);
        } else {
            let (number, mut body) = self.page_with_room(item.words);
            self.insert_at(number, &mut body, kind, item, meta, 0);
        }
    }

    fn insert_at(&self, number: PageNumber, body: &mut Body, kind: Kind, item: Item<'_>, meta: Meta, position: usize) {
        let slot = self.edit(body, |body| body.insert(kind, item.term, meta, position));
        self.index_insert(item.hash, number, slot, kind);
    }

    /// Removes entries of a page, given by slot and hash, without a trace.
    fn remove(&mut self, number: PageNumber, mut body: Guard, entries: &[(u8, u32)]) {
        // The least key outlives its slot here if no other is left, to find the page's fence by.
        let mut arena = Arena::new();
        let is_last = self.id.is_ordered() && body.len() == entries.len();
        let least = body.at(0).and_then(|slot| body.key(slot));
        let least = least.filter(|_| is_last).map(|key| arena.adopt(key));
        self.edit(&mut body, |body| entries.iter().for_each(|(slot, _)| body.remove(*slot)));
        entries.iter().for_each(|(slot, hash)| self.table.index.remove(Place::new(*hash, number, *slot, false)));
        self.compact_if_due(&mut body);
        match least {
            // SAFETY: `adopt` has just put the key into this arena.
            Some(key) => self.unlink(number, body, unsafe { arena.view(key) }),
            None if self.id.is_ordered() => self.join(number, body),
            None => self.tidy(number, body),
        }
    }

    fn relocate(&self, moves: &[Move], from: PageNumber, to: PageNumber) {
        for moved in moves {
            let place = |page, slot| Place::new(moved.hash, page, slot, moved.kind == Kind::Tombstone);
            self.table.index.relocate(place(from, moved.from), place(to, moved.to));
        }
    }

    /// Moves entries behind those of another page.
    fn transfer(&mut self, slots: &[u8], from: (PageNumber, &mut Body), into: (PageNumber, &mut Body)) {
        if !self.unswept.is_empty() {
            self.unswept.push(into.0);
        }
        let moves = self.edit(into.1, |into| self.edit(from.1, |from| from.transfer(slots, into)));
        self.relocate(&moves, from.0, into.0);
    }
}

/// `set`: pages are filled one after the other.
impl Writer {
    fn page_with_room(&mut self, words: u32) -> (PageNumber, Guard) {
        let body = self.tail.page().write();
        if body.has_room(words) {
            return (self.tail, body);
        }
        drop(body);
        while let Some(number) = self.roomy.pop() {
            let mut body = number.page().write();
            // The page may have been given back, and may even be another table's by now.
            if body.owner() == self.id && body.listed {
                body.listed = false;
                if body.has_room(words) {
                    self.tail = number;
                    return (number, body);
                }
            }
        }
        let (number, body) = self.new_page();
        self.tail = number;
        (number, body)
    }

    /// Moves an entry that has grown out of a page that is too full now.
    fn evict(&mut self, number: PageNumber, slot: u8, mut body: Guard) {
        let words = body.meta(slot).map_or(0, |meta| meta.words);
        // Not the page at hand, which is locked and has no room.
        if self.tail == number {
            let (fresh, _) = self.new_page();
            self.tail = fresh;
        }
        let (to, mut into) = {
            let tail = self.tail.page().write();
            if tail.has_room(words) {
                (self.tail, tail)
            } else {
                drop(tail);
                self.new_page()
            }
        };
        self.transfer(&[slot], (number, &mut body), (to, &mut into));
        drop(into);
        self.compact_if_due(&mut body);
    }

    /// After a removal: gives the page back if it is empty, moves the rest if it is little, else remembers the room.
    fn tidy(&mut self, number: PageNumber, mut body: Guard) {
        if number == self.tail {
            return;
        }
        if body.len() > 0 && body.len() < SLOTS_MIN && body.live_words() < WORDS_MAX / 8 {
            let mut tail = self.tail.page().write();
            if tail.len() + body.len() <= SLOTS_MAX && tail.live_words() + body.live_words() <= WORDS_MAX {
                let slots = body.slots();
                self.transfer(&slots, (number, &mut body), (self.tail, &mut tail));
            } else {
                // The next such page can then be moved here.
                let full = std::mem::replace(&mut self.tail, number);
                return self.list(full, &mut tail);
            }
        }
        if body.len() == 0 {
            self.drop_page(number, body);
        } else {
            self.list(number, &mut body);
        }
    }

    fn list(&mut self, number: PageNumber, body: &mut Body) {
        if !body.listed && body.len() < JOINED_MAX {
            body.listed = true;
            self.roomy.push(number);
        }
    }
}

/// `ordered_set`: pages are in the order of keys.
impl Writer {
    fn insert_in_order(&mut self, kind: Kind, item: Item<'_>, meta: Meta) {
        let (mut number, mut body, mut position) = self.page_of(item.key);
        let len = body.len();
        if !body.has_room(item.words) {
            if position == len && len > 0 {
                return self.insert_after(number, body, kind, item, meta);
            } else if position == 0 && body.before.is_none() {
                return self.insert_before_all(number, body, kind, item, meta);
            } else if len == SLOTS_MAX {
                let middle = body.middle();
                let (other, upper) = self.divide(number, &mut body, middle);
                if position > middle {
                    (number, body, position) = (other, upper, position - middle);
                }
            }
        }
        self.insert_at(number, &mut body, kind, item, meta, position);
        self.compact_if_due(&mut body);
        self.divide_overfull(number, body);
    }

    /// The page in whose range the key is, and the key's position there.
    fn page_of(&mut self, key: Term<'_>) -> (PageNumber, Guard, usize) {
        if self.is_ascending {
            let body = self.tail.page().write();
            let len = body.len();
            let is_beyond = |last: usize| {
                body.at(last).and_then(|slot| body.key(slot)).is_none_or(|last| compare(last, key).is_lt())
            };
            if len.checked_sub(1).is_none_or(is_beyond) {
                return (self.tail, body, len);
            }
        }
        let seek = self.table.order.seek(self.id, Aim::Key(key), || true);
        let number = seek.unwrap_or(self.tail);
        let body = number.page().write();
        let position = body.search(key).unwrap_or_else(|position| position);
        self.is_ascending = number == self.tail && position == body.len();
        (number, body, position)
    }

    /// Inserts what is greater than all in a full page: at the beginning of the next page, or on a new one between. So
    /// keys that come in ascending or descending order fill their pages.
    fn insert_after(&mut self, number: PageNumber, mut body: Guard, kind: Kind, item: Item<'_>, meta: Meta) {
        if let Some(next) = body.after {
            let mut following = next.page().write();
            if following.has_room(item.words) {
                if let Some(least) = following.at(0).and_then(|slot| following.key(slot)) {
                    let _change = self.table.order.change();
                    self.table.order.lower(least, item.key);
                }
                return self.insert_at(next, &mut following, kind, item, meta, 0);
            }
        }
        let (fresh, mut into) = self.new_page();
        self.link_after((number, &mut body), (fresh, &mut into));
        let change = self.table.order.change();
        self.table.order.insert(item.key, fresh);
        drop(change);
        self.insert_at(fresh, &mut into, kind, item, meta, 0);
    }

    /// Inserts what is less than all keys when the first page is full.
    fn insert_before_all(&mut self, number: PageNumber, mut body: Guard, kind: Kind, item: Item<'_>, meta: Meta) {
        let (fresh, mut into) = self.new_page();
        into.after = Some(number);
        body.before = Some(fresh);
        if let Some(least) = body.at(0).and_then(|slot| body.key(slot)) {
            let _change = self.table.order.change();
            self.table.order.insert_first(fresh, least);
        }
        self.insert_at(fresh, &mut into, kind, item, meta, 0);
    }

    fn link_after(&mut self, left: (PageNumber, &mut Body), fresh: (PageNumber, &mut Body)) {
        fresh.1.before = Some(left.0);
        fresh.1.after = left.1.after;
        match left.1.after {
            Some(next) => next.page().write().before = Some(fresh.0),
            None => self.tail = fresh.0,
        }
        left.1.after = Some(fresh.0);
    }

    /// Moves what stands from position `at` on to a new page, which is returned, locked.
    fn divide(&mut self, number: PageNumber, body: &mut Body, at: usize) -> (PageNumber, Guard) {
        let (other, mut upper) = self.new_page();
        let slots = body.slots().split_off(at);
        self.transfer(&slots, (number, body), (other, &mut upper));
        self.link_after((number, body), (other, &mut upper));
        if let Some(least) = upper.at(0).and_then(|slot| upper.key(slot)) {
            let _change = self.table.order.change();
            self.table.order.insert(least, other);
        }
        self.compact_if_due(body);
        (other, upper)
    }

    fn divide_overfull(&mut self, mut number: PageNumber, mut body: Guard) {
        while body.is_overfull() {
            let middle = body.middle();
            let (other, upper) = self.divide(number, &mut body, middle);
            if upper.is_overfull() {
                (number, body) = (other, upper);
            }
        }
    }

    /// Takes out a page that has lost its last entry, whose key was `key`. The only page stays.
    fn unlink(&mut self, number: PageNumber, body: Guard, key: Term<'_>) {
        if body.before.is_none() && body.after.is_none() {
            return;
        }
        let change = self.table.order.change();
        self.table.order.remove(key, number);
        drop(change);
        if let Some(previous) = body.before {
            previous.page().write().after = body.after;
        }
        match body.after {
            Some(next) => next.page().write().before = body.before,
            None => self.tail = body.before.unwrap_or(number),
        }
        self.drop_page(number, body);
    }

    /// After a removal: joins the page with a neighbour if it has little.
    fn join(&mut self, number: PageNumber, mut body: Guard) {
        if body.len() >= SLOTS_MIN || body.live_words() >= WORDS_MAX / 8 {
            return;
        }
        let fits =
            |a: &Body, b: &Body| a.len() + b.len() <= JOINED_MAX && a.live_words() + b.live_words() <= WORDS_MAX / 2;
        if let Some(next) = body.after {
            let following = next.page().write();
            if fits(&body, &following) {
                return self.absorb((number, &mut body), (next, following));
            }
        }
        if let Some(previous) = body.before {
            let mut preceding = previous.page().write();
            if fits(&preceding, &body) {
                self.absorb((previous, &mut preceding), (number, body));
            }
        }
    }

    /// Moves all of a page to the end of the page before it.
    fn absorb(&mut self, left: (PageNumber, &mut Body), right: (PageNumber, Guard)) {
        let (number, mut body) = right;
        let slots = body.slots();
        if let Some(least) = body.at(0).and_then(|slot| body.key(slot)) {
            let _change = self.table.order.change();
            self.table.order.remove(least, number);
        }
        self.transfer(&slots, (number, &mut body), (left.0, left.1));
        left.1.after = body.after;
        match body.after {
            Some(next) => next.page().write().before = Some(left.0),
            None => self.tail = left.0,
        }
        self.drop_page(number, body);
        self.compact_if_due(left.1);
    }
}

impl Store for Writer {
    type Item<'a> = Item<'a>;

    fn merge(
        &mut self,
        kind: Kind,
        item: Item<'_>,
        version: Version,
        rule: impl FnOnce(Option<Stamp>) -> Verdict,
    ) -> Change {
        let found = self.find(&item);
        let before = found.as_ref().and_then(|(_, slot, body)| body.stamp(*slot));
        let verdict = rule(before);
        if verdict == Verdict::Replace {
            match (found, before) {
                (Some(at), Some(before)) => self.replace(at, kind, item, version, before.kind),
                _ => self.insert(kind, item, version),
            }
        }
        Change { hash: item.hash, before, verdict }
    }

    fn merge_encoded(
        &mut self,
        kind: Kind,
        payload: &[u8],
        version: Version,
        rule: impl FnOnce(Option<Stamp>) -> Verdict,
    ) -> Result<Change, Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let merged = scratch.decode(payload).ok_or(Malformed).and_then(|stored| {
            // SAFETY: `decode` has just put the term into this arena, which is cleared further down.
            let term = unsafe { scratch.view(stored) };
            let item = match kind {
                Kind::Record => Item::record(self.id, term).ok_or(Malformed)?,
                Kind::Tombstone => Item::key(self.id, term),
            };
            Ok(self.merge(kind, item, version, rule))
        });
        scratch.clear();
        self.scratch = scratch;
        merged
    }

    fn lookup_encoded(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let found = scratch.decode(payload).and_then(|stored| {
            // SAFETY: `decode` has just put the term into this arena, which is cleared further down.
            let item = Item::record(self.id, unsafe { scratch.view(stored) })?;
            let (_, slot, body) = self.find(&item)?;
            let (term, kind, _) = body.entry(slot)?;
            let mut out = Vec::new();
            encode(term, &mut out);
            (kind == Kind::Record).then_some(out)
        });
        scratch.clear();
        self.scratch = scratch;
        found
    }

    fn scan(&mut self, from: KeyHash, visit: &mut dyn FnMut(&dyn Entry) -> Flow) -> Option<KeyHash> {
        let mut next = Some(from);
        while let Some(from) = next {
            self.found.clear();
            let sweep = self.table.index.sweep(self.id, from, Which::All, || true, &mut self.found).ok()?;
            let mut enough_at = None;
            for place in &self.found {
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
            self.unswept = self.pages.iter().copied().map(PageNumber).collect();
        }
        let mut left = budget;
        while let Some(number) = self.unswept.pop() {
            if self.pages.contains(&number.0) {
                let body = number.page().write();
                left = left.saturating_sub(body.len());
                let owned = body.slots().into_iter().filter_map(|slot| {
                    let stamp = body.stamp(slot)?;
                    let hash = body.meta(slot)?.hash;
                    let is_dropped = stamp.kind == Kind::Record && is_owned(stamp.version.origin);
                    is_dropped.then(|| dropped(hash, stamp)).map(|()| (slot, hash))
                });
                let owned: Vec<(u8, u32)> = owned.collect();
                if !owned.is_empty() {
                    self.remove(number, body, &owned);
                }
            }
            if left == 0 {
                break;
            }
        }
        !self.unswept.is_empty()
    }

    fn forget(&mut self, hash: KeyHash, version: Version) -> bool {
        self.found.clear();
        self.table.index.places(self.id, hash, &mut self.found);
        for place in self.found.iter().filter(|place| place.is_tombstone()) {
            let (number, slot) = (place.page(), place.slot());
            let body = number.page().write();
            if body.stamp(slot) != Some(Stamp { version, kind: Kind::Tombstone }) {
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
        for &number in &self.pages {
            let number = PageNumber(number);
            drop(number.give(number.page().write()));
        }
        self.table.index.close(self.id);
        self.table.order.close();
        self.table.give_back();
    }
}
