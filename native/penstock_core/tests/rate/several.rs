//! Calls of `hit_all`, which charges several limiters or none. Each charge is tentative until all
//! are made. If a limiter denies, the charges made before are taken back.

use std::cell::Cell;
use std::cell::RefCell;

use penstock_core::{All, Charge, Hit, Key, Limiter, hit_all};

use crate::{MS, charge, key, limits, open};

#[test]
fn hit_all_charges_all_limiters_or_none() {
    let (a, all) = open(10, limits(1, 100, 3));
    let (b, _) = open(10, limits(1, 1_000, 2));
    let both = |n| [charge(&a, all, n), charge(&b, key(1), 1)];
    assert_eq!(hit_all(&both(1), || 0), All::Allowed);
    assert_eq!(hit_all(&both(1), || 0), All::Allowed);
    // The second limiter denies, so the first one is not charged.
    assert_eq!(hit_all(&both(1), || 0), All::Denied(1, Some(1_000 * MS)));
    assert_eq!(hit_all(&both(2), || 0), All::Denied(1, Some(1_000 * MS)));
    assert_eq!(a.peek(all, 0, 1), Hit::Allow(0));
    // A cost above the burst is never allowed. `None` is a cost above any burst.
    assert_eq!(hit_all(&both(4), || 0), All::Denied(0, None));
    assert_eq!(
        hit_all(&[charge(&a, all, 1), Charge { limiter: &b, key: key(2), cost: None }], || 0),
        All::Denied(1, None)
    );
    assert_eq!(hit_all(&both(1), || 1_000 * MS), All::Allowed);
    let totals = |limiter: &Limiter| (limiter.info(1).unwrap().allowed, limiter.info(1).unwrap().denied);
    assert_eq!((totals(&a), totals(&b)), ((3, 1), (3, 3)));
    a.open(limits(1, 100, 3), false, 0);
    assert_eq!(hit_all(&both(1), || 2_000 * MS), All::Gone(0));
    assert_eq!(hit_all(&[], || 0), All::Allowed);
    // `add_to` adds up the costs of charges of the same limiter and key.
    let mut charges = Vec::new();
    for cost in [1, 1, 2] {
        charge(&b, key(7), cost).add_to(&mut charges);
        charge(&b, key(8), 1).add_to(&mut charges);
    }
    assert_eq!(charges.iter().map(|charge| charge.cost).collect::<Vec<_>>(), [Some(4), Some(3)]);
    charge(&b, key(7), u32::MAX).add_to(&mut charges);
    assert_eq!(charges[0].cost, None);
}

/// Runs a `hit_all` on two limiters, of which the second one denies:
///
/// 1. `hit_all` charges the first limiter, whose rate is 1 hit per ms with a burst of 10.
/// 2. `meanwhile` runs, and returns the time from then on, in ns.
/// 3. Another hit uses up the burst of the second limiter.
/// 4. The second limiter denies, so `hit_all` tries to take back its first charge.
///
/// Returns the first limiter, with its key.
fn denied_in_the_middle(cost: u32, mut meanwhile: impl FnMut(&Limiter, Key) -> u64) -> (Limiter, Key) {
    let (first, all) = open(8, limits(1, 1, 10));
    let (second, key) = open(1, limits(1, 1_000, 1));
    let (calls, now) = (Cell::new(0), Cell::new(0));
    let meanwhile = RefCell::new(&mut meanwhile);
    let charges =
        [Charge { limiter: &first, key: all, cost: Some(cost) }, Charge { limiter: &second, key, cost: Some(1) }];
    let outcome = hit_all(&charges, || {
        calls.set(calls.get() + 1);
        // `hit_all` reads the clock for two peeks and for the first charge. The fourth time it
        // reads the clock for the second charge.
        if calls.get() == 4 {
            now.set((meanwhile.borrow_mut())(&first, all));
            assert_eq!(second.hit(key, now.get(), 1), Hit::Allow(0));
        }
        now.get()
    });
    assert!(matches!(outcome, All::Denied(1, Some(_))), "{outcome:?}");
    (first, all)
}

#[test]
fn the_part_of_a_charge_that_has_run_out_is_not_taken_back() {
    let mut allowed = 0;
    let mut hit_until_denied = |limiter: &Limiter, key| {
        while let Hit::Allow(_) = limiter.hit(key, 4 * MS, 1) {
            allowed += 1;
        }
        4 * MS
    };
    let (first, key) = denied_in_the_middle(5, &mut hit_until_denied);
    hit_until_denied(&first, key);
    assert_eq!(allowed, 10, "the hits at 4 ms are one burst");
}

#[test]
fn a_charge_is_taken_back_whole_after_a_reset_of_another_key() {
    let (first, key) = denied_in_the_middle(5, |limiter, _| {
        assert!(limiter.reset(Key::Tag(1, 1)));
        0
    });
    assert_eq!(first.peek(key, 0, 1), Hit::Allow(9));
}

#[test]
fn after_a_charge_that_cannot_be_taken_back_there_is_no_further_attempt() {
    let (first, key) = denied_in_the_middle(2, |limiter, key| {
        assert!(limiter.reset(key));
        assert_eq!(limiter.hit(key, 0, 2), Hit::Allow(8));
        0
    });
    assert_eq!(first.peek(key, 0, 1), Hit::Allow(7));
}
