//! The rate in force, which every hit reads without a lock and an owner changes now and then.

use crate::keyed::{Context, Parity};
use crate::sync::{AtomicU64, Ordering, fence};

use super::gcra::Rate;

/// The rate in force, and the version since which it has been.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigSnapshot {
    pub(crate) rate: Rate,
    pub(crate) version: u64,
    cap: u64,
}

impl ConfigSnapshot {
    #[inline]
    pub(crate) fn context(self, now: u64) -> Context {
        Context { now, parity: Parity(self.version & 1 != 0), cap: self.cap }
    }
}

/// A double-buffered seqlock. A change writes the copy that is not in force, and then publishes
/// its version. A reader that is so slow that the next change but one overwrites its copy sees
/// another version, and reads again.
#[derive(Debug, Default)]
pub(crate) struct ConfigCell {
    version: AtomicU64,
    copies: [Copies; 2],
}

#[derive(Debug, Default)]
struct Copies {
    interval: AtomicU64,
    burst: AtomicU64,
    cap: AtomicU64,
}

impl ConfigCell {
    #[inline]
    pub(crate) fn read(&self) -> ConfigSnapshot {
        loop {
            // ORDERING: Acquire pairs with the Release in `publish`: the copy of that version is
            // complete.
            let version = self.version.load(Ordering::Acquire);
            let copy = &self.copies[version as usize & 1];
            let interval = copy.interval.load(Ordering::Relaxed);
            let burst = copy.burst.load(Ordering::Relaxed);
            let cap = copy.cap.load(Ordering::Relaxed);
            // ORDERING: pairs with the fence in `publish`: a reader that observed any store of
            // version `v + 2` also observes a version of at least `v + 1`, and retries.
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return ConfigSnapshot { rate: Rate::from_parts(interval, burst as u32), version, cap };
            }
        }
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Brings a rate into force at `now`; a key owes at most `cut` ns from before. One call at a
    /// time.
    pub(crate) fn publish(&self, rate: Rate, now: u64, cut: u64) {
        // ORDERING: pairs with the fence in `read`: the version of the last change is visible
        // before any store below.
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
