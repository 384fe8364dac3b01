//! What the scheduler may do, and how often it has.

use std::ops::RangeInclusive;

#[derive(Debug)]
pub struct Plan {
    pub replicas: RangeInclusive<usize>,
    pub cuts: bool,
    pub crashes: bool,
    pub losses: bool,
    /// Leader operations, which need a linked cluster to promise anything.
    pub asks: bool,
    /// With a conflict handler.
    pub conflicts: bool,
    /// Two clusters that have both written every key are joined.
    pub merge: bool,
    /// Rows go with their servers.
    pub owned: bool,
    /// A key may have several records.
    pub bag: bool,
    pub steps: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            replicas: 2..=4,
            cuts: true,
            crashes: false,
            losses: false,
            asks: false,
            conflicts: false,
            merge: false,
            owned: false,
            bag: false,
            steps: 400,
        }
    }
}

/// How often each thing has happened: a scheduler that never cuts a link proves nothing.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    pub writes: u64,
    pub delivered: u64,
    pub cuts: u64,
    pub heals: u64,
    pub crashes: u64,
    pub losses: u64,
    pub answers: u64,
    pub wins: u64,
    pub questions: u64,
    pub swept: u64,
    pub replies: u64,
    pub slices: u64,
    /// Messages taken in before an earlier one was done.
    pub overtaken: u64,
    pub races: u64,
    pub groups: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Totals) {
        self.writes += other.writes;
        self.delivered += other.delivered;
        self.cuts += other.cuts;
        self.heals += other.heals;
        self.crashes += other.crashes;
        self.losses += other.losses;
        self.answers += other.answers;
        self.wins += other.wins;
        self.questions += other.questions;
        self.swept += other.swept;
        self.replies += other.replies;
        self.slices += other.slices;
        self.overtaken += other.overtaken;
        self.races += other.races;
        self.groups += other.groups;
    }

    pub fn has_seen_everything(&self, plan: &Plan) -> bool {
        let always = [self.writes, self.delivered, self.replies, self.slices, self.overtaken, self.races, self.groups];
        let by_plan = [
            (self.cuts, plan.cuts),
            (self.heals, plan.cuts),
            (self.crashes, plan.crashes),
            (self.losses, plan.losses),
            (self.answers, plan.asks),
            (self.wins, plan.asks),
            (self.questions, plan.conflicts),
            (self.swept, plan.owned),
        ];
        (plan.merge || always.iter().all(|count| *count > 0))
            && by_plan.iter().all(|(count, planned)| (*count > 0) == *planned)
    }
}
