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
            // The previous update gives the next one both parities to tell apart.
            update(&limiter, limits(9), 0);
            assert_eq!(limiter.hit(key, 0, 8), Hit::Allow(1));
            let other = spawn(&limiter, |limiter| update(limiter, limits(4), 0));
            let hit = limiter.hit(key, 0, 1);
            other.join().unwrap();
            assert!(matches!(hit, Hit::Allow(0) | Hit::Deny(_)), "{hit:?}");
            // In either order, 4 are owed.
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

/// A hit reads the rate while two changes are made.
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
        // Both changes have cut what is owed, in either order.
        let last = limiter.info(1).unwrap().limits.rate.burst();
        let left = if last == 3 { Hit::Deny(100 * MS) } else { Hit::Allow(1) };
        assert_eq!(limiter.hit(all, 0, 1), left);
    });
}

/// One caller begins a change and drops it, as a killed caller would, and two others are made.
#[test]
fn three_updates_one_of_which_is_dropped() {
    explore(|| {
        let (limiter, _) = open(2, 3);
        update(&limiter, limits(4), 0);
        assert_eq!(limiter.hit(A, 0, 4), Hit::Allow(0));
        assert!(matches!(limiter.update(1, |_| Some(limits(5)), 0, None), Changed::NotYet(_)));
        let other = spawn(&limiter, |limiter| {
            update(limiter, limits(2), 0);
            // When a change is made, its rate is in force, or that of a later change.
            limiter.info(1).unwrap().limits
        });
        update(&limiter, limits(1), 0);
        let mine = limiter.info(1).unwrap().limits;
        let theirs = other.join().unwrap();
        let last = limiter.info(1).unwrap().limits;
        assert!([limits(1), limits(2)].contains(&mine) && [limits(1), limits(2)].contains(&theirs));
        assert!(mine == last || theirs == last);
        // No step of a change is left.
        assert_eq!(limiter.update(1, |now| Some(now), 0, None), Changed::Yes);
        // All changes have cut what is owed, in any order.
        assert_eq!(limiter.peek(A, 0, 1), if last == limits(1) { Hit::Deny(100 * MS) } else { Hit::Allow(0) });
    });
}

/// A caller that read the rate before a change sees a much later charge that was made after it.
/// The charge is not one of the earlier rate.
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

/// A slow hit that spans a change does not take the place of a key that was charged after it.
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

/// Of two changes, the slower one does not cut what was charged after the faster one.
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

/// A charge during two changes is cut to the last burst.
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

/// A change of a closed limiter does not reach the next generation of its memory.
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

/// A charge during two or three changes is cut to the last burst.
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

/// A hit by the previous rate comes while the places are migrated to the next. Its stamp must be
/// migrated too, before another caller charges more.
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
            // In either order, 3 are owed.
            assert_eq!(other.join().unwrap(), Reserved::In(100 * MS));
        });
    }
}

/// A reader gets the rate of one version, never half of each.
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
                // By the previous rate 100 ms are owed, cut to 3; by the next one 1 ms.
                assert!(
                    matches!((hit, then), (Hit::Allow(0), Hit::Deny(MS)) | (Hit::Allow(2), Hit::Allow(1))),
                    "{hit:?} {then:?}"
                );
            });
        }
    }
}
