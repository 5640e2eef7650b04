//! A change of the rate, and the migration of what keys owe from the rate before.

use crate::keyed::CellState;
use crate::reuse::Generation;
use crate::sync::{Ordering, fence, fence_after_rmw, lock};

use super::config::ConfigSnapshot;
use super::limiter::{Given, Limiter, Limits, STEP};

/// How far a change, or a count, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of the change.
    pub asked: u64,
    /// The version it began on.
    pub version: u64,
    /// The next place.
    pub at: usize,
}

/// The result of one step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is in force.
    Yes,
    /// There is more to do before that; the next step begins here.
    NotYet(Progress),
    /// No such rate is possible.
    OutOfBounds,
    /// The limiter is closed.
    Gone,
}

impl Limiter {
    /// Changes the rate: each key keeps what it owes in time, cut to the new burst.
    ///
    /// A key is cut when it is next looked at, and its parity tells whether it was. There are two
    /// parities, so all places must have that of the rate in force before another change. This
    /// migration is done in steps, each of which returns how far it has come; the first one is
    /// given `None`.
    ///
    /// # Progress
    ///
    /// A change counts from its first step on: it is applied, under the lock, to the result of
    /// the changes before it. The first caller that has migrated all places brings all changes
    /// into force that were requested by then, as if one after the other. So a caller starts over
    /// at most once: if other changes come into force while it migrates, then so does its own. A
    /// change whose caller is killed comes into force with the next one.
    pub fn update(
        &self,
        generation: Generation,
        change: impl Fn(Limits) -> Option<Limits>,
        now: u64,
        from: Option<Progress>,
    ) -> Changed {
        let mut given = lock(&self.given);
        let Some(wanted) = given.wanted.filter(|_| self.is(generation)) else { return Changed::Gone };
        let asked = match from {
            Some(progress) => progress.asked,
            None => {
                let Some(limits) = change(wanted) else { return Changed::OutOfBounds };
                if limits != wanted {
                    given.wanted = Some(limits);
                    let tolerance = limits.rate.tolerance();
                    given.cut = Some(given.cut.map_or(tolerance, |least| least.min(tolerance)));
                    given.asked += 1;
                }
                given.asked
            }
        };
        if given.done >= asked {
            return Changed::Yes;
        }
        let version = self.config.version();
        if given.migrated == version {
            self.bring_into_force(&mut given, now);
            return Changed::Yes;
        }
        drop(given);
        // Changes that came into force in between included this one.
        let at = from.filter(|progress| progress.version == version).map_or(0, |progress| progress.at);
        if let Some(at) = self.migrate(version, at, now) {
            return Changed::NotYet(Progress { asked, version, at });
        }
        let mut given = lock(&self.given);
        if !self.is(generation) {
            return Changed::Gone;
        }
        if given.done >= asked {
            return Changed::Yes;
        }
        // It comes into force in the next step, by a clock that is read then.
        if self.config.version() == version {
            given.migrated = version;
        }
        Changed::NotYet(Progress { asked, version, at: 0 })
    }

    /// Brings all requested changes into force. All places are migrated.
    fn bring_into_force(&self, given: &mut Given, now: u64) {
        if let Some(wanted) = given.wanted {
            let cut = given.cut.take().unwrap_or(wanted.rate.tolerance());
            self.config.publish(wanted.rate, now, cut);
            given.limits = Some(wanted);
        }
        given.done = given.asked;
    }

    /// Migrates at most [`STEP`] places from `at` on, and the global one, to the parity of that
    /// version, while it is in force. Returns the next place.
    fn migrate(&self, version: u64, at: usize, now: u64) -> Option<usize> {
        // ORDERING: pairs with the fence in `migrate_own`. That version has been in force since
        // before this fence, so a writer that does not see it there has written before the loads
        // below.
        fence(Ordering::SeqCst);
        let in_force = self.config.read();
        let context = in_force.context(now);
        // The version is checked after the place was loaded, as in `decide`. A TAT that has
        // passed after the cut is migrated as well: uncut, it would be ahead again under the next
        // parity.
        let migrated = |state: CellState| {
            let tat = context.tat(state).filter(|_| state.parity() != context.parity && state.tat() > Some(now))?;
            (self.config.version() == version && in_force.version == version)
                .then(|| CellState::new(tat, context.parity))
        };
        if at == 0 {
            loop {
                let (owner, bits) = self.global.load();
                let Some(state) = migrated(CellState::from_bits(bits)) else { break };
                if self.global.compare_exchange((owner, bits), (owner, state.to_bits())) {
                    break;
                }
            }
        }
        self.table.each(at, STEP, |mut seen| {
            // A place that changed meanwhile was charged or claimed under the parity in force; or
            // by a slow caller, and is looked at again.
            while let Some(state) = migrated(seen.state) {
                if seen.store(state).is_some() {
                    break;
                }
                seen = seen.reload();
            }
        })
    }

    /// Migrates a state that the caller has just written by a rate which is no longer in force.
    ///
    /// Such a writer may publish its state after `migrate` has passed the place, so it must
    /// migrate the state itself. If another writer replaced that meanwhile, nothing is done: the
    /// newer TAT stays uncut, which is strict but safe.
    #[inline]
    pub(super) fn migrate_own(
        &self,
        mut written: ConfigSnapshot,
        mut state: CellState,
        mut exchange: impl FnMut(CellState, CellState) -> Option<CellState>,
    ) {
        // ORDERING: pairs with the fence in `migrate`: either that sees the state just written,
        // or this caller sees the version.
        fence_after_rmw();
        while self.config.version() != written.version {
            written = self.config.read();
            let context = written.context(0);
            let Some(tat) = state.tat() else { return };
            let Some(moved) = exchange(state, CellState::new(context.cut(tat), context.parity)) else { return };
            state = moved;
        }
    }
}
