//! The scheduler: picks what happens next, carries out effects, checks the invariants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ferrets_core::clock::Time;
use ferrets_core::conflict::{Decision, QuestionId};
use ferrets_core::effect::{Answer, Effect, Peer};
use ferrets_core::leader::{Asked, Operation};
use ferrets_core::link::LinkState;
use ferrets_core::replica::{Config, Limits, Progress, Replica, Turn, Write, Written};
use ferrets_core::store::{Kind, Stamp, Store};
use ferrets_core::version::{Incarnation, Version, Writer};
use ferrets_core::wire::TableShape;

use crate::map_store::{encode, Key, MapStore, Place, Value};
use crate::network::{Network, Parcel, ServerId};
use crate::plan::{Plan, Totals};

const KEYS: u8 = 12;
/// A bag's objects have values below this, so that the same one is often written again.
const OBJECTS: u32 = 3;
/// Keys from here on are inserted by leader operations only, and never deleted.
const ASKED: u8 = 200;
const TTL_MS: u64 = 3_600_000;
const STALL_MS: u64 = 30_000;

/// A version that means the same on every replica. The last part tells between a record and its deletion in the version that
/// was seen.
type Global = (u64, Incarnation, u8);

struct Server {
    id: ServerId,
    replica: Replica<u64>,
    store: MapStore,
    skew_ms: u64,
    flush_wanted: bool,
    busy: bool,
    /// What came meanwhile and was not to be taken in at once.
    queue: VecDeque<(ServerId, Turn, Parcel)>,
}

struct Waiting {
    server: ServerId,
    written: Vec<(Place, Global)>,
}

pub struct World {
    rng: fastrand::Rng,
    plan_cuts: bool,
    plan_crashes: bool,
    plan_losses: bool,
    plan_asks: bool,
    plan_conflicts: bool,
    plan_merge: bool,
    plan_owned: bool,
    plan_bag: bool,
    /// What hosts have been asked to decide: the server, the question, the peer's record.
    questions: Vec<(ServerId, QuestionId, Vec<u8>)>,
    asked_about: BTreeMap<Key, u64>,
    /// Which incarnations each server has been linked with.
    met: BTreeSet<(ServerId, Incarnation)>,
    steps: usize,
    now_ms: u64,
    servers: Vec<Server>,
    network: Network,
    next_id: ServerId,
    waiting: BTreeMap<u64, Waiting>,
    next_waiter: u64,
    /// Every write ever made that a living server has or had to keep: its version, its value, and who held it.
    newest: BTreeMap<Place, (Global, Value)>,
    /// Who waits for an answer, and for which key.
    asking: BTreeMap<u64, (ServerId, Key)>,
    /// Who has inserted a key as new, and which servers had the record then.
    winners: BTreeMap<Key, (ServerId, BTreeSet<ServerId>)>,
    acknowledged: Vec<(Place, Global, BTreeSet<ServerId>)>,
    totals: Totals,
    story: Option<Vec<String>>,
}

type Outcome = Result<(), String>;

