//! A change of the rate, and the migration of what keys owe from the rate before.

use crate::keyed::CellState;
use crate::reuse::Generation;
use crate::sync::{Ordering, fence, fence_after_rmw, lock};

use super::config::ConfigSnapshot;
use super::limiter::{Given, Limiter, Limits, STEP};

/// How far a change, or a count, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which change it is.
    pub asked: u64,
    /// What it began on.
    pub version: u64,
    /// The next place.
    pub at: usize,
}

/// What came of a step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is in force.
    Yes,
    /// There is more to do before that: go on from here.
    NotYet(Progress),
    /// There is no such rate.
    OutOfBounds,
    /// The limiter is closed.
    Gone,
}

impl Limiter {
    /// Changes the rate: each key keeps what it owes in time, cut to the new burst.
    ///
    /// A key is cut when it is next looked at, and its parity tells whether it was. There are two
    /// eras, so before another change all places must be of the last. That is done in steps, each
    /// of which returns how far it has come. Begin with `None`.
    ///
    /// # Progress
    ///
    /// A change counts from its first step on: it is applied to what the changes before it come
    /// to, under the lock. The first caller that has settled all places brings all changes into
    /// force that were asked for by then, as if one after the other. So a caller starts over at
    /// most once: if others come into force while it settles, then so does its own. A change
    /// whose caller is killed comes into force with the next.
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
        // Changes that came into force in between had this one with them.
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

    /// Brings all changes into force that were asked for. All places are settled.
    fn bring_into_force(&self, given: &mut Given, now: u64) {
        if let Some(wanted) = given.wanted {
            let cut = given.cut.take().unwrap_or(wanted.rate.tolerance());
            self.config.publish(wanted.rate, now, cut);
            given.limits = Some(wanted);
        }
        given.done = given.asked;
    }

    /// Has the places from `at` on, some of them, and the global one, be of the parity of that version, as long as it is in force.
    fn migrate(&self, version: u64, at: usize, now: u64) -> Option<usize> {
        // ORDERING: pairs with the fence in `migrate_own`. That version is in force since before; so whoever does not see it there has
        // written before this what is looked at after it.
        fence(Ordering::SeqCst);
        let in_force = self.config.read();
        let context = in_force.context(now);
        // As in `decide`, asked after a place was looked at. Also if what is left of it after the cut has passed: uncut, it would be
        // ahead again in the next parity.
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
            // A place that is lost to another was charged, or claimed, in the parity in force; or by one that was slow, and is
            // looked at again.
            while let Some(state) = migrated(seen.state) {
                if seen.store(state).is_some() {
                    break;
                }
                seen = seen.again();
            }
        })
    }

    /// Whoever wrote a state by a rate that is in force no more may have come after all were brought to the parity of the next: then it does
    /// that for its own. If somebody else was there meanwhile, it stays; what is owed is then what was allowed, uncut.
    #[inline]
    pub(super) fn migrate_own(
        &self,
        mut written: ConfigSnapshot,
        mut state: CellState,
        mut exchange: impl FnMut(CellState, CellState) -> Option<CellState>,
    ) {
        // ORDERING: pairs with the fence in `migrate`. What was just written is seen there, or the version here.
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
