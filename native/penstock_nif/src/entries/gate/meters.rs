//! Entry point that returns the figures of a gate for its metrics.

use penstock_core::{Histogram, Named};

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
    if named.pool().is_some() {
        beam.env.map([
            opening,
            (atoms::hold(), histogram(beam, &Histogram::default())),
            (atoms::wait(), histogram(beam, &Histogram::default())),
            (
                atoms::refused(),
                beam.env.map([
                    (atoms::full(), number(0)),
                    (atoms::queue_full(), number(0)),
                    (atoms::closed(), number(0)),
                ]),
            ),
            (atoms::overdrawn(), number(0)),
            (atoms::killed(), number(0)),
        ])
    } else if named.keyed().is_some() {
        beam.env.map([
            opening,
            (atoms::hold(), histogram(beam, &Histogram::default())),
            (atoms::wait(), histogram(beam, &Histogram::default())),
            (
                atoms::refused(),
                beam.env.map([
                    (atoms::key_full(), number(0)),
                    (atoms::table_full(), number(0)),
                    (atoms::queue_full(), number(0)),
                    (atoms::closed(), number(0)),
                ]),
            ),
            (atoms::overdrawn(), number(0)),
            (atoms::killed(), number(0)),
        ])
    } else if named.bans().is_some() {
        beam.env.map([opening, (atoms::banned(), number(0))])
    } else {
        beam.env.map([opening])
    }
}

/// Returns the counts of the buckets as a list, and the sum in ms.
fn histogram(beam: &Beam, histogram: &Histogram) -> Term {
    let counts = histogram.counts.map(|count| beam.env.make_u64(count));
    beam.env.tuple(&[beam.env.list(&counts), beam.env.make_u64(histogram.sum_ms)])
}
