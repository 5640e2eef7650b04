//! The rate in force: every hit reads it without a lock, and an update changes it.

use crate::keyed::{Context, Parity};
use crate::sync::{AtomicU64, Ordering, fence};

use super::gcra::Rate;

/// The rate of one version of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigSnapshot {
    pub(crate) rate: Rate,
    pub(crate) version: u64,
    /// If a TAT of the previous version is later than this instant, it counts as this instant.
    cap: u64,
}

impl ConfigSnapshot {
    /// Returns the context by which states of keys are read at `now`.
    #[inline]
    pub(crate) fn context(self, now: u64) -> Context {
        Context { now, parity: Parity(self.version & 1 != 0), cap: self.cap }
    }
}

/// A double-buffered seqlock. A change writes the copy that is not in force, and then publishes
/// the version of that copy. The change after the next one overwrites that copy. A reader that
/// still reads the copy then loads another version at its end, and reads again.
#[derive(Debug, Default)]
pub(crate) struct ConfigCell {
    version: AtomicU64,
    /// The low bit of a version is the index of its copy.
    copies: [ConfigWords; 2],
}

#[derive(Debug, Default)]
struct ConfigWords {
    interval: AtomicU64,
    burst: AtomicU64,
    cap: AtomicU64,
}

impl ConfigCell {
    #[inline]
    pub(crate) fn read(&self) -> ConfigSnapshot {
        loop {
            // ORDERING: Acquire pairs with the Release in `publish`: the copy of this version is
            // complete.
            let version = self.version.load(Ordering::Acquire);
            let copy = &self.copies[version as usize & 1];
            let interval = copy.interval.load(Ordering::Relaxed);
            let burst = copy.burst.load(Ordering::Relaxed);
            let cap = copy.cap.load(Ordering::Relaxed);
            // ORDERING: pairs with the fence in `publish`. A reader of version `v` that observed
            // any store of version `v + 2` also observes a version of at least `v + 1`. So it
            // reads again.
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return ConfigSnapshot { rate: Rate::from_parts(interval, burst as u32), version, cap };
            }
        }
    }

    /// Returns the version in force.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Brings a rate into force at `now`. Cuts to `cut` ns what keys owe from the previous rate.
    /// Calls must not be concurrent.
    pub(crate) fn publish(&self, rate: Rate, now: u64, cut: u64) {
        // ORDERING: pairs with the fence in `read`: a reader that observes a store below also
        // observes the version that the change before this one published.
        fence(Ordering::Release);
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        let copy = &self.copies[version as usize & 1];
        copy.interval.store(rate.interval(), Ordering::Relaxed);
        copy.burst.store(u64::from(rate.burst()), Ordering::Relaxed);
        copy.cap.store(now + cut, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `read`; publishes the copy.
        self.version.store(version, Ordering::Release);
    }
}
