//! Entry points of free permits and of waiting. Their contracts are the specs of `Penstock.Native`.

use penstock_core::{Cancelled, Kind, Parked, Pid, Pool, TransferError, WaiterId};

use crate::atoms;
use crate::beam::{Beam, Ticket};
use crate::entry::entries;
use crate::gates::{instance_term, release, resolve_instance, with_pool, with_pool_for, Gate};
use crate::term::Term;

entries! {
    pool_try_one/2 => try_one,
    pool_try/2 => try_many,
    pool_take/2 => take,
    pool_release_one/2 => release_one,
    pool_release/2 => release_many,
    pool_transfer/3 => transfer,
    pool_park/4 => park,
    pool_cancel/3 => cancel,
    pool_withdraw/3 => withdraw,
}

#[inline(always)]
fn try_acquire(beam: &Beam, gate: Gate<'_>, me: Pid, n: u32) -> Term {
    let result = gate.pool.try_acquire(beam, me, n, Kind::Free);
    gate.admitted(beam, me, n, Kind::Free, result, atoms::ok)
}

fn try_one(beam: &Beam, [gate, me]: [Term; 2]) -> Term {
    with_pool_for(beam, gate, me, |gate, me| try_acquire(beam, gate, me, 1))
}

fn try_many(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| try_acquire(beam, gate, me, n))
}

fn take(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| {
        if gate.pool.take(beam, me, n, Kind::Free) {
            gate.admitted(beam, me, n, Kind::Free, Ok(()), atoms::ok)
        } else {
            atoms::busy()
        }
    })
}

fn release_one(beam: &Beam, [gate, me]: [Term; 2]) -> Term {
    with_pool_for(beam, gate, me, |gate, me| release(beam, gate.pool, me, 1, Kind::Free))
}

fn release_many(beam: &Beam, [gate, permits]: [Term; 2]) -> Term {
    let Some(n) = beam.env.permits(permits) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| release(beam, gate.pool, me, n, Kind::Free))
}

fn transfer(beam: &Beam, [gate, to, permits]: [Term; 3]) -> Term {
    let (Some(n), Some(to)) = (beam.env.permits(permits), beam.env.local_pid(to)) else { return atoms::badarg() };
    with_pool(beam, gate, |gate, me| match gate.pool.transfer(beam, me, to, n) {
        Ok(()) => atoms::ok(),
        Err(TransferError::NotHeld) => atoms::not_held(),
        Err(TransferError::Gone) => atoms::noproc(),
    })
}

fn park(beam: &Beam, [gate, kind, permits, reference]: [Term; 4]) -> Term {
    let Some(n) = beam.env.permits(permits).filter(|_| beam.env.is_ref(reference)) else { return atoms::badarg() };
    let kind = match kind {
        kind if kind == atoms::free() => Kind::Free,
        kind if kind == atoms::bound() => Kind::Bound,
        _ => return atoms::badarg(),
    };
    with_pool(beam, gate, |gate, me| {
        let instance = || instance_term(beam, gate.instance());
        match gate.pool.park_while(beam, me, n, kind, Ticket::new(reference), || gate.stands()) {
            Parked::Granted => instance(),
            Parked::Waiting(id) => beam.env.tuple(&[instance(), beam.env.make_u64(id.to_bits())]),
            Parked::Full => atoms::full(),
            Parked::QueueFull => atoms::queue_full(),
            Parked::Closed => atoms::closed(),
            Parked::Deadlock => atoms::deadlock(),
        }
    })
}

fn cancel(beam: &Beam, wait: [Term; 3]) -> Term {
    stop_waiting(beam, wait, Pool::cancel)
}

fn withdraw(beam: &Beam, wait: [Term; 3]) -> Term {
    stop_waiting(beam, wait, Pool::leave_line)
}

fn stop_waiting(
    beam: &Beam,
    [gate, instance, id]: [Term; 3],
    stop: impl FnOnce(&Pool<Beam>, &Beam, Pid, WaiterId) -> Cancelled,
) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.u64(id), beam.env.me()) {
        (Some(pool), Some(id), Some(me)) => match stop(pool, beam, me, WaiterId::from_bits(id)) {
            Cancelled::Yes => atoms::cancelled(),
            Cancelled::TooLate => atoms::too_late(),
        },
        _ => atoms::badarg(),
    }
}
