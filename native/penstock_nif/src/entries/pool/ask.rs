//! Entry points of *waits by messages*: the caller does not block, and a message brings the
//! answer.

use penstock_core::{Cancelled, Kind, Parked, Pid, Pool, Refusal};

use crate::ask::Ask;
use crate::atoms;
use crate::clock;
use crate::entry::entries;
use crate::host::Beam;
use crate::node;
use crate::resolve::{instance_term, refusal, resolve, resolve_instance, with_pool, Gate};
use crate::term::Term;
use crate::ticket::Ticket;

entries! {
    pool_ask/3 => ask,
    pool_recall/2 => recall,
}

/// The time for which a caller waits.
enum Patience {
    None,
    /// Until this time of the exact clock, in ms.
    Until(u64),
    Endless,
}

fn patience(beam: &Beam, timeout: Term) -> Option<Patience> {
    if timeout == atoms::infinity() {
        return Some(Patience::Endless);
    }
    Some(match beam.env.uint(timeout)? {
        0 => Patience::None,
        // The clock rounds down to whole ms. One ms is added, so that no wait ends early.
        ms => Patience::Until(clock::exact_ms() + u64::from(ms) + 1),
    })
}

fn ask(beam: &Beam, [by, permits, timeout]: [Term; 3]) -> Term {
    let (Some(n), Some(patience)) = (beam.env.positive_i31(permits), patience(beam, timeout)) else {
        return atoms::badarg();
    };
    with_pool(beam, by, |gate, me| {
        let pool = gate.pool;
        let until = match patience {
            Patience::None => match pool.try_acquire(beam, me, n, Kind::Manual) {
                Err(Refusal::Again) => return atoms::again(),
                Err(no) if gate.stands() => return answered(beam, by, gate, me, n, refusal(no)),
                tried => {
                    return gate
                        .admitted(beam, me, n, Kind::Manual, tried, || answered(beam, by, gate, me, n, atoms::ok()));
                }
            },
            Patience::Until(at) => Some(at),
            Patience::Endless => None,
        };
        if pool.take(beam, me, n, Kind::Manual) {
            return gate.admitted(beam, me, n, Kind::Manual, Ok(()), || answered(beam, by, gate, me, n, atoms::ok()));
        }
        let (reference, ask) = Ask::make(beam, by, gate, me, n);
        // SAFETY: the ask must live while this call uses it. The reference is a term of this
        // call, and a reference keeps its ask.
        let ask = unsafe { &*ask };
        let ticket = Ticket::of_ask(reference, ask);
        let (parked, timed) = pool.ask(beam, me, n, ticket, until, || gate.stands());
        ask.set_opening(pool);
        if timed {
            node::begin_to_time(beam.env, pool);
        }
        let answer = match parked {
            Parked::Waiting(id) => {
                ask.set_wait(id);
                return beam.env.tuple(&[reference, atoms::waiting()]);
            }
            Parked::Granted => atoms::ok(),
            Parked::Full => atoms::full(),
            Parked::QueueFull => atoms::queue_full(),
            Parked::Closed => atoms::closed(),
            Parked::Deadlock => atoms::deadlock(),
        };
        ask.set_told();
        beam.env.tuple(&[reference, answer])
    })
}

/// Returns an answer that is known at once, with a new reference. This side sends no message: the
/// caller sends the message to itself.
fn answered(beam: &Beam, by: Term, gate: Gate<'_>, me: Pid, n: u32, answer: Term) -> Term {
    let (reference, ask) = Ask::make(beam, by, gate, me, n);
    // SAFETY: the ask must live while this call uses it. The reference is a term of this call,
    // and a reference keeps its ask.
    let ask = unsafe { &*ask };
    ask.set_told();
    ask.set_opening(gate.pool);
    beam.env.tuple(&[reference, answer])
}

/// Ends the wait of a reference, if the caller began it on that gate.
///
/// If the pool has answered the wait already, returns whether the message has been sent, the
/// instance of the pool, and a number of permits. If the answer is a grant, the caller holds that
/// number.
fn recall(beam: &Beam, [gate, reference]: [Term; 2]) -> Term {
    let Some(me) = beam.env.me().filter(|_| beam.env.is_ref(reference)) else { return atoms::badarg() };
    let gone = || if resolve(beam, gate).is_some() { atoms::ok() } else { atoms::no_pool() };
    let Some(ask) = Ask::get(beam.env, reference).filter(|ask| ask.owner() == me) else { return gone() };
    let instance = instance_term(beam, ask.instance());
    let there = resolve_instance(beam, gate, instance).filter(|pool| ask.is_of_pool(pool));
    if there.is_none() && !ask.is_by_name(gate) {
        // The wait is on another pool.
        return gone();
    }
    let same = there.filter(|pool| ask.is_of_opening(pool));
    // A wait that was not answered at once has an id by now, because `ask` recorded the id before
    // it returned the reference.
    let withdrawn = |pool: &Pool<Beam>| ask.wait().is_some_and(|id| pool.withdraw(beam, me, id) == Cancelled::Yes);
    if same.is_some_and(withdrawn) {
        // No message will come. So if the caller recalls the same reference again, this function
        // must not return `coming`.
        ask.set_told();
        return atoms::ok();
    }
    // If the opening in which the caller asked is over, the caller holds no permits, even if the
    // answer was a grant.
    let permits = if same.is_some() { ask.permits() } else { 0 };
    let told = if ask.is_told() { atoms::told() } else { atoms::coming() };
    beam.env.tuple(&[told, instance, beam.env.make_u64(u64::from(permits))])
}
