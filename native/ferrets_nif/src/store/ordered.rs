//! `ordered_set`: pages are in the order of keys.

use ferrets_core::store::Kind;
use rustler::Term;

use crate::beam::compare::compare;
use crate::page::{Body, Meta, PageNumber, SLOTS_MAX, WORDS_MAX};

use super::{Guard, Guess, Item, Writer, JOINED_MAX, SLOTS_MIN};

/// So many pages are in the processor's cache: no more than about 8 MB.
const NEAR_MAX: usize = 256;

/// With so many entries a page is divided by the next one in between. Keys often come so evenly that all pages would fill up at
/// the same time, and their divisions would hold up the writer: so each has a bound of its own.
fn crowd(number: PageNumber) -> usize {
    let lot = number.0.wrapping_mul(0x9E37_79B1) >> 16;
    SLOTS_MAX - lot as usize % (SLOTS_MAX / 8)
}

impl Writer {
    pub(super) fn insert_in_order(&mut self, kind: Kind, item: Item<'_>, meta: Meta, guess: Option<Guess>) {
        let (mut number, mut body, mut position) = self.page_of(item.key_term(), guess);
        let len = body.len();
        let is_last = position == len && len > 0;
        let is_first = position == 0 && body.before.is_none();
        let has_room = body.has_room(item.words());
        let in_run = body.note_insert(position);
        if is_last && !has_room {
            return self.insert_after(number, body, in_run, kind, item, meta);
        } else if is_first && !has_room {
            return self.insert_before_all(number, body, kind, item, meta);
        } else if len == SLOTS_MAX || (len >= crowd(number) && !is_last && !is_first) {
            // In a run the page stays full up to here, and the next of the run find room behind.
            let at = if in_run && (1..len).contains(&position) { position } else { body.middle() };
            let (other, upper) = self.divide(number, &mut body, at);
            if position > at {
                (number, body, position) = (other, upper, position - at);
            }
        }
        self.insert_at(number, &mut body, kind, item, meta, position);
        self.compact_if_due(&mut body);
        self.divide_overfull(number, body);
    }

    /// Whether most of the table is in the processor's cache.
    pub(super) fn is_near(&self) -> bool {
        self.pages.len() <= NEAR_MAX
    }

    /// The page in whose range the key is.
    pub(super) fn page_over(&self, key: Term<'_>) -> PageNumber {
        // SAFETY: this is the table's only writer.
        unsafe { self.table.order.page_of(key) }.unwrap_or(self.tail)
    }

    /// The page in whose range the key is, and the key's position there.
    fn page_of(&mut self, key: Term<'_>, guess: Option<Guess>) -> (PageNumber, Guard, usize) {
        if let Some(Guess { page, position }) = guess {
            // Entries that have come since may have shifted it.
            let body = page.page().write();
            if body.owner() == self.id && body.is_between(position, key) {
                self.is_ascending = false;
                return (page, body, position);
            }
        }
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
        let number = self.page_over(key);
        let body = number.page().write();
        body.prefetch_room();
        let position = if guess.is_some() || self.is_near() { body.search_near(key) } else { body.search(key) };
        let position = position.unwrap_or_else(|position| position);
        self.is_ascending = number == self.tail && position == body.len();
        (number, body, position)
    }

    /// Inserts what is greater than all in a full page: at the beginning of the next page, or on a new one between. So
    /// keys that come in ascending or descending order fill their pages; in a run of ascending keys, before others, the next
    /// page is left alone.
    fn insert_after(
        &mut self,
        number: PageNumber,
        mut body: Guard,
        in_run: bool,
        kind: Kind,
        item: Item<'_>,
        meta: Meta,
    ) {
        if let Some(next) = body.after.filter(|_| !in_run) {
            let mut following = next.page().write();
            if following.has_room(item.words()) {
                if let Some(least) = following.at(0).and_then(|slot| following.key(slot)) {
                    let _change = self.table.order.change();
                    self.table.order.lower(least, item.key_term());
                }
                return self.insert_at(next, &mut following, kind, item, meta, 0);
            }
        }
        let (fresh, mut into) = self.new_page();
        self.link_after((number, &mut body), (fresh, &mut into));
        let change = self.table.order.change();
        self.table.order.insert(item.key_term(), fresh);
        drop(change);
        into.continue_run(&body);
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

    pub(super) fn divide_overfull(&mut self, mut number: PageNumber, mut body: Guard) {
        while body.is_overfull() {
            let middle = body.middle();
            let (other, upper) = self.divide(number, &mut body, middle);
            if upper.is_overfull() {
                (number, body) = (other, upper);
            }
        }
    }

    /// Takes out a page that has lost its last entry, whose key was `key`. The only page stays.
    pub(super) fn unlink(&mut self, number: PageNumber, mut body: Guard, key: Term<'_>) {
        if body.before.is_none() && body.after.is_none() {
            return self.compact_if_due(&mut body);
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
    pub(super) fn join(&mut self, number: PageNumber, mut body: Guard) {
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
