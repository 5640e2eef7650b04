//! Races of first hits for places in a table of keys. A first hit claims a free place, loads
//! again all other places that the key can have, and then charges the claim. So no key is charged
//! in two places (`keyed::table`).
//!
//! Under loom a row has two places. A table for two keys has one row. A table for three keys has
//! three rows, and a key can be in two of them.

use penstock_core::Hit;

use crate::explore::{explore, explore_at_least};
use crate::limiter::{A, B, C, MS, allowed, open, spawn};

/// Several callers hit an unknown key at once. The limiter must allow them one burst, and its
/// table must hold the key in one place.
fn first_hits(max_keys: u32, burst: u32, hitters: usize) {
    explore(move || {
        let (limiter, _) = open(max_keys, burst);
        let others: Vec<_> = (1..hitters).map(|_| spawn(&limiter, |limiter| limiter.hit(A, 0, 1))).collect();
        let mut hits = vec![limiter.hit(A, 0, 1)];
        hits.extend(others.into_iter().map(|other| other.join().unwrap()));
        assert_eq!(allowed(&hits), burst as usize, "{hits:?}");
        assert_eq!(limiter.hit(A, 0, 1), Hit::Deny(100 * MS));
        // Under loom a call of `keys` visits two places.
        assert_eq!(limiter.keys(0, 0).0 + limiter.keys(2, 0).0 + limiter.keys(4, 0).0, 1);
    });
}

/// Two callers claim places in one row.
#[test]
fn first_hit_against_first_hit() {
    first_hits(2, 1, 2);
}

/// Two callers claim places, one in each of the two rows that the key may be in.
#[test]
fn first_hit_against_first_hit_in_two_rows() {
    first_hits(3, 1, 2);
}

/// Three callers claim places in one row, and the burst allows two of their hits.
#[test]
fn three_first_hits() {
    first_hits(2, 2, 3);
}

/// The place of `B` is free from 100 ms on, when `B` owes nothing. One caller hits `A` at 100 ms
/// by its clock, and claims that place. The other caller hits `A` at 99 ms by its clock, and
/// claims the second place. Only one of the two claims must be charged.
#[test]
fn first_hits_that_see_different_free_places() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 99 * MS, 1));
        let hits = [limiter.hit(A, 100 * MS, 1), other.join().unwrap()];
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        // At 101 ms `B` owes nothing and `A` still owes, so `keys` counts the places of `A`.
        assert_eq!(limiter.keys(0, 101 * MS).0, 1);
    });
}

/// Two new keys want the one free place. One of them must get it. Neither must evict `C`, which
/// still owes.
#[test]
fn two_new_keys_against_each_other() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(C, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 1, 1));
        let hits = [limiter.hit(B, 1, 1), other.join().unwrap()];
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        let known = [limiter.peek(A, 1, 1), limiter.peek(B, 1, 1)];
        assert_eq!(allowed(&known), 0, "{known:?}");
        assert_eq!(limiter.hit(C, 1, 1), Hit::Deny(100 * MS - 1));
    });
}

/// `B` takes the place of `A`, which owes nothing at 100 ms, while a caller hits `A` at 99 ms by
/// its clock. The CAS of tag and state decides which of the two keys has the place.
#[test]
fn hit_against_reuse_of_its_place() {
    explore(|| {
        let (limiter, _) = open(1, 2);
        assert_eq!(limiter.hit(A, 0, 1), Hit::Allow(1));
        let other = spawn(&limiter, |limiter| limiter.hit(B, 100 * MS, 1));
        let hit = limiter.hit(A, 99 * MS, 1);
        match (hit, other.join().unwrap()) {
            // The hit of `A` was first: `A` owes again, and keeps the place.
            (Hit::Allow(_), Hit::Deny(wait)) => {
                assert_eq!(wait, 100 * MS);
                assert_eq!(limiter.hit(A, 100 * MS, 1), Hit::Allow(0));
                assert_eq!(limiter.hit(A, 100 * MS, 1), Hit::Deny(100 * MS));
            }
            // `B` took the place first: the hit of `A` must not be charged to `B`.
            (Hit::Deny(_), Hit::Allow(1)) => {
                assert_eq!(limiter.hit(B, 100 * MS, 1), Hit::Allow(0));
                assert_eq!(limiter.hit(B, 100 * MS, 1), Hit::Deny(100 * MS));
            }
            other => panic!("{other:?}"),
        }
    });
}

/// A reset vacates the place of a key while two callers hit the key. The callers may claim places
/// in two rows. Exactly one hit must be allowed after the reset.
#[test]
fn reset_against_two_first_hits_in_two_rows() {
    explore(|| {
        let (limiter, _) = open(3, 1);
        limiter.hit(A, 0, 1);
        let reset = spawn(&limiter, |limiter| assert!(limiter.reset(A)));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 0, 1));
        let mut hits = vec![limiter.hit(A, 0, 1), other.join().unwrap()];
        reset.join().unwrap();
        hits.push(limiter.hit(A, 0, 1));
        assert_eq!(allowed(&hits), 1, "{hits:?}");
    });
}

/// 1. The slow caller finds the first place free at 100 ms, and claims it for `A`.
/// 2. The other caller finds that place taken at 99 ms, and charges the second place.
/// 3. The other caller hits `A` again, at 100 ms. It must charge the second place, and not the
///    claim of the slow caller.
#[test]
fn first_hit_against_two_that_see_different_free_places() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| [limiter.hit(A, 99 * MS, 1), limiter.hit(A, 100 * MS, 1)]);
        let mut hits = vec![limiter.hit(A, 100 * MS, 1)];
        hits.extend(other.join().unwrap());
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        // No claim must be left behind, so another key must find a place.
        assert_eq!(limiter.hit(C, 101 * MS, 1), Hit::Allow(0));
    });
}

/// As the model above, with a reset of the key between the two hits of the other caller. The
/// reset removes the charge of the key, but not the claim of the slow caller.
#[test]
fn first_hit_against_a_reset_between_two_that_see_different_free_places() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| {
            let before = limiter.hit(A, 99 * MS, 1);
            assert!(limiter.reset(A));
            [before, limiter.hit(A, 100 * MS, 1)]
        });
        let mut hits = vec![limiter.hit(A, 100 * MS, 1)];
        hits.extend(other.join().unwrap());
        // One hit is allowed before the reset, and one after it.
        assert_eq!(allowed(&hits), 2, "{hits:?}");
    });
}

/// A place is claimed, vacated and claimed again for the same key. The caller of the first claim
/// must not charge the second claim. It can tell the two apart, because each claim has a number
/// of its own.
#[test]
fn three_first_hits_that_see_different_free_places() {
    explore_at_least(4, || {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        // This hit claims the first place, which is free at 100 ms. If it then finds a claim of
        // `A` in the second place, it vacates that claim.
        let first = spawn(&limiter, |limiter| limiter.hit(A, 100 * MS, 1));
        // At 99 ms this hit and the next find the first place taken, so they claim the second.
        let second = spawn(&limiter, |limiter| limiter.hit(A, 99 * MS, 1));
        let mut hits = vec![limiter.hit(A, 99 * MS, 1)];
        hits.extend([first, second].map(|other| other.join().unwrap()));
        assert_eq!(allowed(&hits), 1, "{hits:?}");
    });
}
