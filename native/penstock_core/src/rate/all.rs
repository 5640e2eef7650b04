//! A hit on several limiters that counts on all of them or on none.

use super::limiter::{ALLOWED, DENIED, Hit, Key, Limiter};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// Which limiter.
    pub limiter: &'a Limiter,
    /// And which of its keys.
    pub key: Key,
    /// What it is to cost; `None` if that is more than any burst.
    pub cost: Option<u32>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum All {
    /// All are charged.
    Allowed,
    /// None is; that one has the longest wait, in ns, or is never to allow it.
    Denied(usize, Option<u64>),
    /// None is; that one is closed.
    Gone(usize),
}

/// Attempts, each of which looks at all before it charges any. That one fails after that takes another hit on the same key at that very
/// instant, which was allowed.
const ATTEMPTS: usize = 8;

impl Charge<'_> {
    /// Adds one to others: to what it is to cost already, if the limiter and the key are among them.
    pub fn add_to(self, charges: &mut Vec<Self>) {
        let same = |other: &&mut Self| std::ptr::eq(other.limiter, self.limiter) && other.key == self.key;
        match charges.iter_mut().find(same) {
            Some(other) => other.cost = other.cost.zip(self.cost).and_then(|(a, b)| a.checked_add(b)),
            None => charges.push(self),
        }
    }
}

/// Charges all, or none. No two of them are of the same limiter and key: see [`Charge::add_to`].
///
/// A charge that is taken back may have denied a hit of somebody else's meanwhile, and a turn that was reserved behind it stays where it is, so that another
/// may come beside it. It allows no hit, unless its key was reset and hit again within the same ns. It is not taken back if its rate was changed meanwhile,
/// or its key reset, perhaps: then there is no other attempt. If others are quicker again and again, the wait is told as 1 ns.
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
        // By others who were allowed meanwhile: at once, or after they are through.
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

/// The one that was not allowed, if any: then those before it are taken back, and whether all could be.
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
        // `None` is longer than any.
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
