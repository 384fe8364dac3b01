//! `bag`: each object has a place of its own, and each key one for its tombstone, which stands for the deletion of all
//! older objects of the key.
//!
//! Each write looks at all places of its key, as `ets` does; at pages only where the tag says that it may be worth it. So a
//! write takes time in proportion to the number of objects under its key.

use ferrets_core::store::{Change, Kind, Stamp, Verdict};
use ferrets_core::version::Version;

use crate::beam::compare::is_identical;
use crate::page::PageNumber;

use super::{Item, Writer};

type Rule<'a> = &'a mut dyn FnMut(Option<Stamp>) -> Verdict;

/// An entry, where it stands.
#[derive(Clone, Copy)]
struct Found {
    page: PageNumber,
    slot: u8,
    stamp: Stamp,
}

/// What stands under a key.
#[derive(Default)]
struct Survey {
    /// The key's tombstone.
    deletion: Option<Found>,
    /// Objects, and their tombstones.
    objects: Vec<Found>,
}

impl Writer {
    pub(super) fn merge_in_bag(&mut self, kind: Kind, item: Item<'_>, version: Version, rule: Rule<'_>) -> Change {
        if kind == Kind::Tombstone {
            self.merge_deletion(item, version, rule)
        } else {
            self.merge_object(kind, item, version, rule)
        }
    }

    fn merge_object(&mut self, kind: Kind, item: Item<'_>, version: Version, rule: Rule<'_>) -> Change {
        let found = self.survey(&item, Some(item.tag()));
        let own = found.objects.first().copied();
        let before = own.map(|own| own.stamp);
        let mut change = Change { hash: item.hash(), before, verdict: Verdict::Keep, displaced: Vec::new() };
        if found.deletion.is_some_and(|deletion| rule(Some(deletion.stamp)) == Verdict::Keep) {
            return change;
        }
        change.verdict = rule(before);
        if change.verdict == Verdict::Replace {
            self.put(own, kind, item, version);
        }
        change
    }

    fn merge_deletion(&mut self, item: Item<'_>, version: Version, rule: Rule<'_>) -> Change {
        let Survey { deletion, objects } = self.survey(&item, None);
        let before = deletion.map(|deletion| deletion.stamp);
        let mut change = Change { hash: item.hash(), before, verdict: rule(before), displaced: Vec::new() };
        if change.verdict == Verdict::Keep {
            return change;
        }
        // First, since the removals below move what is left in a page.
        self.put(deletion, Kind::Tombstone, item, version);
        let mut displaced: Vec<Found> =
            objects.into_iter().filter(|object| rule(Some(object.stamp)) == Verdict::Replace).collect();
        displaced.sort_by_key(|object| object.page.0);
        for of_page in displaced.chunk_by(|a, b| a.page == b.page) {
            let Some(Found { page, .. }) = of_page.first() else { continue };
            let entries: Vec<(u8, u32)> = of_page.iter().map(|object| (object.slot, item.hash())).collect();
            self.remove(*page, page.page().write(), &entries);
        }
        change.displaced = displaced.into_iter().map(|object| object.stamp).collect();
        change
    }

    fn put(&mut self, at: Option<Found>, kind: Kind, item: Item<'_>, version: Version) {
        match at {
            Some(Found { page, slot, stamp }) => {
                self.replace((page, slot, page.page().write()), kind, item, version, stamp.kind);
            }
            None => self.insert(kind, item, version, None),
        }
    }

    /// What stands under the item's key; of objects all, or the one that is the item, which has this tag.
    fn survey(&mut self, item: &Item<'_>, tag: Option<u8>) -> Survey {
        self.look_up(item.hash());
        let mut survey = Survey::default();
        for place in &self.found {
            let (page, slot) = (place.page(), place.slot());
            let is_deletion = place.tag() == 0;
            if !is_deletion && tag.is_some_and(|tag| tag != place.tag()) {
                continue;
            }
            let body = page.page().read();
            let (Some((term, _, _)), Some(stamp)) = (body.entry(slot), body.stamp(slot)) else { continue };
            let is_it = match tag {
                Some(_) if !is_deletion => is_identical(term, item.term()),
                _ => body.key(slot).is_some_and(|key| is_identical(key, item.key_term())),
            };
            if is_it && is_deletion {
                survey.deletion = Some(Found { page, slot, stamp });
            } else if is_it {
                survey.objects.push(Found { page, slot, stamp });
            }
        }
        survey
    }
}
