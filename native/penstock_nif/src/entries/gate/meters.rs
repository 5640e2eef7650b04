//! Entry point that returns the figures of a gate for its metrics.

use penstock_core::{Histogram, KeyedMeters, Named, PoolMeters};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::resolve::named;
use crate::term::Term;

entries! {
    gate_meters/1 => meters,
}

fn meters(beam: &Beam, [name]: [Term; 1]) -> Term {
    let Some(named) = named(name) else { return atoms::no_gate() };
    let Some(opening) = named.opening() else { return atoms::no_gate() };
    let figures = figures(beam, named, opening);
    // If the name has lost the gate since, the figures may be those of another name's gate. At one
    // instant in between, the name had no gate.
    if named.opening() == Some(opening) {
        figures
    } else {
        atoms::no_gate()
    }
}

fn figures(beam: &Beam, named: Named<'_, Beam>, opening: u64) -> Term {
    let number = |n: u64| beam.env.make_u64(n);
    let opening = (atoms::opening(), number(opening));
    // The figures that pools and keyed pools have in common.
    let of_permits = |hold: &Histogram, wait: &Histogram, refused: Term, overdrawn: u64, killed: u64| {
        beam.env.map([
            opening,
            (atoms::hold(), histogram(beam, hold)),
            (atoms::wait(), histogram(beam, wait)),
            (atoms::refused(), refused),
            (atoms::overdrawn(), number(overdrawn)),
            (atoms::killed(), number(killed)),
        ])
    };
    if let Some((pool, _)) = named.pool() {
        let PoolMeters { hold, wait, refused, overdrawn, killed } = pool.meters(beam);
        let refused = beam.env.map([
            (atoms::full(), number(refused.full)),
            (atoms::queue_full(), number(refused.queue_full)),
            (atoms::closed(), number(refused.closed)),
        ]);
        of_permits(&hold, &wait, refused, overdrawn, killed)
    } else if let Some((pool, ..)) = named.keyed() {
        let KeyedMeters { hold, wait, refused, overdrawn, killed } = pool.meters(beam);
        let refused = beam.env.map([
            (atoms::key_full(), number(refused.key_full)),
            (atoms::table_full(), number(refused.table_full)),
            (atoms::queue_full(), number(refused.queue_full)),
            (atoms::closed(), number(refused.closed)),
        ]);
        of_permits(&hold, &wait, refused, overdrawn, killed)
    } else if let Some((ban, _)) = named.bans() {
        beam.env.map([opening, (atoms::banned(), number(ban.put()))])
    } else {
        beam.env.map([opening])
    }
}

/// Returns the counts of the buckets as a list, and the sum in ms.
fn histogram(beam: &Beam, histogram: &Histogram) -> Term {
    let counts = histogram.counts.map(|count| beam.env.make_u64(count));
    beam.env.tuple(&[beam.env.list(&counts), beam.env.make_u64(histogram.sum_ms)])
}
