//! Entry points of pools, and of manual permits, which their holder releases or transfers by a
//! call.

mod ask;
mod lifecycle;
mod report;
mod wait;

use penstock_core::{Kind, Pid, TransferError};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::resolve::{release, resolve_instance, with_pool, with_pool_for, Gate};
use crate::term::Term;

entries! {
    pool_try_one/2 => try_one,
    pool_try/2 => try_many,
    pool_take/2 => take,
    pool_release_one/2 => release_one,
    pool_release/2 => release_many,
    pool_release/3 => release_of_instance,
    pool_transfer/3 => transfer,
}

#[inline(always)]
fn try_acquire(beam: &Beam, gate: Gate<'_>, me: Pid, n: u32) -> Term {
    let result = gate.pool.try_acquire(beam, me, n, Kind::Manual);
    gate.admitted(beam, me, n, Kind::Manual, result, atoms::ok)
}

fn try_one(beam: &Beam, [gate, me]: [Term; 2]) -> Term {
    with_pool_for(beam, gate, me, |gate, me| try_acquire(beam, gate, me, 1))
}

fn try_many(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.positive_i31(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| try_acquire(beam, gate, me, n))
}

fn take(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.positive_i31(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| {
        if gate.pool.take(beam, me, n, Kind::Manual) {
            gate.admitted(beam, me, n, Kind::Manual, Ok(()), atoms::ok)
        } else {
            atoms::busy()
        }
    })
}

fn release_one(beam: &Beam, [gate, me]: [Term; 2]) -> Term {
    with_pool_for(beam, gate, me, |gate, me| release(beam, gate.pool, me, 1, Kind::Manual))
}

fn release_many(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.positive_i31(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| release(beam, gate.pool, me, n, Kind::Manual))
}

fn release_of_instance(beam: &Beam, [gate, instance, permits]: [Term; 3]) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.positive_i31(permits), beam.env.me()) {
        (Some(pool), Some(n), Some(me)) => release(beam, pool, me, n, Kind::Manual),
        _ => atoms::badarg(),
    }
}

fn transfer(beam: &Beam, [gate, to, permits]: [Term; 3]) -> Term {
    let (Some(n), Some(to)) = (beam.env.positive_i31(permits), beam.env.local_pid(to)) else {
        return atoms::badarg();
    };
    with_pool(beam, gate, |gate, me| match gate.pool.transfer(beam, me, to, n) {
        Ok(()) => atoms::ok(),
        Err(TransferError::NotHeld) => atoms::not_held(),
        Err(TransferError::Gone) => atoms::noproc(),
    })
}
