//! Races of keys for places in a table.

use penstock_core::Hit;

use crate::explore::{explore, explore_at_least};
use crate::limiter::{A, B, C, MS, allowed, open, spawn};

/// Several callers hit an unknown key at the same time.
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

#[test]
fn first_hit_against_first_hit() {
    first_hits(2, 1, 2);
}

#[test]
fn first_hit_against_first_hit_in_two_rows() {
    first_hits(3, 1, 2);
}

#[test]
fn three_first_hits() {
    first_hits(2, 2, 3);
}

/// One caller sees the first place already free and takes it. The other does not, and takes the
/// second.
#[test]
fn first_hits_that_differ_in_what_is_free() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 99 * MS, 1));
        let hits = [limiter.hit(A, 100 * MS, 1), other.join().unwrap()];
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        // The key is in one place, and stays known for its full time.
        assert_eq!(limiter.keys(0, 101 * MS).0, 1);
    });
}

#[test]
fn two_new_keys_against_each_other() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(C, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 1, 1));
        let hits = [limiter.hit(B, 1, 1), other.join().unwrap()];
        // Only one place was free.
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        let known = [limiter.peek(A, 1, 1), limiter.peek(B, 1, 1)];
        assert_eq!(allowed(&known), 0, "{known:?}");
        assert_eq!(limiter.hit(C, 1, 1), Hit::Deny(100 * MS - 1));
    });
}

/// A later key takes the place of a key that is hit once more at that time.
#[test]
fn hit_against_reuse_of_its_place() {
    explore(|| {
        let (limiter, _) = open(1, 2);
        assert_eq!(limiter.hit(A, 0, 1), Hit::Allow(1));
        let other = spawn(&limiter, |limiter| limiter.hit(B, 100 * MS, 1));
        let hit = limiter.hit(A, 99 * MS, 1);
        match (hit, other.join().unwrap()) {
            // The hit was first: the key is active, and keeps its place.
            (Hit::Allow(_), Hit::Deny(wait)) => {
                assert_eq!(wait, 100 * MS);
                assert_eq!(limiter.hit(A, 100 * MS, 1), Hit::Allow(0));
                assert_eq!(limiter.hit(A, 100 * MS, 1), Hit::Deny(100 * MS));
            }
            // The place was taken first, and the hit is not charged to its new key.
            (Hit::Deny(_), Hit::Allow(1)) => {
                assert_eq!(limiter.hit(B, 100 * MS, 1), Hit::Allow(0));
                assert_eq!(limiter.hit(B, 100 * MS, 1), Hit::Deny(100 * MS));
            }
            other => panic!("{other:?}"),
        }
    });
}

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

/// One caller sees the first place already free, and is slow to take it. The other does not,
/// takes the second, and then comes again. A claim of the first place does not make it the place
/// of the key.
#[test]
fn first_hit_against_two_that_differ_in_what_is_free() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| [limiter.hit(A, 99 * MS, 1), limiter.hit(A, 100 * MS, 1)]);
        let mut hits = vec![limiter.hit(A, 100 * MS, 1)];
        hits.extend(other.join().unwrap());
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        // No claim is left, so there is a place for another key.
        assert_eq!(limiter.hit(C, 101 * MS, 1), Hit::Allow(0));
    });
}

/// The key is reset between the two hits of the other caller. The reset forgets the charge, not a
/// claim.
#[test]
fn first_hit_against_reset_between_two_that_differ_in_what_is_free() {
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

/// A claim that was removed and made again is a new one: the caller that made the first must not
/// charge it.
#[test]
fn three_first_hits_that_differ_in_what_is_free() {
    explore_at_least(4, || {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        // This hit takes the first place, and the one that is claimed in the second.
        let first = spawn(&limiter, |limiter| limiter.hit(A, 100 * MS, 1));
        // These hits find the first place taken.
        let second = spawn(&limiter, |limiter| limiter.hit(A, 99 * MS, 1));
        let mut hits = vec![limiter.hit(A, 99 * MS, 1)];
        hits.extend([first, second].map(|other| other.join().unwrap()));
        assert_eq!(allowed(&hits), 1, "{hits:?}");
    });
}
