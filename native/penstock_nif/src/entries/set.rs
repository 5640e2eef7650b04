//! Entry point of permit sets that no entry point of pools serves.

use crate::entry::entries;
use crate::host::Beam;
use crate::set;
use crate::term::Term;

entries! {
    set_offer/1 => offer,
}

fn offer(beam: &Beam, [held]: [Term; 1]) -> Term {
    set::offer(beam, held)
}
