//! The entry point of the library itself.

use crate::entry::entries;
use crate::host::Beam;
use crate::term::Term;
use crate::{ask, atoms, handle};

entries! {
    library_keep/0 => keep,
}

fn keep(beam: &Beam, []: [Term; 0]) -> Term {
    let Some(me) = beam.env.me() else { return atoms::badarg() };
    handle::pin();
    ask::pin(me);
    atoms::ok()
}
