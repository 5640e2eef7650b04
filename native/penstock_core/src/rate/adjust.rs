//! What changes the state of a key other than a hit: charges for work that is over, refunds,
//! pauses, resets, and charges that may be taken back.

use crate::keyed::CellState;
use crate::sync::{AtomicU64, Ordering};
use crate::time::LATEST;

use super::gcra::{Rate, Verdict};
use super::limiter::{Hit, Key, Limiter, Obstacle, RESETS};

/// A charge that may be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tentative {
    /// The TAT after it.
    tat: u64,
    cost: u32,
    version: u64,
    resets: Option<u64>,
}

impl Limiter {
    /// Charges the key as an allowed hit does, to be taken back perhaps; does not count it yet.
    /// Returns `None` if the hit is not allowed.
    pub(crate) fn try_charge(&self, key: Key, now: u64, cost: u32) -> Option<Tentative> {
        if self.paused_until(key, now).is_some() {
            return None;
        }
        let [began, ended] = self.resets_of(key);
        let (ended, version) = (ended.load(Ordering::Relaxed), self.config.version());
        // `None` while a reset is under way.
        let resets = Some(began.load(Ordering::Relaxed)).filter(|&began| began == ended);
        let outcome = self.decide(key, now, |rate, tat| match rate.hit(tat, now, cost) {
            Verdict::Allow { tat, .. } => (Some(tat), Some(Tentative { tat, cost, version, resets })),
            _ => (None, None),
        });
        outcome.unwrap_or(None)
    }

    /// Takes back what is left of a charge. What has already run out may have made room for other
    /// hits.
    ///
    /// Returns `false` if nothing was taken back, as the rate was changed since, or a key was
    /// reset: the charge may have been cut, or cleared.
    pub(crate) fn take_back(&self, key: Key, now: u64, charge: Tentative) -> bool {
        let outcome = self.decide(key, now, |rate, tat| {
            let untouched = self.config.version() == charge.version
                && charge.resets == Some(self.resets_of(key)[0].load(Ordering::Relaxed));
            let left = charge.tat.saturating_sub(now);
            match rate.charge(charge.cost).filter(|_| untouched).map(|whole| whole.min(left)) {
                None => (None, false),
                Some(0) => (None, true),
                Some(refund) => (tat.checked_sub(refund), true),
            }
        });
        // A limiter that is gone has nothing to take back.
        outcome.unwrap_or(true)
    }

    /// Charges the key for work that is over, even beyond the burst, and returns what the next
    /// hit would find. A key without a place is not charged if none is free; no hit of it is
    /// allowed either.
    pub fn charge_anyway(&self, key: Key, now: u64, cost: u32) -> Hit {
        self.correct(key, now, |rate, tat| Some(rate.charge_anyway(tat, now, cost)))
    }

    /// Refunds a part of what the key was charged, but never more than it owes, and returns what
    /// the next hit would find.
    pub fn give_back(&self, key: Key, now: u64, cost: u32) -> Hit {
        let [began, ended] = self.resets_of(key);
        // Counts as a reset: this may refund what `hit_all` charged meanwhile, which must not be
        // taken back there as well.
        began.fetch_add(1, Ordering::Relaxed);
        // What has passed is not refunded.
        let hit = self.correct(key, now, |rate, tat| (tat > now).then(|| rate.give_back(tat, cost).max(now)));
        ended.fetch_add(1, Ordering::Relaxed);
        hit
    }

    fn correct(&self, key: Key, now: u64, change: impl Fn(Rate, u64) -> Option<u64>) -> Hit {
        let outcome = self.decide(key, now, |rate, tat| {
            let changed = change(rate, tat);
            let next = match rate.hit(changed.unwrap_or(tat), now, 1) {
                Verdict::Allow { remaining, .. } => Hit::Allow(remaining),
                Verdict::Deny { wait } => Hit::Deny(wait),
                Verdict::Never => Hit::Never,
            };
            (changed, next)
        });
        let hit = match outcome {
            Ok(hit) => hit,
            Err(Obstacle::Full { until, .. }) => Hit::Deny(until.saturating_sub(now).max(1)),
            Err(Obstacle::Gone) => return Hit::Gone,
        };
        match (self.paused_until(key, now), hit) {
            (Some(until), Hit::Allow(_)) => Hit::Deny(until - now),
            (Some(until), Hit::Deny(wait)) => Hit::Deny(wait.max(until - now)),
            _ => hit,
        }
    }

    /// Denies every hit of the key for `ns` from `now`, even if it owes nothing. Returns `false`
    /// if the limiter is closed.
    pub fn pause(&self, key: Key, now: u64, ns: u64) -> bool {
        let until = now.saturating_add(ns).min(LATEST);
        self.pauses.pause(key.tag(), now, until, || self.is(key.generation()))
    }

    /// Clears what the key owes. Returns `false` if the limiter is closed.
    pub fn reset(&self, key: Key) -> bool {
        let [began, ended] = self.resets_of(key);
        // Before the clearing: a caller that sees the key cleared sees that a reset began.
        began.fetch_add(1, Ordering::Relaxed);
        let reset = self.clear_key(key);
        if reset {
            self.pauses.end(key.tag());
        }
        // After the clearing: a charge in between was perhaps cleared.
        ended.fetch_add(1, Ordering::Relaxed);
        reset
    }

    fn resets_of(&self, key: Key) -> &[AtomicU64; 2] {
        match key {
            Key::Global(_) => &self.resets[0],
            Key::Tag(_, tag) => &self.resets[tag as usize % RESETS],
        }
    }

    fn clear_key(&self, key: Key) -> bool {
        match key {
            Key::Global(generation) => loop {
                let (owner, bits) = self.global.load();
                if owner != u64::from(generation) {
                    return false;
                }
                if self.global.compare_exchange((owner, bits), (owner, CellState::NONE.to_bits())) {
                    return true;
                }
            },
            Key::Tag(generation, tag) => {
                while !self.table.remove(tag) {}
                self.is(generation)
            }
        }
    }
}
