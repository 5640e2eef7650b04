//! Every interleaving of two or three calls that race for a rate limit or a ban.
//!
//! One test for each race, named after the two sides of it. In a model a row has two places; up to two keys have one row.
//!
//!     RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test -p penstock_core --release --test loom_rate
#![cfg(loom)]

#[path = "support/explore.rs"]
mod explore;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering};

use loom::thread;
use penstock_core::{
    All, Ban, BanSettings, Banned, Changed, Charge, Counter, Failure, Hit, Key, Limiter, Limits, Rate, Reserved,
    Reusable, hit_all,
};

use explore::{explore, explore_at_least};

const MS: u64 = 1_000_000;

/// One hit in 100 ms, and so many at once.
fn limits(burst: u32) -> Limits {
    Limits { limit: 1, per_ms: 100, rate: Rate::new(1, 100, burst).unwrap() }
}

fn open(max_keys: u32, burst: u32) -> (Arc<Limiter>, Key) {
    let limiter = Arc::new(Limiter::new(max_keys).unwrap());
    let incarnation = limiter.open(limits(burst), false, 0);
    (limiter, Key::Global(incarnation))
}

// Their rows begin with the place that the high bits say, of three rows.
const A: Key = Key::Tag(1, 1);
const B: Key = Key::Tag(1, 2);
const C: Key = Key::Tag(1, 3);

fn spawn<T: 'static>(limiter: &Arc<Limiter>, act: impl FnOnce(&Limiter) -> T + 'static) -> thread::JoinHandle<T> {
    let limiter = Arc::clone(limiter);
    thread::spawn(move || act(&limiter))
}

fn allowed(hits: &[Hit]) -> usize {
    hits.iter().filter(|hit| matches!(hit, Hit::Allow(_))).count()
}

fn update(limiter: &Limiter, limits: Limits, now: u64) {
    let mut from = None;
    while let Changed::NotYet(progress) = limiter.update(1, |_| Some(limits), now, from) {
        from = Some(progress);
    }
}

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

#[test]
fn hit_against_hit() {
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(2, 2);
            let key = if global { all } else { A };
            assert_eq!(limiter.hit(key, 0, 1), Hit::Allow(1));
            let other = spawn(&limiter, move |limiter| limiter.hit(key, 0, 1));
            let hits = [limiter.hit(key, 0, 1), other.join().unwrap()];
            assert_eq!(allowed(&hits), 1);
        });
    }
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

#[test]
fn pause_against_hit() {
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(2, 2);
            let key = if global { all } else { A };
            let other = spawn(&limiter, move |limiter| limiter.hit(key, 0, 1));
            assert!(limiter.pause(key, 0, 100 * MS));
            // Whatever the other came to, none is allowed after it.
            assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(100 * MS));
            let hit = other.join().unwrap();
            assert!([Hit::Allow(1), Hit::Deny(100 * MS)].contains(&hit), "{hit:?}");
            assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(100 * MS));
        });
    }
}

/// There is room for one.
#[test]
fn pause_against_pause_and_reset() {
    explore(|| {
        let (limiter, _) = open(2, 2);
        let other = spawn(&limiter, |limiter| {
            assert!(limiter.pause(B, 0, 200 * MS));
            limiter.peek(B, 0, 1)
        });
        assert!(limiter.pause(A, 0, 100 * MS));
        assert!(matches!(limiter.peek(A, 0, 1), Hit::Deny(wait) if wait >= 100 * MS));
        assert!(limiter.reset(A));
        assert_eq!(other.join().unwrap(), Hit::Deny(200 * MS));
        assert_eq!(limiter.peek(B, 0, 1), Hit::Deny(200 * MS));
    });
}

#[test]
fn open_against_pause() {
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(2, 2);
            let key = if global { all } else { A };
            let other = spawn(&limiter, move |limiter| limiter.pause(key, 0, 100 * MS));
            let new = limiter.open(limits(2), false, 0);
            other.join().unwrap();
            for key in [Key::Global(new), Key::Tag(new, 7)] {
                assert_eq!(limiter.peek(key, 0, 1), Hit::Allow(1));
            }
        });
    }
}

