//! The arithmetic of a rate limit: GCRA, the generic cell rate algorithm, which is a token bucket without a timer.
//!
//! All there is to remember is one instant, the *theoretical arrival time* (TAT): when the next hit would come if they
//! came evenly. A hit of cost `c` moves it on by `c` intervals, from now if it is in the past; it is allowed as long as
//! it does not get further ahead of the clock than the tolerance, which is `burst` intervals.
//!
//! ```text
//!            now                          now + tolerance
//!   ----------|------------------------------|-----------> time
//!                  |  tat   -> + cost ->  |     allowed: it is not beyond
//! ```
//!
//! # Representation
//!
//! Instants and spans are whole nanoseconds in 64 bits, below [`END`], which is 282 years. A century of burst may be
//! ahead of a clock that has run for [`LATEST`](crate::time::LATEST), 181 years, and no sum of two of them wraps. The interval is rounded down to a
//! whole nanosecond, and is one microsecond at least: so a rate is exact within 0.1 %, and every rate of a whole number of
//! ns per hit entirely. It is rounded down so that who hits as often as is allowed is never denied: the `limit` hits of one `per` are over
//! after it. The tolerance is `burst` times the *rounded* interval, so exactly `burst` hits fit into it, whatever was rounded.
//!
//! # Clocks
//!
//! A clock that is behind, because it was read before others moved the TAT, makes a hit look earlier than it is: then
//! it is refused rather than allowed. No order of clocks refills anything.

use crate::time::{CENTURY, END, NS_PER_MS};

/// Hits may come once per microsecond.
const SHORTEST: u64 = 1_000;

/// So many hits in so much time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: u64,
    burst: u32,
}

/// Why a rate cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfBounds {
    /// A number that must be positive is 0.
    Nothing,
    /// Over a million hits per second.
    TooFast,
    /// The burst is worth more than a century.
    TooLong,
}

/// What becomes of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The TAT moves on. So many hits of cost 1 could follow at once.
    Allow { tat: u64, remaining: u32 },
    /// It would be allowed after so many ns, 1 at least.
    Deny { wait: u64 },
    /// It costs more than the burst.
    Never,
}

/// What becomes of a hit that would wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The TAT moves on, and the turn comes after so many ns.
    Reserve { tat: u64, wait: u64 },
    /// The turn would come later than the patience lasts: after so many ns.
    TooFar { wait: u64 },
    /// It costs more than the burst.
    Never,
}

impl Rate {
    /// `limit` hits per `per_ms` on average, and at most `burst` at once.
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
        // At most a century, since a burst is 1 at least.
        Ok(Self { interval: (per / limit) as u64, burst })
    }

    pub(crate) fn from_parts(interval: u64, burst: u32) -> Self {
        Self { interval, burst }
    }

    /// ns from one hit to the next, on average.
    pub fn interval(self) -> u64 {
        self.interval
    }

    /// How many hits may come at once.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// How far the TAT may be ahead of the clock.
    pub(crate) fn tolerance(self) -> u64 {
        self.interval * u64::from(self.burst)
    }

    /// What a hit moves the TAT by; `None` if no hit may cost that much.
    #[inline]
    pub(crate) fn charge(self, cost: u32) -> Option<u64> {
        (cost <= self.burst).then(|| self.interval * u64::from(cost))
    }

    /// A hit at `now`, which is at most [`LATEST`](crate::time::LATEST).
    #[inline]
    pub(crate) fn hit(self, tat: u64, now: u64, cost: u32) -> Verdict {
        let Some(charge) = self.charge(cost) else { return Verdict::Never };
        let tat = tat.max(now).saturating_add(charge);
        let (ahead, tolerance) = (tat - now, self.tolerance());
        if ahead <= tolerance {
            // At most the burst.
            Verdict::Allow { tat, remaining: ((tolerance - ahead) / self.interval) as u32 }
        } else {
            Verdict::Deny { wait: ahead - tolerance }
        }
    }

    /// A hit that waits for up to `patience` ns, if that is what it takes.
    #[inline]
    pub(crate) fn reserve(self, tat: u64, now: u64, cost: u32, patience: u64) -> Turn {
        let Some(charge) = self.charge(cost) else { return Turn::Never };
        let tat = tat.max(now).saturating_add(charge);
        let wait = (tat - now).saturating_sub(self.tolerance());
        if wait <= patience && tat < END { Turn::Reserve { tat, wait } } else { Turn::TooFar { wait } }
    }

    /// The TAT after a charge for work that is over, whatever it costs: up to a century of debt,
    /// or the burst if that is more.
    pub(crate) fn charge_anyway(self, tat: u64, now: u64, cost: u32) -> u64 {
        let charge = self.interval.saturating_mul(u64::from(cost));
        // A hit of cost 1 is denied from there, as its own interval is ahead of the tolerance.
        let most = now + CENTURY;
        tat.max(now).saturating_add(charge).min(most.max(tat))
    }

    /// The TAT after a charge is given back. One in the past owes nothing, however far it is.
    pub(crate) fn give_back(self, tat: u64, cost: u32) -> u64 {
        tat.saturating_sub(self.interval.saturating_mul(u64::from(cost)))
    }
}
