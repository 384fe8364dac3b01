//! The operation log of group commit: writes that linked peers do not have yet, and who waits for that.
//!
//! Entries gather in an open batch. A flush puts the oldest batch *in flight*, and the next leaves when it has landed; or earlier, behind
//! it, once it has grown to half its size: then peers have work while acknowledgements, and the callers whom they let go, are on their
//! way. There are never more than two. So batches grow with the load, and a lone writer waits for nobody. What is kept is
//! bounded by what callers have in progress; the log holds each entry once, however many peers there are.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::entries::{Entries, Fixed};
use crate::store::Kind;
use crate::version::Writer;
use crate::wire;

/// A batch has room for the entries of this many writers.
const WRITERS_MAX: usize = 1024;

/// So many batches are in flight at most.
const IN_FLIGHT_MAX: usize = 2;

/// Whether what is waiting may take off while so much is in flight, the last of it with so many entries `ahead`. What may not does so
/// when something has landed.
pub(crate) fn may_take_off(in_flight: usize, ahead: Option<u64>, waiting: u64, follower_min: u64) -> bool {
    waiting > 0
        && match ahead {
            None => true,
            Some(ahead) => in_flight < IN_FLIGHT_MAX && waiting >= follower_min.max(ahead / 2),
        }
}

/// A closed batch: the body of a [`wire::Head::Batch`] and the callers who wait for it.
#[derive(Debug)]
pub struct Batch<W> {
    /// Counts from 1 in the life of a log.
    pub number: u64,
    /// The body, the same for all peers.
    pub body: Arc<Vec<u8>>,
    /// How many entries it has.
    pub entries: u64,
    waiters: Vec<W>,
}

/// An entry to be logged.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// Record or tombstone.
    pub kind: Kind,
    /// Whether peers' readers are to see it together with the next entry, which must come.
    pub continues: bool,
    /// The clock's part of the version.
    pub hlc: u64,
    /// The entry, encoded.
    pub payload: &'a [u8],
}

/// See the module.
#[derive(Debug)]
pub struct Log<W> {
    batch_bytes_max: usize,
    follower_min: u64,
    open: Batch<W>,
    open_writers: Vec<Writer>,
    open_entries: Entries,
    /// The last entry is to be seen together with the next, and so goes into one batch with it.
    continues: bool,
    closed: VecDeque<Batch<W>>,
    in_flight: VecDeque<Batch<W>>,
    completed: u64,
    flush_requested: bool,
}

impl<W> Log<W> {
    /// An empty log, which closes a batch when it has reached so many bytes, and lets none follow another one in flight that has fewer
    /// than so many entries.
    pub fn new(batch_bytes_max: usize, follower_min: u64) -> Self {
        Log {
            batch_bytes_max,
            follower_min,
            open: empty_batch(1),
            open_writers: Vec::new(),
            open_entries: Entries::default(),
            continues: false,
            closed: VecDeque::new(),
            in_flight: VecDeque::new(),
            completed: 0,
            flush_requested: false,
        }
    }

    /// Adds an entry of this writer: mostly the own server, another for the deletion of a record as it was seen. Returns
    /// the number of its batch.
    pub fn append(&mut self, entry: &Logged<'_>, writer: &Writer) -> u64 {
        let is_full = self.open_entries.len() >= self.batch_bytes_max || self.open_writers.len() >= WRITERS_MAX;
        if is_full && !self.continues {
            self.close();
        }
        let Logged { kind, continues, hlc, payload } = *entry;
        self.continues = continues;
        let known = self.open_writers.iter().position(|known| known.incarnation == writer.incarnation);
        let place = known.unwrap_or_else(|| {
            self.open_writers.push(writer.clone());
            self.open_writers.len() - 1
        });
        let fixed = Fixed { kind, continues, origin: place as u16, hlc };
        self.open_entries.put(fixed, payload);
        self.open.entries += 1;
        self.open.number
    }

    /// Lets a caller wait for all that has been appended so far. Gives the waiter back if there is nothing to wait for.
    pub fn wait(&mut self, waiter: W) -> Option<W> {
        let last = if self.open.entries > 0 {
            &mut self.open
        } else if let Some(batch) = self.closed.back_mut() {
            batch
        } else if let Some(batch) = self.in_flight.back_mut() {
            batch
        } else {
            return Some(waiter);
        };
        last.waiters.push(waiter);
        None
    }

    /// Whether a flush has to be asked for. Answers yes once: the flush is then under way.
    pub fn request_flush(&mut self) -> bool {
        let needed = !self.flush_requested && self.is_due();
        self.flush_requested |= needed;
        needed
    }

    /// Whether a batch may take off.
    fn is_due(&self) -> bool {
        let waiting = self.open.entries + self.closed.iter().map(|batch| batch.entries).sum::<u64>();
        let ahead = self.in_flight.back().map(|batch| batch.entries);
        may_take_off(self.in_flight.len(), ahead, waiting, self.follower_min)
    }

    /// The oldest of the waiting batches takes off, if it may.
    pub fn take_off(&mut self) -> Option<&Batch<W>> {
        self.flush_requested = false;
        if !self.is_due() {
            return None;
        }
        if self.closed.is_empty() {
            self.close();
        }
        self.in_flight.extend(self.closed.pop_front());
        self.in_flight.back()
    }