#[test]
fn charge_against_hit_and_refund() {
    explore(|| {
        let (limiter, _) = open(2, 2);
        let other = spawn(&limiter, |limiter| limiter.charge_anyway(A, 0, 3));
        let hit = limiter.hit(A, 0, 1);
        other.join().unwrap();
        // Both are charged, or the hit was denied.
        let owed = 3 + u64::from(matches!(hit, Hit::Allow(_)));
        assert_eq!(limiter.peek(A, 0, 1), Hit::Deny((owed - 1) * 100 * MS));
        let other = spawn(&limiter, |limiter| limiter.give_back(A, 0, 1));
        limiter.give_back(A, 0, 1);
        other.join().unwrap();
        assert_eq!(limiter.peek(A, 0, 1), if owed == 4 { Hit::Deny(100 * MS) } else { Hit::Allow(0) });
    });
}

/// What `hit_all` takes back may not be given back as well: the hit in between is paid for.
#[test]
fn hit_all_that_is_denied_against_refund_and_hit() {
    explore(|| {
        let (first, all) = open(2, 2);
        let (second, _) = open(2, 1);
        let other = {
            let (first, second) = (Arc::clone(&first), Arc::clone(&second));
            thread::spawn(move || {
                let charges = [
                    Charge { limiter: &first, key: all, cost: Some(1) },
                    Charge { limiter: &second, key: A, cost: Some(1) },
                ];
                hit_all(&charges, || 0)
            })
        };
        let taken = second.hit(A, 0, 1);
        first.give_back(all, 0, 1);
        let hits = [first.hit(all, 0, 1), first.hit(all, 0, 1), first.hit(all, 0, 1)];
        let outcome = other.join().unwrap();
        let after = first.hit(all, 0, 1);
        // A refund gives back one at most.
        let count = allowed(&hits) + allowed(&[after]) + usize::from(outcome == All::Allowed);
        assert!(count <= 3, "{hits:?} {after:?} {outcome:?} {taken:?}");
        if outcome != All::Allowed {
            assert!(count <= 2, "{hits:?} {after:?} {outcome:?} {taken:?}");
        }
    });
}

#[test]
fn reset_against_hit() {
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(2, 1);
            let key = if global { all } else { A };
            assert_eq!(limiter.hit(key, 0, 1), Hit::Allow(0));
            let other = spawn(&limiter, move |limiter| assert!(limiter.reset(key)));
            let hit = limiter.hit(key, 0, 1);
            other.join().unwrap();
            let then = limiter.hit(key, 0, 1);
            assert_eq!(allowed(&[hit, then]), 1, "{hit:?} {then:?}");
        });
    }
}

#[test]
fn reset_against_two_hits() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(A, 0, 1), Hit::Allow(0));
        let reset = spawn(&limiter, |limiter| assert!(limiter.reset(A)));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 0, 1));
        let mut hits = vec![limiter.hit(A, 0, 1), other.join().unwrap()];
        reset.join().unwrap();
        hits.push(limiter.hit(A, 0, 1));
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        assert!(limiter.keys(0, 0).0 == 1);
    });
}

#[test]
fn reserve_against_reserve() {
    explore(|| {
        let (limiter, all) = open(1, 1);
        let other = spawn(&limiter, move |limiter| limiter.reserve(all, 0, 1, u64::MAX));
        let mut turns = [limiter.reserve(all, 0, 1, u64::MAX), other.join().unwrap()];
        turns.sort_by_key(|turn| if let Reserved::In(wait) = turn { *wait } else { u64::MAX });
        assert_eq!(turns, [Reserved::In(0), Reserved::In(100 * MS)]);
    });
}

/// Of the incarnation before, by one that was slow.
#[test]
fn open_against_hit() {
    explore(|| {
        let (limiter, old) = open(1, 1);
        let other = spawn(&limiter, move |limiter| limiter.hit(old, 0, 1));
        let new = Key::Global(limiter.open(limits(1), false, 0));
        let hit = other.join().unwrap();
        assert!(matches!(hit, Hit::Allow(0) | Hit::Gone), "{hit:?}");
        assert_eq!(limiter.hit(new, 0, 1), Hit::Allow(0));
    });
}

/// One has both, or the other has.
#[test]
fn hit_all_against_hit_all() {
    explore(|| {
        let (a, both) = open(1, 1);
        let (b, other_all) = open(1, 1);
        let b_too = Arc::clone(&b);
        let other = spawn(&a, move |a| {
            let charges = [
                Charge { limiter: a, key: both, cost: Some(1) },
                Charge { limiter: &b_too, key: other_all, cost: Some(1) },
            ];
            hit_all(&charges, || 0)
        });
        let charges =
            [Charge { limiter: &*b, key: other_all, cost: Some(1) }, Charge { limiter: &*a, key: both, cost: Some(1) }];
        let outcomes = [hit_all(&charges, || 0), other.join().unwrap()];
        let allowed = outcomes.iter().filter(|&&outcome| outcome == All::Allowed).count();
        // Each may have denied the other by what it took back.
        assert!(allowed <= 1, "{outcomes:?}");
        let left = [a.peek(both, 0, 1), b.peek(other_all, 0, 1)].map(|hit| matches!(hit, Hit::Allow(0)));
        assert_eq!(left, [allowed == 0; 2], "{outcomes:?}");
    });
}

