//! Entry point that counts the unnamed pools of the node.

use crate::entry::entries;
use crate::host::Beam;
use crate::node::REGISTRY;
use crate::term::Term;

entries! {
    pools_made/0 => made,
}

fn made(beam: &Beam, []: [Term; 0]) -> Term {
    let (made, spare) = REGISTRY.count_unnamed();
    beam.env.tuple(&[made, spare].map(|n| beam.env.make_u64(n as u64)))
}