    /// The batches in flight, in their order.
    pub fn in_flight(&self) -> impl ExactSizeIterator<Item = &Batch<W>> {
        self.in_flight.iter()
    }

    /// The oldest batch in flight is everywhere. Returns who waited for it.
    pub fn land(&mut self) -> Vec<W> {
        match self.in_flight.pop_front() {
            Some(batch) => {
                self.completed = batch.number;
                batch.waiters
            }
            None => Vec::new(),
        }
    }

    /// The number of the last batch that has anything in it: once it has landed, all that was written is everywhere.
    pub fn last_number(&self) -> u64 {
        if self.open.entries > 0 {
            self.open.number
        } else {
            self.open.number - 1
        }
    }

    /// The number of the last batch that is everywhere.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Entries that are not yet everywhere, and their bytes.
    pub fn backlog(&self) -> (u64, usize) {
        let batches = self.closed.iter().chain(&self.in_flight);
        let (entries, bytes) = batches.fold((0, 0), |(e, b), batch| (e + batch.entries, b + batch.body.len()));
        (entries + self.open.entries, bytes + self.open_entries.len())
    }

    fn close(&mut self) {
        let next = empty_batch(self.open.number + 1);
        let mut batch = std::mem::replace(&mut self.open, next);
        let mut body = Vec::with_capacity(self.open_entries.len() + 64);
        wire::put_origins(&mut body, self.open_writers.iter());
        body.extend(self.open_entries.bytes());
        self.open_writers.clear();
        self.open_entries.clear();
        batch.body = Arc::new(body);
        self.closed.push_back(batch);
    }
}

fn empty_batch<W>(number: u64) -> Batch<W> {
    Batch { number, body: Arc::new(Vec::new()), entries: 0, waiters: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log<u8> {
        Log::new(1024, 2)
    }

    fn append(log: &mut Log<u8>, hlc: u64, payload: &[u8]) {
        append_to_group(log, hlc, payload, false);
    }

    fn append_to_group(log: &mut Log<u8>, hlc: u64, payload: &[u8], continues: bool) {
        let writer = Writer { incarnation: 1, node: b"n".to_vec() };
        log.append(&Logged { kind: Kind::Record, continues, hlc, payload }, &writer);
    }

    #[test]
    fn one_flush_is_asked_for_until_it_takes_off() {
        let mut log = log();
        assert!(!log.request_flush(), "nothing to flush");
        append(&mut log, 1, b"x");
        assert!(log.request_flush());
        append(&mut log, 2, b"y");
        assert!(!log.request_flush());
        assert_eq!(log.take_off().map(|batch| batch.entries), Some(2));
        append(&mut log, 3, b"z");
        assert!(!log.request_flush(), "the acknowledgement of the batch in flight will flush");
        assert!(log.take_off().is_none());
        log.land();
        assert_eq!(log.take_off().map(|batch| batch.number), Some(2));
    }

    #[test]
    fn a_second_batch_follows_once_it_has_half_the_size_of_the_first_and_no_third() {
        let mut log = log();
        (0..8).for_each(|hlc| append(&mut log, hlc, b"x"));
        assert_eq!(log.take_off().map(|batch| batch.entries), Some(8));
        (0..3).for_each(|hlc| append(&mut log, hlc, b"y"));
        assert!(!log.request_flush());
        append(&mut log, 3, b"y");
        assert!(log.request_flush());
        assert_eq!(log.take_off().map(|batch| batch.entries), Some(4));
        (0..9).for_each(|hlc| append(&mut log, hlc, b"z"));
        assert!(!log.request_flush());
        assert!(log.take_off().is_none());
        assert_eq!(log.in_flight().map(|batch| batch.number).collect::<Vec<_>>(), [1, 2]);
        log.land();
        assert_eq!(log.completed(), 1);
        assert_eq!(log.take_off().map(|batch| batch.entries), Some(9));
    }

    #[test]
    fn a_waiter_is_served_with_the_batch_of_its_last_entry() {
        let mut log = log();
        assert_eq!(log.wait(9), Some(9), "nothing to wait for");
        append(&mut log, 1, b"x");
        assert_eq!(log.wait(1), None);
        log.take_off();
        assert_eq!(log.wait(2), None, "waits for the batch in flight");
        append(&mut log, 2, b"y");
        assert_eq!(log.wait(3), None);
        assert_eq!(log.land(), vec![1, 2]);
        log.take_off();
        assert_eq!(log.land(), vec![3]);
        assert_eq!(log.completed(), 2);
        assert_eq!(log.backlog(), (0, 0));
    }

    #[test]
    fn a_batch_is_closed_when_it_is_full() {
        let mut log = log();
        let half = vec![0; 512];
        for hlc in 0..5 {
            append(&mut log, hlc, &half);
        }
        let mut sizes = Vec::new();
        while let Some(batch) = log.take_off() {
            sizes.push(batch.entries);
            log.land();
        }
        assert_eq!(sizes, vec![2, 2, 1]);
    }

    #[test]
    fn what_is_seen_together_is_in_one_batch() {
        let mut log = log();
        let half = vec![0; 512];
        for hlc in 0..6 {
            append_to_group(&mut log, hlc, &half, (1..4).contains(&hlc));
        }
        let mut sizes = Vec::new();
        while let Some(batch) = log.take_off() {
            sizes.push(batch.entries);
            log.land();
        }
        assert_eq!(sizes, vec![5, 1]);
    }
}
