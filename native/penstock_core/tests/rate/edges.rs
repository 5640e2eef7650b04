//! Cases that random hits do not reach: bounds, pauses, full tables, and changes in steps.

use penstock_core::{
    All, CENTURY, Changed, Hit, Key, LATEST, Limiter, OutOfBounds, Progress, Rate, Reserved, hit_all, whole_ms,
};

use crate::{MS, charge, key, keys, limits, open, update};

/// An idle key keeps its place while there is an empty one. When there is none, the key that has
/// been idle for longest loses its place first.
#[test]
fn a_new_key_takes_an_empty_place_and_then_the_one_idle_for_longest() {
    let (limiter, _) = open(8, limits(1, 1_000, 2));
    for n in 0..4 {
        assert_eq!(limiter.hit(key(n), n * 100 * MS, 1), Hit::Allow(1));
    }
    // All four are idle. Four new keys take the empty places.
    for n in 4..8 {
        assert_eq!(limiter.hit(key(n), 1_400 * MS, 2), Hit::Allow(0));
    }
    assert!((4..8).all(|n| matches!(limiter.peek(key(n), 1_500 * MS, 1), Hit::Deny(_))));
    // So the four idle keys still have their places, which a caller with an old clock finds.
    for n in 0..4 {
        assert_eq!(limiter.peek(key(n), n * 100 * MS, 2), Hit::Deny(1_000 * MS), "{n}");
    }
    // Two further keys take the places of the two keys that have been idle for longest: 0 and 1.
    for n in 8..10 {
        assert_eq!(limiter.hit(key(n), 1_400 * MS, 2), Hit::Allow(0));
    }
    for n in 2..4 {
        assert_eq!(limiter.peek(key(n), n * 100 * MS, 2), Hit::Deny(1_000 * MS), "{n}");
    }
}

#[test]
fn a_change_that_others_overtake_is_in_force_soon() {
    let (limiter, _) = open(10_000, limits(1, 1_000, 10));
    update(&limiter, limits(1, 1_000, 9), 0);
    // After each step of one change, another caller makes a whole change.
    let mut from = None;
    for n in 1..4 {
        match limiter.update(1, |_| Some(limits(5, 1_000, 7)), 0, from) {
            Changed::Yes => return,
            Changed::NotYet(progress) => from = Some(progress),
            other => panic!("{other:?}"),
        }
        update(&limiter, limits(1, 1_000, n), 0);
    }
    panic!("the change is not in force after three others");
}

#[test]
fn only_time_and_a_reset_end_a_pause() {
    let (limiter, global) = open(100, limits(10, 1_000, 5));
    for paused in [global, key(1)] {
        assert!(limiter.pause(paused, 0, 1_000 * MS));
        // Neither a shorter pause, nor a refund, nor a change of the rate ends the longer pause.
        assert!(limiter.pause(paused, 0, 10 * MS));
        assert_eq!(limiter.give_back(paused, 0, 5), Hit::Deny(1_000 * MS));
        update(&limiter, limits(10, 1_000, 4), 0);
        update(&limiter, limits(10, 1_000, 5), 0);
        assert_eq!(limiter.hit(paused, 0, 1), Hit::Deny(1_000 * MS));
        assert_eq!(limiter.hit(key(2), 0, 1), Hit::Allow(4));
        assert!(limiter.reset(key(2)));
        let all = [charge(&limiter, key(2), 1), charge(&limiter, paused, 1)];
        assert_eq!(hit_all(&all, || 999 * MS), All::Denied(1, Some(MS)));
        assert_eq!(limiter.hit(paused, 1_000 * MS - 1, 1), Hit::Deny(1));
        assert_eq!(limiter.hit(paused, 1_000 * MS, 1), Hit::Allow(4));
        assert!(limiter.pause(paused, 1_000 * MS, 1_000 * MS));
        assert!(limiter.reset(paused));
        assert_eq!(limiter.hit(paused, 1_000 * MS, 1), Hit::Allow(4));
        assert!(limiter.reset(paused));
    }
}

