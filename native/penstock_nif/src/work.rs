//! Entry points of permits that are bound to a piece of work: a run, or a process to be spawned.

use penstock_core::{Adoption, InstanceId, Kind, NotHeld, Offer, Pid, Pool, Restart, Step, TransferError};

use crate::atoms;
use crate::beam::Beam;
use crate::entry::entries;
use crate::gates::{
    instance_id, instance_term, refusal, release, resolve, resolve_first, resolve_instance, with_pool, with_pool_for,
    Gate,
};
use crate::term::Term;

entries! {
    run_take_one/2 => take_one,
    run_take/2 => take_many,
    run_try/2 => try_acquire,
    run_end_one/2 => end_one,
    run_end/3 => end,
    spawn_try/2 => try_offer,
    spawn_take/2 => take_offer,
    spawn_offer/3 => offer,
    spawn_hand_over/3 => hand_over,
    spawn_adopt/2 => adopt,
    spawn_adopt/3 => adopt_of_living,
    spawn_retract/2 => retract,
    spawn_end/2 => end_of_child,
    spawn_ended/2 => ended,
    start_claim/3 => claim,
    start_entrust/4 => entrust,
    restart_take/3 => take_for_restart,
}

#[inline(always)]
fn take(beam: &Beam, gate: Gate<'_>, me: Pid, n: u32) -> Term {
    if gate.pool.take(beam, me, n, Kind::Bound) {
        gate.admitted(beam, me, n, Kind::Bound, Ok(()), || instance_term(beam, gate.instance()))
    } else {
        atoms::busy()
    }
}

fn take_one(beam: &Beam, [gate, me]: [Term; 2]) -> Term {
    with_pool_for(beam, gate, me, |gate, me| take(beam, gate, me, 1))
}

fn take_many(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| take(beam, gate, me, n))
}

fn try_acquire(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| {
        let result = gate.pool.try_acquire(beam, me, n, Kind::Bound);
        gate.admitted(beam, me, n, Kind::Bound, result, || instance_term(beam, gate.instance()))
    })
}

fn end_one(beam: &Beam, [name, me]: [Term; 2]) -> Term {
    match (resolve_first(beam, name), beam.env.caller(me)) {
        (Some(pool), Some(me)) => release(beam, pool, me, 1, Kind::Bound),
        _ => atoms::badarg(),
    }
}

fn end(beam: &Beam, [gate, instance, permits]: [Term; 3]) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.permits(permits), beam.env.me()) {
        (Some(pool), Some(n), Some(me)) => release(beam, pool, me, n, Kind::Bound),
        _ => atoms::badarg(),
    }
}

fn try_offer(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| {
        let result = gate.pool.try_acquire(beam, me, n, Kind::Bound);
        gate.admitted(beam, me, n, Kind::Bound, result, || offer_or_return(beam, gate.pool, gate.instance(), me, n))
    })
}

fn take_offer(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| {
        if gate.pool.take(beam, me, n, Kind::Bound) {
            let offer = || offer_or_return(beam, gate.pool, gate.instance(), me, n);
            gate.admitted(beam, me, n, Kind::Bound, Ok(()), offer)
        } else {
            atoms::busy()
        }
    })
}

/// What was just taken is put on offer; or is free again, if the caller's last offer is not
/// settled.
#[inline(always)]
fn offer_or_return(beam: &Beam, pool: &Pool<Beam>, instance: InstanceId, me: Pid, n: u32) -> Term {
    match pool.offer(me, n) {
        Some(offer) => offer_term(beam, instance, offer),
        None => {
            release(beam, pool, me, n, Kind::Bound);
            atoms::not_held()
        }
    }
}

fn put_on_offer(beam: &Beam, pool: &Pool<Beam>, instance: InstanceId, me: Pid, n: u32) -> Term {
    pool.offer(me, n).map_or(atoms::not_held(), |offer| offer_term(beam, instance, offer))
}

/// How an offer is told: by the first pool of a name, or the pool of a reference, as a number alone. Nearly all are, and a
/// number is made and copied for nothing.
#[inline(always)]
fn offer_term(beam: &Beam, instance: InstanceId, offer: Offer) -> Term {
    let number = beam.env.make_u64(offer.to_bits());
    if instance <= 1 {
        number
    } else {
        beam.env.tuple(&[instance_term(beam, instance), number])
    }
}

