//! Races of a rate that changes.

use penstock_core::{Changed, Hit, Key, Limits, Rate, Reserved};

use crate::explore::explore;
use crate::limiter::{A, B, MS, allowed, limits, open, spawn, update};

#[test]
fn update_against_hit() {
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(1, 10);
            let key = if global { all } else { A };
            // So that the change is one of two eras.
            update(&limiter, limits(9), 0);
            assert_eq!(limiter.hit(key, 0, 8), Hit::Allow(1));
            let other = spawn(&limiter, |limiter| update(limiter, limits(4), 0));
            let hit = limiter.hit(key, 0, 1);
            other.join().unwrap();
            assert!(matches!(hit, Hit::Allow(0) | Hit::Deny(_)), "{hit:?}");
            // Whichever was first, 4 are owed.
            assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(100 * MS));
            assert_eq!(limiter.hit(key, 100 * MS, 1), Hit::Allow(0));
        });
    }
}

#[test]
fn update_against_first_hit() {
    explore(|| {
        let (limiter, _) = open(1, 1);
        let other = spawn(&limiter, |limiter| update(limiter, limits(3), 0));
        let hit = limiter.hit(A, 0, 1);
        other.join().unwrap();
        assert!(matches!(hit, Hit::Allow(0 | 2)), "{hit:?}");
        assert_eq!(limiter.hit(A, 0, 1), Hit::Allow(1));
    });
}

/// A hit reads the rate while it is changed twice.
#[test]
fn two_updates_against_hit() {
    explore(|| {
        let (limiter, all) = open(1, 1);
        let other = spawn(&limiter, |limiter| {
            update(limiter, limits(2), 0);
            update(limiter, limits(3), 0);
        });
        let hit = limiter.hit(all, 0, 1);
        other.join().unwrap();
        assert!(matches!(hit, Hit::Allow(0..=2)), "{hit:?}");
        assert_eq!(limiter.hit(all, 0, 1), Hit::Allow(1));
    });
}

#[test]
fn update_against_update() {
    explore(|| {
        let (limiter, all) = open(1, 10);
        update(&limiter, limits(9), 0);
        assert_eq!(limiter.hit(all, 0, 9), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| update(limiter, limits(3), 0));
        update(&limiter, limits(5), 0);
        other.join().unwrap();
        // Cut by both, whichever came last.
        let last = limiter.info(1).unwrap().limits.rate.burst();
        let left = if last == 3 { Hit::Deny(100 * MS) } else { Hit::Allow(1) };
        assert_eq!(limiter.hit(all, 0, 1), left);
    });
}

/// A change that one caller begins and drops, as a caller that is killed would, and two that are
/// made.
#[test]
fn three_updates_one_of_which_is_dropped() {
    explore(|| {
        let (limiter, _) = open(2, 3);
        update(&limiter, limits(4), 0);
        assert_eq!(limiter.hit(A, 0, 4), Hit::Allow(0));
        assert!(matches!(limiter.update(1, |_| Some(limits(5)), 0, None), Changed::NotYet(_)));
        let other = spawn(&limiter, |limiter| {
            update(limiter, limits(2), 0);
            // What was asked for is in force when it is done, or what was asked for after it.
            limiter.info(1).unwrap().limits
        });
        update(&limiter, limits(1), 0);
        let mine = limiter.info(1).unwrap().limits;
        let theirs = other.join().unwrap();
        let last = limiter.info(1).unwrap().limits;
        assert!([limits(1), limits(2)].contains(&mine) && [limits(1), limits(2)].contains(&theirs));
        assert!(mine == last || theirs == last);
        // Nothing is left to be done.
        assert_eq!(limiter.update(1, |now| Some(now), 0, None), Changed::Yes);
        // Cut by all, whichever came last.
        assert_eq!(limiter.peek(A, 0, 1), if last == limits(1) { Hit::Deny(100 * MS) } else { Hit::Allow(0) });
    });
}

/// Whoever has read the rate before a change sees what was charged after it, much later: that is not of the era before.
#[test]
fn slow_hit_over_an_update_and_a_later_hit() {
    const LATER: u64 = 10_000 * MS;
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(1, 1);
            let key = if global { all } else { A };
            let slow = spawn(&limiter, move |limiter| limiter.hit(key, LATER, 1));
            update(&limiter, limits(1), LATER);
            let hits = [limiter.hit(key, LATER, 1), slow.join().unwrap()];
            assert_eq!(allowed(&hits), 1, "{hits:?}");
        });
    }
}

/// Nor is its place there for another.
#[test]
fn slow_hit_over_an_update_evicts_nobody() {
    const LATER: u64 = 10_000 * MS;
    explore(|| {
        let (limiter, _) = open(1, 1);
        let slow = spawn(&limiter, |limiter| limiter.hit(B, LATER, 1));
        update(&limiter, limits(1), LATER);
        let hits = [limiter.hit(A, LATER, 1), slow.join().unwrap()];
        assert_eq!(allowed(&hits), 1, "{hits:?}");
    });
}

