//! Two servers, and every order in which what happens between them can happen: a model checker (`stateright`) goes through all
//! states that a few requests to link, a write on each side and a lost connection lead to. The simulation goes far; this leaves nothing out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "simulation/map_store.rs"]
mod map_store;

use std::collections::hash_map::DefaultHasher;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ferrets_core::clock::Time;
use ferrets_core::effect::{Effect, Peer};
use ferrets_core::link::LinkState;
use ferrets_core::replica::{Config, Limits, Replica, Write, Written};
use ferrets_core::store::Kind;
use ferrets_core::version::Writer;
use ferrets_core::wire::TableShape;
use map_store::{encode, MapStore};
use stateright::{Checker, Model, Property};

const NOW: Time = Time::from_ms(1);
const KEY: u8 = 1;

/// How often each thing may happen.
struct Bounds {
    /// Requests to link, on each side.
    links: usize,
    /// Writes to the same key, on each side.
    writes: usize,
    cuts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Link(usize),
    Write(usize),
    /// The next message, or the end of the connection, arrives at a side.
    Deliver(usize),
    /// The connection is lost, and there is a new one. Of what was under way to each side so many messages still arrive.
    Cut([usize; 2]),
}

/// What has happened, which says all; and what it has come to.
#[derive(Clone, Debug)]
struct History {
    steps: Vec<Step>,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
struct Outcome {
    /// Stands for all that is in both servers and between them.
    fingerprint: u64,
    under_way: [usize; 2],
    links: [Option<LinkState>; 2],
    digests: [u64; 2],
    /// A write that was said to be everywhere, and was not.
    broken: bool,
}

impl Hash for History {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.outcome.fingerprint.hash(state);
    }
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        self.outcome.fingerprint == other.outcome.fingerprint
    }
}

#[derive(Debug)]
enum Parcel {
    Message(Vec<u8>, Arc<Vec<u8>>),
    Down,
}

struct Side {
    replica: Replica<usize>,
    store: MapStore,
    inbox: VecDeque<Parcel>,
}

impl Side {
    fn new(number: usize) -> Self {
        let config = Config {
            writer: Writer { incarnation: number as u64 + 1, node: vec![number as u8] },
            started_ms: number as u64,
            shape: TableShape { table_type: 1, keypos: 1 },
            tombstone_ttl_ms: u64::MAX,
            stall_timeout_ms: u64::MAX,
            compare_interval_ms: u64::MAX,
            asks_conflicts: false,
            drops_owned: false,
            limits: Limits::default(),
        };
        Side { replica: Replica::new(config), store: MapStore::default(), inbox: VecDeque::new() }
    }

    fn link(&self) -> Option<LinkState> {
        self.replica.status(NOW).peers.first().map(|peer| peer.state)
    }

    fn version(&self) -> Option<(u64, u64)> {
        let (stamp, _) = self.store.get((KEY, None))?;
        let writer = self.replica.origins().get(stamp.version.origin)?;
        Some((stamp.version.hlc, writer.incarnation))
    }
}

/// Each side knows the other by this number.
const OTHER: Peer = Peer(1);

struct World {
    sides: [Side; 2],
    broken: bool,
}

impl World {
    fn replay(steps: &[Step]) -> Self {
        let mut world = World { sides: [Side::new(0), Side::new(1)], broken: false };
        for step in steps {
            world.take(*step);
        }
        world
    }

    fn take(&mut self, step: Step) {
        let mut effects = Vec::new();
        match step {
            Step::Link(at) => self.sides[at].replica.peer_up(OTHER, &mut effects),
            Step::Write(at) => self.write(at, &mut effects),
            Step::Deliver(at) => self.deliver(at, &mut effects),
            Step::Cut(arriving) => {
                for (side, arriving) in self.sides.iter_mut().zip(arriving) {
                    side.inbox.truncate(arriving);
                    side.inbox.push_back(Parcel::Down);
                }
            }
        }
        if let Step::Link(at) | Step::Write(at) | Step::Deliver(at) = step {
            effects.into_iter().for_each(|effect| self.carry_out(at, effect));
        }
    }

    /// The waiter is the side itself.
    fn write(&mut self, at: usize, effects: &mut Vec<Effect<usize>>) {
        let Side { replica, store, .. } = &mut self.sides[at];
        let value = at as u32;
        let payload = replica.is_linked().then(|| encode(KEY, value));
        let item = (KEY, value);
        let write = Write { kind: Kind::Record, item, payload: payload.as_deref(), observed: None, continues: false };
        if replica.write(store, NOW, [write], Some(at)) == (Written::Logged { flush: true }) {
            replica.flush_all(store, NOW, usize::MAX, effects);
        }
    }

