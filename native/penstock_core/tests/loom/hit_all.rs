//! Races of `hit_all`, which charges one limiter after the other. Each charge is *tentative*
//! until all are made. If a limiter denies, `hit_all` takes back the charges made before
//! (`Limiter::take_back`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering};

use loom::thread;
use penstock_core::{All, Charge, Hit, Key, Limiter, Limits, Rate, hit_all};

use crate::explore::explore;
use crate::limiter::{A, B, MS, allowed, open, spawn, update};

/// Returns one of the charges that `hit_all` takes.
fn charge(limiter: &Limiter, key: Key, cost: u32) -> Charge<'_> {
    Charge { limiter, key, cost: Some(cost) }
}

/// A concurrent refund (`Limiter::give_back`) may undo a tentative charge. If `hit_all` took that
/// charge back as well, a later hit would be free. So `hit_all` must not take back a charge that
/// was made before a refund of the key.
#[test]
fn hit_all_that_is_denied_against_refund_and_hit() {
    explore(|| {
        let (first, all) = open(2, 2);
        let (second, _) = open(2, 1);
        let other = {
            let (first, second) = (Arc::clone(&first), Arc::clone(&second));
            thread::spawn(move || {
                let charges = [charge(&first, all, 1), charge(&second, A, 1)];
                hit_all(&charges, || 0)
            })
        };
        let taken = second.hit(A, 0, 1);
        first.give_back(all, 0, 1);
        let hits = [first.hit(all, 0, 1), first.hit(all, 0, 1), first.hit(all, 0, 1)];
        let outcome = other.join().unwrap();
        let after = first.hit(all, 0, 1);
        // At most three hits are allowed: the burst of 2, and one that the refund gives back.
        //
        // This thread hits the first limiter only after its refund. So the refund can give back
        // only the tentative charge of `hit_all`. If `hit_all` is denied, that charge counts for
        // no hit, so at most the burst is allowed.
        let count = allowed(&hits) + allowed(&[after]) + usize::from(outcome == All::Allowed);
        assert!(count <= 3, "{hits:?} {after:?} {outcome:?} {taken:?}");
        if outcome != All::Allowed {
            assert!(count <= 2, "{hits:?} {after:?} {outcome:?} {taken:?}");
        }
    });
}

/// Two callers charge the same two limiters, in opposite order. At most one of the callers must
/// be allowed. A caller that is denied must leave nothing charged.
#[test]
fn hit_all_against_hit_all() {
    explore(|| {
        let (a, key_a) = open(1, 1);
        let (b, key_b) = open(1, 1);
        let same_b = Arc::clone(&b);
        let other = spawn(&a, move |a| {
            let charges = [charge(a, key_a, 1), charge(&same_b, key_b, 1)];
            hit_all(&charges, || 0)
        });
        let charges = [charge(&b, key_b, 1), charge(&a, key_a, 1)];
        let outcomes = [hit_all(&charges, || 0), other.join().unwrap()];
        let allowed = outcomes.iter().filter(|&&outcome| outcome == All::Allowed).count();
        // If the tentative charge of each caller denied the other caller, neither is allowed.
        assert!(allowed <= 1, "{outcomes:?}");
        let left = [a.peek(key_a, 0, 1), b.peek(key_b, 0, 1)].map(|hit| matches!(hit, Hit::Allow(0)));
        assert_eq!(left, [allowed == 0; 2], "{outcomes:?}");
    });
}

/// `hit_all` must take back exactly its own charge while another caller charges the same key.
#[test]
fn hit_all_that_is_denied_against_hit() {
    explore(|| {
        let (a, key_a) = open(1, 3);
        let (b, key_b) = open(1, 1);
        let other = spawn(&a, move |a| a.hit(key_a, 0, 1));
        let same_b = Arc::clone(&b);
        let taker = spawn(&b, move |b| b.hit(key_b, 0, 1));
        let charges = [charge(&a, key_a, 1), charge(&same_b, key_b, 1)];
        let outcome = hit_all(&charges, || 0);
        assert!(matches!(other.join().unwrap(), Hit::Allow(_)));
        let taken = matches!(taker.join().unwrap(), Hit::Allow(_));
        assert!(taken || outcome == All::Allowed);
        let left = if outcome == All::Allowed { 0 } else { 1 };
        assert_eq!(a.peek(key_a, 0, 1), Hit::Allow(left));
    });
}

/// A reset clears the tentative charge. If `hit_all` took that charge back as well, the hit after
/// the reset would be free.
#[test]
fn hit_all_that_is_denied_against_reset_and_hit() {
    explore(|| {
        let (a, key_a) = open(1, 2);
        let (b, key_b) = open(1, 1);
        let same_b = Arc::clone(&b);
        let other = spawn(&a, move |a| {
            // If this hit comes between the two charges of `hit_all`, the second charge fails.
            same_b.hit(key_b, 0, 1);
            a.reset(key_a);
            // This hit comes at 1 ns. At 0 ns it would move the TAT to where the tentative charge
            // moved it before, which would hide the reset from `hit_all`.
            a.hit(key_a, 1, 1)
        });
        let charges = [charge(&a, key_a, 1), charge(&b, key_b, 1)];
        let outcome = hit_all(&charges, || 0);
        let mut hits = vec![other.join().unwrap()];
        while hits.last().is_some_and(|hit| matches!(hit, Hit::Allow(_))) {
            hits.push(a.hit(key_a, 1, 1));
        }
        // The burst allows two hits after the reset. The charge of `hit_all` may be one of them.
        assert!(allowed(&hits) <= 2, "{outcome:?} {hits:?}");
    });
}

