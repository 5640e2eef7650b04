//! Acquires and releases, and calls for permits that the caller does not have.

use penstock_core::{
    Adoption, Cancelled, KeyParked, KeyRefusal, KeyTag, KeyedOffer, KeyedPool, KeyedSettings, Kind, LeaseId, NotHeld,
    TransferError,
};
use proptest::prelude::*;

use crate::stage::{Stage, settings, tag};
use crate::support::Fake;

#[test]
fn a_process_releases_only_what_it_holds_of_that_key_and_kind() {
    let (stage, [a, b]) = Stage::with(settings(5, 10));
    a.hold(1, 2);
    let id = a.hold_bound(1, 1);
    a.hold(2, 1);
    assert_eq!(a.release(1, 3), Err(NotHeld), "the third permit is bound");
    assert_eq!(a.release_of(id, 2, Kind::Bound), Err(NotHeld), "the second permit is manual");
    assert_eq!(b.release(1, 1), Err(NotHeld), "another process holds them");
    assert_eq!(b.release_of(id, 1, Kind::Bound), Err(NotHeld), "the lease is another process'");
    assert_eq!(a.release(3, 1), Err(NotHeld), "the key is unknown");
    assert_eq!(a.release(1, u32::MAX), Err(NotHeld));
    stage.at_rest(&[(&a, 1, 3), (&a, 2, 1)]);
    assert_eq!(a.release_of(id, 2, Kind::Manual), Ok(()));
    assert_eq!(a.release_of(id, 1, Kind::Bound), Ok(()));
    assert_eq!(a.release_of(id, 1, Kind::Bound), Err(NotHeld), "the lease has ended");
    a.hold_bound(1, 1);
    assert_eq!(a.release_of(id, 1, Kind::Bound), Err(NotHeld), "the id names the earlier lease");
    stage.at_rest(&[(&a, 1, 1), (&a, 2, 1)]);
    a.die();
    stage.nothing_is_left();
}

#[test]
fn a_request_above_the_limit_is_refused_and_gets_no_place() {
    let (stage, [a]) = Stage::with(settings(2, 1));
    assert_eq!(a.try_acquire(1, 3), Err(KeyRefusal::KeyFull));
    assert_eq!(a.park(1, 3), KeyParked::Refused(KeyRefusal::KeyFull));
    assert_eq!(stage.sums().keys, 0);
    a.hold(2, 2);
    assert_eq!(a.try_acquire(1, 1), Err(KeyRefusal::TableFull));
    assert_eq!(a.park(1, 1), KeyParked::Refused(KeyRefusal::TableFull));
    assert_eq!(stage.sums().rejected, 4);
    stage.at_rest(&[(&a, 2, 2)]);
}

#[test]
fn a_take_counts_no_refusal() {
    let (stage, [a, b]) = Stage::with(settings(1, 1));
    a.take(1, 1).unwrap();
    assert_eq!(b.take(1, 1), Err(KeyRefusal::KeyFull));
    assert_eq!(b.take(2, 1), Err(KeyRefusal::TableFull));
    let sums = stage.sums();
    assert_eq!((sums.acquired, sums.rejected), (1, 0));
}

#[test]
fn the_largest_limit_is_held_whole() {
    let (stage, [a, b]) = Stage::with(KeyedSettings { max_overdraft: u64::MAX - 1, ..settings(i32::MAX as u32, 1) });
    a.hold(1, i32::MAX as u32);
    assert_eq!(b.try_acquire(1, i32::MAX as u32), Err(KeyRefusal::KeyFull));
    // The overdraft ends where the count of a key does, and wraps around nowhere.
    let n = i32::MAX as u32;
    b.restarted(1, n);
    b.restarted(1, 1);
    assert_eq!(b.restart(1, 1), penstock_core::KeyRestart::Refused(KeyRefusal::KeyFull));
    assert_eq!(b.restart(1, u32::MAX), penstock_core::KeyRestart::Refused(KeyRefusal::KeyFull));
    stage.at_rest(&[(&a, 1, n), (&b, 1, n + 1)]);
    a.die();
    b.die();
    stage.nothing_is_left();
}

#[test]
fn a_pool_without_places_refuses_each_key() {
    let (stage, [a]) = Stage::with(settings(1, 0));
    assert_eq!(a.try_acquire(1, 1), Err(KeyRefusal::TableFull));
    assert_eq!(a.park(1, 1), KeyParked::Refused(KeyRefusal::TableFull));
    assert_eq!(a.release(1, 1), Err(NotHeld));
    assert_eq!(stage.pool.top(&stage.host, 0, 10), (Vec::new(), None));
    stage.nothing_is_left();
}

