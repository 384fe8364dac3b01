//! Leader operations: writes whose effect depends on what is there, and that one server therefore does one after the other.
//!
//! The leader is the oldest of the servers that are linked with one another, so that a newcomer rarely takes over. A
//! server gathers the questions of its callers and sends them to its leader, many to a message, as a batch of writes
//! is sent: two messages at a time at most, the second if it has half as many questions as the first. The leader answers when its writes
//! have landed: so whoever is told that a record was inserted has merged it, too.
//!
//! A server that is asked and is not the leader says so, and its caller tries again; likewise if the two are not linked with
//! the same servers, for then somebody that only one of them is linked with may take itself for the leader. The leader
//! holds questions back while any of its links is not in sync or a pull is under way: another server's write to the same
//! key may be on its way. With that, of all questions for one key in a linked cluster at most one finds the key free.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Time;
use crate::digest::scramble;
use crate::effect::{Answer, Effect, Peer};
use crate::link::LinkState;
use crate::log::may_take_off;
use crate::replica::{Progress, Replica};
use crate::rules;
use crate::store::{Kind, Malformed, Stamp, Store};
use crate::version::{Origins, Version};
use crate::wire::{self, Garbled, Head, Nonce, Reader};

/// What a leader operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Inserts, if no record has the key.
    InsertNew,
    /// Likewise; the answer has the record that stands under the key in any case.
    InsertNewOrLookup,
    /// Inserts in any case.
    InsertSerial,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The waiter comes back in an [`Effect::Answer`]. If `flush`, the host must call [`Replica::flush`] soon.
    Logged {
        /// A flush is to be asked for.
        flush: bool,
    },
}

#[derive(Debug)]
struct Question {
    operation: Operation,
    payload: Vec<u8>,
}

/// Who asks.
#[derive(Debug)]
enum Asker<W> {
    Local(VecDeque<W>),
    Remote { peer: Peer, link: Nonce, seq: u64, members: u64 },
}

/// Questions on their way to an answer.
#[derive(Debug)]
struct Session<W> {
    asker: Asker<W>,
    questions: VecDeque<Question>,
    answers: Vec<Answer>,
}

/// Questions that have been sent to a leader, with a number, and who asks.
#[derive(Debug)]
struct Sent<W> {
    peer: Peer,
    seq: u64,
    waiters: VecDeque<W>,
}

/// The own callers' questions, and those that this server has to answer.
#[derive(Debug)]
pub(crate) struct Leadership<W> {
    /// For tests: overrides what the servers' ages say.
    pub forced: Option<bool>,
    /// Nothing is asked or answered.
    pub paused: bool,
    pending: VecDeque<(Question, W)>,
    in_flight: VecDeque<Sent<W>>,
    asked: u64,
    flush_requested: bool,
    held: VecDeque<Session<W>>,
    /// Answered, once the log's batch of this number has landed.
    answered: VecDeque<(u64, Session<W>)>,
}

impl<W> Default for Leadership<W> {
    fn default() -> Self {
        Leadership {
            forced: None,
            paused: false,
            pending: VecDeque::new(),
            in_flight: VecDeque::new(),
            asked: 0,
            flush_requested: false,
            held: VecDeque::new(),
            answered: VecDeque::new(),
        }
    }
}

impl<W> Leadership<W> {
    /// Whether what is pending may be sent: as of batches.
    fn may_send(&self, follower_min: u64) -> bool {
        let ahead = self.in_flight.back().map(|sent| sent.waiters.len() as u64);
        may_take_off(self.in_flight.len(), ahead, self.pending.len() as u64, follower_min)
    }
}

/// The caller's side.
impl<W> Replica<W> {
    /// A local caller asks the leader. `payload` is the record, as [`Store::merge_encoded`] takes it.
    pub fn ask(&mut self, operation: Operation, payload: Vec<u8>, waiter: W) -> Asked {
        self.leadership.pending.push_back((Question { operation, payload }, waiter));
        let follower_min = self.config.limits.follower_min;
        let flush = !self.leadership.flush_requested && self.leadership.may_send(follower_min);
        self.leadership.flush_requested |= flush;
        Asked::Logged { flush }
    }

    /// The leader in this server's view; none is this server.
    pub fn leader(&self) -> Option<Peer> {
        let own = (self.config.started_ms, self.config.writer.incarnation);
        let links = self.links.iter().filter_map(|(peer, link)| Some((link.up()?, *peer)));
        let ages = links.map(|(up, peer)| ((up.started_ms, up.writer.incarnation), peer));
        ages.filter(|(age, _)| *age < own).min().map(|(_, peer)| peer)
    }

    /// For tests: has this server take itself for the leader, or not, whatever the servers' ages are.
    pub fn force_leader(&mut self, is_leader: bool) {
        self.leadership.forced = Some(is_leader);
    }

    /// Sends what callers have asked to the leader.
    #[inline]
    pub(crate) fn flush_questions(&mut self, effects: &mut Vec<Effect<W>>) {
        self.leadership.flush_requested = false;
        if !self.leadership.pending.is_empty() {
            self.send_questions(effects);
        }
    }

