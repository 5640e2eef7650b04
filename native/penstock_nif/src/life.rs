//! Entry points of the life of a pool, and of what there is to say of it.

use penstock_core::{Changes, Drain, Host, Named, Pool, Position, Settings, Status, AS_LIMIT, UNLIMITED};

use crate::atoms;
use crate::beam::{Beam, Ticket};
use crate::deferred;
use crate::entry::entries;
use crate::gates::{instance_term, named, resolve, resolve_instance, started, was_forgotten, with_pool, REGISTRY};
use crate::resources;
use crate::term::Term;

entries! {
    pool_start/6 => start,
    pool_new/4 => new,
    gate_close/2 => close,
    pool_update/3 => update,
    pool_drain/2 => drain,
    pool_reopen/1 => reopen,
    gate_owner/1 => owner,
    gate_names/1 => names,
    gate_known/1 => known,
    pools_made/0 => pools_made,
    pool_info/1 => info,
    pool_held/2 => held,
    pool_census/3 => census,
    pool_holders/5 => holders,
    work_ms/2 => work_ms,
    janitor_register/0 => janitor_register,
    janitor_settle/0 => janitor_settle,
    metered/0 => metered,
}

/// Cache lines looked at by one call of the census: some 50 µs.
const CENSUS: usize = 2048;
/// As above, where each may become a tuple.
const HOLDERS: usize = 512;

/// 0 to 2^31-1.
fn small(beam: &Beam, term: Term) -> Option<u32> {
    beam.env.uint(term).filter(|&value| value <= 0x7FFF_FFFF)
}

fn limit(beam: &Beam, term: Term) -> Option<u64> {
    if term == atoms::infinity() {
        Some(UNLIMITED)
    } else {
        small(beam, term).map(u64::from)
    }
}

fn settings(beam: &Beam, [bound, waiting, overdraft, longer]: [Term; 4]) -> Option<Settings> {
    Some(Settings {
        limit: limit(beam, bound)?,
        max_waiting: small(beam, waiting)?,
        max_overdraft: if overdraft == atoms::limit() { AS_LIMIT } else { limit(beam, overdraft)? },
        held_longer_than: small(beam, longer)?,
    })
}

fn start(beam: &Beam, [name, owner, limit, waiting, overdraft, longer]: [Term; 6]) -> Term {
    let settings = settings(beam, [limit, waiting, overdraft, longer]);
    match (beam.env.is_atom(name), settings, beam.env.local_pid(owner)) {
        (true, Some(settings), Some(owner)) => started(REGISTRY.start(beam, name.word(), owner, settings)),
        _ => atoms::badarg(),
    }
}

fn new(beam: &Beam, given: [Term; 4]) -> Term {
    let Some(settings) = settings(beam, given) else { return atoms::badarg() };
    resources::make_handle(beam, settings)
}

