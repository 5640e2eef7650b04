//! Entry point by which the reaper registers itself. The reaper kills overdue processes, and ends
//! waits by messages whose time is over.

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::node;
use crate::term::Term;

entries! {
    reaper_register/0 => register,
}

fn register(beam: &Beam, []: [Term; 0]) -> Term {
    let Some(me) = beam.env.me() else { return atoms::badarg() };
    node::register_reaper(me);
    atoms::ok()
}
