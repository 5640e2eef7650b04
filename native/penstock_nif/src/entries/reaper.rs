//! Entry point of the reaper, which kills overdue processes and ends timed waits.

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
