//! Entry points of a supervised start. The process that calls the start function of a child holds
//! bound permits during the start. Then it entrusts the permits to the child.

use penstock_core::TransferError;

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::resolve::resolve_instance;
use crate::set::{self, is_set};
use crate::term::Term;

use super::spawn::{instance_of_offer, resolve_offer};

entries! {
    start_claim/3 => claim,
    start_entrust/4 => entrust,
}

/// Takes over the permits that `spawner` offered. Returns the instance of the pool of the offer.
fn claim(beam: &Beam, [gate, offer, spawner]: [Term; 3]) -> Term {
    match (resolve_offer(beam, gate, offer), beam.env.local_pid(spawner), beam.env.me()) {
        (Some((pool, number)), Some(spawner), Some(me)) => match pool.claim(beam, me, spawner, number) {
            Some(_) => instance_of_offer(beam, gate, offer),
            None => atoms::revoked(),
        },
        (None, Some(spawner), _) if is_set(beam, offer) => set::claim(beam, offer, spawner),
        _ => atoms::badarg(),
    }
}

fn entrust(beam: &Beam, [gate, instance, child, permits]: [Term; 4]) -> Term {
    let pool = resolve_instance(beam, gate, instance);
    match (pool, beam.env.local_pid(child), beam.env.positive_i31(permits), beam.env.me()) {
        (Some(pool), Some(child), Some(n), Some(me)) => match pool.entrust(beam, me, child, n) {
            Ok(()) => atoms::ok(),
            Err(TransferError::NotHeld) => atoms::not_held(),
            Err(TransferError::Gone) => atoms::noproc(),
        },
        (None, Some(child), ..) if is_set(beam, instance) => set::entrust(beam, instance, child),
        _ => atoms::badarg(),
    }
}