/// What is taken back is what was charged, whatever others charged in between.
#[test]
fn hit_all_that_is_denied_against_hit() {
    explore(|| {
        let (a, key_a) = open(1, 3);
        let (b, key_b) = open(1, 1);
        let other = spawn(&a, move |a| a.hit(key_a, 0, 1));
        let b_too = Arc::clone(&b);
        let taker = spawn(&b, move |b| b.hit(key_b, 0, 1));
        let charges = [
            Charge { limiter: &*a, key: key_a, cost: Some(1) },
            Charge { limiter: &*b_too, key: key_b, cost: Some(1) },
        ];
        let outcome = hit_all(&charges, || 0);
        assert!(matches!(other.join().unwrap(), Hit::Allow(_)));
        let taken = matches!(taker.join().unwrap(), Hit::Allow(_));
        assert!(taken || outcome == All::Allowed);
        let left = if outcome == All::Allowed { 0 } else { 1 };
        assert_eq!(a.peek(key_a, 0, 1), Hit::Allow(left));
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

/// What was charged tentatively before a key was reset is not taken back from others after it.
#[test]
fn hit_all_that_is_denied_against_reset_and_hit() {
    explore(|| {
        let (a, key_a) = open(1, 2);
        let (b, key_b) = open(1, 1);
        let b_too = Arc::clone(&b);
        let other = spawn(&a, move |a| {
            // Denies the second, while the first is charged.
            b_too.hit(key_b, 0, 1);
            a.reset(key_a);
            // Not at the same ns: a TAT that is the same again looks as if nothing had been.
            a.hit(key_a, 1, 1)
        });
        let charges =
            [Charge { limiter: &*a, key: key_a, cost: Some(1) }, Charge { limiter: &*b, key: key_b, cost: Some(1) }];
        let outcome = hit_all(&charges, || 0);
        let mut hits = vec![other.join().unwrap()];
        while hits.last().is_some_and(|hit| matches!(hit, Hit::Allow(_))) {
            hits.push(a.hit(key_a, 1, 1));
        }
        // Two since the reset, of which the tentative one may be one.
        assert!(allowed(&hits) <= 2, "{outcome:?} {hits:?}");
    });
}

/// Nothing is left of what was charged before another key of the same limiter was reset.
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
        let charges =
            [Charge { limiter: &*first, key: all, cost: Some(1) }, Charge { limiter: &*second, key, cost: Some(1) }];
        let outcome = hit_all(&charges, || 0);
        other.join().unwrap();
        if outcome != All::Allowed {
            assert_eq!(first.peek(all, 0, 1), Hit::Allow(1), "{outcome:?}");
        }
    });
}

/// Who is late is told so, is counted nowhere, and leaves nothing in the one place there is.
#[test]
fn open_against_hit_of_a_key() {
    for hit_before in [false, true] {
        explore(move || {
            let (limiter, _) = open(1, 1);
            if hit_before {
                limiter.hit(A, 0, 1);
            }
            let late = spawn(&limiter, move |limiter| limiter.hit(A, 0, 1));
            let now = limiter.open(limits(1), false, 0);
            // Perhaps it has the place still, for a moment.
            let mine = limiter.hit(Key::Tag(now, 9), 0, 1);
            let late = late.join().unwrap();
            assert!(
                late == Hit::Gone || late == if hit_before { Hit::Deny(100 * MS) } else { Hit::Allow(0) },
                "{late:?}"
            );
            assert_eq!(allowed(&[mine, limiter.hit(Key::Tag(now, 9), 0, 1)]), 1, "{mine:?}");
        });
    }
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

/// What is charged as it is reset stays, or is forgotten with the rest; the rest is forgotten.
#[test]
fn reset_against_a_hit_that_is_allowed() {
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(2, 2);
            let key = if global { all } else { A };
            assert_eq!(limiter.hit(key, 0, 1), Hit::Allow(1));
            let other = spawn(&limiter, move |limiter| assert!(limiter.reset(key)));
            let hit = limiter.hit(key, 0, 1);
            other.join().unwrap();
            let left = if hit == Hit::Allow(1) { 0 } else { 1 };
            assert_eq!((allowed(&[hit]), limiter.hit(key, 0, 1)), (1, Hit::Allow(left)));
        });
    }
}

