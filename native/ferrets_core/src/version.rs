//! Versions: what decides between two writes to one key.
//!
//! A version is `(hlc, origin)`: a reading of a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks",
//! 2014: 48 bits of milliseconds, 16 bits of counter) and the incarnation of the server that wrote. Incarnations are
//! random 64-bit ids; a version holds a small index into the table's [`Origins`], so that an entry costs 12 bytes and
//! not 16.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A server's incarnation: a random id made when the server starts. Never 0.
pub type Incarnation = u64;

/// The place of an incarnation in [`Origins`]. Means nothing outside its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(pub u32);

/// When a write was made, and by whom. Compare with [`Origins::compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// The clock's reading: `milliseconds << 16 | counter`.
    pub hlc: u64,
    /// The writer.
    pub origin: Origin,
}

/// Who an incarnation was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The incarnation's id.
    pub incarnation: Incarnation,
    /// The name of the node it ran on, in UTF-8.
    pub node: Vec<u8>,
}

/// The incarnations that a table has heard of. Index 0 is the table's own.
#[derive(Debug)]
pub struct Origins {
    writers: Vec<Writer>,
    index: BTreeMap<Incarnation, Origin>,
}

impl Origins {
    /// Starts with the table's own incarnation as [`Origins::OWN`].
    pub fn new(own: Writer) -> Self {
        let index = BTreeMap::from([(own.incarnation, Self::OWN)]);
        Origins { writers: vec![own], index }
    }

    /// The table's own incarnation.
    pub const OWN: Origin = Origin(0);

    /// The index of an incarnation, which is added if it is new.
    pub fn intern(&mut self, incarnation: Incarnation, node: &[u8]) -> Origin {
        match self.index.get(&incarnation) {
            Some(origin) => *origin,
            None => self.add(incarnation, node),
        }
    }

    #[cold]
    fn add(&mut self, incarnation: Incarnation, node: &[u8]) -> Origin {
        let origin = Origin(u32::try_from(self.writers.len()).unwrap_or(u32::MAX));
        self.writers.push(Writer { incarnation, node: node.to_vec() });
        self.index.insert(incarnation, origin);
        origin
    }

    /// Who stands at an index.
    pub fn get(&self, origin: Origin) -> Option<&Writer> {
        self.writers.get(origin.0 as usize)
    }

    /// The incarnations that ran on a node.
    pub fn on_node(&self, node: &[u8]) -> Vec<Origin> {
        let places = self.writers.iter().enumerate().filter(|(_, writer)| writer.node == node);
        places.map(|(place, _)| Origin(place as u32)).collect()
    }

    /// How many incarnations are known, the table's own included.
    pub fn count(&self) -> usize {
        self.writers.len()
    }

    /// The total order of versions: by clock, then by incarnation id, so that every replica decides alike.
    pub fn compare(&self, a: Version, b: Version) -> Ordering {
        a.hlc.cmp(&b.hlc).then_with(|| self.id(a.origin).cmp(&self.id(b.origin)))
    }

    pub(crate) fn id(&self, origin: Origin) -> Incarnation {
        self.get(origin).map_or(0, |writer| writer.incarnation)
    }
}
