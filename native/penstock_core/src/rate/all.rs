//! A hit on several limiters that is charged to all of them or to none.

use super::limiter::{ALLOWED, DENIED, Hit, Key, Limiter};

/// One charge of several.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The limiter.
    pub limiter: &'a Limiter,
    /// The key.
    pub key: Key,
    /// The cost; `None` if it exceeds any burst.
    pub cost: Option<u32>,
}

/// The decision on all charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum All {
    /// All are charged.
    Allowed,
    /// None is charged; the one at this index has the longest wait, in ns, or will never be
    /// allowed.
    Denied(usize, Option<u64>),
    /// None is charged; the limiter at this index is closed.
    Gone(usize),
}

/// The number of attempts, each of which peeks at all limiters before it charges any. An attempt
/// fails after that only if another hit on the same key was allowed at that very instant.
const ATTEMPTS: usize = 8;

impl Charge<'_> {
    /// Adds this charge to others: to the cost of the same limiter and key, if they are among
    /// them.
    pub fn add_to(self, charges: &mut Vec<Self>) {
        let same = |other: &&mut Self| std::ptr::eq(other.limiter, self.limiter) && other.key == self.key;
        match charges.iter_mut().find(same) {
            Some(other) => other.cost = other.cost.zip(self.cost).and_then(|(a, b)| a.checked_add(b)),
            None => charges.push(self),
        }
    }
}

/// Charges all, or none. No two charges may have the same limiter and key: see
/// [`Charge::add_to`].
///
/// A tentative charge may deny a concurrent hit. A turn that was reserved behind it stays where
/// it is, so that another may come with it.
///
/// Taking a charge back allows no hit, unless its key was reset and hit again within the same ns.
/// A charge is not taken back if its rate was changed meanwhile, or its key perhaps reset; then
/// there is no further attempt. If other callers are quicker in each attempt, the wait is 1 ns.
pub fn hit_all(charges: &[Charge<'_>], clock: impl Fn() -> u64) -> All {
    let mut outcome = All::Allowed;
    for _ in 0..ATTEMPTS {
        outcome = worst(charges.iter().map(|charge| {
            let Some(cost) = charge.cost else { return Hit::Never };
            charge.limiter.peek(charge.key, charge.limiter.now(&clock), cost)
        }));
        if outcome != All::Allowed {
            break;
        }
        let Some((failed, taken_back)) = charge_each(charges, &clock) else { break };
        // Other callers were allowed meanwhile: the hit may be allowed at once, or after they are
        // through.
        outcome = All::Denied(failed, Some(1));
        if !taken_back {
            break;
        }
    }
    match outcome {
        All::Allowed => charges.iter().for_each(|charge| charge.limiter.count(ALLOWED)),
        All::Denied(which, _) => charges[which].limiter.count(DENIED),
        All::Gone(_) => {}
    }
    outcome
}

/// Charges each in turn. Returns the index of the first that is not allowed, and whether all
/// charges before it could be taken back.
fn charge_each(charges: &[Charge<'_>], clock: impl Fn() -> u64) -> Option<(usize, bool)> {
    let mut charged = Vec::with_capacity(charges.len());
    for (at, charge) in charges.iter().enumerate() {
        let now = charge.limiter.now(&clock);
        if let Some(tentative) = charge.cost.and_then(|cost| charge.limiter.try_charge(charge.key, now, cost)) {
            charged.push(tentative);
            continue;
        }
        let mut taken_back = true;
        for (before, tentative) in charges.iter().zip(charged) {
            taken_back &= before.limiter.take_back(before.key, before.limiter.now(&clock), tentative);
        }
        return Some((at, taken_back));
    }
    None
}

fn worst(hits: impl Iterator<Item = Hit>) -> All {
    let mut worst = All::Allowed;
    for (at, hit) in hits.enumerate() {
        let wait = match hit {
            Hit::Allow(_) => continue,
            Hit::Gone => return All::Gone(at),
            Hit::Deny(wait) => Some(wait),
            Hit::Never => None,
        };
        // `None` is longer than any wait.
        let longer = match worst {
            All::Denied(_, longest) => longest.is_some() && wait.is_none_or(|wait| Some(wait) > longest),
            _ => true,
        };
        if longer {
            worst = All::Denied(at, wait);
        }
    }
    worst
}