impl World {
    pub fn new(seed: u64, plan: &Plan, tell: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(plan.replicas.clone());
        let mut world = World {
            rng,
            plan_crashes: plan.crashes,
            plan_losses: plan.losses,
            plan_cuts: plan.cuts,
            plan_asks: plan.asks,
            plan_conflicts: plan.conflicts,
            plan_merge: plan.merge,
            plan_owned: plan.owned,
            plan_bag: plan.bag,
            questions: Vec::new(),
            asked_about: BTreeMap::new(),
            met: BTreeSet::new(),
            steps: plan.steps,
            now_ms: 10_000_000,
            servers: Vec::new(),
            network: Network::default(),
            next_id: 1,
            waiting: BTreeMap::new(),
            next_waiter: 1,
            newest: BTreeMap::new(),
            asking: BTreeMap::new(),
            winners: BTreeMap::new(),
            acknowledged: Vec::new(),
            totals: Totals::default(),
            story: tell.then(Vec::new),
        };
        for _ in 0..count {
            world.start_server();
        }
        world
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    pub fn story(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }

    /// Lets things happen, heals everything, waits for rest, and compares.
    pub fn run(&mut self) -> Outcome {
        if self.plan_merge {
            return self.merge_two_clusters();
        }
        if self.plan_asks {
            self.heal_everything()?;
            self.come_to_rest()?;
        }
        for _ in 0..self.steps {
            self.step()?;
        }
        self.heal_everything()?;
        self.come_to_rest()?;
        if self.plan_conflicts {
            // Who left a key alone for a leader that found no conflict there has to wait for the next comparison; and the
            // first tick of a server only says when that is.
            for _ in 0..2 {
                self.now_ms += 10_000;
                for at in 0..self.servers.len() {
                    self.tick(at)?;
                }
                self.come_to_rest()?;
            }
        }
        self.compare()?;
        self.let_tombstones_expire()
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }

    fn start_server(&mut self) -> usize {
        let id = self.next_id;
        self.next_id += 1;
        let incarnation = self.rng.u64(1..);
        let skew_ms = self.rng.u64(0..3_600_000);
        let config = Config {
            writer: Writer { incarnation, node: format!("n{id}").into_bytes() },
            shape: TableShape { table_type: u8::from(self.plan_bag), keypos: 1 },
            started_ms: self.now_ms + skew_ms,
            tombstone_ttl_ms: TTL_MS,
            // A server that gives up another is split off; and then each side has a leader of its own.
            stall_timeout_ms: if self.plan_asks { u64::MAX } else { STALL_MS },
            compare_interval_ms: 10_000,
            asks_conflicts: self.plan_conflicts,
            drops_owned: self.plan_owned,
            // So small that most syncs and some flushes take several messages.
            limits: Limits {
                batch_bytes_max: 100,
                follower_min: 1,
                chunk_bytes_max: 60,
                chunk_entries_max: 3,
                slow_chunks: 1,
            },
        };
        let replica = Replica::new(config);
        let store = MapStore::new(self.plan_bag);
        self.servers.push(Server {
            id,
            replica,
            store,
            skew_ms,
            flush_wanted: false,
            busy: false,
            queue: VecDeque::new(),
        });
        self.tell(|| format!("server {id} starts, {skew_ms} ms ahead"));
        self.servers.len() - 1
    }

    fn step(&mut self) -> Outcome {
        self.now_ms += if self.rng.u32(0..100) == 0 { self.rng.u64(0..40_000) } else { self.rng.u64(0..3) };
        let at = self.rng.usize(0..self.servers.len());
        match self.rng.u32(0..100) {
            0..=29 => self.write(at),
            30..=79 => self.deliver_something()?,
            80..=89 => self.flush(at)?,
            90..=91 if self.plan_cuts => self.cut_something(),
            92..=95 => self.link_something()?,
            90..=91 if self.plan_asks => self.ask(at),
            90..=91 if self.plan_conflicts => self.decide_something()?,
            96..=97 => self.tick(at)?,
            99 if self.plan_losses => self.lose_something(),
            98 if self.plan_crashes && self.rng.u32(0..3) == 0 => self.kill(at),
            _ => self.work(at)?,
        }
        Ok(())
    }

    /// One write, or several that readers are to see together.
    fn write(&mut self, at: usize) {
        let count = if self.rng.u8(0..8) == 0 { self.rng.usize(2..4) } else { 1 };
        let mut keys: Vec<Key> = (0..KEYS).collect();
        self.rng.shuffle(&mut keys);
        let linked = self.servers[at].replica.is_linked();
        let mut chosen = Vec::new();
        let mut places = Vec::new();
        let mut writes = Vec::new();
        for key in keys.into_iter().take(count) {
            let (kind, value, observed) = self.choose_write(at, key);
            places.push((self.servers[at].store.place(kind, key, value), value));
            chosen.push((kind, (key, value), encode(key, value), observed));
        }
        for (kind, item, payload, observed) in &chosen {
            let continues = writes.len() + 1 < count;
            let payload = linked.then_some(payload.as_slice());
            writes.push(Write { kind: *kind, item: *item, payload, observed: *observed, continues });
        }
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        let server = &mut self.servers[at];
        let now = Time::from_ms(self.now_ms + server.skew_ms);
        let outcome = server.replica.write(&mut server.store, now, writes, Some(waiter));
        self.totals.groups += u64::from(count > 1);
        let mut written = Vec::new();
        for (place, value) in places {
            let version = standing(&self.servers[at], place).expect("just written");
            written.push((place, version));
            self.totals.writes += 1;
            let newest = self.newest.entry(place).or_insert((version, value));
            self.totals.races += u64::from(newest.0 > version);
            if version > newest.0 {
                *newest = (version, value);
            }
        }
        let server = &mut self.servers[at];
        let id = server.id;
        self.tell(|| format!("server {id} writes {written:?}: {outcome:?}"));
        if let Written::Logged { flush } = outcome {
            self.servers[at].flush_wanted |= flush;
            self.waiting.insert(waiter, Waiting { server: id, written });
        } else {
            let alone = BTreeSet::from([id]);
            self.acknowledged.extend(written.into_iter().map(|(place, version)| (place, version, alone.clone())));
        }
    }

    /// An insertion or a deletion; sometimes what is deleted is a record as it was seen.
    fn choose_write(&mut self, at: usize, key: Key) -> (Kind, Value, Option<Version>) {
        let value = if self.plan_bag { self.rng.u32(0..OBJECTS) } else { self.rng.u32(..) };
        if self.rng.u32(0..3) == 0 {
            return (Kind::Tombstone, if self.plan_bag { 0 } else { value }, None);
        }
        let seen: Vec<(Stamp, Value)> = self.servers[at].store.records(key).collect();
        match self.rng.choice(seen).filter(|_| self.rng.u32(0..6) == 0) {
            Some((stamp, value)) if self.plan_bag => (Kind::ObjectTombstone, value, Some(stamp.version)),
            Some((stamp, _)) => (Kind::Tombstone, 0, Some(stamp.version)),
            None => (Kind::Record, value, None),
        }
    }

    /// Only a server that is linked with each of the others is in a linked cluster.
    fn ask(&mut self, at: usize) {
        let peers = self.servers[at].replica.status(Time::from_ms(0)).peers;
        let linked = |id| peers.iter().any(|peer| peer.peer == Peer(id) && peer.state != LinkState::Opening);
        let own = self.servers[at].id;
        if !self.servers.iter().all(|other| other.id == own || linked(other.id)) {
            return;
        }
        let server = &mut self.servers[at];
        let key = ASKED + self.rng.u8(0..16);
        let operation = if self.rng.bool() { Operation::InsertNew } else { Operation::InsertNewOrLookup };
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        let Asked::Logged { flush } = server.replica.ask(operation, encode(key, waiter as u32), waiter);
        server.flush_wanted |= flush;
        let id = server.id;
        self.asking.insert(waiter, (id, key));
        self.tell(|| format!("server {id} asks for {operation:?} of {key}"));
    }

    fn check_answer(&mut self, at: usize, waiter: u64, answer: Answer) -> Outcome {
        let Some((id, key)) = self.asking.remove(&waiter) else { return Err(format!("{waiter} answered twice")) };
        self.totals.answers += 1;
        self.tell(|| format!("server {id} is answered {answer:?} for {key}"));
        let present = self.servers[at].store.records(key).next().is_some();
        match answer {
            Answer::Inserted if !present => return Err(format!("{id} has inserted {key} and has not got it")),
            Answer::Inserted => {
                self.totals.wins += 1;
                let holders = self.servers.iter().filter(|server| server.store.records(key).next().is_some());
                let holders = holders.map(|server| server.id).collect();
                if let Some((other, held)) = self.winners.insert(key, (id, holders)) {
                    if self.servers.iter().any(|server| held.contains(&server.id)) {
                        return Err(format!("{other} and {id} have both inserted {key} as new"));
                    }
                }
            }
            Answer::Found(records)
                if records.iter().any(|record| record.first() != Some(&key)) || records.is_empty() =>
            {
                return Err(format!("{key} found as {records:?}"));
            }
            Answer::Present | Answer::Found(_) | Answer::WrongLeader | Answer::LeaderLost => {}
            Answer::Malformed => return Err(format!("the record of {key} was refused")),
        }
        Ok(())
    }

    fn flush(&mut self, at: usize) -> Outcome {
        let server = &mut self.servers[at];
        if !std::mem::take(&mut server.flush_wanted) {
            return Ok(());
        }
        let now = Time::from_ms(self.now_ms + server.skew_ms);
        let mut effects = Vec::new();
        let progress = server.replica.flush_all(&mut server.store, now, 1, &mut effects);
        self.carry_out(at, effects)?;
        self.go_on(at, progress)
    }

    fn deliver_something(&mut self) -> Outcome {
        let ways = self.network.busy();
        let Some(way) = self.rng.choice(&ways).copied() else { return Ok(()) };
        self.deliver(way)
    }

    /// A message arrives. As on a real node, a busy server looks at each once, and queues what it does not take in at once.
    fn deliver(&mut self, (from, to): (ServerId, ServerId)) -> Outcome {
        let Some(at) = self.find(to) else { return Err(format!("a message to the dead server {to}")) };
        while self.servers[at].busy && self.rng.u8(0..4) == 0 {
            self.work(at)?;
        }
        let Some(parcel) = self.network.deliver((from, to)) else { return Ok(()) };
        self.totals.delivered += 1;
        if self.servers[at].busy {
            let turn = self.turn(at, from, &parcel);
            if turn != Turn::Now {
                self.tell(|| format!("{from} -> {to}, {turn:?}: {}", describe(&parcel)));
                self.servers[at].queue.push_back((from, turn, parcel));
                return Ok(());
            }
            self.totals.overtaken += 1;
        }
        self.take_in(at, from, parcel)
    }

    fn turn(&self, at: usize, from: ServerId, parcel: &Parcel) -> Turn {
        let server = &self.servers[at];
        let is_behind = server.queue.iter().any(|(other, turn, _)| *other == from && *turn == Turn::Waits);
        match parcel {
            Parcel::Message { head, .. } if !is_behind => server.replica.turn(head),
            Parcel::Message { .. } | Parcel::Down => Turn::Waits,
        }
    }

    fn take_in(&mut self, at: usize, from: ServerId, parcel: Parcel) -> Outcome {
        let budget = self.rng.usize(1..4);
        let server = &mut self.servers[at];
        let to = server.id;
        let now = Time::from_ms(self.now_ms + server.skew_ms);
        let (replica, store) = (&mut server.replica, &mut server.store);
        let mut effects = Vec::new();
        let progress = match &parcel {
            Parcel::Down => replica.peer_down(store, now, Peer(from), budget, &mut effects),
            Parcel::Message { head, body } => {
                replica.message(store, now, Peer(from), (head, body), budget, &mut effects)
            }
        };
        self.tell(|| format!("{from} -> {to}: {}", describe(&parcel)));
        self.carry_out(at, effects)?;
        self.go_on(at, progress)
    }

    /// Once a message is done, the next that has come meanwhile is taken in.
    fn go_on(&mut self, at: usize, progress: Progress) -> Outcome {
        let server = &mut self.servers[at];
        server.busy = progress == Progress::More;
        if server.busy {
            return Ok(());
        }
        let next = server.queue.pop_front();
        next.map_or(Ok(()), |(from, _, parcel)| self.take_in(at, from, parcel))
    }

    fn work(&mut self, at: usize) -> Outcome {
        let now = Time::from_ms(self.now_ms + self.servers[at].skew_ms);
        let server = &mut self.servers[at];
        if !server.busy {
            return Ok(());
        }
        let mut effects = Vec::new();
        let progress = server.replica.work(&mut server.store, now, 1, &mut effects);
        self.totals.slices += 1;
        self.carry_out(at, effects)?;
        self.go_on(at, progress)
    }

    fn tick(&mut self, at: usize) -> Outcome {
        let now = Time::from_ms(self.now_ms + self.servers[at].skew_ms);
        let server = &mut self.servers[at];
        let mut effects = Vec::new();
        while server.replica.tick(&mut server.store, now, 10, &mut effects) == Progress::More {}
        self.carry_out(at, effects)
    }

    /// A message is lost, or all that go one way are for a while, and nobody is told.
    fn lose_something(&mut self) {
        let (a, b) = self.some_pair();
        let lost = self.network.lose(a, b);
        if self.rng.bool() {
            self.network.turn_deaf(a, b);
        }
        self.totals.losses += u64::from(lost);
        self.tell(|| format!("{a} -> {b} loses messages"));
    }

    fn cut_something(&mut self) {
        let (a, b) = self.some_pair();
        self.network.cut(a, b, &mut self.rng);
        self.totals.cuts += 1;
        self.tell(|| format!("{a} -/- {b} cut"));
    }

    /// Heals a pair and has one side, or both, link.
    fn link_something(&mut self) -> Outcome {
        let (a, b) = self.some_pair();
        self.totals.heals += u64::from(self.network.is_cut(a, b));
        self.network.heal(a, b);
        self.tell(|| format!("{a} --- {b} linked"));
        self.peer_up(a, b)?;
        if self.rng.bool() {
            self.peer_up(b, a)
        } else {
            Ok(())
        }
    }

    fn peer_up(&mut self, here: ServerId, there: ServerId) -> Outcome {
        let Some(at) = self.find(here) else { return Ok(()) };
        let mut effects = Vec::new();
        self.servers[at].replica.peer_up(Peer(there), &mut effects);
        self.carry_out(at, effects)
    }

    /// `kill -9`, and an empty server in its place, or none.
    fn kill(&mut self, at: usize) {
        let dead = self.servers.swap_remove(at);
        self.questions.retain(|(server, _, _)| *server != dead.id);
        let others: Vec<ServerId> = self.servers.iter().map(|server| server.id).collect();
        self.network.kill(dead.id, &others, &mut self.rng);
        self.waiting.retain(|_, waiting| waiting.server != dead.id);
        self.asking.retain(|_, (server, _)| *server != dead.id);
        self.totals.crashes += 1;
        self.tell(|| format!("server {} is killed", dead.id));
        if self.servers.len() < 2 || self.rng.bool() {
            self.start_server();
        }
    }

    fn carry_out(&mut self, at: usize, effects: Vec<Effect<u64>>) -> Outcome {
        let from = self.servers[at].id;
        for effect in effects {
            match effect {
                Effect::Send { peer, head, body } => {
                    if self.find(peer.0).is_some() {
                        self.network.send(from, peer.0, Parcel::Message { head, body });
                    }
                }
                Effect::Reply(waiters) => {
                    for waiter in waiters {
                        self.check_reply(at, waiter)?;
                    }
                }
                Effect::Answer(waiter, answer) => self.check_answer(at, waiter, answer)?,
                Effect::LinkUp(peer) => {
                    if let Some(there) = self.find(peer.0) {
                        self.met.insert((from, incarnation(&self.servers[there])));
                    }
                    self.tell(|| format!("server {from}: {effect:?}"));
                }
                Effect::WrongLeader { .. } | Effect::LinkDown(..) | Effect::Synced(_) | Effect::Diverged(..) => {
                    self.tell(|| format!("server {from}: {effect:?}"));
                }
                Effect::AskConflict { id, theirs } => {
                    self.totals.questions += 1;
                    *self.asked_about.entry(*theirs.first().unwrap_or(&0)).or_default() += 1;
                    self.tell(|| format!("server {from} asks its user about {theirs:?}"));
                    self.questions.push((from, id, theirs));
                }
                Effect::Refused(..) => return Err(format!("server {from}: {effect:?}")),
            }
        }
        Ok(())
    }

    /// Acknowledged means everywhere: every linked server has this version of the key, or a newer one.
    fn check_reply(&mut self, at: usize, waiter: u64) -> Outcome {
        let server = &self.servers[at];
        let id = server.id;
        let Some(waiting) = self.waiting.remove(&waiter) else { return Err(format!("waiter {waiter} served twice")) };
        let mut holders = BTreeSet::from([id]);
        for peer in server.replica.status(Time::from_ms(0)).peers {
            let Some(there) = self.find(peer.peer.0).filter(|_| peer.state != LinkState::Opening) else { continue };
            // A server that has lost the writer has dropped what it wrote.
            for (place, version) in waiting.written.iter().filter(|_| !self.plan_owned) {
                let has = standing(&self.servers[there], *place);
                if has.is_none_or(|has| has < *version) {
                    return Err(format!("{id} acknowledges {place:?} as {version:?}, but {} has {has:?}", peer.peer.0));
                }
            }
            holders.insert(peer.peer.0);
        }
        self.totals.replies += 1;
        let written = waiting.written.into_iter().map(|(place, version)| (place, version, holders.clone()));
        self.acknowledged.extend(written);
        Ok(())
    }

    fn heal_everything(&mut self) -> Outcome {
        self.network.listen_again();
        for (a, b) in self.network.cut_pairs() {
            self.network.heal(a, b);
        }
        self.tell(|| "all healed".to_owned());
        // Every server learns of every cut before it links again, as a joining process sees to.
        if self.plan_cuts || self.plan_crashes {
            self.drain()?;
        }
        let ids: Vec<ServerId> = self.servers.iter().map(|server| server.id).collect();
        for a in &ids {
            for b in ids.iter().filter(|b| a < b) {
                self.peer_up(*a, *b)?;
            }
        }
        Ok(())
    }

    /// Time goes by until nobody is silent any more and all links are in sync.
    fn come_to_rest(&mut self) -> Outcome {
        let mut unrest = String::new();
        for _ in 0..20 {
            self.drain()?;
            match self.unrest() {
                None => return Ok(()),
                Some(why) => unrest = why,
            }
            self.now_ms += 10_000;
            for at in 0..self.servers.len() {
                self.tick(at)?;
            }
        }
        Err(unrest)
    }

    fn unrest(&self) -> Option<String> {
        for server in &self.servers {
            let status = server.replica.status(Time::from_ms(0));
            if status.peers.len() + 1 != self.servers.len()
                || status.peers.iter().any(|peer| peer.state != LinkState::Synced)
            {
                return Some(format!("server {} is not synced with all: {:?}", server.id, status.peers));
            }
            if (status.log_entries, status.log_bytes, status.pulls) != (0, 0, 0) {
                return Some(format!("server {} still has a log or a pull: {status:?}", server.id));
            }
        }
        if let Some((waiter, (id, key))) = self.asking.iter().next() {
            return Some(format!("server {id} got no answer for {key} (waiter {waiter})"));
        }
        let (waiter, waiting) = self.waiting.iter().next()?;
        Some(format!("waiter {waiter} of server {} was forgotten", waiting.server))
    }

    fn drain(&mut self) -> Outcome {
        for _ in 0..100_000 {
            for at in 0..self.servers.len() {
                self.flush(at)?;
                self.work(at)?;
            }
            if self.rng.u8(0..4) == 0 {
                self.decide_something()?;
            }
            let ways = self.network.busy();
            match self.rng.choice(&ways).copied() {
                Some(way) => self.deliver(way)?,
                None if !self.questions.is_empty() => self.decide_something()?,
                None if self.servers.iter().all(|server| !server.busy && !server.flush_wanted) => return Ok(()),
                None => {}
            }
        }
        Err("the servers do not come to rest".to_owned())
    }

    fn compare(&mut self) -> Outcome {
        let (first, others) = self.servers.split_first().expect("there are servers");
        let expected = contents(first);
        for other in others {
            let found = contents(other);
            if found != expected {
                return Err(format!("{} has {expected:?}\n{} has {found:?}", first.id, other.id));
            }
        }
        let alive: BTreeSet<ServerId> = self.servers.iter().map(|server| server.id).collect();
        let kept = self.acknowledged.iter().filter(|_| !self.plan_owned);
        for (place, version, holders) in kept {
            let survives = holders.iter().any(|holder| alive.contains(holder));
            let has = standing(first, *place);
            if survives && has.is_none_or(|has| has < *version) {
                return Err(format!("the acknowledged write {version:?} of {place:?} is lost: {has:?}"));
            }
        }
        if self.plan_owned {
            return self.check_owned(&alive);
        }
        if !self.plan_crashes && !self.plan_conflicts {
            let survives = |place: &Place, version: Global| {
                let of_key = place.1.and_then(|_| self.newest.get(&(place.0, None)));
                of_key.is_none_or(|(deletion, _)| *deletion < version)
            };
            let newest = self.newest.iter().filter(|(place, (version, _))| survives(place, *version));
            let newest: BTreeMap<_, _> = newest.map(|(place, newest)| (*place, *newest)).collect();
            if newest != expected {
                return Err(format!("all have {expected:?}, but the newest writes were {newest:?}"));
            }
        }
        Ok(())
    }

    fn let_tombstones_expire(&mut self) -> Outcome {
        self.now_ms += TTL_MS;
        // The first tick may find that a comparison is due, which comes first.
        let count = self.servers.len();
        for at in (0..count).chain(0..count) {
            self.tick(at)?;
            self.drain()?;
        }
        for server in &self.servers {
            let left = server.store.iter().filter(|(_, stamp, _)| !stamp.kind.is_record()).count();
            if left > 0 || server.replica.status(Time::from_ms(0)).tombstones > 0 {
                return Err(format!("server {} keeps {left} tombstones for ever", server.id));
            }
        }
        Ok(())
    }

    /// A user decides for the greater value, or for nothing.
    fn decide_something(&mut self) -> Outcome {
        if self.questions.is_empty() {
            return Ok(());
        }
        let which = self.rng.usize(0..self.questions.len());
        let (id, question, theirs) = self.questions.swap_remove(which);
        let Some(at) = self.find(id) else { return Ok(()) };
        let server = &mut self.servers[at];
        let now = Time::from_ms(self.now_ms + server.skew_ms);
        let ours = server.store.lookup_encoded(&theirs).pop().unwrap_or_else(|| theirs.clone());
        let greater = theirs.clone().max(ours);
        let decision = if self.rng.u8(0..5) == 0 { Decision::Newer } else { Decision::Record(&greater) };
        let mut effects = Vec::new();
        server.replica.decide(&mut server.store, now, question, decision, &mut effects);
        self.carry_out(at, effects)
    }

    fn merge_two_clusters(&mut self) -> Outcome {
        let ids: Vec<ServerId> = self.servers.iter().map(|server| server.id).collect();
        let (left, right) = ids.split_at(ids.len() / 2);
        for side in [left, right] {
            for a in side {
                for b in side.iter().filter(|b| a < *b) {
                    self.peer_up(*a, *b)?;
                }
            }
        }
        self.drain()?;
        for key in 0..KEYS {
            for side in [left, right] {
                let id = self.rng.choice(side).copied().unwrap_or(1);
                let at = self.find(id).ok_or("a server is missing")?;
                let server = &mut self.servers[at];
                let now = Time::from_ms(self.now_ms + server.skew_ms);
                let item = (key, self.rng.u32(..));
                let payload = encode(item.0, item.1);
                let payload = Some(payload.as_slice());
                let write = Write { kind: Kind::Record, item, payload, observed: None, continues: false };
                let written = server.replica.write(&mut server.store, now, [write], None);
                server.flush_wanted |= written == Written::Logged { flush: true };
            }
        }
        self.drain()?;
        // As a join does: the leaders first, so that only one of them is left.
        let leads = |id: &&ServerId| self.servers.iter().any(|s| s.id == **id && s.replica.leader().is_none());
        let leaders = (left.iter().find(leads).copied(), right.iter().find(leads).copied());
        let (Some(a), Some(b)) = leaders else { return Err("a side has no leader".to_owned()) };
        self.peer_up(a, b)?;
        while [(a, b), (b, a)].iter().any(|(here, there)| !self.is_linked(*here, *there)) {
            self.deliver_something()?;
        }
        self.heal_everything()?;
        self.come_to_rest()?;
        self.compare()?;
        if (0..KEYS).any(|key| self.asked_about.get(&key) != Some(&1)) {
            return Err(format!("not once for each key: {:?}", self.asked_about));
        }
        Ok(())
    }

    fn is_linked(&self, here: ServerId, there: ServerId) -> bool {
        let status = self.find(here).map(|at| self.servers[at].replica.status(Time::from_ms(0)));
        let mut peers = status.into_iter().flat_map(|status| status.peers);
        peers.any(|peer| peer.peer == Peer(there) && peer.state != LinkState::Opening)
    }

    /// No row is left of a server that is dead and that some living one has been linked with.
    fn check_owned(&mut self, alive: &BTreeSet<ServerId>) -> Outcome {
        let living: BTreeSet<Incarnation> = self.servers.iter().map(incarnation).collect();
        let missed = self.met.iter().filter(|(id, peer)| alive.contains(id) && !living.contains(peer));
        let missed: BTreeSet<Incarnation> = missed.map(|(_, peer)| *peer).collect();
        self.totals.swept += missed.len() as u64;
        for server in &self.servers {
            let left = server.store.iter().filter(|(_, stamp, _)| stamp.kind.is_record());
            let mut writers = left.map(|(_, stamp, _)| global(server, stamp).1);
            if let Some(owner) = writers.find(|owner| missed.contains(owner)) {
                return Err(format!("server {} has a row of {owner}, who is lost", server.id));
            }
        }
        Ok(())
    }

    fn find(&self, id: ServerId) -> Option<usize> {
        self.servers.iter().position(|server| server.id == id)
    }

    fn some_pair(&mut self) -> (ServerId, ServerId) {
        let a = self.rng.usize(0..self.servers.len());
        let b = (a + self.rng.usize(1..self.servers.len())) % self.servers.len();
        (self.servers[a].id, self.servers[b].id)
    }
}

fn incarnation(server: &Server) -> Incarnation {
    server.replica.status(Time::from_ms(0)).incarnation
}

fn global(server: &Server, stamp: Stamp) -> Global {
    let writer = server.replica.origins().get(stamp.version.origin).expect("a version's origin is known");
    let rank = match stamp.kind {
        Kind::Record => 0,
        Kind::ObjectTombstone => 1,
        Kind::Tombstone => 2,
    };
    (stamp.version.hlc, writer.incarnation, rank)
}

/// What has been decided about a place: by the entry there, or by the deletion of its key.
fn standing(server: &Server, place: Place) -> Option<Global> {
    let entry = |place| server.store.get(place).map(|(stamp, _)| global(server, stamp));
    entry(place).max(entry((place.0, None)))
}

fn contents(server: &Server) -> BTreeMap<Place, (Global, Value)> {
    server.store.iter().map(|(place, stamp, value)| (place, (global(server, stamp), value))).collect()
}

fn describe(parcel: &Parcel) -> String {
    match parcel {
        Parcel::Down => "down".to_owned(),
        Parcel::Message { head, body } => {
            format!("{:?}, body of {} bytes", ferrets_core::wire::Head::decode(head), body.len())
        }
    }
}
