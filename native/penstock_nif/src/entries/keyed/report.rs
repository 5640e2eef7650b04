//! Entry points that report on keyed pools, their keys and their holders.

use penstock_core::{Host, Status};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::term::Term;

use super::{keyed, with_tag};

entries! {
    keyed_info/1 => info,
    keyed_key/3 => key,
    keyed_top/3 => top,
    keyed_holders/5 => holders,
}

/// The largest number of keys that one call of `keyed_top` returns.
const MOST_KEYS: u32 = 1_000;
/// The number of leases that one call of `keyed_holders` visits.
const MOST_LEASES: u32 = 1_000;

fn info(beam: &Beam, [name]: [Term; 1]) -> Term {
    let Some(keyed) = keyed(name) else { return atoms::no_pool() };
    let info = keyed.pool.info(beam);
    if !keyed.pool.is_current(keyed.generation) {
        return atoms::no_pool();
    }
    let status = match info.status {
        Status::Open => atoms::open(),
        Status::Draining => atoms::draining(),
        Status::Closed => return atoms::no_pool(),
    };
    let number = |n: u64| beam.env.make_u64(n);
    beam.env.map([
        (atoms::status(), status),
        (atoms::limit(), number(info.settings.limit.into())),
        (atoms::keys(), number(info.keys)),
        (atoms::max_keys(), number(info.settings.max_keys.into())),
        (atoms::in_use(), number(info.in_use)),
        (atoms::waiting(), number(info.waiting.into())),
        (atoms::max_waiting(), number(info.settings.max_waiting.into())),
        (atoms::memory(), number(info.memory as u64)),
        (atoms::acquired(), number(info.acquired)),
        (atoms::rejected(), number(info.rejected)),
        (atoms::timed_out(), number(info.timed_out)),
        (atoms::released_by_exit(), number(info.released_by_exit)),
    ])
}

fn key(beam: &Beam, args: [Term; 3]) -> Term {
    with_tag(beam, args, |keyed, tag| {
        let info = keyed.pool.key_info(tag);
        let number = |n: u32| beam.env.make_u64(n.into());
        beam.env.map([
            (atoms::in_use(), number(info.in_use)),
            (atoms::limit(), number(info.limit)),
            (atoms::waiting(), number(info.waiting)),
        ])
    })
}

fn top(beam: &Beam, [name, shard, most]: [Term; 3]) -> Term {
    let Some(keyed) = keyed(name) else { return atoms::no_pool() };
    let (Some(shard), Some(most)) = (beam.env.uint(shard), beam.env.positive_i31(most)) else {
        return atoms::badarg();
    };
    let (found, next) = keyed.pool.top(beam, shard as usize, most.min(MOST_KEYS) as usize);
    beam.worked(20 * found.len());
    let found: Vec<Term> = found
        .into_iter()
        .map(|top| {
            let key = if top.shown.is_empty() { beam.env.make_u64(top.tag) } else { beam.env.make_binary(&top.shown) };
            beam.env.tuple(&[key, beam.env.make_u64(top.permits.into()), beam.env.make_u64(top.waiting.into())])
        })
        .collect();
    let next = next.map_or(atoms::done(), |shard| beam.env.make_u64(shard as u64));
    beam.env.tuple(&[next, beam.env.list(&found)])
}

/// Returns holders of a key, and for how long each has held permits at the time `now`. The first
/// call of a walk passes nil as `now`, and reads the time. Each later call passes that time.
fn holders(beam: &Beam, [name, key, measured, from, now]: [Term; 5]) -> Term {
    let now = if now == atoms::nil() { Some(beam.now_ms()) } else { beam.env.uint(now) };
    let (Some(now), Some(from)) = (now, beam.env.uint(from)) else { return atoms::badarg() };
    with_tag(beam, [name, key, measured], |keyed, tag| {
        let (found, next) = keyed.pool.holders(beam, tag, from, MOST_LEASES);
        beam.worked(found.len() * 4);
        let found: Vec<Term> = found
            .into_iter()
            .map(|held| {
                let held_ms = u64::from(held.held_ms(now));
                beam.env.tuple(&[Term::pid(held.pid), beam.env.make_u64(held.permits), beam.env.make_u64(held_ms)])
            })
            .collect();
        let next = next.map_or(atoms::done(), |at| beam.env.make_u64(at.into()));
        beam.env.tuple(&[next, beam.env.make_u64(now.into()), beam.env.list(&found)])
    })
}
