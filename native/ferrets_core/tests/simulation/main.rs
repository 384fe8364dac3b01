//! N replicas in one thread, under a scheduler that a seed drives: it delays messages and reorders them between pairs,
//! cuts connections and heals them, kills servers and restarts them empty, sets clocks apart, and lets local writes fall
//! between the slices of a long message. A busy server looks once at what arrives, and queues it, as the real one does. After
//! each step the invariants are checked; at the end everything is healed, and the replicas must agree on the newest write of
//! every key.
//!
//! `FERRETS_SEEDS=n` runs n seeds (default 10,000), `FERRETS_SEED=s` replays one and prints what happened.
//!
//! What it catches is tried out: each patch in `tests/mutations` takes one rule out of the code, and names the test that fails
//! then, within 10,000 seeds unless it says otherwise. `make mutations` goes through all of them, `tests/mutations/run <name>`
//! through one. A new rule comes with its patch.
//!
//! Not caught, as another rule stands in: a server that answers leader operations without being the leader (its links differ
//! from the asker's), and one that does not leave conflicting keys to the leader (a join links the leaders first). Nor a chunk taken
//! for the answer to another `Pull`, a nonce kept for the link that takes the old one's place, a stale answer to a `Hello` not told
//! so, and an own write brought back by a pull that is not news: `tests/link.rs` catches these, and they have patches, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod map_store;
mod network;
mod plan;
mod world;

use plan::{Plan, Totals};
use world::World;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn replay(seed: u64, plan: &Plan) -> ! {
    let mut world = World::new(seed, plan, true);
    let outcome = world.run();
    for line in world.story() {
        println!("{line}");
    }
    panic!("seed {seed} under {plan:?}: {outcome:?}; replay with FERRETS_SEED={seed}");
}

fn run_seeds(plan: &Plan) {
    if let Some(seed) = env("FERRETS_SEED") {
        replay(seed, plan);
    }
    let seeds = env("FERRETS_SEEDS").unwrap_or(10_000);
    let mut totals = Totals::default();
    for seed in 0..seeds {
        let mut world = World::new(seed, plan, false);
        if world.run().is_err() {
            replay(seed, plan);
        }
        totals.add(world.totals());
    }
    println!("{seeds} seeds: {totals:?}");
    assert!(totals.has_seen_everything(plan), "the scheduler has left something out: {totals:?}");
}

#[test]
fn replicas_converge_under_concurrent_writes_delays_and_cuts() {
    run_seeds(&Plan { replicas: 2..=4, crashes: false, losses: false, ..Plan::default() });
}

#[test]
fn replicas_converge_when_servers_are_killed_and_come_back_empty() {
    run_seeds(&Plan { replicas: 2..=5, crashes: true, losses: false, ..Plan::default() });
}

#[test]
fn replicas_converge_over_connections_that_lose_messages_unnoticed() {
    run_seeds(&Plan { replicas: 2..=4, crashes: false, losses: true, ..Plan::default() });
}

#[test]
fn replicas_converge_when_conflicts_are_decided_by_the_user() {
    run_seeds(&Plan { replicas: 2..=5, conflicts: true, ..Plan::default() });
}

#[test]
fn a_conflict_is_asked_about_once_when_two_clusters_are_joined() {
    run_seeds(&Plan { replicas: 4..=6, cuts: false, merge: true, conflicts: true, steps: 0, ..Plan::default() });
}

#[test]
fn bags_converge_when_servers_are_cut_and_killed() {
    run_seeds(&Plan { replicas: 2..=5, crashes: true, bag: true, ..Plan::default() });
}

#[test]
fn bags_end_with_the_newest_writes_when_no_server_is_lost() {
    run_seeds(&Plan { replicas: 2..=4, bag: true, ..Plan::default() });
}

#[test]
fn rows_of_lost_servers_are_gone_for_good_from_bags() {
    run_seeds(&Plan { replicas: 2..=5, crashes: true, owned: true, bag: true, ..Plan::default() });
}

#[test]
fn at_most_one_insert_new_per_key_of_a_bag_succeeds() {
    run_seeds(&Plan { replicas: 2..=5, cuts: false, crashes: true, asks: true, bag: true, ..Plan::default() });
}

#[test]
fn rows_of_lost_servers_are_gone_for_good() {
    run_seeds(&Plan { replicas: 2..=5, crashes: true, owned: true, ..Plan::default() });
}

#[test]
fn at_most_one_insert_new_per_key_succeeds() {
    run_seeds(&Plan { replicas: 2..=5, cuts: false, crashes: true, asks: true, ..Plan::default() });
}
