//! Entry point that returns the edges of the histograms of gates.

use penstock_core::METER_EDGES_MS;

use crate::entry::entries;
use crate::host::Beam;
use crate::term::Term;

entries! {
    meter_edges/0 => edges,
}

fn edges(beam: &Beam, []: [Term; 0]) -> Term {
    beam.env.list(&METER_EDGES_MS.map(|ms| beam.env.make_u64(ms.into())))
}