/// Of two changes, the slower does not cut what was charged after the faster.
#[test]
fn slow_update_against_an_update_and_a_later_hit() {
    const LATER: u64 = 10_000 * MS;
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(1, 1);
            let key = if global { all } else { A };
            update(&limiter, limits(1), 0);
            assert_eq!(limiter.hit(key, 0, 1), Hit::Allow(0));
            let slow = spawn(&limiter, |limiter| update(limiter, limits(1), LATER));
            update(&limiter, limits(1), LATER);
            assert_eq!(limiter.hit(key, LATER, 1), Hit::Allow(0));
            slow.join().unwrap();
            assert_eq!(limiter.hit(key, LATER, 1), Hit::Deny(100 * MS));
        });
    }
}

/// What is charged while the rate changes twice is cut to the last.
#[test]
fn two_updates_against_a_large_hit() {
    explore(|| {
        let (limiter, _) = open(1, 10);
        let other = spawn(&limiter, |limiter| {
            update(limiter, limits(9), 0);
            update(limiter, limits(3), 0);
        });
        let hit = limiter.hit(A, 0, 8);
        other.join().unwrap();
        if matches!(hit, Hit::Allow(_)) {
            assert_eq!(limiter.hit(A, 0, 1), Hit::Deny(100 * MS));
        }
    });
}

/// A change for a limiter that was closed is none of the next of its memory.
#[test]
fn open_against_update() {
    explore(|| {
        let (limiter, _) = open(1, 1);
        let other = spawn(&limiter, |limiter| {
            let mut from = None;
            loop {
                match limiter.update(1, |_| Some(limits(7)), 0, from) {
                    Changed::NotYet(progress) => from = Some(progress),
                    other => return other,
                }
            }
        });
        let new = limiter.open(limits(1), false, 0);
        assert!(matches!(other.join().unwrap(), Changed::Yes | Changed::Gone));
        assert_eq!(limiter.info(new).unwrap().limits, limits(1));
        assert_eq!(limiter.hit(Key::Global(new), 0, 1), Hit::Allow(0));
    });
}

/// What is charged while the rate changes twice, or three times, is cut to the last.
#[test]
fn updates_against_a_large_hit() {
    for (global, bursts) in [(false, &[9, 3][..]), (true, &[9, 3]), (false, &[9, 8, 3]), (true, &[9, 8, 3])] {
        explore(move || {
            let (limiter, all) = open(1, 10);
            let key = if global { all } else { A };
            let other =
                spawn(&limiter, move |limiter| bursts.iter().for_each(|&burst| update(limiter, limits(burst), 0)));
            let hit = limiter.hit(key, 0, 8);
            other.join().unwrap();
            if matches!(hit, Hit::Allow(_)) {
                assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(100 * MS));
            }
        });
    }
}

/// A hit by the rate before comes as all are brought to the era of the next: what it left is brought there too, before another charges more.
#[test]
fn two_updates_and_a_turn_against_a_hit() {
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(1, 9);
            let key = if global { all } else { A };
            assert_eq!(limiter.hit(key, 0, 8), Hit::Allow(1));
            let other = spawn(&limiter, move |limiter| {
                update(limiter, limits(4), 0);
                update(limiter, limits(3), 0);
                limiter.reserve(key, 0, 1, u64::MAX)
            });
            limiter.hit(key, 0, 1);
            // 3 are owed, whoever was first.
            assert_eq!(other.join().unwrap(), Reserved::In(100 * MS));
        });
    }
}

/// What is read is the rate of before, or of after, and not half of each.
#[test]
fn two_updates_of_everything_against_hit() {
    let fast = Limits { limit: 100, per_ms: 100, rate: Rate::new(100, 100, 3).unwrap() };
    for changes in [&[fast][..], &[limits(1), fast]] {
        for global in [false, true] {
            let (changes, fast) = (changes.to_vec(), fast);
            explore(move || {
                let (limiter, all) = open(1, 1);
                let key = if global { all } else { A };
                let changes = changes.clone();
                let other = spawn(&limiter, move |limiter| changes.iter().for_each(|&to| update(limiter, to, 0)));
                let hit = limiter.hit(key, 0, 1);
                other.join().unwrap();
                assert_eq!(limiter.info(1).unwrap().limits, fast);
                let then = limiter.peek(key, 0, 1);
                // By the rate before 100 ms are owed, cut to 3; by the one after 1.
                assert!(
                    matches!((hit, then), (Hit::Allow(0), Hit::Deny(MS)) | (Hit::Allow(2), Hit::Allow(1))),
                    "{hit:?} {then:?}"
                );
            });
        }
    }
}
