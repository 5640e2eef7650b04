//! Finds the pool that a gate argument means. Refuses a caller if that pool has passed to another
//! name since the look-up.

use penstock_core::{InstanceId, Kind, Named, NotHeld, Pid, Pool, Refusal, Started};

use crate::atoms;
use crate::handle;
use crate::host::Beam;
use crate::node::{CLOSED_POOL, REGISTRY};
use crate::term::Term;

/// Returns the registry's entry of a name. A name has an entry at least while a gate of that name
/// is open, or a process holds permits of its pools or waits for them.
#[inline(always)]
pub(crate) fn named(name: Term) -> Option<Named<'static, Beam>> {
    REGISTRY.find(name.word())
}

/// Returns `true` if the registry has forgotten a name by which a gate was once started.
#[cold]
pub(crate) fn was_forgotten(name: Term) -> bool {
    REGISTRY.was_forgotten(name.word())
}

/// Returns the closed, empty pool that stands for the pools of a name, if the registry has
/// forgotten the name.
#[cold]
fn closed_if_forgotten<'a>(gate: Term) -> Option<&'a Pool<Beam>> {
    was_forgotten(gate).then(|| &*CLOSED_POOL)
}

/// The pool that a gate meant when it was looked up.
#[derive(Clone, Copy)]
pub(crate) struct Gate<'a> {
    pub(crate) pool: &'a Pool<Beam>,
    /// The number of the pool in the registry's entry of the name; 0 for an unnamed pool.
    id: u32,
    /// The registry's entry of the name; `None` for an unnamed pool.
    named: Option<Named<'static, Beam>>,
}

impl<'a> Gate<'a> {
    /// Returns the open pool of a name that was found before.
    #[inline(always)]
    pub(crate) fn of(named: Named<'static, Beam>) -> Option<Self> {
        named.current().map(|(pool, id)| Gate { pool, id, named: Some(named) })
    }

    /// Returns `true` if the name still has the pool, or if the pool is unnamed. For a caller
    /// that holds permits of the pool, `true` stays the answer as long as it holds them.
    #[inline(always)]
    pub(crate) fn stands(&self) -> bool {
        self.named.is_none_or(Named::is_there)
    }

    /// Returns the instance number of the pool; 0 for an unnamed pool. The number does not change
    /// while the caller holds permits of the pool or waits for them.
    #[inline(always)]
    pub(crate) fn instance(&self) -> InstanceId {
        self.named.map_or(0, |named| named.instance_of(self.id))
    }

    /// Ends an acquisition of `n` permits by the caller, `me`. Returns `yes()` if the caller
    /// holds the permits and the name still has the pool. Otherwise releases the permits, if the
    /// caller holds them, and returns the refusal.
    #[inline(always)]
    pub(crate) fn admitted(
        &self,
        beam: &Beam,
        me: Pid,
        n: u32,
        kind: Kind,
        result: Result<(), Refusal>,
        yes: impl FnOnce() -> Term,
    ) -> Term {
        match result {
            Ok(()) if self.stands() => yes(),
            other => self.not_admitted(beam, me, n, kind, other),
        }
    }

    #[inline(never)]
    fn not_admitted(&self, beam: &Beam, me: Pid, n: u32, kind: Kind, result: Result<(), Refusal>) -> Term {
        match result {
            Err(no) if self.stands() => refusal(no),
            other => self.too_late(beam, me, n, kind, other.is_ok()),
        }
    }

    /// Refuses a caller whose gate has closed since the look-up. The pool may belong to another
    /// name by now, so the caller must not keep permits of it.
    #[cold]
    fn too_late(&self, beam: &Beam, me: Pid, n: u32, kind: Kind, holds: bool) -> Term {
        if holds {
            // The caller still holds the permits: only a call by the caller could have released
            // them, and the caller is inside this call.
            let _released = self.pool.release(beam, me, n, kind);
        }
        atoms::no_pool()
    }
}

/// Returns the pool that a gate means now.
#[inline(always)]
pub(crate) fn resolve<'a>(beam: &Beam, gate: Term) -> Option<Gate<'a>> {
    match named(gate) {
        Some(named) => Gate::of(named),
        None => handle::pool(beam.env, gate).map(|pool| Gate { pool, id: 0, named: None }),
    }
}