    #[inline(never)]
    fn send_questions(&mut self, effects: &mut Vec<Effect<W>>) {
        let may_send = self.leadership.may_send(self.config.limits.follower_min);
        if self.leadership.paused || !may_send {
            return;
        }
        let leader = self.leader().and_then(|peer| Some((peer, self.links.get(&peer)?.up()?.theirs)));
        let Some((peer, link)) = leader else {
            let (questions, waiters) = std::mem::take(&mut self.leadership.pending).into_iter().unzip();
            self.leadership.held.push_back(Session { asker: Asker::Local(waiters), questions, answers: Vec::new() });
            return;
        };
        let mut body = Vec::new();
        let mut waiters = VecDeque::new();
        while body.len() < self.config.limits.batch_bytes_max {
            let Some((question, waiter)) = self.leadership.pending.pop_front() else { break };
            wire::put_item(&mut body, operation_code(question.operation), &question.payload);
            waiters.push_back(waiter);
        }
        self.leadership.asked += 1;
        let seq = self.leadership.asked;
        self.leadership.in_flight.push_back(Sent { peer, seq, waiters });
        let head = Head::Ask { link, seq, members: self.members() }.encode();
        effects.push(Effect::Send { peer, head, body: Arc::new(body) });
    }

    #[inline(never)]
    pub(crate) fn on_answers(
        &mut self,
        (peer, link, seq): (Peer, Nonce, u64),
        body: &[u8],
        effects: &mut Vec<Effect<W>>,
    ) {
        if self.current(peer, link).is_none() {
            return;
        }
        let sent = &mut self.leadership.in_flight;
        let answered = sent.iter().position(|sent| (sent.peer, sent.seq) == (peer, seq));
        let Some(Sent { waiters, .. }) = answered.and_then(|at| sent.remove(at)) else { return };
        let mut reader = Reader::new(body);
        for waiter in waiters {
            let answer = reader.item().and_then(|item| item.ok_or(Garbled)).and_then(read_answer);
            effects.push(Effect::Answer(waiter, answer.unwrap_or(Answer::LeaderLost)));
        }
        self.flush_questions(effects);
    }

    /// A link is gone: what was asked over it may or may not have been done.
    pub(crate) fn leader_lost(&mut self, peer: Peer, effects: &mut Vec<Effect<W>>) {
        let sent = std::mem::take(&mut self.leadership.in_flight);
        let (lost, left): (VecDeque<_>, VecDeque<_>) = sent.into_iter().partition(|sent| sent.peer == peer);
        self.leadership.in_flight = left;
        for waiter in lost.into_iter().flat_map(|sent| sent.waiters) {
            effects.push(Effect::Answer(waiter, Answer::LeaderLost));
        }
        self.flush_questions(effects);
    }
}

/// The leader's side.
impl<W> Replica<W> {
    #[inline(never)]
    pub(crate) fn on_ask(
        &mut self,
        (peer, link, seq, members): (Peer, Nonce, u64, u64),
        body: &[u8],
    ) -> Result<(), Garbled> {
        if self.current(peer, link).is_none() {
            return Ok(());
        }
        let mut reader = Reader::new(body);
        let mut questions = VecDeque::new();
        while let Some((code, payload)) = reader.item()? {
            questions.push_back(Question { operation: operation_of(code)?, payload: payload.to_vec() });
        }
        let asker = Asker::Remote { peer, link, seq, members };
        self.leadership.held.push_back(Session { asker, questions, answers: Vec::new() });
        Ok(())
    }