#[test]
fn no_pause_is_lost_when_there_are_more_than_fit() {
    let (limiter, _) = open(100_000, limits(10, 1_000, 5));
    for n in 0..10_000 {
        assert!(limiter.pause(key(n), 0, (1 + n) * MS));
    }
    for n in 0..10_000 {
        let Hit::Deny(wait) = limiter.peek(key(n), 0, 1) else { panic!("{n} is not paused") };
        assert!(wait >= (1 + n) * MS);
    }
    // When the longest pause is over, all keys are free, and there is room for new pauses.
    assert!((0..20_000).all(|n| limiter.peek(key(n), 10_000 * MS, 1) == Hit::Allow(4)));
    for n in 0..500 {
        assert!(limiter.pause(key(n), 10_000 * MS, MS));
    }
    assert!((500..20_000).all(|n| limiter.peek(key(n), 10_000 * MS, 1) == Hit::Allow(4)));
    assert!((0..500).all(|n| limiter.peek(key(n), 10_000 * MS, 1) == Hit::Deny(MS)));
}

#[test]
fn a_pause_of_the_previous_generation_has_no_effect() {
    let (limiter, old) = open(100, limits(10, 1_000, 5));
    assert!(limiter.pause(old, 0, 1_000 * MS));
    let new = Key::Global(limiter.open(limits(10, 1_000, 5), false, 0));
    assert_eq!(limiter.peek(new, 0, 1), Hit::Allow(4));
    assert!(!limiter.pause(old, 0, 1_000 * MS));
    assert_eq!(limiter.peek(new, 0, 1), Hit::Allow(4));
}

#[test]
fn charges_and_refunds_are_bounded() {
    let century_ms = CENTURY / MS;
    for (limit, per, burst) in [(1, century_ms, 1), (1, 1, 1), (2, century_ms, 2), (1_000, 1, i32::MAX as u32)] {
        for now in [0, LATEST] {
            let (limiter, global) = open(1, limits(limit, per, burst));
            for key in [global, key(1)] {
                for _ in 0..3 {
                    let hit = limiter.charge_anyway(key, now, i32::MAX as u32);
                    assert!(matches!(hit, Hit::Deny(wait) if wait <= CENTURY), "{hit:?}");
                }
                assert!(matches!(limiter.hit(key, now, 1), Hit::Deny(_)));
                while let Hit::Deny(_) = limiter.give_back(key, now, i32::MAX as u32) {}
                assert_eq!(limiter.give_back(key, now, i32::MAX as u32), Hit::Allow(burst - 1));
            }
        }
    }
    // Key 1 has the only place, so key 2 is neither charged nor refunded. Hits of key 2 are
    // denied until the place is free.
    let (limiter, _) = open(1, limits(1, 1_000, 1));
    assert_eq!(limiter.hit(key(1), 0, 1), Hit::Allow(0));
    assert_eq!(limiter.charge_anyway(key(2), 0, 1), Hit::Deny(1_000 * MS));
    assert_eq!(limiter.give_back(key(2), 0, 1), Hit::Deny(1_000 * MS));
    assert_eq!(limiter.hit(key(2), 1_000 * MS, 1), Hit::Allow(0));
}

#[test]
fn rates_are_bounded() {
    assert_eq!(Rate::new(0, 1, 1), Err(OutOfBounds::Nothing));
    assert_eq!(Rate::new(1, 0, 1), Err(OutOfBounds::Nothing));
    assert_eq!(Rate::new(1, 1, 0), Err(OutOfBounds::Nothing));
    assert_eq!(Rate::new(1_001, 1, 1), Err(OutOfBounds::TooFast));
    assert_eq!(Rate::new(1_000, 1, 1).unwrap().interval(), 1_000);
    assert_eq!(Rate::new(1_000_000, 1_000, 1).unwrap().interval(), 1_000);
    assert_eq!(Rate::new(1_000_001, 1_000, 1), Err(OutOfBounds::TooFast));
    let century_ms = CENTURY / MS;
    assert_eq!(Rate::new(1, century_ms, 1).unwrap().interval(), CENTURY);
    assert_eq!(Rate::new(1, century_ms + 1, 1), Err(OutOfBounds::TooLong));
    assert_eq!(Rate::new(1, century_ms, 2), Err(OutOfBounds::TooLong));
    assert!(Rate::new(2, century_ms, 2).is_ok());
    assert_eq!(Rate::new(1, u64::MAX, u32::MAX), Err(OutOfBounds::TooLong));
    assert_eq!(Rate::new(u32::MAX, u64::MAX, u32::MAX), Err(OutOfBounds::TooLong));
}

