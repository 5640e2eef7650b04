//! Entry points of keyed pools.

mod lifecycle;
mod permits;
mod report;

use penstock_core::{Generation, KeyRefusal, KeyTag, KeyedId, KeyedPool, LeaseId, Named, Pid, PoolKey};

use crate::atoms;
use crate::host::Beam;
use crate::key::HashedKey;
use crate::resolve::named;
use crate::term::Term;

/// The keyed pool that a name stands for.
#[derive(Clone, Copy)]
pub(crate) struct Keyed<'a> {
    pub(crate) pool: &'a KeyedPool<Beam>,
    /// The number of the pool in the registry.
    pub(crate) id: KeyedId,
    pub(crate) generation: Generation,
}

/// Returns the keyed pool that a name stands for now.
#[inline(always)]
pub(crate) fn keyed<'a>(name: Term) -> Option<Keyed<'a>> {
    Keyed::of(named(name)?)
}

/// Calls `body` with the keyed pool, the key and the caller, and returns the answer of `body`.
/// Returns an atom that gives the reason if there is no such pool, or if the key has no tag.
#[inline(always)]
fn with_key(
    beam: &Beam,
    [name, key, measured]: [Term; 3],
    body: impl FnOnce(Keyed<'_>, PoolKey<'_>, Pid) -> Term,
) -> Term {
    let (Some(keyed), Some(me)) = (keyed(name), beam.env.me()) else { return atoms::no_pool() };
    match HashedKey::of(beam, key, measured == atoms::measured()) {
        Ok(key) => {
            let show = key.shown(beam);
            body(keyed, PoolKey { generation: keyed.generation, tag: key.wide_tag, show: &show }, me)
        }
        Err(problem) => problem,
    }
}

/// Calls `body` with the keyed pool and the tag of the key.
#[inline(always)]
fn with_tag(beam: &Beam, [name, key, measured]: [Term; 3], body: impl FnOnce(Keyed<'_>, KeyTag) -> Term) -> Term {
    let Some(keyed) = keyed(name) else { return atoms::no_pool() };
    match HashedKey::of(beam, key, measured == atoms::measured()) {
        Ok(key) => body(keyed, key.wide_tag),
        Err(problem) => problem,
    }
}

impl Keyed<'_> {
    /// Returns the keyed pool of a name that was found before.
    #[inline(always)]
    pub(crate) fn of(named: Named<'static, Beam>) -> Option<Self> {
        let (pool, id, generation) = named.keyed()?;
        Some(Keyed { pool, id, generation })
    }

    /// Returns the term of a refusal.
    pub(crate) fn refusal(self, no: KeyRefusal) -> Term {
        match no {
            KeyRefusal::KeyFull => atoms::key_full(),
            KeyRefusal::TableFull => atoms::table_full(),
            KeyRefusal::Closed if self.pool.is_current(self.generation) => atoms::closed(),
            // The name has lost the pool since the look-up, and the pool has another name.
            KeyRefusal::Closed => atoms::no_pool(),
            KeyRefusal::Again => atoms::again(),
        }
    }

    /// Returns the part of a permit set: `n` permits in a lease.
    pub(crate) fn part(self, beam: &Beam, lease: LeaseId, n: u32) -> Term {
        let [number, lease, n] = [u64::from(self.id), lease.to_bits(), n.into()].map(|word| beam.env.make_u64(word));
        beam.env.tuple(&[number, lease, n])
    }
}
