//! Entry points that report on a pool and its holders.

use penstock_core::{Cursor, Host, Pool, Status, UNLIMITED};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::resolve::{instance_term, resolve, resolve_instance};
use crate::term::Term;

entries! {
    pool_info/1 => info,
    pool_held/2 => held,
    pool_report/3 => report,
    pool_holders/6 => holders,
}

/// The number of cache lines that one call of `pool_report` reads. That takes some 50 µs. The
/// entry of each holder is one cache line.
const REPORT_LINES: usize = 2048;
/// The number of cache lines that one call of `pool_holders` reads. It is smaller than
/// [`REPORT_LINES`], because the call also makes a tuple for each holder that it returns.
const HOLDER_LINES: usize = 512;

fn info(beam: &Beam, [gate]: [Term; 1]) -> Term {
    let Some(gate) = resolve(beam, gate) else { return atoms::no_pool() };
    let info = gate.pool.info();
    if !gate.stands() {
        // The name has lost the pool since the look-up. Another name may have the pool by now, so
        // the figures may be those of that other name.
        return atoms::no_pool();
    }
    let limit = info.settings.limit;
    let status = match info.status {
        Status::Open => atoms::open(),
        Status::Draining => atoms::draining(),
        Status::Closed => atoms::closed(),
    };
    let number = |n: u64| beam.env.make_u64(n);
    beam.env.map([
        (atoms::instance(), instance_term(beam, gate.instance())),
        (atoms::status(), status),
        (atoms::limit(), if limit >= UNLIMITED { atoms::infinity() } else { number(limit) }),
        (atoms::max_waiting(), number(info.settings.max_waiting.into())),
        (atoms::in_use(), number(info.in_use)),
        (atoms::waiting(), number(info.waiting as u64)),
        (atoms::peak(), number(info.peak)),
        (atoms::granted(), number(info.granted)),
        (atoms::held_longer_than(), number(info.settings.held_longer_than.into())),
    ])
}

fn held(beam: &Beam, [gate, instance]: [Term; 2]) -> Term {
    resolve_instance(beam, gate, instance).map_or(atoms::badarg(), |pool| beam.env.make_u64(pool.info().in_use))
}

/// Decodes the pool whose holders a call walks through, and the cursor that it continues from.
fn walk<'a>(beam: &Beam, gate: Term, instance: Term, from: Term) -> Option<(&'a Pool<Beam>, Cursor)> {
    Some((resolve_instance(beam, gate, instance)?, Cursor::from_bits(beam.env.u64(from)?)))
}

fn next_term(beam: &Beam, next: Option<Cursor>) -> Term {
    next.map_or(atoms::done(), |cursor| beam.env.make_u64(cursor.to_bits()))
}

fn report(beam: &Beam, [gate, instance, from]: [Term; 3]) -> Term {
    let Some((pool, from)) = walk(beam, gate, instance, from) else { return atoms::badarg() };
    let (sums, next) = pool.report(beam, from, REPORT_LINES);
    beam.worked(sums.visited);
    let number = |n: u64| beam.env.make_u64(n);
    let sums = beam.env.map([
        (atoms::holders(), number(sums.holders)),
        (atoms::acquired(), number(sums.acquired)),
        (atoms::rejected(), number(sums.rejected)),
        (atoms::timed_out(), number(sums.timed_out)),
        (atoms::released_by_exit(), number(sums.released_by_exit)),
        (atoms::killed(), number(sums.killed)),
        (atoms::held_longer_than(), number(sums.held_longer)),
    ]);
    beam.env.tuple(&[next_term(beam, next), sums])
}

/// Returns holders that had held permits for at least `at_least` ms at the time `now`. For the
/// first call of a walk the caller passes nil as `now`. That call reads the time and returns it,
/// and the caller passes it to each later call. Unless `not_before` is nil, the call leaves out the
/// holders that began to hold before that time.
fn holders(beam: &Beam, [gate, instance, from, now, at_least, not_before]: [Term; 6]) -> Term {
    let Some((pool, from)) = walk(beam, gate, instance, from) else { return atoms::badarg() };
    let now = if now == atoms::nil() { Some(beam.now_ms()) } else { beam.env.uint(now) };
    let (Some(now), Some(at_least)) = (now, beam.env.uint(at_least)) else { return atoms::badarg() };
    let not_before = (not_before != atoms::nil()).then(|| beam.env.uint(not_before));
    if not_before == Some(None) {
        return atoms::badarg();
    }
    let (found, next) = pool.holders_since(from, HOLDER_LINES, now, at_least, not_before.flatten());
    let found: Vec<Term> = found
        .into_iter()
        .map(|holding| {
            let held_ms = u64::from(holding.held_ms(now));
            beam.env.tuple(&[Term::pid(holding.pid), beam.env.make_u64(holding.permits), beam.env.make_u64(held_ms)])
        })
        .collect();
    beam.worked(HOLDER_LINES + found.len() * 4);
    beam.env.tuple(&[next_term(beam, next), beam.env.make_u64(u64::from(now)), beam.env.list(&found)])
}