/// Returns the pool of a gate that has the instance number `instance`. The gate meant this pool
/// when the caller or its spawner acquired permits, or began to wait for them.
#[inline(always)]
pub(crate) fn resolve_instance<'a>(beam: &Beam, gate: Term, instance: Term) -> Option<&'a Pool<Beam>> {
    match instance_id(beam, instance)? {
        0 => handle::pool(beam.env, gate),
        id => of_name(gate, id),
    }
}

/// Returns the pool of a name that has the instance number `id`.
#[inline(always)]
fn of_name<'a>(name: Term, id: InstanceId) -> Option<&'a Pool<Beam>> {
    named(name).and_then(|named| named.instance(id)).or_else(|| closed_if_forgotten(name))
}

/// Returns the first pool of a name, or the pool of a handle. Nearly all work is on these pools.
/// So for them, frequently called entry points take no instance number.
#[inline(always)]
pub(crate) fn resolve_first<'a>(beam: &Beam, gate: Term) -> Option<&'a Pool<Beam>> {
    match named(gate) {
        Some(named) => named.instance(1).or_else(|| closed_if_forgotten(gate)),
        None => handle::pool(beam.env, gate).or_else(|| closed_if_forgotten(gate)),
    }
}

/// Returns the instance number that a term means.
#[inline(always)]
pub(crate) fn instance_id(beam: &Beam, instance: Term) -> Option<InstanceId> {
    if instance == atoms::ok() {
        Some(1)
    } else {
        beam.env.u64(instance)
    }
}

/// Returns the term of an instance number. That is the atom `ok` for 1, the first pool of a name,
/// because nearly all numbers are 1, and the atom saves a conversion.
#[inline(always)]
pub(crate) fn instance_term(beam: &Beam, instance: InstanceId) -> Term {
    if instance == 1 {
        atoms::ok()
    } else {
        beam.env.make_u64(instance)
    }
}

/// Calls `body` with the gate and the calling process, and returns the answer of `body`. Returns
/// `no_pool` if the gate means no open pool.
#[inline(always)]
pub(crate) fn with_pool<'a>(beam: &Beam, gate: Term, body: impl FnOnce(Gate<'a>, Pid) -> Term) -> Term {
    with_pool_by(beam, gate, beam.env.me(), body)
}

/// Does the same as [`with_pool`], for frequently called entry points. Their last argument is
/// `self()`, which is `me` here.
#[inline(always)]
pub(crate) fn with_pool_for<'a>(beam: &Beam, gate: Term, me: Term, body: impl FnOnce(Gate<'a>, Pid) -> Term) -> Term {
    with_pool_by(beam, gate, beam.env.caller(me), body)
}

#[inline(always)]
fn with_pool_by<'a>(beam: &Beam, gate: Term, me: Option<Pid>, body: impl FnOnce(Gate<'a>, Pid) -> Term) -> Term {
    match (resolve(beam, gate), me) {
        (Some(gate), Some(me)) => body(gate, me),
        (None, _) => atoms::no_pool(),
        _ => atoms::badarg(),
    }
}

/// Returns the term of the outcome of a start.
pub(crate) fn started(started: Started) -> Term {
    match started {
        Started::Fresh => atoms::fresh(),
        Started::Adopted => atoms::adopted(),
        Started::AlreadyStarted(pid) => Term::pid(pid),
    }
}

/// Returns the term of a refusal.
#[inline(always)]
pub(crate) fn refusal(refusal: Refusal) -> Term {
    match refusal {
        Refusal::Full => atoms::full(),
        Refusal::Closed => atoms::closed(),
        Refusal::Again => atoms::again(),
    }
}

/// Releases permits of the caller, and returns the answer.
#[inline(always)]
pub(crate) fn release(beam: &Beam, pool: &Pool<Beam>, me: Pid, n: u32, kind: Kind) -> Term {
    match pool.release(beam, me, n, kind) {
        Ok(()) => atoms::ok(),
        Err(NotHeld) => atoms::not_held(),
    }
}
