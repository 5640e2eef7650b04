//! Entry points of gates of any kind, by their names.

mod decide;
mod limits;
mod meters;
mod start;

use penstock_core::{Host, Named};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::node::REGISTRY;
use crate::resolve::{named, resolve};
use crate::term::Term;

use super::keyed::keyed;

entries! {
    gate_close/2 => close,
    gate_kind/1 => kind,
    gate_owner/1 => owner,
    gate_known/1 => known,
    gate_names/1 => names,
}

/// The number of names that one call of `gate_names` looks at. Each name takes some 150 ns.
const NAMES_PER_CALL: usize = 256;

fn close(beam: &Beam, [name, owner]: [Term; 2]) -> Term {
    let Some(owner) = beam.env.local_pid(owner) else { return atoms::badarg() };
    if named(name).is_some_and(|named| named.close(beam, owner)) {
        atoms::ok()
    } else {
        atoms::no_pool()
    }
}

fn kind(beam: &Beam, [gate]: [Term; 1]) -> Term {
    if resolve(beam, gate).is_some_and(|gate| gate.stands()) {
        return atoms::pool();
    }
    let Some(named) = named(gate) else { return atoms::none() };
    // A limiter or ban that was closed since the look-up may serve another name by now. Then it
    // has a later generation, and `is_current` returns `false`.
    if named.limiter().is_some_and(|(limiter, generation)| limiter.is_current(generation)) {
        atoms::limiter()
    } else if named.bans().is_some_and(|(ban, generation)| ban.is_current(generation)) {
        atoms::ban()
    } else if named.gate().is_some_and(|(gate, generation)| gate.is_current(generation)) {
        atoms::gate()
    } else if keyed(gate).is_some_and(|keyed| keyed.pool.is_current(keyed.generation)) {
        atoms::keyed_pool()
    } else {
        atoms::none()
    }
}

fn owner(_beam: &Beam, [name]: [Term; 1]) -> Term {
    named(name).and_then(Named::owner).map_or(atoms::nil(), Term::pid)
}

fn known(_beam: &Beam, [name]: [Term; 1]) -> Term {
    if REGISTRY.was_started(name.word()) {
        atoms::known()
    } else {
        atoms::unknown()
    }
}

fn names(beam: &Beam, [from]: [Term; 1]) -> Term {
    let Some(from) = beam.env.uint(from) else { return atoms::badarg() };
    let piece = REGISTRY.names(from as usize, NAMES_PER_CALL);
    beam.worked(piece.visited * 8);
    let names: Vec<Term> = piece.names.into_iter().map(|word| Term(word as usize)).collect();
    let next = piece.next.map_or(atoms::done(), |place| beam.env.make_u64(place as u64));
    beam.env.tuple(&[next, beam.env.list(&names)])
}
