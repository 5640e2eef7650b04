//! Entry point of restarts. It acquires bound permits: free ones, or else those of a dead holder
//! that have not come back yet, or else permits beyond the limit.

use penstock_core::{Kind, Restart, Step};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::resolve::{instance_term, refusal, with_pool};
use crate::term::Term;

entries! {
    restart_take/3 => take,
}

fn take(beam: &Beam, [gate, permits, step]: [Term; 3]) -> Term {
    let (Some(n), Some(step)) = (beam.env.positive_i31(permits), beam.env.u64(step)) else {
        return atoms::badarg();
    };
    with_pool(beam, gate, |gate, me| match gate.pool.take_for_restart(beam, me, n, Step::from_bits(step)) {
        Restart::Admitted => gate.admitted(beam, me, n, Kind::Bound, Ok(()), || instance_term(beam, gate.instance())),
        Restart::Refused(no) => refusal(no),
        Restart::More(step) => beam.env.tuple(&[atoms::again(), beam.env.make_u64(step.to_bits())]),
        Restart::Pause(step) => beam.env.tuple(&[atoms::pause(), beam.env.make_u64(step.to_bits())]),
        Restart::Wait(step) => beam.env.tuple(&[atoms::wait(), beam.env.make_u64(step.to_bits())]),
    })
}
