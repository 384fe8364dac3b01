//! What a link does with messages that no sound peer would send, or that went missing: cases that the simulated network,
//! which is as faithful as Erlang distribution, does not bring about.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "simulation/map_store.rs"]
mod map_store;

use ferrets_core::clock::Time;
use ferrets_core::digest::Sums;
use ferrets_core::effect::{DownReason, Effect, Peer, Refusal};
use ferrets_core::entries::{Entries, Fixed};
use ferrets_core::leader::Operation;
use ferrets_core::replica::{Config, Limits, Replica, Turn, Write, Written};
use ferrets_core::store::Kind;
use ferrets_core::sync::Scope;
use ferrets_core::version::Writer;
use ferrets_core::wire::{self, Head, TableShape, PROTOCOL};
use map_store::{encode, MapStore};

const PEER: Peer = Peer(1);
const SHAPE: TableShape = TableShape { table_type: 1, keypos: 1 };
const NONCE: u64 = 4711;
const NOW: Time = Time::from_ms(1);

struct Host {
    replica: Replica<u32>,
    store: MapStore,
}

impl Host {
    fn new() -> Self {
        Self::comparing_every(u64::MAX)
    }

    fn comparing_every(compare_interval_ms: u64) -> Self {
        Self::with(|config| config.compare_interval_ms = compare_interval_ms)
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            writer: Writer { incarnation: 77, node: b"here".to_vec() },
            started_ms: 1,
            shape: SHAPE,
            tombstone_ttl_ms: 1000,
            stall_timeout_ms: 10_000,
            compare_interval_ms: u64::MAX,
            asks_conflicts: false,
            drops_owned: false,
            limits: Limits::default(),
        };
        change(&mut config);
        Host { replica: Replica::new(config), store: MapStore::default() }
    }

    fn bytes(&mut self, head: &[u8], body: &[u8]) -> Vec<Effect<u32>> {
        self.bytes_from(PEER, head, body)
    }

    fn bytes_from(&mut self, peer: Peer, head: &[u8], body: &[u8]) -> Vec<Effect<u32>> {
        let mut effects = Vec::new();
        self.replica.message(&mut self.store, NOW, peer, (head, body), 100, &mut effects);
        effects
    }

    /// Another server than [`PEER`] links with this one.
    fn greeted_by(&mut self, peer: Peer, incarnation: u64) -> Vec<Effect<u32>> {
        self.bytes_from(peer, &hello_of(incarnation, PROTOCOL, SHAPE, (NONCE, 0)).encode(), &[])
    }

    fn hear(&mut self, head: &Head) -> Vec<Effect<u32>> {
        self.bytes(&head.encode(), &[])
    }

    fn flush(&mut self, effects: &mut Vec<Effect<u32>>) {
        self.replica.flush_all(&mut self.store, NOW, 10, effects);
    }

    fn tick(&mut self, now_ms: u64) -> Vec<Effect<u32>> {
        let mut effects = Vec::new();
        self.replica.tick(&mut self.store, Time::from_ms(now_ms), 10, &mut effects);
        effects
    }

    /// Brings the link up; returns the nonce that this side has chosen.
    fn link(&mut self) -> u64 {
        let effects = self.hear(&hello(PROTOCOL, SHAPE));
        assert!(effects.contains(&Effect::LinkUp(PEER)));
        let answer = heads(&effects).into_iter().find_map(|head| match head {
            Head::Hello { nonce, echo: NONCE, .. } => Some(nonce),
            _ => None,
        });
        answer.expect("an answer that echoes the nonce")
    }

    fn write(&mut self, waiter: u32) -> Written {
        let payload = self.replica.is_linked().then(|| encode(1, 2));
        let write =
            Write { kind: Kind::Record, item: (1, 2), payload: payload.as_deref(), observed: None, continues: false };
        self.replica.write(&mut self.store, NOW, [write], Some(waiter))
    }
}

fn hello(protocol: u16, shape: TableShape) -> Head {
    hello_of(5, protocol, shape, (NONCE, 0))
}

