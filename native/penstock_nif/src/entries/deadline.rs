//! Entry points of deadlines. The reaper kills a process whose deadline has passed.

use penstock_core::{Ending, Host, Pid, Pool};

use crate::atoms;
use crate::clock;
use crate::entry::entries;
use crate::host::Beam;
use crate::node::{self, Admission, DEADLINES};
use crate::resolve::resolve_instance;
use crate::set::{admissions, is_set};
use crate::term::Term;

use super::spawn::resolve_offer;

entries! {
    deadline_set/3 => set,
    deadline_give/4 => give,
    deadline_end/0 => end,
    deadline_due/0 => due,
    deadline_rest/0 => rest,
}

/// The largest number of overdue processes that one call of `deadline_due` returns. Such a call
/// takes some 20 µs, and may hold a lock of the table of deadlines for all of that time.
const DUE_PER_CALL: usize = 64;

fn set(beam: &Beam, [gate, offer, ms]: [Term; 3]) -> Term {
    let pool = resolve_offer(beam, gate, offer).map(|(pool, _)| pool);
    set_for(beam, beam.env.me(), pool, [offer, ms], true)
}

fn give(beam: &Beam, [gate, instance, pid, ms]: [Term; 4]) -> Term {
    let pool = resolve_instance(beam, gate, instance);
    set_for(beam, beam.env.local_pid(pid), pool, [instance, ms], false)
}

/// Sets the deadline of a process that `pool` admitted, or the gate of the permit set `held`.
fn set_for(beam: &Beam, pid: Option<Pid>, pool: Option<&Pool<Beam>>, [held, ms]: [Term; 2], offered: bool) -> Term {
    let (Some(pid), Some(ms)) = (pid, beam.env.positive_i31(ms)) else { return atoms::badarg() };
    let admissions = match pool {
        Some(pool) => Box::new([Admission::by(pool)]) as Box<[Admission]>,
        None if is_set(beam, held) => match admissions(beam, held, offered) {
            Some(admissions) => admissions,
            None => return atoms::badarg(),
        },
        None => return atoms::badarg(),
    };
    // The clock rounds down to whole ms. One ms is added, so that no process is killed early.
    node::set_deadline(beam.env, pid, clock::exact_ms() + u64::from(ms) + 1, admissions);
    atoms::ok()
}

fn end(beam: &Beam, []: [Term; 0]) -> Term {
    match beam.env.me().map(|me| DEADLINES.end_work(me)) {
        Some(Ending::Overdue) => atoms::overdue(),
        _ => atoms::ok(),
    }
}

fn due(beam: &Beam, []: [Term; 0]) -> Term {
    let due = DEADLINES.due(clock::exact_ms(), DUE_PER_CALL, |pid, by| {
        by.iter().for_each(|admission| admission.count_killed(pid));
    });
    beam.worked(due.len() * 4);
    let pids: Vec<Term> = due.into_iter().map(Term::pid).collect();
    beam.env.list(&pids)
}

fn rest(_beam: &Beam, []: [Term; 0]) -> Term {
    if DEADLINES.rest() {
        atoms::ok()
    } else {
        atoms::again()
    }
}