#[test]
fn a_burst_worth_a_century_at_the_latest_instant_does_not_overflow() {
    let burst = i32::MAX as u32;
    // `per` is rounded down to whole ms. So the burst is worth a century, minus up to 1 ms for
    // each of its hits.
    let per = CENTURY / MS / u64::from(burst);
    let (limiter, key) = open(1, limits(1, per, burst));
    assert_eq!(limiter.hit(key, LATEST, burst), Hit::Allow(0));
    assert_eq!(limiter.hit(key, LATEST, 1), Hit::Deny(per * MS));
    assert_eq!(limiter.hit(key, 0, burst), Hit::Deny(LATEST + per * MS * u64::from(burst)));
    assert!(matches!(limiter.reserve(key, LATEST, burst, u64::MAX), Reserved::TooFar(_)));
    assert_eq!(limiter.hit(key, LATEST, burst + 1), Hit::Never);
}

#[test]
fn a_clock_set_by_hand_only_moves_forward() {
    let limiter = Limiter::new(1).unwrap();
    let key = Key::Global(limiter.open(limits(1, 86_400_000, 1), true, 77));
    let now = || limiter.now(|| panic!("the real clock is not read"));
    assert_eq!(limiter.hit(key, now(), 1), Hit::Allow(0));
    assert!(limiter.advance(1, 86_399_999));
    assert_eq!(limiter.hit(key, now(), 1), Hit::Deny(MS));
    assert!(limiter.advance(1, 1));
    assert_eq!(limiter.hit(key, now(), 1), Hit::Allow(0));
    assert!(limiter.advance(1, u64::MAX) && limiter.advance(1, u64::MAX));
    assert!(!limiter.advance(2, 1));
    assert_eq!(now(), LATEST);
    assert_eq!(limiter.hit(key, now(), 1), Hit::Allow(0));

    limiter.open(limits(1, 1, 1), false, 0);
    assert_eq!(limiter.now(|| 5), 5);
    assert!(!limiter.advance(2, 1));
}

#[test]
fn a_small_table_has_one_place_for_each_key() {
    for max_keys in 1..=8 {
        let (limiter, _) = open(max_keys, limits(1, 100, 1));
        assert_eq!(limiter.info(1).unwrap().memory, max_keys as usize * 16);
        for n in 0..u64::from(max_keys) {
            assert_eq!(limiter.hit(key(n), n * MS, 1), Hit::Allow(0));
        }
        let now = u64::from(max_keys) * MS;
        assert_eq!(keys(&limiter, now), u64::from(max_keys));
        // A new key waits until the first key owes nothing and can be evicted.
        assert_eq!(limiter.hit(key(99), now, 1), Hit::Deny(100 * MS - now));
        assert_eq!(limiter.peek(key(99), now, 1), Hit::Deny(100 * MS - now));
        assert_eq!(limiter.reserve(key(99), now, 1, 50 * MS), Reserved::TooFar(100 * MS - now));
        assert_eq!(limiter.hit(key(99), 100 * MS, 1), Hit::Allow(0));
    }
}

