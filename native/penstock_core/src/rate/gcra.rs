//! The arithmetic of a rate limit: GCRA, the generic cell rate algorithm, which is a token bucket
//! without a timer.
//!
//! The only state of a key is one instant, the *theoretical arrival time* (TAT): when the next
//! hit would come if hits came evenly. A hit of cost `c` moves the TAT on by `c` intervals, from
//! now if the TAT is in the past. The hit is allowed if the moved TAT is ahead of the clock by at
//! most the tolerance, which is `burst` intervals.
//!
//! ```text
//!            now                          now + tolerance
//!   ----------|------------------------------|-----------> time
//!                  | tat --- cost --> | moved tat     allowed: not beyond the tolerance
//! ```
//!
//! # Representation
//!
//! Instants and spans are whole nanoseconds in 64 bits, below [`END`], which is 283 years. A TAT
//! may be a century of burst ahead of a clock that has run for [`LATEST`](crate::time::LATEST),
//! which is 183 years. No sum of two instants wraps.
//!
//! An interval is at least one microsecond, and is rounded down to whole nanoseconds. So a rate
//! is too fast by at most 0.1 %, and exact if its interval is a whole number of ns. An interval
//! that is rounded up would deny a caller that hits exactly as often as the limit allows. The
//! tolerance is `burst` times the *rounded* interval, so exactly `burst` hits fit into it.
//!
//! # Clocks
//!
//! A caller may have read its clock before other hits moved the TAT. Then its hit counts as
//! earlier than it is. The hit may be denied because of that, but it is never allowed because of
//! that. So callers can read their clocks in any order: an early reading never lowers a TAT.

use crate::time::{CENTURY, END, NS_PER_MS};

/// The shortest interval in ns: a million hits per second.
const SHORTEST: u64 = 1_000;

/// An interval between hits, and a burst of hits at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: u64,
    burst: u32,
}

/// The reason why no rate was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfBounds {
    /// A number that must be positive is 0.
    Nothing,
    /// More than a million hits per second.
    TooFast,
    /// The burst is worth more than a century.
    TooLong,
}

/// The decision on a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The hit moves the TAT; `remaining` hits of cost 1 could follow at once.
    Allow { tat: u64, remaining: u32 },
    /// The hit would be allowed after `wait` ns, at least 1.
    Deny { wait: u64 },
    /// The hit costs more than the burst.
    Never,
}

/// The decision on a hit that would wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The hit moves the TAT, and its turn comes after `wait` ns.
    Reserve { tat: u64, wait: u64 },
    /// The turn would come after `wait` ns, which is longer than the caller's patience; or the
    /// TAT would reach [`END`].
    TooFar { wait: u64 },
    /// The hit costs more than the burst.
    Never,
}

impl Rate {
    /// The highest rate, in hits per ms.
    pub const MAX_HITS_PER_MS: u64 = NS_PER_MS / SHORTEST;

    /// Returns the rate of `limit` hits in `per_ms` on average, and of at most `burst` at once.
    pub fn new(limit: u32, per_ms: u64, burst: u32) -> Result<Self, OutOfBounds> {
        if limit == 0 || per_ms == 0 || burst == 0 {
            return Err(OutOfBounds::Nothing);
        }
        let per = u128::from(per_ms) * u128::from(NS_PER_MS);
        let limit = u128::from(limit);
        if per < limit * u128::from(SHORTEST) {
            return Err(OutOfBounds::TooFast);
        }
        if per * u128::from(burst) > limit * u128::from(CENTURY) {
            return Err(OutOfBounds::TooLong);
        }
        // The interval fits into 64 bits: it is at most a century, since a burst is at least 1.
        Ok(Self { interval: (per / limit) as u64, burst })
    }

    /// Returns the rate that [`Rate::interval`] and [`Rate::burst`] describe.
    pub(crate) fn from_parts(interval: u64, burst: u32) -> Self {
        Self { interval, burst }
    }

    /// Returns the average time between two hits, in ns.
    pub fn interval(self) -> u64 {
        self.interval
    }

    /// Returns the number of hits that may come at once.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Returns how far the TAT may be ahead of the clock, in ns.
    pub(crate) fn tolerance(self) -> u64 {
        self.interval * u64::from(self.burst)
    }

    /// Returns how far a hit moves the TAT, in ns; `None` if the cost exceeds the burst.
    #[inline]
    pub(crate) fn charge(self, cost: u32) -> Option<u64> {
        (cost <= self.burst).then(|| self.interval * u64::from(cost))
    }

    /// Decides on a hit at `now`, which is at most [`LATEST`](crate::time::LATEST).
    #[inline]
    pub(crate) fn hit(self, tat: u64, now: u64, cost: u32) -> Verdict {
        let Some(charge) = self.charge(cost) else { return Verdict::Never };
        let tat = tat.max(now).saturating_add(charge);
        let (ahead, tolerance) = (tat - now, self.tolerance());
        if ahead <= tolerance {
            // The quotient is at most the burst, so it fits into 32 bits.
            Verdict::Allow { tat, remaining: ((tolerance - ahead) / self.interval) as u32 }
        } else {
            Verdict::Deny { wait: ahead - tolerance }
        }
    }

    /// Decides on a hit that waits for its turn, for up to `patience` ns.
    #[inline]
    pub(crate) fn reserve(self, tat: u64, now: u64, cost: u32, patience: u64) -> Turn {
        let Some(charge) = self.charge(cost) else { return Turn::Never };
        let tat = tat.max(now).saturating_add(charge);
        let wait = (tat - now).saturating_sub(self.tolerance());
        if wait <= patience && tat < END { Turn::Reserve { tat, wait } } else { Turn::TooFar { wait } }
    }

    /// Returns the TAT after a charge for work that is over, which no burst bounds. The charge
    /// moves the TAT no further than a century from now.
    pub(crate) fn charge_anyway(self, tat: u64, now: u64, cost: u32) -> u64 {
        let charge = self.interval.saturating_mul(u64::from(cost));
        // The tolerance is at most a century. So a TAT that is a century ahead denies even a hit
        // of cost 1.
        let most = now + CENTURY;
        tat.max(now).saturating_add(charge).min(most.max(tat))
    }

    /// Returns the TAT after a refund. This TAT may lie in the past. Then it allows no more hits
    /// than a TAT of now.
    pub(crate) fn give_back(self, tat: u64, cost: u32) -> u64 {
        tat.saturating_sub(self.interval.saturating_mul(u64::from(cost)))
    }
}
