//! Races of changes of the rate. Each change *cuts* the TATs of all keys: after the change no key
//! owes more than the new burst. Each change must cut each TAT exactly once. The parity bit that
//! is stored with a TAT tells whether the last change has cut that TAT (`Limiter::update`).

use penstock_core::{Changed, Hit, Key, Limits, Rate, Reserved};

use crate::explore::explore;
use crate::limiter::{A, B, MS, allowed, explore_kinds_of_key, limits, open, spawn, update};

/// A time, in ns, by which all that was owed at 0 ns has long been paid back.
const LATER: u64 = 10_000 * MS;

/// Returns limits that differ for each `n`, but whose rate is the same: `n` hits in `n` times
/// 100 ms, with a burst of 1.
///
/// A change to the limits in force has no effect. So a model needs another `n` for each change.
fn same_rate(n: u32) -> Limits {
    Limits { limit: n, per_ms: 100 * u64::from(n), ..limits(1) }
}

/// A hit races a change to a smaller burst. If the hit comes first, the change must cut its
/// charge with the rest. Otherwise the hit must be decided by the new burst.
#[test]
fn update_against_hit() {
    explore_kinds_of_key(1, 10, |limiter, key| {
        // After this update some places may have the parity of the rate before. So the next
        // update must migrate all places before it comes into force.
        update(limiter, limits(9), 0);
        assert_eq!(limiter.hit(key, 0, 8), Hit::Allow(1));
        let other = spawn(limiter, |limiter| update(limiter, limits(4), 0));
        let hit = limiter.hit(key, 0, 1);
        other.join().unwrap();
        assert!(matches!(hit, Hit::Allow(0) | Hit::Deny(_)), "{hit:?}");
        // In either order the key owes 4 hits, the new burst.
        assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(100 * MS));
        assert_eq!(limiter.hit(key, 100 * MS, 1), Hit::Allow(0));
    });
}

/// A first hit claims and charges a place during a change. The charge must count once, by the old
/// rate or by the new one.
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

/// A hit reads the configuration while two changes are published. The configuration has two
/// copies, so the second change overwrites the copy that the hit reads. The hit must then read
/// again (`ConfigCell::read`).
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

/// Two callers change the rate at once. Both changes must cut what the key owes, in either order.
#[test]
fn update_against_update() {
    explore(|| {
        let (limiter, all) = open(1, 10);
        update(&limiter, limits(9), 0);
        assert_eq!(limiter.hit(all, 0, 9), Hit::Allow(0));
        let other = spawn(&limiter, |limiter| update(limiter, limits(3), 0));
        update(&limiter, limits(5), 0);
        other.join().unwrap();
        // The key owes 3 hits, as the change to a burst of 3 has cut it. The burst in force is 3
        // or 5.
        let last = limiter.info(1).unwrap().limits.rate.burst();
        let left = if last == 3 { Hit::Deny(100 * MS) } else { Hit::Allow(1) };
        assert_eq!(limiter.hit(all, 0, 1), left);
    });
}

/// One caller begins a change and drops it, as a killed caller would. Then two other callers
/// change the rate at once. They must bring all three changes into force.
#[test]
fn three_updates_one_of_which_is_dropped() {
    explore(|| {
        let (limiter, _) = open(2, 3);
        update(&limiter, limits(4), 0);
        assert_eq!(limiter.hit(A, 0, 4), Hit::Allow(0));
        assert!(matches!(limiter.update(1, |_| Some(limits(5)), 0, None), Changed::NotYet(_)));
        let other = spawn(&limiter, |limiter| {
            update(limiter, limits(2), 0);
            // The rate of this update is in force now, or the rate of a later update.
            limiter.info(1).unwrap().limits
        });
        update(&limiter, limits(1), 0);
        let mine = limiter.info(1).unwrap().limits;
        let theirs = other.join().unwrap();
        let last = limiter.info(1).unwrap().limits;
        assert!([limits(1), limits(2)].contains(&mine) && [limits(1), limits(2)].contains(&theirs));
        assert!(mine == last || theirs == last);
        // No requested change is pending, so an update to the same rate is done at once.
        assert_eq!(limiter.update(1, |now| Some(now), 0, None), Changed::Yes);
        // The key owes 1 hit, as the change to a burst of 1 has cut it. The burst in force is 1
        // or 2.
        assert_eq!(limiter.peek(A, 0, 1), if last == limits(1) { Hit::Deny(100 * MS) } else { Hit::Allow(0) });
    });
}

