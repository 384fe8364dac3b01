//! What happens because time goes by: silent peers are given up, digests compared, tombstones forgotten.

use crate::clock::Time;
use crate::effect::{DownReason, Effect, Peer};
use crate::handshake::send;
use crate::link::LinkState;
use crate::replica::{Progress, Replica};
use crate::store::{Kind, Stamp, Store};
use crate::sync::Scope;

/// A `Hello` that has not been answered is said again after so long.
const HELLO_AGAIN_MS: u64 = 5_000;

impl<W> Replica<W> {
    /// To be called about once a second. [`Progress::More`]: to be called again soon, as not more than `budget` tombstones
    /// are forgotten at a time.
    pub fn tick<S: Store>(
        &mut self,
        store: &mut S,
        now: Time,
        budget: usize,
        effects: &mut Vec<Effect<W>>,
    ) -> Progress {
        self.watch_links(now, effects);
        self.compare_if_due(now, effects);
        match self.work(store, now, budget, effects) {
            Progress::More => Progress::More,
            Progress::Done => self.forget_tombstones(store, now, budget),
        }
    }

    /// A peer that owes an answer and gives none for too long must not hold up writers and syncs: its link is given up, and a
    /// new one offered, which comes up when the peer is back.
    fn watch_links(&mut self, now: Time, effects: &mut Vec<Effect<W>>) {
        let pull_silence_ms = self.pulls.silence_ms(now.ms());
        for peer in self.links.keys().copied().collect::<Vec<Peer>>() {
            let stalls_pull = self.pulls.is_with(peer) && pull_silence_ms >= self.config.stall_timeout_ms;
            let Some(link) = self.links.get_mut(&peer) else { continue };
            let owes = link.owes();
            let silence_ms = link.silence.length_ms(now.ms(), owes);
            if link.up().is_none() && silence_ms >= HELLO_AGAIN_MS {
                link.silence.end();
                let own = link.own;
                effects.push(send(peer, &self.hello(peer, own, 0)));
            } else if link.up().is_some() && (stalls_pull || silence_ms >= self.config.stall_timeout_ms) {
                self.abandon(peer, DownReason::Stalled, effects);
            }
        }
    }

    /// Divergence that no rule foresees heals by itself.
    fn compare_if_due(&mut self, now: Time, effects: &mut Vec<Effect<W>>) {
        let next_ms = now.ms().saturating_add(self.config.compare_interval_ms);
        if now.ms() >= *self.compare_at_ms.get_or_insert(next_ms) {
            self.compare_at_ms = Some(next_ms);
            self.want_pull_from_all(Scope::RECORDS, effects);
        }
    }

    /// None goes while a sync is running: the peer may be about to ask for it.
    fn forget_tombstones<S: Store>(&mut self, store: &mut S, now: Time, budget: usize) -> Progress {
        if !self.pulls.is_idle() || self.links.values().any(|link| link.state() == LinkState::Syncing) {
            return Progress::Done;
        }
        for _ in 0..budget {
            let Some((hash, version)) = self.tombstones.pop_due(now.ms(), self.log.completed()) else {
                return Progress::Done;
            };
            if store.forget(hash, version) {
                let stamp = Stamp { version, kind: Kind::Tombstone };
                self.digest.remove(hash, stamp, self.origins.id(version.origin));
            }
        }
        Progress::More
    }
}