fn hello_of(incarnation: u64, protocol: u16, shape: TableShape, (nonce, echo): (u64, u64)) -> Head {
    let writer = Writer { incarnation, node: b"there".to_vec() };
    Head::Hello { protocol, nonce, echo, shape, writer, started_ms: 2, asks_conflicts: false, clock: 0 }
}

fn heads(effects: &[Effect<u32>]) -> Vec<Head> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { head, .. } => Some(Head::decode(head).expect("a sound head")),
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_gap_in_the_batches_drops_the_link_and_opens_another() {
    let mut host = Host::new();
    let link = host.link();
    let effects = host.hear(&Head::Batch { link, seq: 2 });
    assert!(effects.contains(&Effect::LinkDown(PEER, DownReason::Gap)));
    let sent = heads(&effects);
    assert_eq!(sent.first(), Some(&Head::Drop { link: NONCE }));
    assert!(matches!(sent.last(), Some(Head::Hello { nonce, echo: 0, .. }) if *nonce != link));
}

#[test]
fn a_peer_that_acknowledges_nothing_is_given_up_and_offered_a_new_link() {
    let mut host = Host::new();
    host.link();
    assert_eq!(host.write(1), Written::Logged { flush: true });
    host.flush(&mut Vec::new());
    assert_eq!(host.tick(0), vec![]);
    assert_eq!(host.tick(9_999), vec![]);
    let effects = host.tick(10_000);
    assert!(effects.contains(&Effect::LinkDown(PEER, DownReason::Stalled)), "{effects:?}");
    assert!(effects.contains(&Effect::Reply(vec![1])), "{effects:?}");
    assert!(matches!(heads(&effects).last(), Some(Head::Hello { echo: 0, .. })));
}

#[test]
fn a_peer_that_owes_nothing_may_be_silent() {
    let mut host = Host::new();
    let link = host.link();
    // Its answer to our comparison, so that nothing is under way.
    host.hear(&Head::Equal { link });
    for now_ms in [0, 50_000, 100_000] {
        assert_eq!(host.tick(now_ms), vec![]);
    }
}

#[test]
fn a_hello_without_an_answer_is_said_again_and_the_answer_too() {
    let mut host = Host::new();
    let mut effects = Vec::new();
    host.replica.peer_up(PEER, &mut effects);
    assert_eq!(host.tick(0), vec![]);
    assert_eq!(host.tick(5_000), effects);
    let mut host = Host::new();
    host.link();
    assert!(matches!(heads(&host.hear(&hello(PROTOCOL, SHAPE)))[..], [Head::Hello { echo: NONCE, .. }]));
}

#[test]
fn a_message_of_another_link_changes_nothing() {
    let mut host = Host::new();
    let link = host.link();
    assert_eq!(host.write(1), Written::Logged { flush: true });
    let mut effects = Vec::new();
    host.flush(&mut effects);
    let stale = link ^ 1;
    let before = host.store.get((1, None));
    for head in [
        Head::Batch { link: stale, seq: 1 },
        Head::Ack { link: stale, seq: 1 },
        Head::Pulled { link: stale },
        Head::Drop { link: stale },
        Head::Equal { link: stale },
        Head::Sums { link: stale },
        Head::Pull { link: stale, from: 0, to: None },
        Head::Chunk { link: stale, from: 0, next: None },
    ] {
        assert_eq!(host.hear(&head), vec![], "{head:?}");
    }
    assert_eq!((host.store.get((1, None)), host.store.iter().count()), (before, 1));
    assert_eq!(host.hear(&Head::Ack { link, seq: 1 }), vec![Effect::Reply(vec![1])]);
}

/// Such a peer has lost its side of the link. What it had sent before may be waiting here.
#[test]
fn a_hello_with_a_new_nonce_makes_a_link_that_the_old_ones_messages_do_not_belong_to() {
    let mut host = Host::new();
    let old = host.link();
    let effects = host.hear(&hello_of(5, PROTOCOL, SHAPE, (NONCE + 1, 0)));
    assert!(effects.contains(&Effect::LinkDown(PEER, DownReason::Relinked)), "{effects:?}");
    let answer = heads(&effects).into_iter().find_map(|head| match head {
        Head::Hello { nonce, .. } => Some(nonce),
        _ => None,
    });
    let new = answer.expect("an answer");
    assert_eq!(host.bytes(&Head::Batch { link: old, seq: 1 }.encode(), &group(1)), vec![]);
    let acknowledged = heads(&host.bytes(&Head::Batch { link: new, seq: 1 }.encode(), &group(1)));
    assert_eq!(acknowledged, [Head::Ack { link: NONCE + 1, seq: 1 }]);
}

