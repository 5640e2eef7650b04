//! Changes of the rate: the migration of what keys owe from one rate to the next.

use crate::keyed::CellState;
use crate::reuse::Generation;
use crate::sync::{Ordering, fence, fence_after_rmw, lock};

use super::config::ConfigSnapshot;
use super::limiter::{Changes, Limiter, Limits, STEP};

/// The progress of a change of the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of the change.
    pub change: u64,
    /// The version in force when the migration began.
    pub version: u64,
    /// The number of the next place to migrate.
    pub at: usize,
}

/// The result of one step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The change is in force.
    Yes,
    /// The change is not in force yet. The caller passes this progress to the next step.
    NotYet(Progress),
    /// No such rate is possible: `change` returned `None`.
    OutOfBounds,
    /// The generation is over: the limiter was closed, and was opened again since.
    Gone,
}

impl Limiter {
    /// Takes one step of a change of the rate. After the change, each key owes the same time as
    /// before, but no more than the new burst is worth.
    ///
    /// A TAT is cut when a caller next reads or charges its key. A bit in the state of the key,
    /// its parity, tells whether the TAT is from before the change. There are only two parities.
    /// So before the next change, all TATs ahead of the clock must get the parity of the rate in
    /// force. This migration takes many steps: a caller passes `None` as `from` first, and then
    /// the progress that the last step returned.
    ///
    /// # Progress
    ///
    /// The first step requests the change: under the lock, it applies `change` to the result of
    /// the changes requested before. The first caller that has migrated all places brings all
    /// requested changes into force, as if one after the other. So no caller starts over: if
    /// changes come into force while it migrates, its own is among them. If a caller is killed,
    /// its change comes into force with the next change.
    pub fn update(
        &self,
        generation: Generation,
        change: impl Fn(Limits) -> Option<Limits>,
        now: u64,
        from: Option<Progress>,
    ) -> Changed {
        let mut changes = lock(&self.changes);
        let Some(wanted) = changes.wanted.filter(|_| self.is_current(generation)) else { return Changed::Gone };
        let number = match from {
            Some(progress) => progress.change,
            None => {
                let Some(limits) = change(wanted) else { return Changed::OutOfBounds };
                if limits != wanted {
                    changes.wanted = Some(limits);
                    let tolerance = limits.rate.tolerance();
                    changes.cut = Some(changes.cut.map_or(tolerance, |smallest| smallest.min(tolerance)));
                    changes.requested += 1;
                }
                changes.requested
            }
        };
        if changes.applied >= number {
            return Changed::Yes;
        }
        let version = self.config.version();
        if changes.migrated == version {
            self.bring_into_force(&mut changes, now);
            return Changed::Yes;
        }
        drop(changes);
        // A caller can pass any progress. Progress on another version is void, because all places
        // must be migrated to the version in force.
        let at = from.filter(|progress| progress.version == version).map_or(0, |progress| progress.at);
        if let Some(at) = self.migrate(version, at, now) {
            return Changed::NotYet(Progress { change: number, version, at });
        }
        let mut changes = lock(&self.changes);
        if !self.is_current(generation) {
            return Changed::Gone;
        }
        if changes.applied >= number {
            return Changed::Yes;
        }
        // The next step brings the change into force, and not this one. The cap counts from the
        // `now` of that step, for which the caller reads the clock again.
        if self.config.version() == version {
            changes.migrated = version;
        }
        Changed::NotYet(Progress { change: number, version, at: 0 })
    }

    /// Brings all requested changes into force. All places must be migrated.
    fn bring_into_force(&self, changes: &mut Changes, now: u64) {
        if let Some(wanted) = changes.wanted {
            let cut = changes.cut.take().unwrap_or(wanted.rate.tolerance());
            self.config.publish(wanted.rate, now, cut);
            changes.in_force = Some(wanted);
        }
        changes.applied = changes.requested;
    }

    /// Migrates at most [`STEP`] places from number `at` on to the parity of `version`, while
    /// that version is in force. The first step migrates the global place as well. Returns the
    /// number of the next place; `None` after the last.
    fn migrate(&self, version: u64, at: usize, now: u64) -> Option<usize> {
        // ORDERING: pairs with the fence in `migrate_own` (store buffering). `version` came into
        // force before this fence. If a writer does not observe `version` after its own fence,
        // the loads below observe the state that it wrote.
        fence(Ordering::SeqCst);
        let in_force = self.config.read();
        let context = in_force.context(now);
        // The version is checked after the place was loaded, as in `decide`. A TAT of the other
        // parity migrates if it is ahead of the clock before the cut, even if the cut brings it
        // back to the clock. Otherwise the place would keep the uncut TAT and its parity. The next
        // version has that parity, so it would not cut the TAT, which would be ahead again.
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
        self.table.each(at, STEP, |mut place| {
            // If the place changed meanwhile, it is loaded and checked again, because a slow
            // caller may have charged it by an older rate.
            while let Some(state) = migrated(place.state) {
                if place.store(state).is_some() {
                    break;
                }
                place = place.reload();
            }
        })
    }

    /// Migrates a state that the caller has just written, if the rate by which it was written is
    /// no longer in force.
    ///
    /// The caller may have written its state after `migrate` passed the place, so it must migrate
    /// the state itself. If another writer replaced the state meanwhile, this call does nothing.
    /// The TAT of that writer may include this one uncut. Then the key owes more than it must,
    /// but no hit beyond the rate is allowed.
    #[inline]
    pub(super) fn migrate_own(
        &self,
        mut written: ConfigSnapshot,
        mut state: CellState,
        mut exchange: impl FnMut(CellState, CellState) -> Option<CellState>,
    ) {
        // ORDERING: pairs with the fence in `migrate` (store buffering): `migrate` observes the
        // state just written, or this caller observes the new version, or both.
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
