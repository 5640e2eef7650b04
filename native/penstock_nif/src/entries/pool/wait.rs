//! Entry points of waits whose caller blocks until it receives the answer as a message.

use penstock_core::{Cancelled, Kind, Parked, Pid, Pool, WaiterId};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::resolve::{instance_term, resolve_instance, with_pool};
use crate::term::Term;
use crate::ticket::Ticket;

entries! {
    pool_park/4 => park,
    pool_cancel/3 => cancel,
    pool_withdraw/3 => withdraw,
}

fn park(beam: &Beam, [gate, kind, permits, reference]: [Term; 4]) -> Term {
    let Some(n) = beam.env.positive_i31(permits).filter(|_| beam.env.is_ref(reference)) else {
        return atoms::badarg();
    };
    let kind = match kind {
        kind if kind == atoms::manual() => Kind::Manual,
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
    stop_waiting(beam, wait, Pool::withdraw)
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
