//! Entry points of rate limiters.

use penstock_core::{
    hit_all, whole_ms, All, Changed, Charge, Generation, Hit, Host, Key, Limiter, Limits, Progress, Reserved, NS_PER_MS,
};

use crate::atoms;
use crate::clock;
use crate::decode::{limiter_settings, rate};
use crate::entry::entries;
use crate::host::Beam;
use crate::key::tag_of_key;
use crate::node::REGISTRY;
use crate::resolve::{named, started};
use crate::term::Term;

entries! {
    rate_start/3 => start (dirty),
    rate_hit/1 => hit_global,
    rate_hit/4 => hit,
    rate_hit_all/1 => hit_several,
    rate_peek/3 => peek,
    rate_reserve/5 => reserve,
    rate_charge/4 => charge,
    rate_refund/4 => refund,
    rate_pause/4 => pause,
    rate_reset/3 => reset,
    rate_update/5 => update,
    rate_advance/2 => advance,
    rate_info/1 => info,
    rate_keys/2 => keys,
}

/// The largest number of hits in one call of `rate_hit_all`. Elixir passes no longer list. This
/// module adds up the hits of the same limiter and key, and counts them as one hit.
pub(super) const MAX_HITS: usize = 16;

fn start(beam: &Beam, [name, owner, settings]: [Term; 3]) -> Term {
    let settings = limiter_settings(beam.env, settings);
    let (true, Some(settings), Some(owner)) = (beam.env.is_atom(name), settings, beam.env.local_pid(owner)) else {
        return atoms::badarg();
    };
    REGISTRY.start_limiter(beam, name.word(), owner, settings, clock::now_ns).map_or(atoms::enomem(), started)
}

#[inline(always)]
fn limiter<'a>(name: Term) -> Option<(&'a Limiter, Generation)> {
    named(name)?.limiter()
}

/// Calls `body` with the limiter, the key and the time. Returns the answer of `body`. If there is
/// no such limiter, or if the key has no tag, returns an atom that gives the reason.
#[inline(always)]
fn with_key(beam: &Beam, [name, key, measured]: [Term; 3], body: impl FnOnce(&Limiter, Key, u64) -> Term) -> Term {
    let Some((limiter, generation)) = limiter(name) else { return atoms::no_limiter() };
    match key_of(beam, generation, key, measured) {
        Ok(key) => body(limiter, key, limiter.now(clock::now_ns)),
        Err(problem) => problem,
    }
}

#[inline(always)]
fn key_of(beam: &Beam, generation: Generation, key: Term, measured: Term) -> Result<Key, Term> {
    if key == atoms::global() {
        return Ok(Key::Global(generation));
    }
    tag_of_key(beam, generation, key, measured == atoms::measured()).map(|tag| Key::Tag(generation, tag))
}

/// Returns the term of a wait: in whole ms, rounded up, and at least 1. `wait` is in ns.
fn ms(beam: &Beam, wait: u64) -> Term {
    beam.env.make_u64(whole_ms(wait).max(1))
}

#[inline(always)]
fn hit_term(beam: &Beam, hit: Hit) -> Term {
    match hit {
        Hit::Allow(remaining) => beam.env.tuple(&[atoms::allow(), beam.env.make_u64(u64::from(remaining))]),
        Hit::Deny(wait) => beam.env.tuple(&[atoms::deny(), ms(beam, wait)]),
        Hit::Never => beam.env.tuple(&[atoms::deny(), atoms::infinity()]),
        Hit::Gone => atoms::no_limiter(),
    }
}

fn hit_global(beam: &Beam, [name]: [Term; 1]) -> Term {
    let Some((limiter, generation)) = limiter(name) else { return atoms::no_limiter() };
    hit_term(beam, limiter.hit(Key::Global(generation), limiter.now(clock::now_ns), 1))
}

