//! Entry point that returns how many bytes the library has allocated, in a build with the feature
//! `count`. In any other build it returns nil.

use crate::entry::entries;
use crate::host::Beam;
use crate::term::Term;

entries! {
    allocated/0 => allocated,
}

#[cfg(feature = "count")]
fn allocated(beam: &Beam, []: [Term; 0]) -> Term {
    beam.env.make_u64(crate::count::bytes())
}

#[cfg(not(feature = "count"))]
fn allocated(_beam: &Beam, []: [Term; 0]) -> Term {
    crate::atoms::nil()
}
