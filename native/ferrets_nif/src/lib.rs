//! The NIF library of Ferrets: Erlang terms in and out, term arenas, the store.
//!
//! [`nif_table`], [`nif_read`], [`nif_select`], [`nif_write`] and [`nif_server`] are what Erlang calls. An [`engine`] drives the protocol. [`registry`] finds a [`table`] by name; [`read`] and
//! [`walk`] read it, [`matching`] says what of it a query wants, a [`store::Writer`] changes it. Records live in [`page`]s, the [`index`] finds them by hash, the
//! [`order`] by key. [`front`] and [`epoch`] explain how a record is read without a lock, [`pool`] explains why readers need no reference counts, [`chunk`] is the memory of records, [`beam`] is the only place that calls the VM.

mod beam;
mod bits;
mod chunk;
mod effects;
mod engine;
mod epoch;
mod front;
mod index;
mod matching;
mod nif_read;
mod nif_select;
mod nif_server;
mod nif_table;
mod nif_write;
mod order;
mod os;
mod page;
mod places;
mod pool;
mod read;
mod reaper;
mod registry;
mod slice;
mod store;
mod subtable;
mod table;
mod tags;
mod traffic;
mod walk;

use rustler::{Env, Term};

use beam::block::learn;
use beam::layout::has_expected_tags;
use beam::scratch::nowhere;
use beam::shared;
use matching::Kept;
use table::Handle;

/// The number of the interface between `ferrets_nif.erl` and this library. Raised by both sides together whenever a
/// call's name, arity, arguments or meaning change: see `ferrets_library.erl`.
const ABI: u32 = 8;

/// Refuses to load for another ABI, and into a VM whose terms it would take for others. The VM refuses by itself to load the library a second time, since it has no
/// upgrade callback: tables stay as they are.
fn load(env: Env<'_>, abi: Term<'_>) -> bool {
    if !abi.decode::<u32>().is_ok_and(|abi| abi == ABI) || !has_expected_tags(env) {
        return false;
    }
    epoch::start();
    nowhere();
    learn(env);
    shared::open::<Handle>(env) && shared::open::<Kept>(env) && reaper::start()
}

rustler::init!("ferrets_nif", load = load);