/// It would believe in the link until its patience is at an end, and its writers would wait.
#[test]
fn who_answers_a_hello_of_a_link_that_was_given_up_is_told_so() {
    let mut host = Host::new();
    let answer = hello_of(5, PROTOCOL, SHAPE, (NONCE, NONCE + 1));
    assert_eq!(heads(&host.hear(&answer)), [Head::Drop { link: NONCE }]);
    assert!(!host.replica.is_linked());
}

#[test]
fn another_protocol_or_table_is_refused_and_both_sides_know() {
    let other_type = TableShape { table_type: 2, ..SHAPE };
    let other_keypos = TableShape { keypos: 2, ..SHAPE };
    for (greeting, reason) in [
        (hello(PROTOCOL + 1, SHAPE), Refusal::ProtocolVersion),
        (hello(PROTOCOL, other_type), Refusal::TableType),
        (hello(PROTOCOL, other_keypos), Refusal::KeyPosition),
    ] {
        let mut host = Host::new();
        let effects = host.hear(&greeting);
        assert_eq!(heads(&effects), vec![Head::Refuse { nonce: NONCE, reason }]);
        assert!(effects.contains(&Effect::Refused(PEER, reason)));
        assert_eq!(host.write(1), Written::Done, "nothing is linked");
    }
}

#[test]
fn a_refusal_ends_the_opening_link() {
    let mut host = Host::new();
    let mut effects = Vec::new();
    host.replica.peer_up(PEER, &mut effects);
    let Some(Head::Hello { nonce, .. }) = heads(&effects).pop() else { panic!("a Hello") };
    let effects = host.hear(&Head::Refuse { nonce, reason: Refusal::TableType });
    assert_eq!(effects, vec![Effect::Refused(PEER, Refusal::TableType)]);
    assert!(host.replica.status(Time::from_ms(0)).peers.is_empty());
}

