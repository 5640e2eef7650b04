//! Entry point that returns how long calls took, in a build with the feature `meter`. In any
//! other build it returns nil.

use crate::entry::entries;
use crate::host::Beam;
use crate::term::Term;

entries! {
    metered/0 => metered,
}

#[cfg(feature = "meter")]
fn metered(beam: &Beam, []: [Term; 0]) -> Term {
    let figures = crate::meter::figures();
    let tally = |tally: crate::meter::Tally| {
        beam.env.tuple(&[tally.count, tally.long, tally.longest].map(|n| beam.env.make_u64(n)))
    };
    beam.env.tuple(&[beam.env.atom(figures.name), tally(figures.calls), tally(figures.controls)])
}

#[cfg(not(feature = "meter"))]
fn metered(_beam: &Beam, []: [Term; 0]) -> Term {
    crate::atoms::nil()
}
