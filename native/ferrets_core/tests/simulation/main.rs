//! N replicas in one thread, under a scheduler that a seed drives: it delays messages and reorders them between pairs,
//! cuts connections and heals them, kills servers and restarts them empty, sets clocks apart, and lets local writes fall
//! between the slices of a long message. After each step the invariants are checked; at the end everything is healed,
//! and the replicas must agree on the newest write of every key.
//!
//! `FERRETS_SEEDS=n` runs n seeds (default 10,000), `FERRETS_SEED=s` replays one and prints what happened.
//!
//! What it has been seen to catch, by taking the rule out:
//! - `rules::newer_wins` answering `Replace` always, or with the comparison turned round: replicas differ, on every seed.
//! - `Ack` sent before the batch is merged: an acknowledged write is missing on a linked server.
//! - no batch in flight handed to a link that comes up: likewise.
//! - a pull taken as finished after its first chunk: replicas differ.
//! - a gap in the batches ignored: replicas differ.
//! - a link's nonce not looked at: an acknowledgement of an earlier link is taken for one of this.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod map_store;
mod network;
mod world;

use world::{Plan, World};

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
    let mut totals = world::Totals::default();
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
    run_seeds(&Plan { replicas: 2..=4, crashes: false, steps: 400 });
}

#[test]
fn replicas_converge_when_servers_are_killed_and_come_back_empty() {
    run_seeds(&Plan { replicas: 2..=5, crashes: true, steps: 400 });
}