fn close(beam: &Beam, [name, owner]: [Term; 2]) -> Term {
    let Some(owner) = beam.env.local_pid(owner) else { return atoms::badarg() };
    if named(name).is_some_and(|named| named.close(beam, owner)) {
        atoms::ok()
    } else {
        atoms::no_pool()
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

/// Names that one call looks at, some 150 ns each.
const NAMES: usize = 256;

fn names(beam: &Beam, [from]: [Term; 1]) -> Term {
    let Some(from) = beam.env.uint(from) else { return atoms::badarg() };
    let piece = REGISTRY.names(from as usize, NAMES);
    beam.worked(piece.looked_at * 8);
    let names: Vec<Term> = piece.names.into_iter().map(|word| Term(word as usize)).collect();
    let next = piece.next.map_or(atoms::done(), |place| beam.env.make_u64(place as u64));
    beam.env.tuple(&[next, beam.env.list(&names)])
}

fn pools_made(beam: &Beam, []: [Term; 0]) -> Term {
    let (made, spare) = REGISTRY.count_unnamed();
    beam.env.tuple(&[made, spare].map(|n| beam.env.make_u64(n as u64)))
}

/// A new value, or `keep`.
fn changed<T>(term: Term, decode: impl FnOnce(Term) -> Option<T>) -> Option<Option<T>> {
    if term == atoms::keep() {
        Some(None)
    } else {
        decode(term).map(Some)
    }
}

fn update(beam: &Beam, [gate, new_limit, waiting]: [Term; 3]) -> Term {
    let new_limit = changed(new_limit, |term| limit(beam, term));
    let waiting = changed(waiting, |term| small(beam, term));
    match (resolve(beam, gate), new_limit, waiting) {
        (None, _, _) => atoms::no_pool(),
        (Some(gate), Some(limit), Some(waiting)) => {
            let changes = Changes { limit, max_waiting: waiting, ..Changes::default() };
            if gate.pool.update_while(beam, changes, || gate.stands()) {
                atoms::ok()
            } else {
                atoms::no_pool()
            }
        }
        _ => atoms::badarg(),
    }
}

fn drain(beam: &Beam, [gate, reference]: [Term; 2]) -> Term {
    if !beam.env.is_ref(reference) {
        return atoms::badarg();
    }
    with_pool(beam, gate, |gate, me| match gate.pool.drain_while(beam, me, Ticket::new(reference), || gate.stands()) {
        None => atoms::no_pool(),
        Some(Drain::Done) => atoms::ok(),
        Some(Drain::Waiting(id)) => {
            beam.env.tuple(&[instance_term(beam, gate.instance()), beam.env.make_u64(id.to_bits())])
        }
    })
}

fn reopen(beam: &Beam, [gate]: [Term; 1]) -> Term {
    match resolve(beam, gate) {
        Some(gate) if gate.pool.reopen_while(beam, || gate.stands()) => atoms::ok(),
        Some(_) => atoms::closed(),
        None => atoms::no_pool(),
    }
}

fn info(beam: &Beam, [gate]: [Term; 1]) -> Term {
    let Some(gate) = resolve(beam, gate) else { return atoms::no_pool() };
    let info = gate.pool.info();
    if !gate.stands() {
        // It is what the pool of another name is like.
        return atoms::no_pool();
    }
    let limit = info.settings.limit;
    let status = match info.status {
        Status::Open => atoms::open(),
        Status::Draining => atoms::draining(),
        Status::Closed => atoms::closed(),
    };
    beam.env.tuple(&[
        instance_term(beam, gate.instance()),
        status,
        if limit >= UNLIMITED { atoms::infinity() } else { beam.env.make_u64(limit) },
        beam.env.make_u64(u64::from(info.settings.max_waiting)),
        beam.env.make_u64(info.in_use),
        beam.env.make_u64(info.waiting as u64),
        beam.env.make_u64(info.peak),
        beam.env.make_u64(info.granted),
        beam.env.make_u64(u64::from(info.settings.held_longer_than)),
    ])
}

fn held(beam: &Beam, [gate, instance]: [Term; 2]) -> Term {
    resolve_instance(beam, gate, instance).map_or(atoms::badarg(), |pool| beam.env.make_u64(pool.info().in_use))
}

/// Which pool, and from where on.
fn walk<'a>(beam: &Beam, gate: Term, instance: Term, from: Term) -> Option<(&'a Pool<Beam>, Position)> {
    Some((resolve_instance(beam, gate, instance)?, Position::from_bits(beam.env.u64(from)?)))
}

fn next_term(beam: &Beam, next: Option<Position>) -> Term {
    next.map_or(atoms::done(), |position| beam.env.make_u64(position.to_bits()))
}

fn census(beam: &Beam, [gate, instance, from]: [Term; 3]) -> Term {
    let Some((pool, from)) = walk(beam, gate, instance, from) else { return atoms::badarg() };
    let (sums, next) = pool.census(beam, from, CENSUS);
    beam.worked(sums.looked_at);
    beam.env.tuple(&[
        next_term(beam, next),
        beam.env.make_u64(sums.holders),
        beam.env.make_u64(sums.acquired),
        beam.env.make_u64(sums.rejected),
        beam.env.make_u64(sums.timed_out),
        beam.env.make_u64(sums.released_by_exit),
        beam.env.make_u64(sums.killed),
        beam.env.make_u64(sums.held_longer),
    ])
}

/// Of those that have held for so many ms, at a time that the first call says.
fn holders(beam: &Beam, [gate, instance, from, now, at_least]: [Term; 5]) -> Term {
    let Some((pool, from)) = walk(beam, gate, instance, from) else { return atoms::badarg() };
    let now = if now == atoms::nil() { Some(beam.now_ms()) } else { beam.env.uint(now) };
    let (Some(now), Some(at_least)) = (now, beam.env.uint(at_least)) else { return atoms::badarg() };
    let (found, next) = pool.holders_since(from, HOLDERS, now, at_least);
    let found: Vec<Term> = found
        .into_iter()
        .map(|holding| {
            let held_ms = u64::from(holding.held_ms(now));
            beam.env.tuple(&[Term::pid(holding.pid), beam.env.make_u64(holding.permits), beam.env.make_u64(held_ms)])
        })
        .collect();
    beam.worked(HOLDERS + found.len() * 4);
    beam.env.tuple(&[next_term(beam, next), beam.env.make_u64(u64::from(now)), beam.env.list(&found)])
}

/// Pools of one name that a call looks at.
const POOLS: usize = 64;

fn work_ms(beam: &Beam, [gate, pid]: [Term; 2]) -> Term {
    let Some(pid) = beam.env.local_pid(pid) else { return atoms::badarg() };
    let held = match named(gate) {
        // Also of a pool that has been closed since; and the oldest, as work may take more permits while it runs.
        Some(named) => named.pools().take(POOLS).filter_map(|pool| pool.work_ms(beam, pid)).max(),
        None => match resources::handle(beam.env, gate) {
            Some(pool) => pool.work_ms(beam, pid),
            None if was_forgotten(gate) => None,
            None => return atoms::no_pool(),
        },
    };
    held.map_or(atoms::not_held(), |ms| beam.env.make_u64(u64::from(ms)))
}

fn janitor_register(beam: &Beam, []: [Term; 0]) -> Term {
    let Some(me) = beam.env.me() else { return atoms::badarg() };
    deferred::set_janitor(beam.env, me);
    atoms::ok()
}

fn janitor_settle(beam: &Beam, []: [Term; 0]) -> Term {
    deferred::settle_one(beam);
    atoms::ok()
}

#[cfg(feature = "meter")]
fn metered(beam: &Beam, []: [Term; 0]) -> Term {
    let figures = crate::meter::figures();
    let tally = |tally: crate::meter::Tally| {
        beam.env.tuple(&[tally.count, tally.long, tally.longest].map(|n| beam.env.make_u64(n)))
    };
    beam.env.tuple(&[beam.env.atom(figures.name), tally(figures.calls), tally(figures.controls)])
}

#[cfg(not(feature = "meter"))]
fn metered(_beam: &Beam, []: [Term; 0]) -> Term {
    atoms::nil()
}