#[test]
fn many_keys_each_find_a_place_and_keep_it() {
    let max_keys = 10_000_u32;
    let (limiter, _) = open(max_keys, limits(1, 1_000_000, 1));
    // Two places of 16 bytes for each key, minus one place for each 64 keys.
    assert_eq!(limiter.info(1).unwrap().memory, (2 * 10_000 - 156) * 16);
    let known = u64::from(max_keys);
    for n in 0..known {
        assert_eq!(limiter.hit(key(n), 0, 1), Hit::Allow(0), "key {n}");
    }
    assert_eq!(keys(&limiter, 0), known);
    // The table has room for nearly as many further keys. After that each new key is denied, and
    // evicts no other key.
    let more = (0..100_000).filter(|&n| limiter.hit(key(100_000 + n), 1, 1) == Hit::Allow(0)).count() as u64;
    assert!(more > 9_000 && more <= 10_000, "{more}");
    for n in 0..known {
        assert_eq!(limiter.hit(key(n), 2, 1), Hit::Deny(1_000_000 * MS - 2));
    }
    assert_eq!(keys(&limiter, 2), known + more);
    assert_eq!(keys(&limiter, 1_000_000 * MS + 1), 0);
    assert!((0..100_000).all(|n| limiter.hit(key(200_000 + n), 2_000_000 * MS * (1 + n), 1) == Hit::Allow(0)));
}

#[test]
fn all_of_max_keys_keys_find_a_place() {
    for (max_keys, times) in
        [(9, 10_000), (10, 10_000), (16, 5_000), (17, 5_000), (64, 1_000), (1_000, 100), (100_000, 2)]
    {
        for time in 0..times {
            let (limiter, _) = open(max_keys, limits(1, 1_000, 1));
            for n in 0..u64::from(max_keys) {
                let hit = limiter.hit(key(time << 32 | n), 0, 1);
                assert_eq!(hit, Hit::Allow(0), "key {n} of {max_keys}, time {time}");
            }
        }
    }
}

#[test]
fn a_change_is_made_in_steps_and_another_may_overtake_it() {
    let (limiter, global) = open(10_000, limits(1, 1_000, 10));
    for n in 0..10_000 {
        assert_eq!(limiter.hit(key(n), 0, 8), Hit::Allow(2));
    }
    assert_eq!(limiter.hit(global, 0, 8), Hit::Allow(2));
    // The first change takes one call, as no place has the parity of an earlier rate.
    assert_eq!(update(&limiter, limits(1, 1_000, 4), 0), 0);
    assert_eq!(limiter.hit(key(0), 0, 1), Hit::Deny(1_000 * MS));
    let mut from = None;
    let mut at = 0;
    for _ in 0..2 {
        match limiter.update(1, |_| Some(limits(1, 1_000, 2)), 1_000 * MS, from) {
            Changed::NotYet(progress) => {
                assert!(progress.at > at);
                (from, at) = (Some(progress), progress.at);
            }
            other => panic!("{other:?}"),
        }
    }
    // Another change overtakes the unfinished one. The other change began later, so its rate is
    // in force after both.
    assert!(update(&limiter, limits(1, 1_000, 3), 1_000 * MS) >= 5);
    assert_eq!(limiter.update(1, |_| Some(limits(1, 1_000, 2)), 1_000 * MS, from), Changed::Yes);
    assert_eq!(limiter.info(1).unwrap().limits, limits(1, 1_000, 3));
    // The caller of this change is killed after one step, so no call continues the change. It
    // comes into force together with the next change, the one to a burst of 2.
    assert!(matches!(limiter.update(1, |_| Some(limits(1, 1_000, 1)), 1_000 * MS, None), Changed::NotYet(_)));
    // A caller that passes the progress of another version begins again at the first place. One
    // step visits 4,096 places.
    let from = Some(Progress { change: u64::MAX, version: 77, at: 19_000 });
    assert!(matches!(limiter.update(1, |_| None, 1_000 * MS, from), Changed::NotYet(Progress { at: 4096, .. })));
    assert!(update(&limiter, limits(1, 1_000, 2), 1_000 * MS) >= 4);
    assert_eq!(limiter.info(1).unwrap().limits, limits(1, 1_000, 2));
    // Each key owed 8 hits. A change at 0 ms cut that to 4, and the change of the killed caller,
    // at 1,000 ms, to 1. So each key owes nothing at 2,000 ms, and has the burst of 2.
    for n in 1..10_000 {
        assert_eq!(limiter.hit(key(n), 2_000 * MS, 1), Hit::Allow(1));
    }
    assert_eq!(limiter.hit(global, 2_000 * MS, 1), Hit::Allow(1));
}

