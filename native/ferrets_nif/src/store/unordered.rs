//! `set` and `bag`: pages are filled one after the other.

use crate::page::{Body, PageNumber, SLOTS_MAX, WORDS_MAX};

use super::{Guard, Writer, JOINED_MAX, SLOTS_MIN};

impl Writer {
    pub(super) fn page_with_room(&mut self, words: u32) -> (PageNumber, Guard) {
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
    pub(super) fn evict(&mut self, number: PageNumber, slot: u8, mut body: Guard) {
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
    pub(super) fn tidy(&mut self, number: PageNumber, mut body: Guard) {
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