/// A charge by the rate before is not taken back by the next, by which it is worth more.
#[test]
fn hit_all_that_is_denied_against_update() {
    const LATER: u64 = 10_000 * MS;
    explore(|| {
        let (a, key_a) = open(1, 10);
        let (b, key_b) = open(1, 1);
        assert_eq!(a.hit(key_a, LATER, 5), Hit::Allow(5));
        let b_too = Arc::clone(&b);
        let other = spawn(&a, move |a| {
            b_too.hit(key_b, LATER, 1);
            update(a, Limits { limit: 1, per_ms: 1_000, rate: Rate::new(1, 1_000, 1).unwrap() }, LATER);
        });
        let charges =
            [Charge { limiter: &*a, key: key_a, cost: Some(1) }, Charge { limiter: &*b, key: key_b, cost: Some(1) }];
        let outcome = hit_all(&charges, || LATER);
        other.join().unwrap();
        // What others owe is owed still, with the one or without.
        let owed = a.peek(key_a, LATER, 1);
        assert!([Hit::Deny(500 * MS), Hit::Deny(600 * MS)].contains(&owed), "{outcome:?} {owed:?}");
    });
}

/// Nor from who came after it was forgotten, while the reset goes on.
#[test]
fn hit_all_that_is_denied_against_reset_against_hit() {
    explore(|| {
        let (a, key_a) = open(1, 2);
        let (b, key_b) = open(1, 1);
        assert_eq!(a.hit(key_a, 0, 1), Hit::Allow(1));
        let b_too = Arc::clone(&b);
        let reset = spawn(&a, move |a| assert!(a.reset(key_a)));
        let other = spawn(&a, move |a| {
            b_too.hit(key_b, 0, 1);
            // Only once it was reset.
            a.hit(key_a, 1, 2)
        });
        let charges =
            [Charge { limiter: &*a, key: key_a, cost: Some(1) }, Charge { limiter: &*b, key: key_b, cost: Some(1) }];
        let outcome = hit_all(&charges, || 0);
        let hit = other.join().unwrap();
        reset.join().unwrap();
        if hit == Hit::Allow(0) {
            assert_eq!(allowed(&[a.peek(key_a, 1, 1)]), 0, "{outcome:?}");
        }
    });
}

/// A charge that has run out is not taken back: what is owed now is another's.
#[test]
fn hit_all_that_is_denied_late_against_hit() {
    explore(|| {
        let (a, key_a) = open(1, 1);
        let (b, key_b) = open(1, 1);
        let clock = Arc::new(PlainU64::new(0));
        let (b_too, hand) = (Arc::clone(&b), Arc::clone(&clock));
        let other = spawn(&a, move |a| {
            b_too.hit(key_b, 100 * MS, 1);
            hand.store(150 * MS, Ordering::Relaxed);
            a.hit(key_a, 150 * MS, 1)
        });
        let charges =
            [Charge { limiter: &*a, key: key_a, cost: Some(1) }, Charge { limiter: &*b, key: key_b, cost: Some(1) }];
        let outcome = hit_all(&charges, || clock.load(Ordering::Relaxed));
        if other.join().unwrap() == Hit::Allow(0) {
            assert_eq!(a.peek(key_a, 150 * MS, 1), Hit::Deny(100 * MS), "{outcome:?}");
        }
    });
}

/// All that were charged are taken back, each what it was charged.
#[test]
fn hit_all_of_three_that_is_denied_against_hit() {
    explore(|| {
        let (a, key_a) = open(1, 3);
        let (b, key_b) = open(1, 3);
        let (c, key_c) = open(1, 1);
        let taker = spawn(&c, move |c| c.hit(key_c, 0, 1));
        let charges = [
            Charge { limiter: &*a, key: key_a, cost: Some(1) },
            Charge { limiter: &*b, key: key_b, cost: Some(2) },
            Charge { limiter: &*c, key: key_c, cost: Some(1) },
        ];
        let outcome = hit_all(&charges, || 0);
        let taken = taker.join().unwrap();
        let left = [a.peek(key_a, 0, 1), b.peek(key_b, 0, 1)];
        match outcome {
            All::Allowed => assert_eq!((taken, left), (Hit::Deny(100 * MS), [Hit::Allow(1), Hit::Allow(0)])),
            // And the wait is told as it is.
            denied => {
                assert_eq!(denied, All::Denied(2, Some(100 * MS)));
                assert_eq!((taken, left), (Hit::Allow(0), [Hit::Allow(2), Hit::Allow(2)]));
            }
        }
    });
}