#[test]
fn hits_of_the_previous_generation_are_not_charged() {
    let (limiter, old) = open(2, limits(1, 1_000, 5));
    assert_eq!(limiter.hit(old, 0, 5), Hit::Allow(0));
    let new = Key::Global(limiter.open(limits(1, 1_000, 5), false, 0));
    assert_ne!(old, new);
    assert_eq!(limiter.hit(old, 0, 1), Hit::Gone);
    assert_eq!(limiter.peek(old, 0, 1), Hit::Gone);
    assert_eq!(limiter.reserve(old, 0, 1, 0), Reserved::Gone);
    assert!(!limiter.reset(old));
    assert_eq!(limiter.hit(new, 0, 1), Hit::Allow(4));
    assert_eq!((limiter.info(1), limiter.info(2).unwrap().allowed), (None, 1));
    assert_eq!(limiter.update(1, Some, 0, None), Changed::Gone);
    // A late hit of a key must leave nothing in the only place, so that a key of the next
    // generation finds it empty.
    let (one, _) = open(1, limits(1, 1_000, 1));
    one.open(limits(1, 1_000, 1), false, 0);
    assert_eq!(one.hit(key(1), 0, 1), Hit::Gone);
    assert_eq!(one.hit(Key::Tag(2, 7), 0, 1), Hit::Allow(0));
}

#[test]
fn ms_are_rounded_up() {
    assert_eq!([0, 1, MS - 1, MS, MS + 1].map(whole_ms), [0, 1, 1, 1, 2]);
}

#[test]
fn a_caller_that_hits_as_often_as_is_allowed_is_never_denied() {
    for per in [1_u64, 7, 1_000, 60_000, 700_000] {
        for limit in 1..=(per * 1_000).min(1_000) as u32 {
            let (limiter, key) = open(1, limits(limit, per, limit));
            for window in 0..3 {
                let now = window * per * MS;
                for n in 0..limit {
                    let hit = limiter.hit(key, now, 1);
                    assert!(
                        matches!(hit, Hit::Allow(_)),
                        "{hit:?} at hit {n} of {limit} in window {window} of {per} ms"
                    );
                }
                assert!(matches!(limiter.hit(key, now, 1), Hit::Deny(_)), "{limit} per {per} ms, in window {window}");
            }
        }
    }
}

#[test]
fn a_new_key_of_a_full_table_gets_a_wait_or_never() {
    let (limiter, _) = open(1, limits(1, 100, 2));
    assert_eq!(limiter.hit(key(1), 0, 1), Hit::Allow(1));
    assert_eq!(limiter.hit(key(2), 0, 1), Hit::Deny(100 * MS));
    assert_eq!(limiter.hit(key(2), 0, 3), Hit::Never);
    assert_eq!(limiter.peek(key(2), 0, 3), Hit::Never);
    assert_eq!(limiter.reserve(key(2), 0, 1, 99 * MS), Reserved::TooFar(100 * MS));
    assert_eq!(limiter.reserve(key(2), 0, 1, 100 * MS), Reserved::NoPlace(100 * MS));
    assert_eq!(limiter.reserve(key(2), 0, 3, 100 * MS), Reserved::Never);
    // A caller that gets `NoPlace` asks again. So `NoPlace` is no decision, and is not counted.
    let info = limiter.info(1).unwrap();
    assert_eq!((info.allowed, info.denied), (1, 4));
}

#[test]
fn an_update_that_changes_nothing_cuts_nothing() {
    let (limiter, key) = open(1, limits(1, 100, 1));
    for turn in 0..10 {
        assert_eq!(limiter.reserve(key, 0, 1, u64::MAX), Reserved::In(turn * 100 * MS));
    }
    update(&limiter, limits(1, 100, 1), 0);
    assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(1_000 * MS));
}