fn hit(beam: &Beam, [name, key, cost, measured]: [Term; 4]) -> Term {
    let Some(cost) = beam.env.positive_i31(cost) else { return atoms::badarg() };
    with_key(beam, [name, key, measured], |limiter, key, now| hit_term(beam, limiter.hit(key, now, cost)))
}

fn hit_several(beam: &Beam, [hits]: [Term; 1]) -> Term {
    let (mut charges, mut names, mut rest) = (Vec::with_capacity(MAX_HITS), Vec::with_capacity(MAX_HITS), hits);
    while let Some((hit, tail)) = beam.env.cell(rest) {
        let Some(&[name, key, cost]) = beam.env.elements(hit) else { return atoms::badarg() };
        let Some(cost) = beam.env.positive_i31(cost).filter(|_| charges.len() < MAX_HITS) else {
            return atoms::badarg();
        };
        let Some((limiter, generation)) = limiter(name) else { return no_limiter(beam, name) };
        let Some(key) = key_of(beam, generation, key, atoms::measured()).ok() else { return atoms::badarg() };
        Charge { limiter, key, cost: Some(cost) }.add_to(&mut charges);
        if names.len() < charges.len() {
            names.push(name);
        }
        rest = tail;
    }
    if !beam.env.is_empty_list(rest) {
        return atoms::badarg();
    }
    beam.worked(charges.len() * 8);
    match hit_all(&charges, clock::now_ns) {
        All::Allowed => atoms::allow(),
        All::Denied(at, wait) => {
            let wait = wait.map_or(atoms::infinity(), |wait| ms(beam, wait));
            beam.env.tuple(&[atoms::deny(), names[at], wait])
        }
        All::Gone(at) => no_limiter(beam, names[at]),
    }
}

fn no_limiter(beam: &Beam, name: Term) -> Term {
    beam.env.tuple(&[atoms::no_limiter(), name])
}

fn peek(beam: &Beam, args: [Term; 3]) -> Term {
    with_key(beam, args, |limiter, key, now| hit_term(beam, limiter.peek(key, now, 1)))
}

/// The work of one call of `rate_update` or `rate_keys`: 20 µs, in units of some 20 ns. In a
/// large table, a walk through all places of keys takes many such calls.
const STEP: usize = 1_000;

fn reserve(beam: &Beam, [name, key, cost, timeout, measured]: [Term; 5]) -> Term {
    let patience = if timeout == atoms::infinity() {
        Some(u64::MAX)
    } else {
        beam.env.uint(timeout).map(|ms| u64::from(ms) * NS_PER_MS)
    };
    let (Some(cost), Some(patience)) = (beam.env.positive_i31(cost), patience) else { return atoms::badarg() };
    with_key(beam, [name, key, measured], |limiter, key, now| match limiter.reserve(key, now, cost, patience) {
        Reserved::In(wait) if wait > 0 && limiter.needs_fine_wait() => {
            beam.env.tuple(&[atoms::within(), beam.env.make_u64(wait)])
        }
        Reserved::In(wait) => beam.env.make_u64(whole_ms(wait)),
        Reserved::TooFar(wait) => beam.env.tuple(&[atoms::deny(), ms(beam, wait)]),
        Reserved::NoPlace(wait) => beam.env.tuple(&[atoms::no_place(), ms(beam, wait)]),
        Reserved::Never => beam.env.tuple(&[atoms::deny(), atoms::infinity()]),
        Reserved::Gone => atoms::no_limiter(),
    })
}

fn charge(beam: &Beam, [name, key, cost, measured]: [Term; 4]) -> Term {
    let Some(cost) = beam.env.positive_i31(cost) else { return atoms::badarg() };
    with_key(beam, [name, key, measured], |limiter, key, now| hit_term(beam, limiter.charge_anyway(key, now, cost)))
}

fn refund(beam: &Beam, [name, key, cost, measured]: [Term; 4]) -> Term {
    let Some(cost) = beam.env.positive_i31(cost) else { return atoms::badarg() };
    with_key(beam, [name, key, measured], |limiter, key, now| hit_term(beam, limiter.give_back(key, now, cost)))
}

