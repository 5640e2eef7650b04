//! Entry points that start, change, drain and reopen pools.

use penstock_core::{Changes, Drain};

use crate::atoms;
use crate::decode::{changed, limit, pool_settings};
use crate::entry::entries;
use crate::handle;
use crate::host::Beam;
use crate::node::REGISTRY;
use crate::resolve::{instance_term, resolve, started, with_pool};
use crate::term::Term;
use crate::ticket::Ticket;

entries! {
    pool_start/3 => start,
    pool_new/1 => new,
    pool_update/3 => update,
    pool_drain/2 => drain,
    pool_reopen/1 => reopen,
}

fn start(beam: &Beam, [name, owner, settings]: [Term; 3]) -> Term {
    match (beam.env.is_atom(name), pool_settings(beam.env, settings), beam.env.local_pid(owner)) {
        (true, Some(settings), Some(owner)) => started(REGISTRY.start(beam, name.word(), owner, settings)),
        _ => atoms::badarg(),
    }
}

fn new(beam: &Beam, [settings]: [Term; 1]) -> Term {
    let Some(settings) = pool_settings(beam.env, settings) else { return atoms::badarg() };
    handle::make(beam, settings)
}

fn update(beam: &Beam, [gate, new_limit, waiting]: [Term; 3]) -> Term {
    let new_limit = changed(new_limit, |term| limit(beam.env, term));
    let waiting = changed(waiting, |term| beam.env.i31(term));
    match (resolve(beam, gate), new_limit, waiting) {
        (None, _, _) => atoms::no_pool(),
        (Some(gate), Some(limit), Some(waiting)) => {
            let changes = Changes { limit, max_waiting: waiting, ..Changes::default() };
            if gate.pool.update_while(beam, changes, || gate.stands()) {
                atoms::ok()
            } else {
                atoms::no_pool()
            }
        }
        _ => atoms::badarg(),
    }
}

fn drain(beam: &Beam, [gate, reference]: [Term; 2]) -> Term {
    if !beam.env.is_ref(reference) {
        return atoms::badarg();
    }
    with_pool(beam, gate, |gate, me| match gate.pool.drain_while(beam, me, Ticket::new(reference), || gate.stands()) {
        None => atoms::no_pool(),
        Some(Drain::Done) => atoms::ok(),
        Some(Drain::Waiting(id)) => {
            beam.env.tuple(&[instance_term(beam, gate.instance()), beam.env.make_u64(id.to_bits())])
        }
    })
}

fn reopen(beam: &Beam, [gate]: [Term; 1]) -> Term {
    match resolve(beam, gate) {
        Some(gate) if gate.pool.reopen_while(beam, || gate.stands()) => atoms::ok(),
        Some(_) => atoms::closed(),
        None => atoms::no_pool(),
    }
}
