//! Entry points of the janitor, which continues with deferred work.

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::node;
use crate::term::Term;

entries! {
    janitor_register/0 => register,
    janitor_serve/0 => serve,
}

fn register(beam: &Beam, []: [Term; 0]) -> Term {
    let Some(me) = beam.env.me() else { return atoms::badarg() };
    node::register_janitor(beam.env, me);
    atoms::ok()
}

fn serve(beam: &Beam, []: [Term; 0]) -> Term {
    node::do_one_job(beam);
    atoms::ok()
}