fn pause(beam: &Beam, [name, key, ms, measured]: [Term; 4]) -> Term {
    let Some(ms) = beam.env.uint(ms) else { return atoms::badarg() };
    with_key(beam, [name, key, measured], |limiter, key, now| {
        if limiter.pause(key, now, u64::from(ms) * NS_PER_MS) {
            atoms::ok()
        } else {
            atoms::no_limiter()
        }
    })
}

fn reset(beam: &Beam, args: [Term; 3]) -> Term {
    with_key(beam, args, |limiter, key, _now| if limiter.reset(key) { atoms::ok() } else { atoms::no_limiter() })
}

/// Changes the rate. `limit`, `per` and `burst` are new values, or `keep`.
fn update(beam: &Beam, [name, limit, per, burst, from]: [Term; 5]) -> Term {
    let Some((limiter, generation)) = limiter(name) else { return atoms::no_limiter() };
    let change = |now: Limits| {
        let kept = |given: Term, now: u64| if given == atoms::keep() { beam.env.make_u64(now) } else { given };
        let [limit, per, burst] =
            [kept(limit, u64::from(now.limit)), kept(per, now.per_ms), kept(burst, u64::from(now.rate.burst()))];
        rate(beam.env, [limit, per, burst])
    };
    let progress = |from: &[Term]| {
        let &[change, version, at] = from else { return None };
        let at = usize::try_from(beam.env.u64(at)?).ok()?;
        Some(Progress { change: beam.env.u64(change)?, version: beam.env.u64(version)?, at })
    };
    let from = beam.env.elements(from).and_then(progress);
    beam.worked(STEP);
    match limiter.update(generation, change, limiter.now(clock::now_ns), from) {
        Changed::Yes => atoms::ok(),
        Changed::OutOfBounds => atoms::badarg(),
        Changed::Gone => atoms::no_limiter(),
        Changed::NotYet(Progress { change, version, at }) => {
            beam.env.tuple(&[change, version, at as u64].map(|number| beam.env.make_u64(number)))
        }
    }
}

fn advance(beam: &Beam, [name, by]: [Term; 2]) -> Term {
    let Some((limiter, generation)) = limiter(name) else { return atoms::no_limiter() };
    match beam.env.u64(by) {
        Some(by) if limiter.advance(generation, by) => atoms::ok(),
        _ => atoms::badarg(),
    }
}

fn info(beam: &Beam, [name]: [Term; 1]) -> Term {
    let Some((limiter, generation)) = limiter(name) else { return atoms::no_limiter() };
    let Some(info) = limiter.info(generation) else { return atoms::no_limiter() };
    let number = |n: u64| beam.env.make_u64(n);
    beam.env.map([
        (atoms::limit(), number(info.limits.limit.into())),
        (atoms::per(), number(info.limits.per_ms)),
        (atoms::burst(), number(info.limits.rate.burst().into())),
        (atoms::max_keys(), number(info.max_keys.into())),
        (atoms::memory(), number(info.memory as u64)),
        (atoms::allowed(), number(info.allowed)),
        (atoms::denied(), number(info.denied)),
    ])
}

fn keys(beam: &Beam, [name, at]: [Term; 2]) -> Term {
    let Some((limiter, generation)) = limiter(name) else { return atoms::no_limiter() };
    let Some(at) = beam.env.u64(at).and_then(|at| usize::try_from(at).ok()) else { return atoms::badarg() };
    let (keys, next) = limiter.keys(at, limiter.now(clock::now_ns));
    if !limiter.is_current(generation) {
        return atoms::no_limiter();
    }
    beam.worked(STEP);
    beam.env.tuple(&[beam.env.make_u64(keys), next.map_or(atoms::done(), |at| beam.env.make_u64(at as u64))])
}
