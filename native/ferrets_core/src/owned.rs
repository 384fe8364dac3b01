//! Rows of servers that are lost, for tables that drop them.
//!
//! When a linked server goes, what it wrote goes: it is dropped from the store, in slices, and *fenced*: an entry of its
//! that comes later, from a slower peer's stream or sync, is not merged. A netsplit that heals brings the same incarnation
//! back: the fence falls, and its rows come by the sync. Tombstones stay: they delete what others wrote.
//!
//! What a dropped row had taken the place of is gone as well, where the row had come before; where it had not, that stays. So
//! a server compares with its peers when it has lost one, and again when all that it had written until its rows were dropped is
//! everywhere: what was under way then may have been too late for some rows and not for others.
//!
//! A server that was never linked with the lost one may have its rows, by a sync with one that was. So a server tells its
//! peers whom it has fenced, when it does and when a link comes up; who is not linked with the lost server follows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::effect::{Effect, Peer};
use crate::replica::{Progress, Replica};
use crate::store::Store;
use crate::sync::Scope;
use crate::version::Origin;
use crate::wire::{self, Garbled, Head, Nonce, Reader};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    fenced: HashSet<Origin>,
    /// Writers whose link was given up while they lived. Should they go before it is up again, they are lost as well.
    parted: HashMap<Peer, Origin>,
    /// Writers whose rows the user wants dropped here, once.
    unwanted: HashSet<Origin>,
    /// Rows dropped by the present sweep, or the last one.
    dropped: u64,
    /// Whether the store may still have rows of fenced writers, and whether the search for them has begun.
    sweep: Sweep,
    /// When the batch of this number is everywhere, all peers are to be compared with.
    compare_after: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sweep {
    #[default]
    Done,
    Due,
    Begun,
}

impl Owned {
    /// Whether an entry of this writer must not be merged.
    pub fn is_fenced(&self, origin: Origin) -> bool {
        self.fenced.contains(&origin)
    }

    /// The link with this writer's server was given up, and the server lives.
    pub fn note_parted(&mut self, peer: Peer, origin: Origin) {
        self.parted.insert(peer, origin);
    }

    /// The server is linked again, or gone. Returns its writer if it was parted from.
    pub fn forget_parted(&mut self, peer: Peer) -> Option<Origin> {
        self.parted.remove(&peer)
    }
}

impl<W> Replica<W> {
    /// A linked server is lost, or a peer has lost it.
    pub(crate) fn fence(&mut self, origin: Origin, effects: &mut Vec<Effect<W>>) {
        if self.config.drops_owned {
            self.fence_always(origin, effects);
        }
    }

    #[cold]
    fn fence_always(&mut self, origin: Origin, effects: &mut Vec<Effect<W>>) {
        if !self.owned.fenced.insert(origin) {
            return;
        }
        self.owned.sweep = Sweep::Due;
        let links = self.links.iter().filter_map(|(peer, link)| Some((*peer, link.up()?.theirs)));
        effects.extend(links.map(|(peer, link)| self.lost(peer, link, [origin].into_iter())));
    }

    /// Tells a peer who is fenced here.
    pub(crate) fn tell_fenced(&mut self, peer: Peer, link: Nonce, effects: &mut Vec<Effect<W>>) {
        if !self.owned.fenced.is_empty() {
            // A set has another order each time. The same events shall have the same effects, or no run could be repeated.
            let mut fenced: Vec<_> = self.owned.fenced.iter().copied().collect();
            fenced.sort_unstable_by_key(|origin| origin.0);
            effects.push(self.lost(peer, link, fenced.into_iter()));
        }
    }

    fn lost(&self, peer: Peer, link: Nonce, origins: impl Iterator<Item = Origin>) -> Effect<W> {
        let writers: Vec<_> = origins.filter_map(|origin| self.origins.get(origin)).collect();
        let mut body = Vec::new();
        wire::put_origins(&mut body, writers.into_iter());
        Effect::Send { peer, head: Head::Lost { link }.encode(), body: Arc::new(body) }
    }

    #[cold]
    pub(crate) fn on_lost(
        &mut self,
        (peer, link): (Peer, Nonce),
        body: &[u8],
        effects: &mut Vec<Effect<W>>,
    ) -> Result<(), Garbled> {
        if self.current(peer, link).is_none() {
            return Ok(());
        }
        for origin in self.intern_all(&mut Reader::new(body))? {
            // Linked with it, we know better. Our own rows are ours.
            if !self.streams(origin) {
                self.fence(origin, effects);
            }
        }
        Ok(())
    }

    /// A server is linked (again).
    pub(crate) fn unfence(&mut self, origin: Origin) {
        self.owned.fenced.remove(&origin);
    }

    /// Drops the rows that were written on a node, for a user who asks for it; [`Replica::sweep_owned`] does the work. Those
    /// of servers that are not linked are fenced, too.
    pub fn delete_owned(&mut self, node: &[u8], effects: &mut Vec<Effect<W>>) {
        for origin in self.origins.on_node(node) {
            if self.streams(origin) {
                self.owned.unwanted.insert(origin);
            } else {
                self.fence_always(origin, effects);
            }
        }
        self.owned.sweep = Sweep::Due;
        self.owned.dropped = 0;
    }

    /// How many rows the present sweep, or the last one, has dropped.
    pub fn dropped(&self) -> u64 {
        self.owned.dropped
    }

    /// Drops rows of fenced servers, looking at so many entries.
    #[inline]
    pub fn sweep_owned<S: Store>(&mut self, store: &mut S, budget: usize) -> Progress {
        match self.owned.sweep {
            Sweep::Done => Progress::Done,
            Sweep::Due | Sweep::Begun => self.sweep_on(store, budget),
        }
    }

    #[cold]
    fn sweep_on<S: Store>(&mut self, store: &mut S, budget: usize) -> Progress {
        let from_start = self.owned.sweep == Sweep::Due;
        let Owned { fenced, unwanted, dropped, .. } = &mut self.owned;
        let (digest, origins) = (&mut self.digest, &self.origins);
        let is_owned = |origin: Origin| fenced.contains(&origin) || unwanted.contains(&origin);
        let more = store.drop_owned(from_start, &is_owned, budget, &mut |hash, stamp| {
            *dropped += 1;
            digest.remove(hash, stamp, origins.id(stamp.version.origin));
        });
        if more {
            self.owned.sweep = Sweep::Begun;
            return Progress::More;
        }
        self.owned.sweep = Sweep::Done;
        self.owned.unwanted.clear();
        self.owned.compare_after = Some(self.log.last_number()).filter(|last| *last > self.log.completed());
        Progress::Done
    }

    /// A batch has landed.
    pub(crate) fn compare_after_sweep(&mut self, effects: &mut Vec<Effect<W>>) {
        let completed = self.log.completed();
        if self.owned.compare_after.take_if(|last| *last <= completed).is_some() {
            self.want_pull_from_all(Scope::FULL, effects);
        }
    }
}
