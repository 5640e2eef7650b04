//! The one loop by which each hit, charge and refund reads and changes the state of its key.

use crate::keyed::{CellState, Found};

use super::gcra::Rate;
use super::limiter::{Key, Limiter};

/// The reason why `Limiter::decide` returns no decision of the rule that its caller passed.
pub(super) enum Obstacle {
    /// The key has no place in the table, and none is free before `until`. `burst` is that of the
    /// rate in force.
    Full { until: u64, burst: u32 },
    /// The generation of the key is over: the limiter was closed, and was opened again since.
    Gone,
}

impl Limiter {
    /// Applies `rule` to the rate in force and the key's TAT, which is 0 if the key has none. The
    /// rule returns the TAT to store, or `None` to leave the TAT; and the outcome. If another
    /// caller changes the state of the key meanwhile, the rule runs again.
    ///
    /// Each run of the loop loads the version of the rate, then the state, and then the version
    /// again. If the version changed, the loop starts over. So it never reads a state by a rate
    /// that is older than the state: that rate would cut a TAT that was charged after the change.
    /// If the state changes after the second load of the version, the CAS fails.
    #[inline]
    pub(super) fn decide<T>(
        &self,
        key: Key,
        now: u64,
        rule: impl Fn(Rate, u64) -> (Option<u64>, T),
    ) -> Result<T, Obstacle> {
        loop {
            let in_force = self.config.read();
            let context = in_force.context(now);
            let is_in_force = || self.config.version() == in_force.version;
            let decided = match key {
                Key::Global(generation) => {
                    let (owner, bits) = self.global.load();
                    if !is_in_force() {
                        continue;
                    }
                    if owner != u64::from(generation) {
                        return Err(Obstacle::Gone);
                    }
                    let (next, outcome) = rule(in_force.rate, context.tat(CellState::from_bits(bits)).unwrap_or(0));
                    let Some(tat) = next else { return Ok(outcome) };
                    let moved = CellState::new(tat, context.parity);
                    let exchange = |from: u64, to: CellState| {
                        self.global.compare_exchange((owner, from), (owner, to.to_bits())).then_some(to)
                    };
                    let charged = exchange(bits, moved);
                    if charged.is_some() {
                        self.migrate_own(in_force, moved, |from, to| exchange(from.to_bits(), to));
                    }
                    charged.map(|_| outcome)
                }
                Key::Tag(generation, tag) => {
                    let found = self.table.search(tag, context);
                    if !is_in_force() {
                        continue;
                    }
                    let ruling = match &found {
                        Found::Charged(place) => Ok(rule(in_force.rate, context.tat(place.state).unwrap_or(0))),
                        Found::Free(_) => Ok(rule(in_force.rate, 0)),
                        Found::Full { until } => Err(Obstacle::Full { until: *until, burst: in_force.rate.burst() }),
                    };
                    let (tat, outcome) = match ruling {
                        Ok((Some(tat), outcome)) => (tat, outcome),
                        // The rate or the place that led to this outcome may belong to a later
                        // generation.
                        _ if !self.is_current(generation) => return Err(Obstacle::Gone),
                        Ok((None, outcome)) => return Ok(outcome),
                        Err(full) => return Err(full),
                    };
                    let claimed = match found {
                        Found::Charged(place) => Some(place),
                        Found::Free(place) => self.table.claim(tag, place),
                        Found::Full { .. } => None,
                    };
                    let charged = claimed.and_then(|place| place.store(CellState::new(tat, context.parity)));
                    if let Some(place) = charged {
                        // A stale caller, of an earlier generation, vacates the place that it has
                        // just charged.
                        if !self.is_current(generation) {
                            place.vacate();
                            return Err(Obstacle::Gone);
                        }
                        let mut latest = place;
                        self.migrate_own(in_force, place.state, |_, to| {
                            latest = latest.store(to)?;
                            Some(to)
                        });
                    }
                    charged.map(|_| outcome)
                }
            };
            if let Some(outcome) = decided {
                return Ok(outcome);
            }
        }
    }
}
