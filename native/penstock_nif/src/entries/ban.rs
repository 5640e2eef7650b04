//! Entry points of ban lists.

use penstock_core::{whole_ms, Ban, Banned, Failure, Generation, Host, Listed, FOREVER};

use crate::atoms;
use crate::clock;
use crate::decode::{ban_ms, ban_settings};
use crate::entry::entries;
use crate::host::Beam;
use crate::key::tag_of_key;
use crate::node::REGISTRY;
use crate::resolve::{named, started};
use crate::term::Term;

entries! {
    ban_start/3 => start (dirty),
    ban_check/3 => check,
    ban_record/3 => record,
    ban_put/5 => put,
    ban_remove/3 => remove,
    ban_list/2 => list,
    ban_count/2 => count,
    ban_info/1 => info,
    ban_advance/2 => advance,
}

/// The largest size of a key, and of a reason, that a ban keeps, in bytes of the external term
/// format.
pub(super) const LARGEST_KEPT: usize = 256;
/// The number of bans that one call of `ban_list` looks at. It is smaller than [`COUNTED`],
/// because the call makes up to two binaries and a tuple for each ban in force.
const LISTED: usize = 128;
/// The number of bans that one call of `ban_count` looks at. That takes some 20 µs.
const COUNTED: usize = 1_000;

fn start(beam: &Beam, [name, owner, settings]: [Term; 3]) -> Term {
    let settings = ban_settings(beam.env, settings);
    let (true, Some(settings), Some(owner)) = (beam.env.is_atom(name), settings, beam.env.local_pid(owner)) else {
        return atoms::badarg();
    };
    REGISTRY.start_bans(beam, name.word(), owner, settings, clock::now_ns).map_or(atoms::enomem(), started)
}

#[inline(always)]
fn ban<'a>(name: Term) -> Option<(&'a Ban, Generation)> {
    named(name)?.bans()
}

/// Calls `body` with the ban list, its generation, the tag of the key and the time. Returns the
/// answer of `body`. If there is no such ban list, or if the key has no tag, returns an atom that
/// gives the reason.
#[inline(always)]
fn with_key(
    beam: &Beam,
    [name, key, measured]: [Term; 3],
    body: impl FnOnce(&Ban, Generation, u64, u64) -> Term,
) -> Term {
    let Some((ban, generation)) = ban(name) else { return atoms::no_ban() };
    let tag = match tag_of_key(beam, generation, key, measured == atoms::measured()) {
        Ok(tag) => tag,
        Err(problem) => return problem,
    };
    let answer = body(ban, generation, tag, ban.now(clock::now_ns));
    if ban.is_current(generation) {
        return answer;
    }
    // The ban list was closed meanwhile, and a later ban list may use its memory by now. If this
    // call has made a ban, the ban may be in that list, so it must go.
    ban.unban(tag);
    atoms::no_ban()
}

/// Returns the term of the time that is left of a ban: in ms, at least 1, or `infinity`. `left`
/// is in ns.
fn left_ms(beam: &Beam, left: u64) -> Term {
    if left == FOREVER {
        atoms::infinity()
    } else {
        beam.env.make_u64(whole_ms(left).max(1))
    }
}

pub(crate) fn banned(beam: &Beam, left: u64) -> Term {
    beam.env.tuple(&[atoms::banned(), left_ms(beam, left)])
}

fn check(beam: &Beam, args: [Term; 3]) -> Term {
    with_key(beam, args, |ban, _generation, tag, now| match ban.check(tag, now) {
        Banned::No => atoms::ok(),
        Banned::For(left) => banned(beam, left),
    })
}

/// Returns the encoding of a term; `None` if the encoding is too large to keep. The term is an
/// atom, or a key that is small enough to have a tag, so the encoding takes a short time.
fn kept(beam: &Beam, term: Term) -> Option<Box<[u8]>> {
    beam.env.external(term).filter(|bytes| bytes.len() <= LARGEST_KEPT).map(Vec::into_boxed_slice)
}