/// An offer and the pool that it was made by.
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

fn offer(beam: &Beam, [gate, instance, permits]: [Term; 3]) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.permits(permits), beam.env.me()) {
        (Some(pool), Some(n), Some(me)) => put_on_offer(beam, pool, instance_id(beam, instance), me, n),
        _ => atoms::badarg(),
    }
}

fn hand_over(beam: &Beam, [gate, offer, child]: [Term; 3]) -> Term {
    match (resolve_offer(beam, gate, offer), beam.env.local_pid(child)) {
        (Some((pool, offer)), Some(child)) => {
            pool.hand_over(beam, offer, child);
            atoms::ok()
        }
        _ => atoms::badarg(),
    }
}

fn adopt(beam: &Beam, [gate, offer]: [Term; 2]) -> Term {
    match (resolve_offer(beam, gate, offer), beam.env.me()) {
        (Some((pool, offer)), Some(me)) => match pool.adopt(beam, me, offer) {
            Adoption::Adopted => atoms::ok(),
            Adoption::Revoked => atoms::revoked(),
        },
        _ => atoms::badarg(),
    }
}

/// As `adopt`, but to no avail if the spawner is dead by now, even if it has handed over.
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
        _ => atoms::badarg(),
    }
}

fn end_of_child(beam: &Beam, [gate, offer]: [Term; 2]) -> Term {
    match (resolve_offer(beam, gate, offer), beam.env.me()) {
        (Some((pool, _)), Some(me)) => match pool.end_work(beam, me) {
            Ok(()) => atoms::ok(),
            Err(NotHeld) => atoms::not_held(),
        },
        _ => atoms::badarg(),
    }
}

fn ended(beam: &Beam, [gate, child]: [Term; 2]) -> Term {
    match (resolve(beam, gate), beam.env.local_pid(child)) {
        (Some(gate), Some(child)) => {
            gate.pool.ended(beam, child);
            atoms::ok()
        }
        (None, _) => atoms::no_pool(),
        _ => atoms::badarg(),
    }
}

/// The offer of another process: which of its gate's pools made it.
fn claim(beam: &Beam, [gate, offer, spawner]: [Term; 3]) -> Term {
    match (resolve_offer(beam, gate, offer), beam.env.local_pid(spawner), beam.env.me()) {
        (Some((pool, number)), Some(spawner), Some(me)) => match pool.claim(beam, me, spawner, number) {
            Some(_) => instance_of(beam, gate, offer),
            None => atoms::revoked(),
        },
        _ => atoms::badarg(),
    }
}

/// The term that `resolve_instance` knows the pool of an offer by.
fn instance_of(beam: &Beam, gate: Term, offer: Term) -> Term {
    match beam.env.pair(offer) {
        Some([instance, _]) => instance,
        None => instance_term(beam, InstanceId::from(beam.env.is_atom(gate))),
    }
}

fn entrust(beam: &Beam, [gate, instance, child, permits]: [Term; 4]) -> Term {
    let pool = resolve_instance(beam, gate, instance);
    match (pool, beam.env.local_pid(child), beam.env.permits(permits), beam.env.me()) {
        (Some(pool), Some(child), Some(n), Some(me)) => match pool.entrust(beam, me, child, n) {
            Ok(()) => atoms::ok(),
            Err(TransferError::NotHeld) => atoms::not_held(),
            Err(TransferError::Gone) => atoms::noproc(),
        },
        _ => atoms::badarg(),
    }
}

fn take_for_restart(beam: &Beam, [gate, permits, step]: [Term; 3]) -> Term {
    let (Some(n), Some(step)) = (beam.env.permits(permits), beam.env.u64(step)) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| match gate.pool.take_for_restart(beam, me, n, Step::from_bits(step)) {
        Restart::Admitted => gate.admitted(beam, me, n, Kind::Bound, Ok(()), || instance_term(beam, gate.instance())),
        Restart::Refused(no) => refusal(no),
        Restart::More(step) => beam.env.tuple(&[atoms::again(), beam.env.make_u64(step.to_bits())]),
        Restart::Pause(step) => beam.env.tuple(&[atoms::pause(), beam.env.make_u64(step.to_bits())]),
        Restart::Wait(step) => beam.env.tuple(&[atoms::wait(), beam.env.make_u64(step.to_bits())]),
    })
}
