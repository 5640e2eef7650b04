//! Entry points of gates of any kind, by their names.

use penstock_core::{whole_ms, Banned, Generation, Hit, Host, Key, Kind, Named, PoolKey};

use crate::atoms;
use crate::clock;
use crate::entry::entries;
use crate::host::Beam;
use crate::key::{hash_key, hash_with_bytes, Shown};
use crate::node::REGISTRY;
use crate::resolve::{named, resolve};
use crate::set;
use crate::term::Term;

use super::keyed::keyed;

entries! {
    gate_take/6 => take,
    gate_close/2 => close,
    gate_kind/1 => kind,
    gate_owner/1 => owner,
    gate_known/1 => known,
    gate_names/1 => names,
}

/// The number of names that one call of `gate_names` looks at. Each name takes some 150 ns.
const NAMES_PER_CALL: usize = 256;

/// Asks a gate that is no pool to admit the caller, which does not wait.
///
/// Returns the permit set that the caller holds from then on: for `way` `run`, the permits are
/// bound to the caller; for `spawn`, they are offered to a child. Returns an atom or a tuple that
/// gives the reason if the gate refuses, or if there is no such gate. `measured` is `no_key` for a
/// request without a key.
fn take(beam: &Beam, [gate, way, key, permits, cost, measured]: [Term; 6]) -> Term {
    let (Some(n), Some(cost)) = (beam.env.positive_i31(permits), beam.env.positive_i31(cost)) else {
        return atoms::badarg();
    };
    let Some(named) = named(gate) else { return atoms::no_pool() };
    let keyless = measured == atoms::no_key();
    let measured = measured == atoms::measured();
    if let Some((limiter, generation)) = named.limiter() {
        let key = if keyless { atoms::global() } else { key };
        return match limited_key(beam, generation, key, measured) {
            Ok(key) => admit_by_limiter(beam, limiter.hit(key, limiter.now(clock::now_ns), cost)),
            Err(problem) => problem,
        };
    }
    if keyless {
        return if named.bans().is_some() || named.keyed().is_some() { atoms::no_key() } else { atoms::no_pool() };
    }
    let (hash, bytes) = match hash_with_bytes(beam, key, measured) {
        Ok(hashed) => hashed,
        Err(problem) => return problem,
    };
    if let Some((ban, generation)) = named.bans() {
        let banned = ban.check(hash.tag(generation), ban.now(clock::now_ns));
        return match banned {
            _ if !ban.is_current(generation) => atoms::no_pool(),
            Banned::No => beam.env.list(&[]),
            Banned::For(left) => super::ban::banned(beam, left),
        };
    }
    let (Some(keyed), Some(me)) = (keyed(gate), beam.env.me()) else { return atoms::no_pool() };
    let show = Shown::of(beam, key, bytes);
    let key = PoolKey { generation: keyed.generation, tag: hash.wide_tag(), show: &show };
    match keyed.pool.try_acquire(beam, me, key, n, Kind::Bound) {
        Ok(lease) => {
            let set = beam.env.list(&[keyed.part(beam, lease, n)]);
            if way == atoms::spawn() {
                set::offer(beam, set)
            } else {
                set
            }
        }
        Err(no) => keyed.refusal(no),
    }
}

fn admit_by_limiter(beam: &Beam, hit: Hit) -> Term {
    match hit {
        Hit::Allow(_) => beam.env.list(&[]),
        Hit::Deny(wait) => beam.env.tuple(&[atoms::rate_limited(), beam.env.make_u64(whole_ms(wait).max(1))]),
        Hit::Never => beam.env.tuple(&[atoms::rate_limited(), atoms::infinity()]),
        Hit::Gone => atoms::no_pool(),
    }
}

/// Returns the key of a hit; `global` stands for the hits without a key.
fn limited_key(beam: &Beam, generation: Generation, key: Term, measured: bool) -> Result<Key, Term> {
    if key == atoms::global() {
        return Ok(Key::Global(generation));
    }
    Ok(Key::Tag(generation, hash_key(beam, key, measured)?.tag(generation)))
}

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
