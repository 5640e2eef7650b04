//! Entry points that start, change, drain and reopen keyed pools.

use penstock_core::{Cancelled, KeyedChanges, KeyedDrain};

use crate::atoms;
use crate::clock;
use crate::decode::{changed, keyed_settings};
use crate::entry::entries;
use crate::host::Beam;
use crate::node::REGISTRY;
use crate::resolve::started;
use crate::term::Term;
use crate::ticket::Ticket;

use super::keyed;

entries! {
    keyed_start/3 => start (dirty),
    keyed_update/3 => update,
    keyed_drain/2 => drain,
    keyed_stop_draining/2 => stop_draining,
    keyed_reopen/1 => reopen,
}

fn start(beam: &Beam, [name, owner, settings]: [Term; 3]) -> Term {
    let settings = keyed_settings(beam.env, settings);
    let (true, Some(settings), Some(owner)) = (beam.env.is_atom(name), settings, beam.env.local_pid(owner)) else {
        return atoms::badarg();
    };
    REGISTRY.start_keyed(beam, name.word(), owner, settings, clock::now_ns).map_or(atoms::enomem(), started)
}

fn update(beam: &Beam, [name, limit, waiting]: [Term; 3]) -> Term {
    let Some(keyed) = keyed(name) else { return atoms::no_pool() };
    let limit = changed(limit, |term| beam.env.positive_i31(term));
    let waiting = changed(waiting, |term| beam.env.i31(term));
    let (Some(limit), Some(max_waiting)) = (limit, waiting) else { return atoms::badarg() };
    let changes = KeyedChanges { limit, max_waiting, ..KeyedChanges::default() };
    if keyed.pool.update(beam, keyed.generation, changes) {
        atoms::ok()
    } else {
        atoms::no_pool()
    }
}

fn drain(beam: &Beam, [name, reference]: [Term; 2]) -> Term {
    let Some(me) = beam.env.me().filter(|_| beam.env.is_ref(reference)) else { return atoms::badarg() };
    let Some(keyed) = keyed(name) else { return atoms::no_pool() };
    match keyed.pool.drain(beam, keyed.generation, me, Ticket::new(reference)) {
        None => atoms::no_pool(),
        Some(KeyedDrain::Done) => atoms::ok(),
        Some(KeyedDrain::Waiting(number)) => {
            beam.env.tuple(&[beam.env.make_u64(u64::from(keyed.id)), beam.env.make_u64(number)])
        }
    }
}

/// Ends the wait of a drainer. Returns the permits that are still held.
fn stop_draining(beam: &Beam, [pool, number]: [Term; 2]) -> Term {
    let pool = beam.env.uint(pool).and_then(|id| REGISTRY.keyed_pool(id));
    let (Some(pool), Some(number), Some(me)) = (pool, beam.env.u64(number), beam.env.me()) else {
        return atoms::badarg();
    };
    match pool.stop_draining(me, number) {
        Cancelled::Yes => beam.env.tuple(&[atoms::cancelled(), beam.env.make_u64(pool.info(beam).in_use)]),
        Cancelled::TooLate => atoms::too_late(),
    }
}

fn reopen(beam: &Beam, [name]: [Term; 1]) -> Term {
    match keyed(name) {
        Some(keyed) if keyed.pool.reopen(beam, keyed.generation) => atoms::ok(),
        Some(_) => atoms::closed(),
        None => atoms::no_pool(),
    }
}
