//! Who waits for peers to have a write, and by what: kept from the write until the reply.
//!
//! A tag is an alias, which the table's server answers, or a message that the library itself sends to the process that wrote.
//! The latter spares a write most of what it costs beside the write: nobody monitors the server, and no signal goes to it and back.
//! So if the server dies, whoever is still waiting has to be told: see [`Tags::strand`].
//!
//! Tags live on shelves, many to an arena; a shelf is cleared when its last tag has been taken. Who waits for one batch is on other
//! shelves than who waits for the next, so that mostly all of a shelf is taken at once, and can be carried away as it is: the messages
//! are then sent while the engine does something else.

use rustler::{Encoder, Env, LocalPid, Term};

use crate::beam::arena::{Arena, Stored};
use crate::beam::message::{send_stored, Note};
use crate::beam::term::element;

/// Tags on a shelf.
const SHELF_MAX: usize = 256;

/// A tag's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    shelf: usize,
    place: usize,
}

/// A tag as a caller brings it.
#[derive(Clone, Copy)]
pub enum Tagged<'a> {
    /// An alias.
    Alias(Term<'a>),
    /// A pair of a reference and anything: the message for this process, which has done the call.
    Message(LocalPid, Term<'a>),
}

/// A tag on its shelf.
#[derive(Clone, Copy)]
enum Kept {
    Alias(Stored),
    Message(LocalPid, Stored),
    Note(LocalPid, Note),
}

#[derive(Default)]
struct Shelf {
    arena: Arena,
    tags: Vec<Option<Kept>>,
    taken: usize,
}

impl Shelf {
    fn take(&mut self, place: usize) -> Option<Kept> {
        let kept = self.tags.get_mut(place)?.take()?;
        self.taken += 1;
        Some(kept)
    }

    fn clear_if_taken(&mut self) {
        if self.taken == self.tags.len() {
            self.arena.clear();
            self.tags.clear();
            self.taken = 0;
        }
    }
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
    pub fn keep(&mut self, tag: Tagged<'_>) -> Tag {
        if self.shelves.get(self.present).is_none_or(|shelf| shelf.tags.len() >= SHELF_MAX) {
            self.turn();
        }
        let shelf = &mut self.shelves[self.present];
        shelf.tags.push(Some(match tag {
            Tagged::Alias(alias) => Kept::Alias(shelf.arena.hold(alias)),
            Tagged::Message(pid, message) => match Note::of(message) {
                Some(note) => Kept::Note(pid, note),
                None => Kept::Message(pid, shelf.arena.hold(message)),
            },
        }));
        Tag { shelf: self.present, place: shelf.tags.len() - 1 }
    }

    /// Keeps tags on another shelf from now on.
    fn turn(&mut self) {
        self.present = match self.shelves.iter().position(|shelf| shelf.tags.is_empty()) {
            Some(empty) => empty,
            None => {
                self.shelves.push(Shelf::default());
                self.shelves.len() - 1
            }
        };
    }

    /// Takes a tag that has been kept, once: an alias is returned. A message is written that has the answer in the place of whatever
    /// stands beside the reference.
    pub fn answer<'a>(&mut self, env: Env<'a>, tag: Tag, answer: Term<'a>, mail: &mut Mail) -> Option<Term<'a>> {
        let shelf = self.shelves.get_mut(tag.shelf)?;
        let kept = shelf.take(tag.place)?;
        // SAFETY: `keep` has put it into this arena, which is cleared only after the last of its tags was taken.
        let view = |stored| unsafe { shelf.arena.view(stored) };
        let alias = match kept {
            Kept::Alias(alias) => Some(view(alias).in_env(env)),
            Kept::Message(pid, message) => {
                mail.write_answer(env, pid, view(message), answer);
                None
            }
            Kept::Note(pid, note) => {
                note.show(|message| mail.write_answer(env, pid, message, answer));
                None
            }
        };
        shelf.clear_if_taken();
        alias
    }

    /// Takes tags that have been kept, each once: aliases as terms, messages to be sent. They have waited for one batch: who comes
    /// from now on waits for another.
    pub fn take_all<'a>(&mut self, env: Env<'a>, tags: &[Tag], aliases: &mut Vec<Term<'a>>, mail: &mut Vec<Mail>) {
        for of_shelf in tags.chunk_by(|a, b| a.shelf == b.shelf) {
            let Some(shelf) = of_shelf.first().and_then(|tag| self.shelves.get_mut(tag.shelf)) else { continue };
            let is_whole = of_shelf.len() == shelf.tags.len() - shelf.taken;
            let mut letters = Mail::default();
            for tag in of_shelf {
                // SAFETY: as in `take`.
                let view = |stored| unsafe { shelf.arena.view(stored) };
                match shelf.tags.get_mut(tag.place).and_then(Option::take) {
                    Some(Kept::Alias(alias)) => aliases.push(view(alias).in_env(env)),
                    Some(Kept::Note(pid, note)) => letters.notes.push((pid, note)),
                    Some(Kept::Message(pid, message)) if is_whole => letters.letters.push((pid, message)),
                    Some(Kept::Message(pid, message)) => letters.write(pid, view(message)),
                    None => continue,
                }
                shelf.taken += 1;
            }
            if is_whole {
                letters.arena = std::mem::take(&mut shelf.arena);
            }
            shelf.clear_if_taken();
            mail.push(letters);
        }
        self.turn();
    }

    /// Lets go of a tag that has been kept, once.
    pub fn forget(&mut self, tag: Tag) {
        if let Some(shelf) = self.shelves.get_mut(tag.shelf) {
            shelf.take(tag.place);
            shelf.clear_if_taken();
        }
    }

    /// Tells everybody who waits for a message why none will come: `{Reference, Why}`, with the reference of the message.
    pub fn strand(self, env: Env<'_>, why: Term<'_>) {
        for shelf in &self.shelves {
            for kept in shelf.tags.iter().flatten() {
                match kept {
                    Kept::Alias(_) => {}
                    // SAFETY: as in `take`.
                    Kept::Message(pid, message) => tell(env, pid, unsafe { shelf.arena.view(*message) }, why),
                    Kept::Note(pid, note) => note.show(|message| tell(env, pid, message, why)),
                }
            }
        }
    }
}

/// Sends `{Reference, Why}` with the reference of the message.
fn tell(env: Env<'_>, pid: &LocalPid, message: Term<'_>, why: Term<'_>) {
    if let Some(reference) = element(message, 1) {
        let _ = env.send(pid, (reference.in_env(env), why.in_env(env)).encode(env));
    }
}

/// Messages to be sent.
#[derive(Default)]
pub struct Mail {
    arena: Arena,
    letters: Vec<(LocalPid, Stored)>,
    notes: Vec<(LocalPid, Note)>,
}

impl Mail {
    fn write(&mut self, pid: LocalPid, message: Term<'_>) {
        self.letters.push((pid, self.arena.hold(message)));
    }

    /// An answer in the place of what stands beside a message's reference.
    fn write_answer<'a>(&mut self, env: Env<'a>, pid: LocalPid, message: Term<'_>, answer: Term<'a>) {
        if let Some(reference) = element(message, 1) {
            self.write(pid, (reference.in_env(env), answer).encode(env));
        }
    }

    /// Sends them all.
    pub fn send(&self, env: Env<'_>) {
        self.notes.iter().for_each(|(pid, note)| note.send(env, pid));
        for (pid, message) in &self.letters {
            // SAFETY: `write` has put the message into this arena, or `take_all` has taken over the arena in which it was.
            send_stored(env, pid, unsafe { self.arena.view(*message) });
        }
    }
}