    fn deliver(&mut self, at: usize, effects: &mut Vec<Effect<usize>>) {
        let Side { replica, store, inbox } = &mut self.sides[at];
        match inbox.pop_front() {
            Some(Parcel::Message(head, body)) => {
                replica.message(store, NOW, OTHER, (&head, &body), usize::MAX, effects);
            }
            Some(Parcel::Down) => {
                replica.peer_down(store, NOW, OTHER, usize::MAX, effects);
            }
            None => {}
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect<usize>) {
        match effect {
            Effect::Send { head, body, .. } => self.sides[1 - at].inbox.push_back(Parcel::Message(head, body)),
            Effect::Reply(_) => {
                let is_linked = self.sides[at].link().is_some_and(|state| state != LinkState::Opening);
                self.broken |= is_linked && self.sides[1 - at].version() < self.sides[at].version();
            }
            _ => {}
        }
    }

    fn outcome(&self, used: impl Hash) -> Outcome {
        let mut hasher = DefaultHasher::new();
        (used, self.broken).hash(&mut hasher);
        let [a, b] = &self.sides;
        for side in [a, b] {
            format!("{:?} {:?} {:?}", side.replica, side.inbox, side.version()).hash(&mut hasher);
        }
        Outcome {
            fingerprint: hasher.finish(),
            under_way: [a.inbox.len(), b.inbox.len()],
            links: [a.link(), b.link()],
            digests: [a.replica.digest(), b.replica.digest()],
            broken: self.broken,
        }
    }
}

fn history(steps: Vec<Step>) -> History {
    let outcome = World::replay(&steps).outcome(used(&steps));
    History { steps, outcome }
}

/// How often each side has asked for a link, each has written, and the connection was lost.
fn used(steps: &[Step]) -> ([usize; 2], [usize; 2], usize) {
    let count = |is_such: &dyn Fn(&Step) -> bool| steps.iter().filter(|step| is_such(step)).count();
    (
        [0, 1].map(|at| count(&|step| *step == Step::Link(at))),
        [0, 1].map(|at| count(&|step| *step == Step::Write(at))),
        count(&|step| matches!(step, Step::Cut(_))),
    )
}

impl Outcome {
    fn is_at_rest(&self) -> bool {
        self.under_way == [0, 0]
    }

    fn is_linked(&self) -> bool {
        self.links == [Some(LinkState::Synced); 2]
    }
}

impl Model for Bounds {
    type State = History;
    type Action = Step;

    fn init_states(&self) -> Vec<History> {
        vec![history(Vec::new())]
    }

    fn actions(&self, History { steps, outcome }: &History, actions: &mut Vec<Step>) {
        let (links, writes, cuts) = used(steps);
        for at in [0, 1] {
            if outcome.under_way[at] > 0 {
                actions.push(Step::Deliver(at));
            }
            if links[at] < self.links {
                actions.push(Step::Link(at));
            }
            if writes[at] < self.writes {
                actions.push(Step::Write(at));
            }
        }
        if cuts < self.cuts {
            let [a, b] = outcome.under_way;
            actions.extend((0..=a).flat_map(|a| (0..=b).map(move |b| Step::Cut([a, b]))));
        }
    }

    fn next_state(&self, last: &History, action: Step) -> Option<History> {
        Some(history(last.steps.iter().copied().chain([action]).collect()))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "at rest both are linked and in sync, or neither knows of a link",
                |_, history: &History| {
                    let outcome = &history.outcome;
                    !outcome.is_at_rest() || outcome.is_linked() || outcome.links == [None, None]
                },
            ),
            Property::always("linked and at rest both hold the same", |_, history: &History| {
                let outcome = &history.outcome;
                !outcome.is_at_rest() || !outcome.is_linked() || outcome.digests[0] == outcome.digests[1]
            }),
            Property::always("what is said to be everywhere is", |_, history: &History| !history.outcome.broken),
            Property::sometimes("linked", |_, history: &History| history.outcome.is_linked()),
            Property::sometimes("linked after a cut", |_, history: &History| {
                let cut = history.steps.iter().rposition(|step| matches!(step, Step::Cut(_)));
                cut.is_some() && history.outcome.is_at_rest() && history.outcome.is_linked()
            }),
        ]
    }
}

fn check(bounds: Bounds) {
    let checker = bounds.checker().threads(2).spawn_bfs().join();
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn however_two_servers_link_they_end_linked_or_apart() {
    check(Bounds { links: 1, writes: 0, cuts: 2 });
    check(Bounds { links: 2, writes: 0, cuts: 1 });
}

#[test]
fn whatever_is_written_meanwhile_is_on_both() {
    check(Bounds { links: 1, writes: 1, cuts: 1 });
}