#[test]
fn keys_of_equal_first_or_second_words_are_two_keys() {
    let (stage, [a]) = Stage::with(settings(1, 10));
    let show = crate::stage::Name(0);
    let tags = [KeyTag(0, 0), KeyTag(0, u64::MAX), KeyTag(u64::MAX, 0), KeyTag(u64::MAX, u64::MAX)];
    for tag in tags {
        let key = penstock_core::PoolKey { generation: stage.generation(), tag, show: &show };
        assert!(stage.pool.take(&stage.host, a.pid, key, 1, Kind::Manual).is_ok(), "{tag:?}");
        assert_eq!(stage.pool.take(&stage.host, a.pid, key, 1, Kind::Manual), Err(KeyRefusal::KeyFull));
    }
    for tag in tags {
        assert_eq!(stage.pool.release(&stage.host, a.pid, tag, 1), Ok(()));
        assert_eq!(stage.pool.release(&stage.host, a.pid, tag, 1), Err(NotHeld));
    }
    stage.nothing_is_left();
}

#[test]
fn keys_of_one_bucket_leave_it_in_any_order() {
    // All tags have the same second word, by which a place is found.
    let show = crate::stage::Name(0);
    for last in 0..4 {
        let (stage, [a]) = Stage::with(settings(1, 4));
        let key = |n: u64| penstock_core::PoolKey { generation: stage.generation(), tag: KeyTag(n, 7), show: &show };
        for n in 0..4 {
            stage.pool.take(&stage.host, a.pid, key(n), 1, Kind::Manual).unwrap();
        }
        for n in (0..4).filter(|&n| n != last) {
            assert_eq!(stage.pool.release(&stage.host, a.pid, key(n).tag, 1), Ok(()));
            for other in 0..4 {
                let held = other == last || other > n;
                assert_eq!(stage.pool.key_info(key(other).tag).in_use, u32::from(held), "{other} after {n}");
            }
        }
        assert_eq!(stage.pool.release(&stage.host, a.pid, key(last).tag, 1), Ok(()));
        stage.nothing_is_left();
    }
}

/// Calls each call that takes a word from outside, with a lease and an offer of this word.
fn call_with(pool: &KeyedPool<Fake>, host: &Fake, pid: penstock_core::Pid, word: u64) {
    let (id, offer) = (LeaseId::from_bits(word), KeyedOffer::from_bits(word));
    assert_eq!(pool.release_of(host, pid, id, 1, Kind::Manual), Err(NotHeld));
    assert_eq!(pool.release_of(host, pid, id, 1, Kind::Bound), Err(NotHeld));
    assert_eq!(pool.cancel(host, pid, id), Cancelled::TooLate);
    assert_eq!(pool.withdraw(host, pid, id), Cancelled::TooLate);
    assert_eq!(pool.offer(pid, id, 1), None);
    assert_eq!(pool.entrust(host, pid, id, pid, 1), Err(TransferError::NotHeld));
    assert_eq!(pool.adopt(host, pid, offer), Adoption::Revoked);
    assert_eq!(pool.claim(host, pid, pid, offer), None);
    pool.hand_over(host, offer, pid);
    pool.retract(host, offer);
    assert_eq!(pool.stop_draining(pid, word), Cancelled::TooLate);
    assert!(pool.top(host, word as usize, 1).0.len() <= 1);
    assert!(pool.holders(host, tag(1), word as u32 | 1 << 31, u32::MAX).0.is_empty());
}

proptest! {
    #[test]
    fn a_forged_word_changes_nothing(word: u64, small in 0..3_u64, high in 0..4_u64, at in 0..64_u64) {
        for max_keys in [1, 5_000] {
            let (stage, [a, b, c]) = Stage::with(settings(2, max_keys));
            // Some cells of each table were used before.
            let id = a.hold_bound(1, 1);
            a.offer(id, 1).unwrap();
            c.hold(1, 1);
            c.release(1, 1).unwrap();
            for word in [word, small, u64::MAX, word & 0xFFFF_FFFF, high << 32 | at, high << 32 | at << 22] {
                // The one offer that is pending is offer 1 of the first lease of its shard.
                if word as u32 as u64 != id.to_bits() & 0xFFFF_FFFF {
                    call_with(&stage.pool, &stage.host, b.pid, word);
                }
            }
            stage.at_rest(&[(&a, 1, 1)]);
        }
    }
}

#[test]
fn reports_of_any_size_are_bounded() {
    let (stage, [a]) = Stage::with(settings(2, 3));
    a.hold(1, 1);
    assert_eq!(stage.pool.holders(&stage.host, tag(1), 0, u32::MAX).0.len(), 1);
    assert_eq!(stage.pool.holders(&stage.host, tag(1), u32::MAX, u32::MAX).0.len(), 0);
    assert_eq!(stage.pool.top(&stage.host, 0, usize::MAX).0.len(), 1);
    assert_eq!(stage.pool.top(&stage.host, 0, 0).0.len(), 0);
    assert_eq!(stage.pool.top(&stage.host, usize::MAX, 1), (Vec::new(), None));
}
