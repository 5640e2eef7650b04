//! A hit on several keys, of one limiter or many. The hit is charged to all keys or to none.

use super::limiter::{ALLOWED, DENIED, Hit, Key, Limiter};

/// One charge of several.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The limiter.
    pub limiter: &'a Limiter,
    /// The key.
    pub key: Key,
    /// The cost; `None` if it exceeds every possible burst.
    pub cost: Option<u32>,
}

/// The decision on all charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum All {
    /// All are charged.
    Allowed,
    /// No key stays charged, except as [`hit_all`] says. The charge at this index has the longest
    /// wait, in ns. The wait is `None` if that charge is never allowed.
    Denied(usize, Option<u64>),
    /// No key stays charged, because the generation of the key at this index is over.
    Gone(usize),
}

/// The largest number of attempts. An attempt peeks at all keys before it charges any. So if all
/// peeks are allowed, a charge fails only because another caller intervened: it charged or paused
/// the key, took the key's place, or changed a rate.
const ATTEMPTS: usize = 8;

impl Charge<'_> {
    /// Adds this charge to others. If one of them has the same limiter and key, its cost grows by
    /// that of this charge.
    pub fn add_to(self, charges: &mut Vec<Self>) {
        let same = |other: &&mut Self| std::ptr::eq(other.limiter, self.limiter) && other.key == self.key;
        match charges.iter_mut().find(same) {
            Some(other) => other.cost = other.cost.zip(self.cost).and_then(|(a, b)| a.checked_add(b)),
            None => charges.push(self),
        }
    }
}

/// Charges all, or none. No two charges must have the same limiter and key; [`Charge::add_to`]
/// makes one charge of two such.
///
/// Until all are charged, each charge is tentative. Meanwhile another caller's hit may be denied
/// because of a tentative charge. Another caller may also reserve a turn behind it. If this call
/// then takes the charge back, that turn keeps its time. A turn that is reserved later may come
/// at the same time.
///
/// This call does not take a charge back if the rate was changed since the charge, or if the key
/// may have been reset or refunded. Then it makes no further attempt. A charge that is taken back
/// allows no hit beyond the rate, with one exception: while this call takes the charge back, the
/// key may be reset, and then hit again to exactly the same TAT in ns.
///
/// If other callers charge a key first in each attempt, the answer is a wait of 1 ns: the caller
/// can ask again at once.
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
        // Another caller intervened after the peek, so the wait is not known. The answer is 1 ns,
        // because the next attempt may be allowed.
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

/// Charges one key after the other. Returns `None` if all charges are allowed. If one is not,
/// takes back the charges before that one. Then returns the index of that one, and `true` if all
/// before it were taken back.
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

/// Returns the decision on all charges from the decisions on each. [`Hit::Gone`] decides, and
/// otherwise the longest wait.
fn worst(hits: impl Iterator<Item = Hit>) -> All {
    let mut worst = All::Allowed;
    for (at, hit) in hits.enumerate() {
        let wait = match hit {
            Hit::Allow(_) => continue,
            Hit::Gone => return All::Gone(at),
            Hit::Deny(wait) => Some(wait),
            Hit::Never => None,
        };
        // `None`, for never, is longer than any wait.
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
