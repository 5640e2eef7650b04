//! Races of keys for places in a table.

use penstock_core::Hit;

use crate::explore::{explore, explore_at_least};
use crate::limiter::{A, B, C, MS, allowed, open, spawn};

/// A key that nobody knows is hit by all at once.
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

/// One sees the first place free already and takes it, the other does not and takes the second.
#[test]
fn first_hits_that_differ_in_what_is_free() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 99 * MS, 1));
        let hits = [limiter.hit(A, 100 * MS, 1), other.join().unwrap()];
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        // It is known in one place, and so long.
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
        // One place was free.
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        let known = [limiter.peek(A, 1, 1), limiter.peek(B, 1, 1)];
        assert_eq!(allowed(&known), 0, "{known:?}");
        assert_eq!(limiter.hit(C, 1, 1), Hit::Deny(100 * MS - 1));
    });
}

/// The place of a key is taken for another that is later, while the key is hit once more.
#[test]
fn hit_against_reuse_of_its_place() {
    explore(|| {
        let (limiter, _) = open(1, 2);
        assert_eq!(limiter.hit(A, 0, 1), Hit::Allow(1));
        let other = spawn(&limiter, |limiter| limiter.hit(B, 100 * MS, 1));
        let hit = limiter.hit(A, 99 * MS, 1);
        match (hit, other.join().unwrap()) {
            // The key was first: it is active, and keeps its place.
            (Hit::Allow(_), Hit::Deny(wait)) => {
                assert_eq!(wait, 100 * MS);
                assert_eq!(limiter.hit(A, 100 * MS, 1), Hit::Allow(0));
                assert_eq!(limiter.hit(A, 100 * MS, 1), Hit::Deny(100 * MS));
            }
            // Its place was gone, and what is another's is not charged for it.
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

/// One sees the first place free already, and is slow to take it; the other does not and takes the second, and then comes again:
/// a claim in the first is not yet the key's place.
#[test]
fn first_hit_against_two_that_differ_in_what_is_free() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| [limiter.hit(A, 99 * MS, 1), limiter.hit(A, 100 * MS, 1)]);
        let mut hits = vec![limiter.hit(A, 100 * MS, 1)];
        hits.extend(other.join().unwrap());
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        // Nobody's claim is left: there is a place for another.
        assert_eq!(limiter.hit(C, 101 * MS, 1), Hit::Allow(0));
    });
}

/// The same, and it is reset in between: what is forgotten is the charge, not a claim.
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
        // Once before it was reset, and once after.
        assert_eq!(allowed(&hits), 2, "{hits:?}");
    });
}

/// A claim that was taken away and made again is another: who made the first does not charge it.
#[test]
fn three_first_hits_that_differ_in_what_is_free() {
    explore_at_least(4, || {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(B, 0, 1), Hit::Allow(0));
        // Takes the first place, and what is claimed in the second.
        let first = spawn(&limiter, |limiter| limiter.hit(A, 100 * MS, 1));
        // These find the first taken.
        let second = spawn(&limiter, |limiter| limiter.hit(A, 99 * MS, 1));
        let mut hits = vec![limiter.hit(A, 99 * MS, 1)];
        hits.extend([first, second].map(|other| other.join().unwrap()));
        assert_eq!(allowed(&hits), 1, "{hits:?}");
    });
}