#[test]
fn garbage_drops_the_link_and_nobody_waits_for_the_peer() {
    let garbled_body = |link| (Head::Batch { link, seq: 1 }.encode(), b"\x01\x00 no list of writers".to_vec());
    let beyond = |link| (Head::Ack { link, seq: 9 }.encode(), Vec::new());
    let no_head = |_| (b"\xff\xff".to_vec(), Vec::new());
    type Case<'a> = &'a dyn Fn(u64) -> (Vec<u8>, Vec<u8>);
    let cases: [Case<'_>; 3] = [&garbled_body, &beyond, &no_head];
    for case in cases {
        let mut host = Host::new();
        let link = host.link();
        host.write(1);
        host.flush(&mut Vec::new());
        let (head, body) = case(link);
        let effects = host.bytes(&head, &body);
        assert!(effects.contains(&Effect::LinkDown(PEER, DownReason::Malformed)), "{effects:?}");
        assert!(effects.contains(&Effect::Reply(vec![1])), "{effects:?}");
    }
}

#[test]
fn a_barrier_waits_for_what_is_under_way_and_only_for_that() {
    let mut host = Host::new();
    let link = host.link();
    let mut effects = Vec::new();
    host.replica.barrier(8, &mut effects);
    assert_eq!(effects, vec![Effect::Reply(vec![8])]);
    host.write(1);
    effects.clear();
    host.replica.barrier(9, &mut effects);
    assert_eq!(effects, vec![]);
    host.flush(&mut effects);
    assert_eq!(host.hear(&Head::Ack { link, seq: 1 }), vec![Effect::Reply(vec![1, 9])]);
}

/// Otherwise a newer record, written elsewhere at the same time, would live on one node and die on another.
#[test]
fn the_deletion_of_a_record_bears_the_version_that_was_seen() {
    let mut host = Host::new();
    host.write(1);
    let seen = host.store.get((1, None)).map(|(stamp, _)| stamp.version);
    let deletion = Write { kind: Kind::Tombstone, item: (1, 0), payload: None, observed: seen, continues: false };
    host.replica.write(&mut host.store, NOW, [deletion], None);
    let (stamp, _) = host.store.get((1, None)).expect("a tombstone");
    assert_eq!((stamp.kind, Some(stamp.version)), (Kind::Tombstone, seen));
    host.write(2);
    let deletion = Write { kind: Kind::Tombstone, item: (1, 0), payload: None, observed: seen, continues: false };
    host.replica.write(&mut host.store, NOW, [deletion], None);
    assert_eq!(host.store.get((1, None)).map(|(stamp, _)| stamp.kind), Some(Kind::Record), "a newer record survives");
}

/// A body of so many records, all but the last of which are to be seen together with the next.
fn group(count: u8) -> Vec<u8> {
    records(5, count, true)
}

/// A body of so many records of this server's.
fn records(incarnation: u64, count: u8, is_group: bool) -> Vec<u8> {
    let mut body = Vec::new();
    wire::put_origins(&mut body, [Writer { incarnation, node: b"there".to_vec() }].iter());
    let mut entries = Entries::default();
    for key in 0..count {
        let continues = is_group && key + 1 < count;
        entries.put(Fixed { kind: Kind::Record, continues, origin: 0, hlc: 1 }, &encode(key, 7));
    }
    body.extend(entries.bytes());
    body
}

#[test]
fn what_is_to_be_seen_together_is_merged_in_one_slice_and_announced_to_the_store() {
    let mut host = Host::new();
    let link = host.link();
    let head = Head::Batch { link, seq: 1 }.encode();
    let mut effects = Vec::new();
    host.replica.message(&mut host.store, NOW, PEER, (&head, &group(9)), 2, &mut effects);
    assert_eq!(host.store.iter().count(), 9, "a budget of 2 does not cut a group in two");
    assert!(!host.store.in_group);
    assert_eq!(heads(&effects), [Head::Ack { link: NONCE, seq: 1 }]);
}

#[test]
fn the_rows_of_a_server_that_dropped_the_link_go_when_it_dies() {
    let mut host = Host::with(|config| config.drops_owned = true);
    let link = host.link();
    host.bytes(&Head::Batch { link, seq: 1 }.encode(), &group(2));
    assert!(host.hear(&Head::Drop { link }).contains(&Effect::LinkDown(PEER, DownReason::DroppedByPeer)));
    assert_eq!(host.store.iter().count(), 2, "it is alive, and may come back");
    host.replica.peer_down(&mut host.store, NOW, PEER, 100, &mut Vec::new());
    assert_eq!(host.store.iter().count(), 0);
}

/// It may have rows of theirs, by a sync with somebody who was linked with them.
#[test]
fn who_comes_is_told_which_servers_are_lost() {
    let mut host = Host::with(|config| config.drops_owned = true);
    let lost = [6, 7, 8].map(|incarnation| Writer { incarnation, node: b"there".to_vec() });
    for Writer { incarnation, .. } in &lost {
        let peer = Peer(*incarnation);
        host.greeted_by(peer, *incarnation);
        host.replica.peer_down(&mut host.store, NOW, peer, 100, &mut Vec::new());
    }
    let mut body = Vec::new();
    wire::put_origins(&mut body, lost.iter());
    let effects = host.hear(&hello(PROTOCOL, SHAPE));
    let told = Effect::Send { peer: PEER, head: Head::Lost { link: NONCE }.encode(), body: body.into() };
    assert!(effects.contains(&told), "{effects:?}");
}

/// What it had written just before has come to its peers before, or after, that row and its end: so some have it and some not.
#[test]
fn a_server_that_dropped_rows_compares_again_when_what_it_wrote_until_then_is_everywhere() {
    let mut host = Host::with(|config| config.drops_owned = true);
    let link = host.link();
    host.hear(&Head::Equal { link });
    let lost = Peer(2);
    host.greeted_by(lost, 6);
    host.write(1);
    host.flush(&mut Vec::new());
    let mut effects = Vec::new();
    host.replica.peer_down(&mut host.store, NOW, lost, 100, &mut effects);
    let is_compare = |head: &Head| matches!(head, Head::Compare { .. });
    assert!(heads(&effects).iter().any(is_compare), "its last batch may have come to some only: {effects:?}");
    assert!(!heads(&host.hear(&Head::Equal { link })).iter().any(is_compare));
    let effects = host.hear(&Head::Ack { link, seq: 1 });
    assert!(effects.contains(&Effect::Reply(vec![1])));
    assert!(heads(&effects).iter().any(is_compare), "{effects:?}");
    host.hear(&Head::Equal { link });
    host.write(2);
    host.flush(&mut Vec::new());
    assert!(!heads(&host.hear(&Head::Ack { link, seq: 2 })).iter().any(is_compare), "once");
}

#[test]
fn a_group_that_is_cut_short_is_not_left_open() {
    let mut host = Host::new();
    let link = host.link();
    let mut body = group(3);
    body.pop();
    let effects = host.bytes(&Head::Batch { link, seq: 1 }.encode(), &body);
    assert!(effects.contains(&Effect::LinkDown(PEER, DownReason::Malformed)));
    assert!(!host.store.in_group);
}

/// The sums of a peer that has something in these buckets.
fn sums(buckets: &[u16]) -> Vec<u8> {
    let sums = |bucket: &u16| [&bucket.to_le_bytes()[..], &[1; 8], &[0; 8]].concat();
    buckets.iter().flat_map(sums).collect()
}

const BUCKET: u32 = 1 << 20;
const QUARTERS: [u32; 4] = [0, 1024 * BUCKET, 2048 * BUCKET, 3072 * BUCKET];

/// A host that has just been told that it differs from the peer in four buckets, and what it sent then.
fn pulling(host: &mut Host) -> (u64, Vec<Head>) {
    let link = host.link();
    let effects = host.bytes(&Head::Sums { link }.encode(), &sums(&[0, 1024, 2048, 3072]));
    (link, heads(&effects))
}

fn pull(from: u32, to: Option<u32>) -> Head {
    Head::Pull { link: NONCE, from, to }
}

/// Nobody else may have these: no stream brings them. Of its own it had lost what it is brought, and so may others.
#[test]
fn a_pull_that_brings_writes_of_servers_that_are_not_linked_or_its_own_is_followed_by_a_comparison() {
    for (incarnation, is_news) in [(5, false), (6, true), (77, true)] {
        let mut host = Host::new();
        let link = host.link();
        host.bytes(&Head::Sums { link }.encode(), &sums(&[0]));
        let effects = host.bytes(&Head::Chunk { link, from: 0, next: None }.encode(), &records(incarnation, 1, false));
        let sent = heads(&effects);
        assert_eq!(sent.first(), Some(&Head::Pulled { link: NONCE }));
        assert_eq!(matches!(sent[1..], [Head::Compare { .. }]), is_news, "{incarnation}: {sent:?}");
    }
}

#[test]
fn a_pull_asks_for_four_stretches_at_a_time_and_takes_the_answers_in_any_order() {
    let mut host = Host::new();
    let (link, sent) = pulling(&mut host);
    let [first, second, third, fourth] = QUARTERS;
    let ends = [Some(second), Some(third), Some(fourth), None];
    let expected: Vec<Head> = QUARTERS.iter().zip(ends).map(|(from, to)| pull(*from, to)).collect();
    assert_eq!(sent, expected);
    let mut answer = |from, next| heads(&host.bytes(&Head::Chunk { link, from, next }.encode(), &group(1)));
    assert_eq!(answer(third, Some(third + 7)), [pull(third + 7, Some(fourth))]);
    assert_eq!(answer(fourth, None), []);
    assert_eq!(answer(first, Some(first + 5)), [pull(first + 5, Some(second))]);
    assert_eq!(answer(first + 5, None), []);
    // What lies between two buckets that are wanted is not.
    assert_eq!(answer(second, Some(second + BUCKET)), []);
    assert_eq!(answer(third + 7, None), [Head::Pulled { link: NONCE }]);
}

/// A fresh node's first pull would otherwise look into all that is empty, bucket by bucket, for each message.
#[test]
fn a_pull_passes_over_what_is_empty_at_one_go() {
    let mut host = Host::new();
    let link = host.link();
    // The hash of `{254, _}` begins bucket 2,032.
    let write = Write { kind: Kind::Record, item: (254, 1), payload: None, observed: None, continues: false };
    host.replica.write_local(&mut host.store, NOW, [write]);
    let before = host.store.scans;
    let effects = host.bytes(&Head::Sums { link }.encode(), &sums(&(0..2_033).collect::<Vec<u16>>()));
    assert_eq!(heads(&effects).len(), 4);
    assert_eq!(host.store.scans - before, 4, "one for each of the stretches");
}

/// What overtook a batch, a `Hello` or a `Drop` would be taken for another one's, and the link would have a gap.
#[test]
fn a_chunk_lets_a_batch_overtake_it_and_nothing_lets_a_second() {
    let mut host = Host::new();
    let (link, _) = pulling(&mut host);
    let chunk = Head::Chunk { link, from: 0, next: None };
    let batch = |seq| Head::Batch { link, seq };
    let mut effects = Vec::new();
    host.replica.message(&mut host.store, NOW, PEER, (&chunk.encode(), &records(5, 3, false)), 1, &mut effects);
    let turn = |host: &Host, head: &Head| host.replica.turn(&head.encode());
    for head in [batch(1), Head::Ack { link, seq: 1 }, pull(0, None)] {
        assert_eq!(turn(&host, &head), Turn::Now, "{head:?}");
    }
    for head in [hello(PROTOCOL, SHAPE), Head::Drop { link }, Head::Pulled { link }] {
        assert_eq!(turn(&host, &head), Turn::Waits, "{head:?}");
    }
    assert_eq!(turn(&host, &chunk), Turn::StandsAside);
    host.replica.message(&mut host.store, NOW, PEER, (&batch(1).encode(), &records(5, 3, false)), 1, &mut effects);
    assert_eq!(turn(&host, &batch(2)), Turn::Waits);
}

#[test]
fn chunks_are_asked_for_one_by_one_while_writes_are_on_their_way() {
    let mut host = Host::with(|config| config.limits.slow_chunks = 1);
    let link = host.link();
    host.bytes(&Head::Batch { link, seq: 1 }.encode(), &group(1));
    let effects = host.bytes(&Head::Sums { link }.encode(), &sums(&[0, 1024, 2048, 3072]));
    let [first, second, third, fourth] = QUARTERS;
    assert_eq!(heads(&effects), [pull(first, Some(second))]);
    let mut answer = |from| heads(&host.bytes(&Head::Chunk { link, from, next: None }.encode(), &group(1)));
    assert_eq!(answer(first), [pull(second, Some(third))]);
    assert_eq!(answer(second), [pull(third, Some(fourth)), pull(fourth, None)]);
    assert_eq!(answer(third), []);
    assert_eq!(answer(fourth), [Head::Pulled { link: NONCE }]);
}

/// It could be asked the same for ever.
#[test]
fn a_chunk_that_answers_no_pull_or_leads_out_of_it_drops_the_link() {
    let [first, second, ..] = QUARTERS;
    for (from, next) in [(first + 1, None), (first, Some(first)), (second, Some(first)), (first, Some(second))] {
        let mut host = Host::new();
        let (link, _) = pulling(&mut host);
        let effects = host.bytes(&Head::Chunk { link, from, next }.encode(), &group(1));
        assert!(effects.contains(&Effect::LinkDown(PEER, DownReason::Malformed)), "{from} {next:?}: {effects:?}");
    }
}

/// What a server asks its leader that is linked with these others, the leader's incarnation being 77: the `Ask`.
fn asked(others: &[u64]) -> (u64, u64, Vec<u8>) {
    let mut asker = Host::with(|config| {
        config.writer.incarnation = 5;
        config.started_ms = 3;
    });
    for incarnation in others.iter().chain(&[77]) {
        asker.greeted_by(Peer(*incarnation), *incarnation);
    }
    let mut effects = Vec::new();
    asker.replica.ask(Operation::InsertNew, encode(1, 2), 1);
    asker.flush(&mut effects);
    let Some(Effect::Send { head, body, .. }) = effects.pop() else { panic!("{effects:?}") };
    let Ok(Head::Ask { seq, members, .. }) = Head::decode(&head) else { panic!("{head:?}") };
    (seq, members, body.to_vec())
}

/// Somebody with whom only one of the two is linked may take itself for the leader.
#[test]
fn a_leader_answers_those_who_are_linked_with_the_same_servers() {
    for (others, inserted) in [(&[][..], 1), (&[6], 0)] {
        let mut host = Host::with(|config| config.started_ms = 0);
        let link = host.link();
        host.hear(&Head::Equal { link });
        host.hear(&Head::Pulled { link });
        let (seq, members, body) = asked(others);
        let effects = host.bytes(&Head::Ask { link, seq, members }.encode(), &body);
        assert_eq!(host.store.iter().count(), inserted, "{others:?}: {effects:?}");
        let is_answered = matches!(heads(&effects).last(), Some(Head::Answers { .. }));
        // Who was refused is told at once, the other one when the record is everywhere.
        assert_eq!(is_answered, inserted == 0, "{others:?}: {effects:?}");
    }
}

/// Or it would have to wait for its own next comparison. Who pulls for that reason does not ask the first one once more.
#[test]
fn who_is_found_to_differ_pulls_as_well_and_once() {
    let differing = Sums { records: 1, tombstones: 0 };
    for (total, mutual, expected) in
        [(differing, true, "Sums, Compare"), (differing, false, "Sums"), (Sums::default(), true, "Equal")]
    {
        let mut host = Host::new();
        let link = host.link();
        // The end of its first pull, so that it is at liberty for another.
        host.hear(&Head::Equal { link });
        let sent = heads(&host.hear(&Head::Compare { link, total, scope: Scope { tombstones: true, mutual } }));
        let names = sent.iter().map(|head| match head {
            Head::Sums { .. } => "Sums",
            Head::Equal { .. } => "Equal",
            Head::Compare { scope: Scope { mutual: false, .. }, .. } => "Compare",
            other => panic!("{other:?}"),
        });
        assert_eq!(names.collect::<Vec<_>>().join(", "), expected);
    }
}

#[test]
fn a_comparison_that_brings_what_should_have_been_here_long_ago_says_so() {
    for (age_ms, expected) in [(0, None), (60_000, Some(Effect::Diverged(PEER, 2)))] {
        let mut host = Host::comparing_every(5_000);
        let link = host.link();
        host.hear(&Head::Equal { link });
        let now_ms = 100_000;
        host.tick(now_ms - 5_000);
        // A comparison is due, for which there is no other reason.
        let mut effects = host.tick(now_ms);
        assert!(matches!(heads(&effects)[..], [Head::Compare { .. }]), "{effects:?}");
        effects.extend(host.bytes(&Head::Sums { link }.encode(), &sums(&[0])));
        let mut body = Vec::new();
        wire::put_origins(&mut body, [Writer { incarnation: 5, node: b"there".to_vec() }].iter());
        let mut entries = Entries::default();
        for key in 0..2 {
            let hlc = (now_ms - age_ms) << 16;
            entries.put(Fixed { kind: Kind::Record, continues: false, origin: 0, hlc }, &encode(key, 7));
        }
        body.extend(entries.bytes());
        let head = Head::Chunk { link, from: 0, next: None }.encode();
        let now = Time::from_ms(now_ms);
        host.replica.message(&mut host.store, now, PEER, (&head, &body), 100, &mut effects);
        assert_eq!(host.store.iter().count(), 2, "{effects:?}");
        let diverged = effects.iter().find(|effect| matches!(effect, Effect::Diverged(..)));
        assert_eq!(diverged, expected.as_ref());
    }
}