/// A reset of another key of the same limiter must not keep `hit_all` from taking its tentative
/// charge back.
#[test]
fn hit_all_that_is_denied_against_reset_of_another_key() {
    explore(|| {
        let (first, all) = open(1, 2);
        let (second, key) = open(1, 1);
        let other = {
            let second = Arc::clone(&second);
            spawn(&first, move |first| {
                second.hit(key, 0, 1);
                first.reset(B);
            })
        };
        let charges = [charge(&first, all, 1), charge(&second, key, 1)];
        let outcome = hit_all(&charges, || 0);
        other.join().unwrap();
        if outcome != All::Allowed {
            assert_eq!(first.peek(all, 0, 1), Hit::Allow(1), "{outcome:?}");
        }
    });
}

/// The rate changes after the tentative charge. `hit_all` must not take the charge back by the
/// new rate, at which a hit is worth 1 s, and not 100 ms.
#[test]
fn hit_all_that_is_denied_against_update() {
    const LATER: u64 = 10_000 * MS;
    explore(|| {
        let (a, key_a) = open(1, 10);
        let (b, key_b) = open(1, 1);
        assert_eq!(a.hit(key_a, LATER, 5), Hit::Allow(5));
        let same_b = Arc::clone(&b);
        let other = spawn(&a, move |a| {
            same_b.hit(key_b, LATER, 1);
            update(a, Limits { limit: 1, per_ms: 1_000, rate: Rate::new(1, 1_000, 1).unwrap() }, LATER);
        });
        let charges = [charge(&a, key_a, 1), charge(&b, key_b, 1)];
        let outcome = hit_all(&charges, || LATER);
        other.join().unwrap();
        // The key still owes the 5 hits from before: 500 ms. After a change of the rate,
        // `hit_all` leaves the tentative charge as it is. Then the key owes 100 ms more.
        let owed = a.peek(key_a, LATER, 1);
        assert!([Hit::Deny(500 * MS), Hit::Deny(600 * MS)].contains(&owed), "{outcome:?} {owed:?}");
    });
}

/// A reset begins before the tentative charge and clears that charge. If `hit_all` took the
/// charge back as well, the hit after the reset would be free.
#[test]
fn hit_all_that_is_denied_against_reset_against_hit() {
    explore(|| {
        let (a, key_a) = open(1, 2);
        let (b, key_b) = open(1, 1);
        assert_eq!(a.hit(key_a, 0, 1), Hit::Allow(1));
        let same_b = Arc::clone(&b);
        let reset = spawn(&a, move |a| assert!(a.reset(key_a)));
        let other = spawn(&a, move |a| {
            same_b.hit(key_b, 0, 1);
            // This hit costs the whole burst, so it is allowed only after the reset.
            a.hit(key_a, 1, 2)
        });
        let charges = [charge(&a, key_a, 1), charge(&b, key_b, 1)];
        let outcome = hit_all(&charges, || 0);
        let hit = other.join().unwrap();
        reset.join().unwrap();
        if hit == Hit::Allow(0) {
            assert_eq!(allowed(&[a.peek(key_a, 1, 1)]), 0, "{outcome:?}");
        }
    });
}

/// Time has paid off the tentative charge before `hit_all` takes it back. By then the key owes
/// only the hit of another caller, which `hit_all` must not take back.
#[test]
fn hit_all_that_is_denied_late_against_hit() {
    explore(|| {
        let (a, key_a) = open(1, 1);
        let (b, key_b) = open(1, 1);
        let clock = Arc::new(PlainU64::new(0));
        let (same_b, hand) = (Arc::clone(&b), Arc::clone(&clock));
        let other = spawn(&a, move |a| {
            same_b.hit(key_b, 100 * MS, 1);
            hand.store(150 * MS, Ordering::Relaxed);
            a.hit(key_a, 150 * MS, 1)
        });
        let charges = [charge(&a, key_a, 1), charge(&b, key_b, 1)];
        let outcome = hit_all(&charges, || clock.load(Ordering::Relaxed));
        if other.join().unwrap() == Hit::Allow(0) {
            assert_eq!(a.peek(key_a, 150 * MS, 1), Hit::Deny(100 * MS), "{outcome:?}");
        }
    });
}

/// The third limiter may deny. Then `hit_all` must take back two tentative charges of different
/// cost, each at its own cost.
#[test]
fn hit_all_of_three_that_is_denied_against_hit() {
    explore(|| {
        let (a, key_a) = open(1, 3);
        let (b, key_b) = open(1, 3);
        let (c, key_c) = open(1, 1);
        let taker = spawn(&c, move |c| c.hit(key_c, 0, 1));
        let charges = [charge(&a, key_a, 1), charge(&b, key_b, 2), charge(&c, key_c, 1)];
        let outcome = hit_all(&charges, || 0);
        let taken = taker.join().unwrap();
        let left = [a.peek(key_a, 0, 1), b.peek(key_b, 0, 1)];
        match outcome {
            All::Allowed => assert_eq!((taken, left), (Hit::Deny(100 * MS), [Hit::Allow(1), Hit::Allow(0)])),
            // The limiter at index 2 denies, and `hit_all` returns its wait.
            denied => {
                assert_eq!(denied, All::Denied(2, Some(100 * MS)));
                assert_eq!((taken, left), (Hit::Allow(0), [Hit::Allow(2), Hit::Allow(2)]));
            }
        }
    });
}
