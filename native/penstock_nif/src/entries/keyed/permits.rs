//! Entry points that acquire permits of a key, wait for them, and release them.

use penstock_core::{Cancelled, KeyParked, KeyRestart, KeyedPool, Kind, LeaseId, NotHeld, Pid};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::node::REGISTRY;
use crate::term::Term;
use crate::ticket::Ticket;

use super::{with_key, with_tag, Keyed};

entries! {
    keyed_try/4 => try_acquire,
    keyed_park/6 => park,
    keyed_cancel/2 => cancel,
    keyed_withdraw/2 => withdraw,
    keyed_restart/5 => restart,
    keyed_release/4 => release,
}

fn try_acquire(beam: &Beam, [name, key, permits, measured]: [Term; 4]) -> Term {
    let Some(n) = beam.env.positive_i31(permits) else { return atoms::badarg() };
    with_key(beam, [name, key, measured], |keyed, key, me| {
        match keyed.pool.try_acquire(beam, me, key, n, Kind::Manual) {
            Ok(_) => atoms::ok(),
            Err(no) => keyed.refusal(no),
        }
    })
}

/// Returns the term of a lease: the number of its keyed pool and its own.
pub(crate) fn lease_term(beam: &Beam, keyed: Keyed<'_>, id: LeaseId) -> Term {
    beam.env.tuple(&[beam.env.make_u64(u64::from(keyed.id)), beam.env.make_u64(id.to_bits())])
}

fn park(beam: &Beam, [name, key, kind, permits, reference, measured]: [Term; 6]) -> Term {
    let Some(n) = beam.env.positive_i31(permits).filter(|_| beam.env.is_ref(reference)) else {
        return atoms::badarg();
    };
    let kind = match kind {
        kind if kind == atoms::manual() => Kind::Manual,
        kind if kind == atoms::bound() => Kind::Bound,
        _ => return atoms::badarg(),
    };
    with_key(beam, [name, key, measured], |keyed, key, me| {
        match keyed.pool.park(beam, me, key, n, kind, Ticket::new(reference)) {
            KeyParked::Granted(id) => beam.env.tuple(&[atoms::ok(), lease_term(beam, keyed, id)]),
            KeyParked::Waiting(id) => beam.env.tuple(&[atoms::waiting(), lease_term(beam, keyed, id)]),
            KeyParked::QueueFull => atoms::queue_full(),
            KeyParked::Refused(no) => keyed.refusal(no),
        }
    })
}

fn cancel(beam: &Beam, wait: [Term; 2]) -> Term {
    stop_waiting(beam, wait, KeyedPool::cancel)
}

fn withdraw(beam: &Beam, wait: [Term; 2]) -> Term {
    stop_waiting(beam, wait, KeyedPool::withdraw)
}

fn restart(beam: &Beam, [name, key, permits, step, measured]: [Term; 5]) -> Term {
    let (Some(n), Some(step)) = (beam.env.positive_i31(permits), beam.env.u64(step)) else {
        return atoms::badarg();
    };
    with_key(beam, [name, key, measured], |keyed, key, me| match keyed.pool.take_for_restart(beam, me, key, n, step) {
        KeyRestart::Admitted(lease) => beam.env.tuple(&[atoms::ok(), beam.env.list(&[keyed.part(beam, lease, n)])]),
        KeyRestart::Refused(no) => keyed.refusal(no),
        KeyRestart::Pause(step) => beam.env.tuple(&[atoms::pause(), beam.env.make_u64(step)]),
        KeyRestart::Wait(step) => beam.env.tuple(&[atoms::wait(), beam.env.make_u64(step)]),
    })
}

fn stop_waiting(
    beam: &Beam,
    [pool, lease]: [Term; 2],
    stop: impl FnOnce(&KeyedPool<Beam>, &Beam, Pid, LeaseId) -> Cancelled,
) -> Term {
    let pool = beam.env.uint(pool).and_then(|id| REGISTRY.keyed_pool(id));
    match (pool, beam.env.u64(lease), beam.env.me()) {
        (Some(pool), Some(lease), Some(me)) => match stop(pool, beam, me, LeaseId::from_bits(lease)) {
            Cancelled::Yes => atoms::cancelled(),
            Cancelled::TooLate => atoms::too_late(),
        },
        _ => atoms::badarg(),
    }
}

fn release(beam: &Beam, [name, key, permits, measured]: [Term; 4]) -> Term {
    let (Some(n), Some(me)) = (beam.env.positive_i31(permits), beam.env.me()) else { return atoms::badarg() };
    with_tag(beam, [name, key, measured], |keyed, tag| match keyed.pool.release(beam, me, tag, n) {
        Ok(()) => atoms::ok(),
        Err(NotHeld) => atoms::not_held(),
    })
}
