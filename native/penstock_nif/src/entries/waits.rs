//! Entry point through which the reaper ends waits by messages whose time is over.

use penstock_core::{Expiry, Host};

use crate::atoms;
use crate::clock;
use crate::entry::entries;
use crate::host::Beam;
use crate::node;
use crate::term::Term;

entries! {
    waits_due/1 => due,
}

/// The number of pools that one call looks at. A pool without a wait to end takes some 50 ns.
const POOLS_PER_CALL: usize = 32;

/// The work after which a call ends no more waits: 50 µs, in units of some 20 ns.
const MAX_WORK: u32 = 2_500;

/// Ends waits whose time is over. Begins with the pool at the index `from` of the list of pools
/// with timed waits. Returns the index for the next call, or `done` after the end of the list.
fn due(beam: &Beam, [from]: [Term; 1]) -> Term {
    let Some(from) = beam.env.u64(from) else { return atoms::badarg() };
    let mut at = usize::try_from(from).unwrap_or(usize::MAX);
    let now = clock::exact_ms();
    for _ in 0..POOLS_PER_CALL {
        let Some((number, pool)) = node::timed(at) else { return atoms::done() };
        if beam.spent() > MAX_WORK {
            break;
        }
        // `timed` has unlocked the list of pools, so this pool may be closed by now, and may even
        // serve another handle or name. That does no harm: no pool is ever freed, and `expire`
        // ends only waits whose time is over.
        match pool.expire(beam, now) {
            Expiry::More => break,
            Expiry::Later => at += 1,
            Expiry::Nothing => node::end_to_time(at, number),
        }
        beam.worked(2);
    }
    beam.env.make_u64(at as u64)
}