#[test]
fn open_against_advance() {
    explore(|| {
        let limiter = Arc::new(Limiter::new(1).unwrap());
        limiter.open(limits(1), true, 0);
        let other = spawn(&limiter, |limiter| limiter.advance(1, 5));
        limiter.open(limits(1), true, 0);
        other.join().unwrap();
        assert_eq!(limiter.now(|| 1), 0);
    });
}

// Bans.

const BAN: BanSettings = BanSettings {
    failures: 2,
    within_ms: 100,
    ban_ms: 50,
    escalate: 2,
    max_ban_ms: 1_000,
    forget_ms: 1_000,
    max_keys: 1,
    max_bans: 2,
    manual: false,
};

fn open_ban(settings: BanSettings) -> Arc<Ban> {
    let ban = Ban::make(settings).unwrap();
    ban.open(settings, 0);
    Arc::new(ban)
}

fn fail(ban: &Ban, tag: u64) -> Failure {
    ban.record_failure(1, tag, 0, || (Box::new([1]), Box::new([])))
}

#[test]
fn failure_against_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || fail(&ban, 7))
        };
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        let banned = Failure::Banned(50 * MS);
        // The first may be told of the ban as well, if that is there by then.
        let expected = [(Failure::Left(1), banned), (banned, Failure::Left(1)), (banned, banned)];
        assert!(expected.contains(&(mine, other)), "{mine:?} {other:?}");
        assert_eq!(ban.check(7, 0), Banned::For(50 * MS));
    });
}

/// So many that each of two could ban: it is for once.
#[test]
fn offence_against_offence() {
    explore(|| {
        let ban = open_ban(BanSettings { failures: 1, ..BAN });
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || fail(&ban, 7))
        };
        let banned = Failure::Banned(50 * MS);
        assert_eq!((fail(&ban, 7), other.join().unwrap()), (banned, banned));
        let (listed, _) = ban.list(0, 0, 10);
        assert_eq!(listed.iter().map(|listed| (listed.level, listed.left)).collect::<Vec<_>>(), [(1, 50 * MS)]);
    });
}

#[test]
fn ban_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.unban(7))
        };
        ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
        other.join().unwrap();
        // What is listed is what is in force.
        let listed = !ban.list(0, 0, 10).0.is_empty();
        assert_eq!(ban.check(7, 0) == Banned::For(50 * MS), listed);
    });
}

/// The one that would ban, and whoever forgives: before, all but that one are forgotten; after, the ban is.
#[test]
fn offence_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.unban(7))
        };
        let mine = fail(&ban, 7);
        other.join().unwrap();
        assert_eq!(ban.check(7, 0), Banned::No);
        let after = fail(&ban, 7);
        match mine {
            // It came before it was forgiven, and all is forgotten; or after, and counts.
            Failure::Left(left) => {
                assert_eq!(after, if left == 2 { Failure::Left(1) } else { Failure::Banned(50 * MS) })
            }
            Failure::Banned(_) => assert_eq!(after, Failure::Left(1)),
        }
    });
}

/// One that is dropped for another is banned no more, and everybody else is.
#[test]
fn bans_of_a_full_list() {
    explore(|| {
        let ban = open_ban(BAN);
        ban.ban(1, 1, 0, 10, Box::new([1]), Box::new([]));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.ban(1, 2, 0, 20, Box::new([2]), Box::new([])))
        };
        ban.ban(1, 3, 0, 30, Box::new([3]), Box::new([]));
        other.join().unwrap();
        let banned: Vec<_> = (1..=3).map(|tag| ban.check(tag, 0)).collect();
        assert_eq!(banned, [Banned::No, Banned::For(20 * MS), Banned::For(30 * MS)]);
        assert_eq!(ban.info().dropped, 1);
    });
}

/// A failure that comes as two others ban the key is told of that, or counted before; none counts for the next ban.
#[test]
fn failure_against_two_that_ban() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || fail(&ban, 7))
        };
        let banned = Failure::Banned(50 * MS);
        assert_eq!((fail(&ban, 7), other.join().unwrap()), (banned, banned));
        let after = ban.record_failure(1, 7, 60 * MS, || (Box::new([1]), Box::new([])));
        assert_eq!(after, Failure::Left(1));
    });
}