    /// Answers what can be answered, up to so many questions, and gives out the answers whose writes have landed.
    #[inline]
    pub(crate) fn serve<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        if self.leadership.held.is_empty() {
            return Progress::Done;
        }
        self.serve_held(store, now, budget, effects)
    }

    #[inline(never)]
    fn serve_held<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        let mut left = budget;
        while let Some(mut session) = self.leadership.held.pop_front() {
            let present = match session.asker {
                Asker::Local(_) => true,
                Asker::Remote { peer, link, .. } => self.current(peer, link).is_some(),
            };
            if !present {
                continue; // Its server has told its callers so.
            }
            let leads = self.leadership.forced.unwrap_or_else(|| self.leader().is_none());
            if leads && !self.is_settled() {
                self.leadership.held.push_front(session);
                break;
            }
            let agrees = match session.asker {
                Asker::Local(_) => true,
                Asker::Remote { members, .. } => members == self.members(),
            };
            while let Some(question) = session.questions.pop_front() {
                let answer = match (leads, agrees) {
                    (true, true) => self.answer(store, now, &question),
                    (true, false) => Answer::WrongLeader,
                    (false, _) => wrong_leader(&session, question, effects),
                };
                session.answers.push(answer);
                left = left.saturating_sub(1);
                if left == 0 {
                    break;
                }
            }
            if !session.questions.is_empty() {
                self.leadership.held.push_front(session);
                self.flush(effects);
                return Progress::More;
            }
            self.leadership.answered.push_back((self.log.last_number(), session));
        }
        self.flush(effects);
        self.give_answers(effects);
        Progress::Done
    }

    /// A number for the set of servers that are linked here, this one included.
    fn members(&self) -> u64 {
        let linked = self.links.values().filter_map(|link| Some(link.up()?.writer.incarnation));
        linked.chain([self.config.writer.incarnation]).map(scramble).fold(0, u64::wrapping_add)
    }

    /// Whether nothing is on its way to this server that was written before it was linked with the writer.
    fn is_settled(&self) -> bool {
        !self.leadership.paused
            && self.pulls.is_idle()
            && self.links.values().all(|link| link.state() != LinkState::Syncing)
    }

    fn answer<S: Store>(&mut self, store: &mut S, now: Time, question: &Question) -> Answer {
        let Question { operation, payload } = question;
        match (operation, store.is_taken(payload)) {
            (_, Err(Malformed)) => return Answer::Malformed,
            (Operation::InsertNew, Ok(true)) => return Answer::Present,
            (Operation::InsertNewOrLookup, Ok(true)) => return Answer::Found(store.lookup_encoded(payload)),
            (Operation::InsertSerial, Ok(true)) | (_, Ok(false)) => {}
        }
        let version = Version { hlc: self.clock.tick(now), origin: Origins::OWN };
        let kind = Kind::Record;
        let rule = |current| rules::newer_wins(&self.origins, current, kind, version);
        let Ok(change) = store.merge_encoded(kind, payload, version, rule) else { return Answer::Malformed };
        let linked = self.is_linked();
        let batch = if linked { self.log_own(kind, version, payload) } else { 0 };
        self.merged(now, change, Stamp { version, kind }, batch);
        Answer::Inserted
    }

    /// Gives out the answers whose writes are everywhere.
    #[inline]
    pub(crate) fn give_answers(&mut self, effects: &mut Vec<Effect<W>>) {
        if !self.leadership.answered.is_empty() {
            self.give_all_answers(effects);
        }
    }

    #[inline(never)]
    fn give_all_answers(&mut self, effects: &mut Vec<Effect<W>>) {
        while self.leadership.answered.front().is_some_and(|(batch, _)| *batch <= self.log.completed()) {
            let Some((_, session)) = self.leadership.answered.pop_front() else { return };
            match session.asker {
                Asker::Local(waiters) => {
                    effects
                        .extend(waiters.into_iter().zip(session.answers).map(|(w, answer)| Effect::Answer(w, answer)));
                }
                Asker::Remote { peer, link, seq, .. } => {
                    let Some(theirs) = self.current(peer, link).map(|up| up.theirs) else { continue };
                    let mut body = Vec::new();
                    for answer in &session.answers {
                        put_answer(&mut body, answer);
                    }
                    let head = Head::Answers { link: theirs, seq }.encode();
                    effects.push(Effect::Send { peer, head, body: Arc::new(body) });
                }
            }
        }
    }
}

fn wrong_leader<W>(session: &Session<W>, question: Question, effects: &mut Vec<Effect<W>>) -> Answer {
    let from = match session.asker {
        Asker::Local(_) => None,
        Asker::Remote { peer, .. } => Some(peer),
    };
    effects.push(Effect::WrongLeader { from, operation: question.operation, payload: question.payload });
    Answer::WrongLeader
}

fn operation_code(operation: Operation) -> u8 {
    match operation {
        Operation::InsertNew => 1,
        Operation::InsertNewOrLookup => 2,
        Operation::InsertSerial => 3,
    }
}

fn operation_of(code: u8) -> Result<Operation, Garbled> {
    match code {
        1 => Ok(Operation::InsertNew),
        2 => Ok(Operation::InsertNewOrLookup),
        3 => Ok(Operation::InsertSerial),
        _ => Err(Garbled),
    }
}

/// The code of an answer, and of each record in it.
const FOUND: u8 = 3;

fn put_answer(out: &mut Vec<u8>, answer: &Answer) {
    let code = match answer {
        Answer::Inserted => 1,
        Answer::Present => 2,
        Answer::Found(_) => FOUND,
        Answer::WrongLeader => 4,
        Answer::Malformed => 5,
        Answer::LeaderLost => 6,
    };
    let mut records = Vec::new();
    if let Answer::Found(found) = answer {
        found.iter().for_each(|record| wire::put_item(&mut records, FOUND, record));
    }
    wire::put_item(out, code, &records);
}

fn read_answer((code, payload): (u8, &[u8])) -> Result<Answer, Garbled> {
    match code {
        1 => Ok(Answer::Inserted),
        2 => Ok(Answer::Present),
        FOUND => {
            let mut records = Vec::new();
            let mut reader = Reader::new(payload);
            while let Some((_, record)) = reader.item()? {
                records.push(record.to_vec());
            }
            Ok(Answer::Found(records))
        }
        4 => Ok(Answer::WrongLeader),
        5 => Ok(Answer::Malformed),
        6 => Ok(Answer::LeaderLost),
        _ => Err(Garbled),
    }
}
