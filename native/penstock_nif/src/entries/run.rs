//! Entry points of `Penstock.run/3`: bound permits that the caller holds until a function
//! returns.

use penstock_core::{Kind, Pid};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::resolve::{instance_term, release, resolve_first, resolve_instance, with_pool, with_pool_for, Gate};
use crate::set::{self, is_set};
use crate::term::Term;

entries! {
    run_take_one/2 => take_one,
    run_take/2 => take_many,
    run_try/2 => try_acquire,
    run_end_one/2 => end_one,
    run_end/3 => end,
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
    let Some(n) = beam.env.positive_i31(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| take(beam, gate, me, n))
}

fn try_acquire(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.positive_i31(permits) else { return atoms::badarg() };
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
    match (resolve_instance(beam, gate, instance), beam.env.positive_i31(permits), beam.env.me()) {
        (Some(pool), Some(n), Some(me)) => release(beam, pool, me, n, Kind::Bound),
        (None, ..) if is_set(beam, instance) => set::end(beam, instance),
        _ => atoms::badarg(),
    }
}
