//! Entry points of permits that are bound to a piece of work: a run, or a process to be spawned.

use penstock_core::{Adoption, InstanceId, Kind, Offer, Pid, Pool};

use crate::atoms;
use crate::beam::Beam;
use crate::entry::entries;
use crate::gates::{instance_term, named, refusal, release, resolve_instance, with_pool};
use crate::term::Term;

entries! {
    run_take/1 => take_one,
    run_take/2 => take_many,
    run_try/2 => try_acquire,
    run_end/1 => end_one,
    run_end/3 => end,
    spawn_try/2 => try_offer,
    spawn_take/2 => take_offer,
    spawn_offer/3 => offer,
    spawn_hand_over/4 => hand_over,
    spawn_adopt/3 => adopt,
    spawn_retract/3 => retract,
    spawn_ended/3 => ended,
}

#[inline(always)]
fn take(beam: &Beam, gate: Term, n: u32) -> Term {
    with_pool(beam, gate, |pool, instance, me| {
        if pool.take(beam, me, n, Kind::Bound) {
            instance_term(beam, instance)
        } else {
            atoms::busy()
        }
    })
}

fn take_one(beam: &Beam, [gate]: [Term; 1]) -> Term {
    take(beam, gate, 1)
}

fn take_many(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    beam.env.permits(permits).map_or(atoms::badarg(), |n| take(beam, gate, n))
}

fn try_acquire(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |pool, instance, me| match pool.try_acquire(beam, me, n, Kind::Bound) {
        Ok(()) => instance_term(beam, instance),
        Err(no) => refusal(no),
    })
}

fn end_one(beam: &Beam, [name]: [Term; 1]) -> Term {
    match (named(name).and_then(|named| named.instance(1)), beam.env.me()) {
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
    with_pool(beam, gate, |pool, instance, me| match pool.try_acquire(beam, me, n, Kind::Bound) {
        Ok(()) => put_on_offer(beam, pool, instance, me, n),
        Err(no) => refusal(no),
    })
}

fn take_offer(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |pool, instance, me| {
        if pool.take(beam, me, n, Kind::Bound) {
            put_on_offer(beam, pool, instance, me, n)
        } else {
            atoms::busy()
        }
    })
}

fn put_on_offer(beam: &Beam, pool: &Pool<Beam>, instance: InstanceId, me: Pid, n: u32) -> Term {
    pool.offer(me, n).map_or(atoms::not_held(), |offer| {
        beam.env.tuple(&[instance_term(beam, instance), beam.env.make_u64(offer.to_bits())])
    })
}

fn offer(beam: &Beam, [gate, instance, permits]: [Term; 3]) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.permits(permits), beam.env.me()) {
        (Some(pool), Some(n), Some(me)) => {
            pool.offer(me, n).map_or(atoms::not_held(), |offer| beam.env.make_u64(offer.to_bits()))
        }
        _ => atoms::badarg(),
    }
}

fn hand_over(beam: &Beam, [gate, instance, offer, child]: [Term; 4]) -> Term {
    let pool = resolve_instance(beam, gate, instance);
    match (pool, beam.env.u64(offer), beam.env.local_pid(child)) {
        (Some(pool), Some(offer), Some(child)) => {
            pool.hand_over(beam, Offer::from_bits(offer), child);
            atoms::ok()
        }
        _ => atoms::badarg(),
    }
}

fn adopt(beam: &Beam, [gate, instance, offer]: [Term; 3]) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.u64(offer), beam.env.me()) {
        (Some(pool), Some(offer), Some(me)) => match pool.adopt(beam, me, Offer::from_bits(offer)) {
            Adoption::Adopted => atoms::ok(),
            Adoption::Revoked => atoms::revoked(),
        },
        _ => atoms::badarg(),
    }
}

fn retract(beam: &Beam, [gate, instance, offer]: [Term; 3]) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.u64(offer)) {
        (Some(pool), Some(offer)) => {
            pool.retract(beam, Offer::from_bits(offer));
            atoms::ok()
        }
        _ => atoms::badarg(),
    }
}

fn ended(beam: &Beam, [gate, instance, child]: [Term; 3]) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.local_pid(child)) {
        (Some(pool), Some(child)) => {
            pool.ended(beam, child);
            atoms::ok()
        }
        _ => atoms::badarg(),
    }
}
