//! Races of first hits for places in a table of keys. A first hit claims a free place, loads all
//! other places of its key again, and then charges the claim. So no key is charged in two places
//! (`keyed::table`).
//!
//! Under loom a table for two keys has one row of two places; a table for three has three rows.

use penstock_core::Hit;

use crate::explore::{explore, explore_at_least};
use crate::limiter::{A, B, C, MS, allowed, open, spawn};

/// Several callers hit an unknown key at once. The table allows them one burst, and holds the key
/// in one place.
fn first_hits(max_keys: u32, burst: u32, hitters: usize) {
    explore(move || {
        let (limiter, _) = open(max_keys, burst);
        let others: Vec<_> = (1..hitters).map(|_| spawn(&limiter, |limiter| limiter.hit(A, 0, 1))).collect();
        let mut hits = vec![limiter.hit(A, 0, 1)];
        hits.extend(others.into_iter().map(|other| other.join().unwrap()));
        assert_eq!(allowed(&hits), burst as usize, "{hits:?}");
        assert_eq!(limiter.hit(A, 0, 1), Hit::Deny(100 * MS));
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
/// claims the second place.
#[test]
fn first_hits_that_see_different_free_places() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 99 * MS, 1));
        let hits = [limiter.hit(A, 100 * MS, 1), other.join().unwrap()];
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        // The key is in one place, which still owes at 101 ms.
        assert_eq!(limiter.keys(0, 101 * MS).0, 1);
    });
}

/// Two new keys want the one free place. One of them gets it, and the active key `C` is not
/// evicted.
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

/// A new key takes the place of a key that owes nothing any more, while that key is hit once
/// more. The CAS of tag and state decides which of the two keys has the place.
#[test]
fn hit_against_reuse_of_its_place() {
    explore(|| {
        let (limiter, _) = open(1, 2);
        assert_eq!(limiter.hit(A, 0, 1), Hit::Allow(1));
        let other = spawn(&limiter, |limiter| limiter.hit(B, 100 * MS, 1));
        let hit = limiter.hit(A, 99 * MS, 1);
        match (hit, other.join().unwrap()) {
            // The hit was first: its key is active, and keeps the place.
            (Hit::Allow(_), Hit::Deny(wait)) => {
                assert_eq!(wait, 100 * MS);
                assert_eq!(limiter.hit(A, 100 * MS, 1), Hit::Allow(0));
                assert_eq!(limiter.hit(A, 100 * MS, 1), Hit::Deny(100 * MS));
            }
            // The place was taken first: the hit is not charged to the new key.
            (Hit::Deny(_), Hit::Allow(1)) => {
                assert_eq!(limiter.hit(B, 100 * MS, 1), Hit::Allow(0));
                assert_eq!(limiter.hit(B, 100 * MS, 1), Hit::Deny(100 * MS));
            }
            other => panic!("{other:?}"),
        }
    });
}

/// A reset vacates the place of a key while two callers hit the key. The callers may claim places
/// in two rows.
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

/// One caller finds the first place free, claims it, and is slow to charge it. The other caller
/// found it taken at 99 ms, charged the second place, and hits again at 100 ms. The claim of the
/// first place must not count as the place of the key.
#[test]
fn first_hit_against_two_that_see_different_free_places() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| [limiter.hit(A, 99 * MS, 1), limiter.hit(A, 100 * MS, 1)]);
        let mut hits = vec![limiter.hit(A, 100 * MS, 1)];
        hits.extend(other.join().unwrap());
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        // No claim is left behind, so another key finds a place.
        assert_eq!(limiter.hit(C, 101 * MS, 1), Hit::Allow(0));
    });
}

/// As the model before, with a reset of the key between the two hits of the other caller. The
/// reset removes the charge of the key, but not the claim.
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
/// must not charge the second one: each claim has a number of its own.
#[test]
fn three_first_hits_that_see_different_free_places() {
    explore_at_least(4, || {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        // This hit finds the first place free. It must vacate a claim of the same key in the
        // second.
        let first = spawn(&limiter, |limiter| limiter.hit(A, 100 * MS, 1));
        // This hit and the next find the first place taken, so they claim the second.
        let second = spawn(&limiter, |limiter| limiter.hit(A, 99 * MS, 1));
        let mut hits = vec![limiter.hit(A, 99 * MS, 1)];
        hits.extend([first, second].map(|other| other.join().unwrap()));
        assert_eq!(allowed(&hits), 1, "{hits:?}");
    });
}