/// The *cap* of a rate is the instant to which its change cut later TATs.
///
/// 1. A slow hit reads the rate, its version and its cap.
/// 2. The rate changes, and another hit moves the TAT of the key far beyond that cap.
/// 3. The slow hit loads the TAT. The hit must not cut that TAT to the old cap. So
///    `Limiter::decide` checks the version after the load.
#[test]
fn slow_hit_over_an_update_and_a_later_hit() {
    explore_kinds_of_key(1, 1, |limiter, key| {
        let slow = spawn(limiter, move |limiter| limiter.hit(key, LATER, 1));
        update(limiter, same_rate(2), LATER);
        let hits = [limiter.hit(key, LATER, 1), slow.join().unwrap()];
        assert_eq!(allowed(&hits), 1, "{hits:?}");
    });
}

/// A slow hit reads the rate. Then the rate changes, and another key is charged in the only
/// place. By the rate that the slow hit has read, that place would look free. The slow hit must
/// not take it.
#[test]
fn slow_hit_over_an_update_evicts_no_key() {
    explore(|| {
        let (limiter, _) = open(1, 1);
        let slow = spawn(&limiter, |limiter| limiter.hit(B, LATER, 1));
        update(&limiter, same_rate(2), LATER);
        let hits = [limiter.hit(A, LATER, 1), slow.join().unwrap()];
        assert_eq!(allowed(&hits), 1, "{hits:?}");
    });
}

/// Two callers change the rate, and both migrate all places first. The slower caller must not cut
/// a TAT that was charged after the change of the quicker caller. So `Limiter::migrate` checks
/// the version after it has loaded the TAT.
#[test]
fn slow_update_against_an_update_and_a_later_hit() {
    explore_kinds_of_key(1, 1, |limiter, key| {
        update(limiter, same_rate(2), 0);
        assert_eq!(limiter.hit(key, 0, 1), Hit::Allow(0));
        let slow = spawn(limiter, |limiter| update(limiter, same_rate(3), LATER));
        update(limiter, same_rate(4), LATER);
        assert_eq!(limiter.hit(key, LATER, 1), Hit::Allow(0));
        slow.join().unwrap();
        assert_eq!(limiter.hit(key, LATER, 1), Hit::Deny(100 * MS));
    });
}

/// A hit of cost 8 races changes of the burst to each of `bursts`. The last burst is 3. If the
/// hit is charged by an earlier burst, its charge must be cut to 3 hits.
fn updates_against_a_large_hit(bursts: &'static [u32]) {
    explore_kinds_of_key(1, 10, |limiter, key| {
        let other = spawn(limiter, |limiter| bursts.iter().for_each(|&burst| update(limiter, limits(burst), 0)));
        let hit = limiter.hit(key, 0, 8);
        other.join().unwrap();
        if matches!(hit, Hit::Allow(_)) {
            assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(100 * MS));
        }
    });
}

/// The hit may publish its TAT after both changes. The parity of the TAT then equals that of the
/// rate in force, so no later reader cuts the TAT. Only `migrate_own` does.
#[test]
fn two_updates_against_a_large_hit() {
    updates_against_a_large_hit(&[9, 3]);
}

/// The hit may publish its TAT after all three changes. The parity of the TAT then equals that of
/// the rate before the last one, as if only one change had come since.
#[test]
fn three_updates_against_a_large_hit() {
    updates_against_a_large_hit(&[9, 8, 3]);
}

/// A late change of the previous generation must not change the rate of the next.
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

/// A hit by an outdated rate publishes its TAT after `migrate` has passed the place. So the hit
/// must migrate that TAT itself (`Limiter::migrate_own`). Meanwhile another caller reserves a
/// turn of the same key.
#[test]
fn two_updates_and_a_turn_against_a_hit() {
    explore_kinds_of_key(1, 9, |limiter, key| {
        assert_eq!(limiter.hit(key, 0, 8), Hit::Allow(1));
        let other = spawn(limiter, move |limiter| {
            update(limiter, limits(4), 0);
            update(limiter, limits(3), 0);
            limiter.reserve(key, 0, 1, u64::MAX)
        });
        limiter.hit(key, 0, 1);
        // In either order the key owes 3 hits, so the turn comes an interval later.
        assert_eq!(other.join().unwrap(), Reserved::In(100 * MS));
    });
}

/// A hit must read the interval, the burst and the cap of one version, not a mixture of two. The
/// cap is the instant to which the change to that version cut later TATs.
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
                // A hit by the slow rate owes 100 ms, which the change to `fast` cuts to 3 ms. A
                // hit by `fast` owes 1 ms.
                assert!(
                    matches!((hit, then), (Hit::Allow(0), Hit::Deny(MS)) | (Hit::Allow(2), Hit::Allow(1))),
                    "{hit:?} {then:?}"
                );
            });
        }
    }
}
