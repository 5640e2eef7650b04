//! Entry points that start gates of several limits, and report on them.

use penstock_core::{GateSettings, Outcome, MOST_MEMBERS};

use crate::atoms;
use crate::clock;
use crate::entry::entries;
use crate::host::Beam;
use crate::node::REGISTRY;
use crate::resolve::{named, resolve, started};
use crate::term::Term;

entries! {
    gate_start/4 => start,
    gate_info/1 => info,
    gate_limits/1 => limits,
    gate_count/2 => count,
}

fn start(beam: &Beam, [name, owner, members, shed_at]: [Term; 4]) -> Term {
    let mut names = [0; MOST_MEMBERS];
    let (mut at, mut rest) = (0, members);
    while let Some((member, tail)) = beam.env.cell(rest) {
        if at == MOST_MEMBERS || !beam.env.is_atom(member) {
            return atoms::badarg();
        }
        names[at] = member.word();
        (at, rest) = (at + 1, tail);
    }
    let shed_at = beam.env.uint(shed_at).filter(|&level| level <= 3);
    let (true, Some(shed_at), Some(owner)) =
        (beam.env.is_atom(name) && beam.env.is_empty_list(rest) && at > 0, shed_at, beam.env.local_pid(owner))
    else {
        return atoms::badarg();
    };
    let settings = GateSettings { members: names, shed_at };
    REGISTRY.start_gate(beam, name.word(), owner, settings, clock::now_ns).map_or(atoms::enomem(), started)
}

/// Returns the names of the limits, the pressure from which the gate sheds, and the totals.
fn info(beam: &Beam, [name]: [Term; 1]) -> Term {
    let Some((gate, generation)) = named(name).and_then(penstock_core::Named::gate) else { return atoms::no_pool() };
    let counts = gate.counts();
    let Some(settings) = gate.settings(generation) else { return atoms::no_pool() };
    let names: Vec<Term> =
        settings.members.iter().take_while(|&&name| name != 0).map(|&name| Term(name as usize)).collect();
    let counts: Vec<Term> = counts.iter().map(|&count| beam.env.make_u64(count)).collect();
    beam.env.tuple(&[beam.env.list(&names), beam.env.make_u64(settings.shed_at.into()), beam.env.list(&counts)])
}

/// Returns the limits with permits, in the order in which all callers of the VM wait for them:
/// keyed pools, then pools, each by the words of their names.
fn limits(beam: &Beam, [name]: [Term; 1]) -> Term {
    let Some((gate, generation)) = named(name).and_then(penstock_core::Named::gate) else { return atoms::no_pool() };
    let Some(mut settings) = gate.settings(generation) else { return atoms::no_pool() };
    settings.members.sort_unstable();
    let names = || settings.members.iter().filter(|&&name| name != 0).map(|&name| Term(name as usize));
    let keyed = names().filter(|&name| crate::entries::keyed::keyed(name).is_some());
    let pools = names().filter(|&name| resolve(beam, name).is_some());
    let limits: Vec<Term> = keyed
        .map(|name| beam.env.tuple(&[atoms::keyed_pool(), name]))
        .chain(pools.map(|name| beam.env.tuple(&[atoms::pool(), name])))
        .collect();
    beam.env.list(&limits)
}

/// Counts how a request ended that waited in Elixir.
fn count(beam: &Beam, [name, outcome]: [Term; 2]) -> Term {
    let outcome = beam.env.uint(outcome).and_then(|at| Outcome::ALL.get(at as usize));
    match (named(name).and_then(penstock_core::Named::gate), outcome) {
        (Some((gate, _)), Some(&outcome)) => {
            gate.count(outcome);
            atoms::ok()
        }
        (None, _) => atoms::no_pool(),
        _ => atoms::badarg(),
    }
}
