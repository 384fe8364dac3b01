//! Tags of waiting callers: aliases, kept from the write until the reply.
//!
//! Tags live on shelves, many to an arena; a shelf is cleared when its last tag has been taken. A new shelf is begun when
//! the last one is full, so that a shelf does not stay for ever because there is always somebody new on it.

use rustler::{Env, Term};

use crate::beam::arena::{Arena, Stored};

/// Tags on a shelf.
const SHELF_MAX: usize = 256;

/// A tag's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    shelf: usize,
    place: usize,
}

#[derive(Default)]
struct Shelf {
    arena: Arena,
    tags: Vec<Stored>,
    taken: usize,
}

/// See the module.
#[derive(Default)]
pub struct Tags {
    shelves: Vec<Shelf>,
    /// The shelf that is being filled.
    present: usize,
}

impl Tags {
    /// Keeps a tag.
    pub fn keep(&mut self, tag: Term<'_>) -> Tag {
        if self.shelves.get(self.present).is_none_or(|shelf| shelf.tags.len() >= SHELF_MAX) {
            self.present = match self.shelves.iter().position(|shelf| shelf.tags.is_empty()) {
                Some(empty) => empty,
                None => {
                    self.shelves.push(Shelf::default());
                    self.shelves.len() - 1
                }
            };
        }
        let shelf = &mut self.shelves[self.present];
        shelf.tags.push(shelf.arena.adopt(tag));
        Tag { shelf: self.present, place: shelf.tags.len() - 1 }
    }

    /// Takes a tag that has been kept, once.
    pub fn take<'a>(&mut self, env: Env<'a>, tag: Tag) -> Term<'a> {
        let shelf = &self.shelves[tag.shelf];
        // SAFETY: `keep` has put it into this arena, which is cleared only after the last of its tags was taken.
        let term = unsafe { shelf.arena.view(shelf.tags[tag.place]) }.in_env(env);
        self.forget(tag);
        term
    }

    /// Lets go of a tag that has been kept, once.
    pub fn forget(&mut self, tag: Tag) {
        let shelf = &mut self.shelves[tag.shelf];
        shelf.taken += 1;
        if shelf.taken == shelf.tags.len() {
            shelf.arena.clear();
            shelf.tags.clear();
            shelf.taken = 0;
        }
    }
}
