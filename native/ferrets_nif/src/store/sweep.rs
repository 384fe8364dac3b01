//! Dropping the records that certain servers wrote, page by page: versions know their origin, so no term is looked at.

use ferrets_core::store::{KeyHash, Stamp};
use ferrets_core::version::Origin;

use crate::beam::arena::{Arena, Stored};
use crate::page::{Body, PageNumber};

use super::Writer;

/// How far a sweep has come.
#[derive(Default)]
pub(super) struct Sweep {
    /// The pages from this number on have not been looked at; none, if there is no sweep.
    next: Option<u32>,
    /// Pages that are to be looked at again, since entries have come from elsewhere.
    again: Vec<PageNumber>,
}

impl Sweep {
    pub(super) fn begin() -> Self {
        Sweep { next: Some(0), again: Vec::new() }
    }

    /// Entries have been moved to a page.
    pub(super) fn again(&mut self, page: PageNumber) {
        // What has yet to be looked at needs no second look.
        if self.next.is_some_and(|next| page.0 < next) {
            self.again.push(page);
        }
    }
}

/// What a stretch of pages has lost.
#[derive(Default)]
struct Losses {
    /// The places, to be taken out of the index.
    gone: Vec<Gone>,
    /// The pages, each with its least key if it is left without entries.
    pages: Vec<(PageNumber, Option<Stored>)>,
    /// Where these keys are.
    arena: Arena,
}

/// An entry that was.
#[derive(Clone, Copy, Default)]
struct Gone {
    hash: u32,
    page: u32,
    slot: u8,
}

impl Writer {
    /// Looks at so many entries, and drops what is owned. Returns whether there is more to look at.
    ///
    /// First the pages lose their entries, then the index loses the places, sub-table by sub-table, and then pages that have
    /// little left are joined. A reader who follows a place that is still there meanwhile finds nothing there, and that nothing
    /// has moved.
    pub(super) fn sweep_on(
        &mut self,
        is_owned: &dyn Fn(Origin) -> bool,
        budget: usize,
        dropped: &mut dyn FnMut(KeyHash, Stamp),
    ) -> bool {
        let mut left = budget;
        let mut losses = Losses::default();
        let mut more = true;
        while left > 0 && more {
            match self.next_unswept() {
                Some(number) => left = left.saturating_sub(self.drop_from(number, is_owned, &mut losses, dropped)),
                None => more = false,
            }
        }
        let Losses { mut gone, mut pages, arena } = losses;
        sort(&mut gone);
        self.table.index.remove_all(gone.iter().map(|entry| (entry.hash, PageNumber(entry.page), entry.slot)));
        // Empty ones first: the others are joined with neighbours that have entries.
        pages.sort_by_key(|(_, emptied)| emptied.is_none());
        for (number, emptied) in pages {
            let body = number.page().write();
            // It may have been joined with another one by now.
            if body.owner() == self.id {
                // SAFETY: `vacate` has put the key into this arena.
                self.shrink(number, body, emptied.map(|key| unsafe { arena.view(key) }));
            }
        }
        more
    }

    /// Returns how many entries it has looked at.
    fn drop_from(
        &self,
        number: PageNumber,
        is_owned: &dyn Fn(Origin) -> bool,
        losses: &mut Losses,
        dropped: &mut dyn FnMut(KeyHash, Stamp),
    ) -> usize {
        let mut body = number.page().write();
        let looked_at = body.len().max(1);
        let before = losses.gone.len();
        let next = self.sweep.next.and_then(|next| self.pages.range(next..).next());
        collect(&body, is_owned, next.map(|&next| PageNumber(next)), &mut |slot, hash, stamp| {
            dropped(hash, stamp);
            losses.gone.push(Gone { hash, page: number.0, slot });
        });
        let gone = losses.gone.get(before..).unwrap_or_default();
        if !gone.is_empty() {
            let slots = gone.iter().map(|entry| entry.slot);
            let emptied = self.vacate(&mut body, slots, gone.len(), &mut losses.arena);
            losses.pages.push((number, emptied));
        }
        looked_at
    }

    fn next_unswept(&mut self) -> Option<PageNumber> {
        let next = self.sweep.next?;
        if let Some(&number) = self.pages.range(next..).next() {
            self.sweep.next = Some(number + 1);
            return Some(PageNumber(number));
        }
        while let Some(number) = self.sweep.again.pop() {
            // It may have been given back, and be another table's by now.
            if self.pages.contains(&number.0) {
                return Some(number);
            }
        }
        self.sweep.next = None;
        None
    }
}

/// Puts entries in the order of the first bits of their hashes, which is near enough to that of the sub-tables: a counting sort.
fn sort(gone: &mut Vec<Gone>) {
    const BITS: u32 = 11;
    let digit = |entry: &Gone| (entry.hash >> (KeyHash::BITS - BITS)) as usize;
    let mut ends = [0usize; 1 << BITS];
    gone.iter().for_each(|entry| ends[digit(entry)] += 1);
    let mut sum = 0;
    for end in &mut ends {
        let count = std::mem::replace(end, sum);
        sum += count;
    }
    let mut sorted = vec![Gone::default(); gone.len()];
    for entry in gone.iter() {
        let place = &mut ends[digit(entry)];
        sorted[*place] = *entry;
        *place += 1;
    }
    *gone = sorted;
}

/// Shows the owned records of a page. Most have the same writer as the one before, so the question is rarely asked. Meanwhile the
/// next page's memory comes.
fn collect(
    body: &Body,
    is_owned: &dyn Fn(Origin) -> bool,
    next: Option<PageNumber>,
    show: &mut dyn FnMut(u8, KeyHash, Stamp),
) {
    let mut known: [Option<(Origin, bool)>; 4] = [None; 4];
    for slot in body.used_slots() {
        next.into_iter().for_each(|next| next.page().prefetch_for_writing(slot));
        let (Some(stamp), Some(meta)) = (body.stamp(slot), body.meta(slot)) else { continue };
        let origin = stamp.version.origin;
        let place = &mut known[origin.0 as usize % 4];
        let is_it = match *place {
            Some((same, answer)) if same == origin => answer,
            _ => {
                let answer = is_owned(origin);
                *place = Some((origin, answer));
                answer
            }
        };
        if is_it && stamp.kind.is_record() {
            show(slot, meta.hash, stamp);
        }
    }
}
