//! What changes the state of a key other than a hit: charges for work that is over, refunds, pauses,
//! resets, and charges that may be taken back.

use crate::keyed::CellState;
use crate::sync::{AtomicU64, Ordering};
use crate::time::LATEST;

use super::gcra::{Rate, Verdict};
use super::limiter::{Hit, Key, Limiter, Obstacle, RESETS};

/// A charge that may be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tentative {
    /// Where it moved the TAT to.
    tat: u64,
    cost: u32,
    version: u64,
    resets: Option<u64>,
}

impl Limiter {
    /// As a hit that is allowed, but to be taken back perhaps, and not counted yet. `None`: it is not allowed.
    pub(crate) fn try_charge(&self, key: Key, now: u64, cost: u32) -> Option<Tentative> {
        if self.paused_until(key, now).is_some() {
            return None;
        }
        let [began, ended] = self.resets_of(key);
        let (ended, version) = (ended.load(Ordering::Relaxed), self.config.version());
        // `None` while one is going on.
        let resets = Some(began.load(Ordering::Relaxed)).filter(|&began| began == ended);
        let outcome = self.decide(key, now, |rate, tat| match rate.hit(tat, now, cost) {
            Verdict::Allow { tat, .. } => (Some(tat), Some(Tentative { tat, cost, version, resets })),
            _ => (None, None),
        });
        outcome.unwrap_or(None)
    }

    /// Takes back a charge, but for what has run out of it by itself: that may have made room for others already. False if nothing of it is, as the
    /// rate was changed since, or a key reset: it may have been cut, or forgotten.
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
        // Of one that is gone there is nothing to take back.
        outcome.unwrap_or(true)
    }

    /// Charges the key for work that is over, even beyond the burst, and says what the next hit
    /// would find. A key without a place, and without one that is free, is not charged: no hit of
    /// it is allowed either.
    pub fn charge_anyway(&self, key: Key, now: u64, cost: u32) -> Hit {
        self.correct(key, now, |rate, tat| Some(rate.charge_anyway(tat, now, cost)))
    }

    /// Gives back a part of what the key was charged, but never more than it owes, and says what
    /// the next hit would find.
    pub fn give_back(&self, key: Key, now: u64, cost: u32) -> Hit {
        let [began, ended] = self.resets_of(key);
        // As a reset: what `hit_all` charged meanwhile may be given back here, and must not be
        // taken back there as well.
        began.fetch_add(1, Ordering::Relaxed);
        // What is over is not given back.
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

    /// Allows no hit of the key for so many ns from `now`, whatever it owes. False if the limiter
    /// is closed.
    pub fn pause(&self, key: Key, now: u64, ns: u64) -> bool {
        let until = now.saturating_add(ns).min(LATEST);
        self.pauses.pause(key.tag(), now, until, || self.is(key.generation()))
    }

    /// Forgets what the key owes. False if the limiter is closed.
    pub fn reset(&self, key: Key) -> bool {
        let [began, ended] = self.resets_of(key);
        // Before: who sees that it was forgotten sees that something was.
        began.fetch_add(1, Ordering::Relaxed);
        let reset = self.clear_key(key);
        if reset {
            self.pauses.end(key.tag());
        }
        // And after: what was charged in between was perhaps forgotten.
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