/// One that is slow to forget what was counted for a ban, or too late to count, forgets nothing of what comes after that was forgiven.
#[test]
fn offence_against_unban_and_a_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || {
                ban.unban(7);
                fail(&ban, 7)
            })
        };
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        // One at least has come since.
        assert_eq!(fail(&ban, 7), Failure::Banned(50 * MS), "{mine:?} {other:?}");
    });
}

#[test]
fn failure_against_ban_and_unban_and_a_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || {
                ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
                ban.unban(7);
                fail(&ban, 7)
            })
        };
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        assert_eq!(fail(&ban, 7), Failure::Banned(50 * MS), "{mine:?} {other:?}");
    });
}

/// Who ends a ban forgets all that was counted before it.
#[test]
fn failure_and_ban_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.unban(7))
        };
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
        other.join().unwrap();
        if ban.check(7, 0) == Banned::No {
            assert_eq!(fail(&ban, 7), Failure::Left(1));
        }
    });
}

/// And nothing that is counted after it.
#[test]
fn failure_against_unban_of_one_that_is_banned() {
    explore(|| {
        let ban = open_ban(BAN);
        ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.unban(7))
        };
        let mine = fail(&ban, 7);
        other.join().unwrap();
        let then = fail(&ban, 7);
        let expected = [(Failure::Banned(50 * MS), Failure::Left(1)), (Failure::Left(1), Failure::Banned(50 * MS))];
        assert!(expected.contains(&(mine, then)), "{mine:?} {then:?}");
    });
}

/// As the entry points do: whoever finds that it was closed meanwhile takes back what it left there.
fn open_against(settings: BanSettings, act: impl Fn(&Ban) + Copy + Send + Sync + 'static) {
    explore(move || {
        let ban = open_ban(settings);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || {
                act(&ban);
                if !ban.is(1) {
                    ban.unban(7);
                }
            })
        };
        assert_eq!(Reusable::open(&*ban, settings, 0), 2);
        other.join().unwrap();
        assert_eq!(ban.check(7, 0), Banned::No);
        assert_eq!(ban.list(0, 0, 10).0, []);
        // And that counts for nothing.
        assert_eq!(fail(&ban, 7), Failure::Left(1));
    });
}

#[test]
fn open_against_ban() {
    open_against(BAN, |ban| ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([])));
}

#[test]
fn open_against_failure() {
    open_against(BAN, |ban| {
        fail(ban, 7);
    });
}

/// One ban too many, by one of the opening before, ends none of this.
#[test]
fn open_and_ban_against_a_ban_of_before() {
    let settings = BanSettings { max_bans: 1, ..BAN };
    explore(move || {
        let ban = open_ban(settings);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || {
                ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
                if !ban.is(1) {
                    ban.unban(7);
                }
            })
        };
        Reusable::open(&*ban, settings, 0);
        ban.ban(2, 8, 0, 50, Box::new([1]), Box::new([]));
        other.join().unwrap();
        assert_eq!(ban.check(8, 0), Banned::For(50 * MS));
    });
}

#[test]
fn open_against_advance_of_bans() {
    let settings = BanSettings { manual: true, ..BAN };
    explore(move || {
        let ban = open_ban(settings);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.advance(1, 5))
        };
        Reusable::open(&*ban, settings, 0);
        other.join().unwrap();
        assert_eq!(ban.now(|| 1), 0);
    });
}

/// A caller reads by a base while another writes the next, and a third the one after: no reading
/// is of two bases.
#[test]
fn reading_of_a_base_against_the_next() {
    explore(|| {
        const SPAN: u64 = 100 * MS;
        let counter = Arc::new(Counter::default());
        // Two ticks in a ns, from 1,000 on.
        let at = |counter: &Counter, ns: u64| counter.now(|| 1_000 + 2 * ns, || ns);
        at(&counter, 1);
        at(&counter, 1 + SPAN);
        let other = {
            let counter = Arc::clone(&counter);
            thread::spawn(move || [2 * SPAN, 2 * SPAN + 1_000].map(|ns| (ns, at(&counter, ns))))
        };
        let mut readings = [SPAN + 2 * MS, 3 * SPAN].map(|ns| (ns, at(&counter, ns))).to_vec();
        readings.extend(other.join().unwrap());
        for (ns, told) in readings {
            assert!(told <= ns && told + 1_000 >= ns, "{told} at {ns}");
        }
    });
}
