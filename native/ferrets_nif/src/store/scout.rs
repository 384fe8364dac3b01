//! Where new keys will go in the order of keys, found out for several at a time.
//!
//! In a large table each step of a search waits for memory. Keys that come in the order of their hashes, as those of a sync do, have
//! nothing in common, so their searches take their steps together: what each will look at next is asked for before any of them
//! looks.

use parking_lot::RwLockReadGuard;
use rustler::Term;

use crate::beam::compare::compare;
use crate::page::{Body, PageNumber};

use super::{Item, Writer};

/// Where a new key most likely goes.
#[derive(Clone, Copy, Debug)]
pub struct Guess {
    pub page: PageNumber,
    /// In the order of keys.
    pub position: usize,
}

struct Search<'a> {
    key: Term<'a>,
    page: PageNumber,
    body: RwLockReadGuard<'static, Body>,
    low: usize,
    high: usize,
}

impl Search<'_> {
    fn middle(&self) -> Option<usize> {
        (self.low < self.high).then(|| self.low + (self.high - self.low) / 2)
    }

    /// A key that is there already is none of ours: where its search ends means nothing.
    fn step(&mut self) {
        let Some(middle) = self.middle() else { return };
        let other = self.body.at(middle).and_then(|slot| self.body.key(slot));
        if other.is_some_and(|other| compare(other, self.key).is_gt()) {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
    }
}

impl Writer {
    /// Guesses where each of these will go, should its key be new.
    pub(super) fn scout(&self, items: &[Item<'_>]) -> Vec<Option<Guess>> {
        let mut guesses = vec![None; items.len()];
        if !self.id.is_ordered() || self.is_near() {
            return guesses;
        }
        let is_new = |item: &Item<'_>| self.table.index.peek(item.hash()).is_none();
        let pages: Vec<(usize, PageNumber)> = (items.iter().enumerate())
            .filter(|(_, item)| is_new(item))
            .map(|(at, item)| {
                let page = self.page_over(item.key_term());
                page.page().prefetch_body();
                (at, page)
            })
            .collect();
        let mut searches = Vec::with_capacity(pages.len());
        for (at, page) in pages {
            // Nobody but this writer locks pages for writing, so there is nobody to wait for.
            let body = page.page().read();
            body.prefetch_order();
            let high = body.len();
            searches.push((at, Search { key: items[at].key_term(), page, body, low: 0, high }));
        }
        while searches.iter().any(|(_, search)| search.middle().is_some()) {
            let steps = || searches.iter().filter_map(|(_, search)| Some((&search.body, search.middle()?)));
            steps().for_each(|(body, middle)| body.prefetch_slot_at(middle));
            steps().for_each(|(body, middle)| body.prefetch_key_at(middle));
            searches.iter_mut().for_each(|(_, search)| search.step());
        }
        for (at, search) in searches {
            search.body.prefetch_room();
            guesses[at] = Some(Guess { page: search.page, position: search.low });
        }
        guesses
    }
}