fn record(beam: &Beam, [name, key, measured]: [Term; 3]) -> Term {
    with_key(beam, [name, key, measured], |ban, generation, tag, now| {
        let told = || (kept(beam, key).unwrap_or_default(), kept(beam, atoms::failures()).unwrap_or_default());
        match ban.record(generation, tag, now, told) {
            (Failure::Left(left), _) => beam.env.tuple(&[atoms::ok(), beam.env.make_u64(u64::from(left))]),
            (Failure::Banned(left), None) => banned(beam, left),
            (Failure::Banned(left), Some(level)) => {
                beam.env.tuple(&[atoms::banned(), left_ms(beam, left), beam.env.make_u64(u64::from(level))])
            }
        }
    })
}

fn put(beam: &Beam, [name, key, ms, reason, measured]: [Term; 5]) -> Term {
    let Some(ms) = ban_ms(beam.env, ms) else { return atoms::badarg() };
    let Some(reason) = beam.env.binary(reason).filter(|bytes| bytes.len() <= LARGEST_KEPT) else {
        return atoms::badarg();
    };
    with_key(beam, [name, key, measured], |ban, generation, tag, now| {
        ban.ban(generation, tag, now, ms, kept(beam, key).unwrap_or_default(), reason.into());
        atoms::ok()
    })
}

fn remove(beam: &Beam, args: [Term; 3]) -> Term {
    with_key(beam, args, |ban, _generation, tag, _now| {
        ban.unban(tag);
        atoms::ok()
    })
}

fn list(beam: &Beam, [name, from]: [Term; 2]) -> Term {
    let Some((ban, generation)) = ban(name) else { return atoms::no_ban() };
    let Some(from) = beam.env.u64(from) else { return atoms::badarg() };
    let (found, next) = ban.list(from, ban.now(clock::now_ns), LISTED);
    if !ban.is_current(generation) {
        return atoms::no_ban();
    }
    beam.worked(LISTED + 20 * found.len());
    let found: Vec<Term> = found.into_iter().map(|listed| listed_term(beam, listed)).collect();
    beam.env.tuple(&[next.map_or(atoms::done(), |next| beam.env.make_u64(next)), beam.env.list(&found)])
}

fn count(beam: &Beam, [name, from]: [Term; 2]) -> Term {
    let Some((ban, generation)) = ban(name) else { return atoms::no_ban() };
    let Some(from) = beam.env.u64(from) else { return atoms::badarg() };
    let (count, next) = ban.count(from, ban.now(clock::now_ns), COUNTED);
    if !ban.is_current(generation) {
        return atoms::no_ban();
    }
    beam.worked(COUNTED);
    beam.env.tuple(&[beam.env.make_u64(count), next.map_or(atoms::done(), |next| beam.env.make_u64(next))])
}

/// Returns the term of one ban of the list. If the key was too large to keep, the term has the
/// hash of the key instead.
fn listed_term(beam: &Beam, listed: Listed) -> Term {
    let key = if listed.key.is_empty() { beam.env.make_u64(listed.tag) } else { beam.env.make_binary(&listed.key) };
    beam.env.tuple(&[
        key,
        left_ms(beam, listed.left),
        beam.env.make_binary(&listed.reason),
        beam.env.make_u64(u64::from(listed.level)),
    ])
}

fn info(beam: &Beam, [name]: [Term; 1]) -> Term {
    let Some((ban, generation)) = ban(name) else { return atoms::no_ban() };
    let info = ban.info();
    if !ban.is_current(generation) {
        return atoms::no_ban();
    }
    let settings = info.settings;
    let number = |n: u64| beam.env.make_u64(n);
    beam.env.map([
        (atoms::failures(), number(settings.failures.into())),
        (atoms::within(), number(settings.within_ms.into())),
        (atoms::ban_for(), if settings.ban_ms == 0 { atoms::infinity() } else { number(settings.ban_ms.into()) }),
        (atoms::escalate(), number(settings.escalate.into())),
        (atoms::max_ban(), number(settings.max_ban_ms.into())),
        (atoms::forget_after(), number(settings.forget_ms.into())),
        (atoms::max_keys(), number(settings.max_keys.into())),
        (atoms::max_bans(), number(settings.max_bans.into())),
        (atoms::memory(), number(info.memory as u64)),
        (atoms::dropped(), number(info.dropped)),
    ])
}

fn advance(beam: &Beam, [name, by]: [Term; 2]) -> Term {
    let Some((ban, generation)) = ban(name) else { return atoms::no_ban() };
    match beam.env.u64(by) {
        Some(by) if ban.advance(generation, by) => atoms::ok(),
        _ => atoms::badarg(),
    }
}
