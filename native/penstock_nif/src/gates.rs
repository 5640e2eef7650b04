//! Which pool a gate argument means.

use penstock_core::{InstanceId, Kind, Named, NotHeld, Pid, Pool, Refusal, Registry, Started};

use crate::atoms;
use crate::beam::Beam;
use crate::resources;
use crate::term::Term;

pub(crate) static REGISTRY: Registry<Beam> = Registry::new();

/// A name that ever stood for something.
#[inline(always)]
pub(crate) fn named(name: Term) -> Option<&'static Named<Beam>> {
    REGISTRY.find(name.word())
}

/// The pool that a gate is now, and which of its name's it is; an unnamed one is number 0.
#[inline(always)]
pub(crate) fn resolve<'a>(beam: &Beam, gate: Term) -> Option<(&'a Pool<Beam>, InstanceId)> {
    match named(gate) {
        Some(named) => named.pool(),
        None => resources::handle(beam.env, gate).map(|pool| (pool, 0)),
    }
}

/// The pool that a gate was when something began on it.
#[inline(always)]
pub(crate) fn resolve_instance<'a>(beam: &Beam, gate: Term, instance: Term) -> Option<&'a Pool<Beam>> {
    if instance == atoms::ok() {
        return named(gate)?.instance(1);
    }
    match beam.env.uint(instance)? {
        0 => resources::handle(beam.env, gate),
        id => named(gate)?.instance(id),
    }
}

/// The same for who has no number at hand: the first pool of a name, or the one pool of a reference.
#[inline(always)]
pub(crate) fn resolve_first<'a>(beam: &Beam, gate: Term) -> Option<&'a Pool<Beam>> {
    match named(gate) {
        Some(named) => named.instance(1),
        None => resources::handle(beam.env, gate),
    }
}

/// Which of its name's pools a term that `resolve_instance` knows means.
pub(crate) fn instance_id(beam: &Beam, instance: Term) -> InstanceId {
    if instance == atoms::ok() {
        1
    } else {
        beam.env.uint(instance).unwrap_or(0)
    }
}

/// How a pool's number is told: `ok` is the first of a name, which nearly all are, and spares a conversion.
#[inline(always)]
pub(crate) fn instance_term(beam: &Beam, instance: InstanceId) -> Term {
    if instance == 1 {
        atoms::ok()
    } else {
        beam.env.make_u64(u64::from(instance))
    }
}

/// Runs with the caller and the pool, or says that there is no such pool.
#[inline(always)]
pub(crate) fn with_pool<'a>(
    beam: &Beam,
    gate: Term,
    body: impl FnOnce(&'a Pool<Beam>, InstanceId, Pid) -> Term,
) -> Term {
    with_pool_by(beam, gate, beam.env.me(), body)
}

/// Runs `body` as [`with_pool`] does, for hot entries, whose last argument is `self()`.
#[inline(always)]
pub(crate) fn with_pool_for<'a>(
    beam: &Beam,
    gate: Term,
    me: Term,
    body: impl FnOnce(&'a Pool<Beam>, InstanceId, Pid) -> Term,
) -> Term {
    with_pool_by(beam, gate, beam.env.caller(me), body)
}

#[inline(always)]
fn with_pool_by<'a>(
    beam: &Beam,
    gate: Term,
    me: Option<Pid>,
    body: impl FnOnce(&'a Pool<Beam>, InstanceId, Pid) -> Term,
) -> Term {
    match (resolve(beam, gate), me) {
        (Some((pool, instance)), Some(me)) => body(pool, instance, me),
        (None, _) => atoms::no_pool(),
        _ => atoms::badarg(),
    }
}

/// What came of a start.
pub(crate) fn started(started: Started) -> Term {
    match started {
        Started::Fresh => atoms::fresh(),
        Started::Adopted => atoms::adopted(),
        Started::AlreadyStarted(pid) => Term::pid(pid),
    }
}

#[inline(always)]
pub(crate) fn refusal(refusal: Refusal) -> Term {
    match refusal {
        Refusal::Full => atoms::full(),
        Refusal::Closed => atoms::closed(),
        Refusal::Again => atoms::again(),
    }
}

#[inline(always)]
pub(crate) fn release(beam: &Beam, pool: &Pool<Beam>, me: Pid, n: u32, kind: Kind) -> Term {
    match pool.release(beam, me, n, kind) {
        Ok(()) => atoms::ok(),
        Err(NotHeld) => atoms::not_held(),
    }
}
