//! Entry points of a spawn: a spawner offers bound permits to a child, which adopts them.

use penstock_core::{Adoption, InstanceId, Kind, NotHeld, Offer, Pid, Pool};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::resolve::{instance_id, instance_term, release, resolve, resolve_first, resolve_instance, with_pool};
use crate::set::{self, is_set};
use crate::term::Term;

use super::keyed::keyed;

entries! {
    spawn_try/2 => try_offer,
    spawn_take/2 => take_offer,
    spawn_offer/3 => offer,
    spawn_hand_over/3 => hand_over,
    spawn_adopt/2 => adopt,
    spawn_adopt/3 => adopt_of_living,
    spawn_retract/2 => retract,
    spawn_end/2 => end,
    spawn_ended/2 => ended,
}

fn try_offer(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.positive_i31(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| {
        let result = gate.pool.try_acquire(beam, me, n, Kind::Bound);
        gate.admitted(beam, me, n, Kind::Bound, result, || offer_or_release(beam, gate.pool, gate.instance(), me, n))
    })
}

fn take_offer(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.positive_i31(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| {
        if gate.pool.take(beam, me, n, Kind::Bound) {
            let offer = || offer_or_release(beam, gate.pool, gate.instance(), me, n);
            gate.admitted(beam, me, n, Kind::Bound, Ok(()), offer)
        } else {
            atoms::busy()
        }
    })
}

/// Offers permits that the caller has just acquired. Releases them if another offer of the caller
/// is still pending.
#[inline(always)]
fn offer_or_release(beam: &Beam, pool: &Pool<Beam>, instance: InstanceId, me: Pid, n: u32) -> Term {
    match pool.offer(me, n) {
        Some(offer) => offer_term(beam, instance, offer),
        None => {
            release(beam, pool, me, n, Kind::Bound);
            atoms::not_held()
        }
    }
}

/// Returns the term of an offer. If the pool is the first of its name, or unnamed, the term is
/// the number of the offer. Nearly all offers are of such a pool, and a number is made and copied
/// for free. Otherwise the term is a pair of the instance of the pool and that number.
#[inline(always)]
pub(crate) fn offer_term(beam: &Beam, instance: InstanceId, offer: Offer) -> Term {
    let number = beam.env.make_u64(offer.to_bits());
    if instance <= 1 {
        number
    } else {
        beam.env.tuple(&[instance_term(beam, instance), number])
    }
}

/// Decodes an offer. Returns its pool and the offer.
#[inline(always)]
pub(crate) fn resolve_offer<'a>(beam: &Beam, gate: Term, offer: Term) -> Option<(&'a Pool<Beam>, Offer)> {
    let (pool, number) = match beam.env.u64(offer) {
        Some(number) => (resolve_first(beam, gate)?, number),
        None => {
            let [instance, number] = beam.env.pair(offer)?;
            (resolve_instance(beam, gate, instance)?, beam.env.u64(number)?)
        }
    };
    Some((pool, Offer::from_bits(number)))
}

/// Returns the instance of an offer, as a term for `resolve_instance`. An offer without an
/// instance is of the first pool of a name, or of an unnamed pool.
pub(crate) fn instance_of_offer(beam: &Beam, gate: Term, offer: Term) -> Term {
    match beam.env.pair(offer) {
        Some([instance, _]) => instance,
        None => instance_term(beam, InstanceId::from(beam.env.is_atom(gate))),
    }
}

fn offer(beam: &Beam, [gate, instance, permits]: [Term; 3]) -> Term {
    let Some(id) = instance_id(beam, instance) else { return atoms::badarg() };
    match (resolve_instance(beam, gate, instance), beam.env.positive_i31(permits), beam.env.me()) {
        (Some(pool), Some(n), Some(me)) => {
            pool.offer(me, n).map_or(atoms::not_held(), |offer| offer_term(beam, id, offer))
        }
        _ => atoms::badarg(),
    }
}

fn hand_over(beam: &Beam, [gate, offer, child]: [Term; 3]) -> Term {
    match (resolve_offer(beam, gate, offer), beam.env.local_pid(child)) {
        (Some((pool, offer)), Some(child)) => {
            pool.hand_over(beam, offer, child);
            atoms::ok()
        }
        (None, Some(child)) if is_set(beam, offer) => set::hand_over(beam, offer, child),
        _ => atoms::badarg(),
    }
}

fn adopt(beam: &Beam, [gate, offer]: [Term; 2]) -> Term {
    match (resolve_offer(beam, gate, offer), beam.env.me()) {
        (Some((pool, offer)), Some(me)) => match pool.adopt(beam, me, offer) {
            Adoption::Adopted => atoms::ok(),
            Adoption::Revoked => atoms::revoked(),
        },
        (None, Some(_)) if is_set(beam, offer) => set::adopt(beam, offer),
        _ => atoms::badarg(),
    }
}

/// Adopts the offer if the spawner is alive. If the spawner is dead, returns `revoked`, even if
/// the child already holds the permits by `hand_over`. The child must then end, which returns the
/// permits. So no task of a stream calls its function if its consumer died before this call.
fn adopt_of_living(beam: &Beam, [gate, offer, spawner]: [Term; 3]) -> Term {
    match beam.env.local_pid(spawner) {
        Some(spawner) if beam.env.is_alive(spawner) => adopt(beam, [gate, offer]),
        Some(_) => atoms::revoked(),
        None => atoms::badarg(),
    }
}

fn retract(beam: &Beam, [gate, offer]: [Term; 2]) -> Term {
    match resolve_offer(beam, gate, offer) {
        Some((pool, offer)) => {
            pool.retract(beam, offer);
            atoms::ok()
        }
        None if is_set(beam, offer) => set::retract(beam, offer),
        None => atoms::badarg(),
    }
}

fn end(beam: &Beam, [gate, offer]: [Term; 2]) -> Term {
    match (resolve_offer(beam, gate, offer), beam.env.me()) {
        (Some((pool, _)), Some(me)) => match pool.end_work(beam, me) {
            Ok(()) => atoms::ok(),
            Err(NotHeld) => atoms::not_held(),
        },
        (None, Some(_)) if is_set(beam, offer) => set::end_work(beam, offer),
        _ => atoms::badarg(),
    }
}

fn ended(beam: &Beam, [gate, child]: [Term; 2]) -> Term {
    match (resolve(beam, gate), beam.env.local_pid(child)) {
        (Some(found), Some(child)) => {
            found.pool.ended(beam, child);
            atoms::ok()
        }
        (None, Some(child)) => match keyed(gate) {
            Some(keyed) => {
                keyed.pool.ended(beam, child);
                atoms::ok()
            }
            None => atoms::no_pool(),
        },
        (None, _) => atoms::no_pool(),
        _ => atoms::badarg(),
    }
}
