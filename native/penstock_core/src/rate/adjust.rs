//! Changes of a key's state other than by a hit, a reserved turn or a change of the rate:
//! tentative charges, charges for work that is over, refunds, pauses and resets.

use crate::keyed::CellState;
use crate::sync::{AtomicU64, Ordering};
use crate::time::LATEST;

use super::decide::Obstacle;
use super::gcra::{Rate, Verdict};
use super::limiter::{Hit, Key, Limiter, RESETS};

/// A charge that its caller may take back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tentative {
    /// The TAT after the charge.
    tat: u64,
    cost: u32,
    /// The version of the rate before the charge.
    version: u64,
    /// The number of resets that had begun before the charge, by the counter of the key; `None`
    /// if a reset was under way.
    resets: Option<u64>,
}

impl Limiter {
    /// Charges the key as an allowed hit does, but does not count the hit. Returns `None` if the
    /// hit is not allowed.
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

    /// Takes back the part of a charge that is still ahead of the clock. The rest has run out,
    /// and may have allowed other hits.
    ///
    /// Returns `false`, and takes nothing back, if another call may have removed a part of the
    /// charge already. That is so if, since the charge, the rate was changed, or a key with the
    /// same counter of resets was reset or refunded.
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
        // The generation of the key is over, or the key has no place: there is nothing to take
        // back.
        outcome.unwrap_or(true)
    }

    /// Charges the key for work that is over, even beyond the burst. Returns the decision that a
    /// next hit of cost 1 would get. If the key has no place and none is free, the key is not
    /// charged. Its hits are then denied anyway, because it has no place.
    pub fn charge_anyway(&self, key: Key, now: u64, cost: u32) -> Hit {
        self.correct(key, now, |rate, tat| Some(rate.charge_anyway(tat, now, cost)))
    }

    /// Refunds a part of what the key was charged, but never more than the key owes. Returns the
    /// decision that a next hit of cost 1 would get.
    pub fn give_back(&self, key: Key, now: u64, cost: u32) -> Hit {
        let [began, ended] = self.resets_of(key);
        // The refund counts as a reset, because it may refund the tentative charge of another
        // caller's `hit_all`. That caller must not take the charge back as well.
        began.fetch_add(1, Ordering::Relaxed);
        // A charge that has run out is not refunded: the TAT never falls below now.
        let hit = self.correct(key, now, |rate, tat| (tat > now).then(|| rate.give_back(tat, cost).max(now)));
        ended.fetch_add(1, Ordering::Relaxed);
        hit
    }

    /// Stores the TAT that `change` returns, if any. Returns the decision that a next hit of cost
    /// 1 would get.
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

    /// Denies every hit of the key for `ns` from `now`, even if the key owes nothing. Returns
    /// `false` if the generation of the key is over.
    pub fn pause(&self, key: Key, now: u64, ns: u64) -> bool {
        let until = now.saturating_add(ns).min(LATEST);
        self.pauses.pause(key.tag(), now, until, || self.is_current(key.generation()))
    }

    /// Clears what the key owes, and ends its pause. Returns `false` if the generation of the key
    /// is over.
    pub fn reset(&self, key: Key) -> bool {
        let [began, ended] = self.resets_of(key);
        // The reset counts as begun before the key is cleared. The clear is SeqCst. So a caller
        // that observes the clear also observes that a reset began, and this add can be relaxed.
        began.fetch_add(1, Ordering::Relaxed);
        let cleared = self.clear_key(key);
        if cleared {
            self.pauses.end(key.tag());
        }
        // The reset counts as ended after the key is cleared. This reset may have cleared a
        // charge that was made between the two counts, so `take_back` leaves such a charge.
        ended.fetch_add(1, Ordering::Relaxed);
        cleared
    }

    /// Returns the counter of resets that the key shares with other keys: the number of resets
    /// that began, and the number of those that ended.
    fn resets_of(&self, key: Key) -> &[AtomicU64; 2] {
        match key {
            Key::Global(_) => &self.resets[0],
            Key::Tag(_, tag) => &self.resets[tag as usize % RESETS],
        }
    }

    /// Removes the state of the key. Returns `false` if the generation of the key is over.
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
                self.is_current(generation)
            }
        }
    }
}
