//! The rate in force, read by every hit without a lock and changed now and then.

use crate::keyed::{Context, Parity};
use crate::sync::{AtomicU64, Ordering, fence};

use super::gcra::Rate;

/// The rate, and since when it has been in force.
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

/// Two copies. A change writes the one that is not in force, and then says that it is. A reader who was so slow that its copy is being
/// written for the change after that sees that there was one, and reads again.
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
            // ORDERING: Acquire pairs with the Release in `publish`: the copy is as that wrote it.
            let version = self.version.load(Ordering::Acquire);
            let copy = &self.copies[version as usize & 1];
            let interval = copy.interval.load(Ordering::Relaxed);
            let burst = copy.burst.load(Ordering::Relaxed);
            let cap = copy.cap.load(Ordering::Relaxed);
            // ORDERING: pairs with the fence in `publish`: whoever read what the next but one change wrote sees that there was the next.
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

    /// One at a time. At `now`; a key owes at most `cut` ns from before.
    pub(crate) fn publish(&self, rate: Rate, now: u64, cut: u64) {
        // ORDERING: pairs with the fence in `read`: that the last change is in force is seen before what is written now.
        fence(Ordering::Release);
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        let copy = &self.copies[version as usize & 1];
        copy.interval.store(rate.interval(), Ordering::Relaxed);
        copy.burst.store(u64::from(rate.burst()), Ordering::Relaxed);
        copy.cap.store(now + cut, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `read`.
        self.version.store(version, Ordering::Release);
    }
}
