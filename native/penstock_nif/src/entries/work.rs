//! Entry point that returns for how long a process has held bound permits of a gate.

use crate::atoms;
use crate::entry::entries;
use crate::handle;
use crate::host::Beam;
use crate::resolve::{named, was_forgotten};
use crate::term::Term;

use super::keyed::keyed;

entries! {
    work_ms/2 => ms,
}

/// The largest number of pools of one name that a call looks at. It begins with the newest pool.
const POOLS_PER_CALL: usize = 64;

fn ms(beam: &Beam, [gate, pid]: [Term; 2]) -> Term {
    let Some(pid) = beam.env.local_pid(pid) else { return atoms::badarg() };
    if let Some(keyed) = keyed(gate) {
        return keyed.pool.work_ms(beam, pid).map_or(atoms::not_held(), |ms| beam.env.make_u64(u64::from(ms)));
    }
    let held = match named(gate) {
        // The pool whose permits the process holds may be closed, so all pools of the name are
        // asked. The process may also hold bound permits of several of them. The longest time
        // counts.
        Some(named) => named.pools().take(POOLS_PER_CALL).filter_map(|pool| pool.work_ms(beam, pid)).max(),
        None => match handle::pool(beam.env, gate) {
            Some(pool) => pool.work_ms(beam, pid),
            None if was_forgotten(gate) => None,
            None => return atoms::no_pool(),
        },
    };
    held.map_or(atoms::not_held(), |ms| beam.env.make_u64(u64::from(ms)))
}
