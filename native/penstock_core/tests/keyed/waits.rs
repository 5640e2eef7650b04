//! Waits: their order, their ends, and their number.

use penstock_core::{Answer, Cancelled, KeyParked, KeyRefusal, KeyedChanges, KeyedSettings, Kind, NotHeld};

use crate::stage::{Stage, settings};

#[test]
fn no_newcomer_overtakes_a_waiter() {
    let (stage, [a, b, c]) = Stage::with(settings(3, 10));
    a.hold(1, 2);
    b.wait(1, 2);
    // One permit is free, but due to the waiter.
    assert_eq!(c.try_acquire(1, 1), Err(KeyRefusal::KeyFull));
    c.wait(1, 1);
    assert_eq!(a.release(1, 1), Ok(()));
    assert!(b.was_granted() && !c.was_granted());
    assert_eq!(a.release(1, 1), Ok(()));
    assert!(c.was_granted());
    stage.at_rest(&[(&b, 1, 2), (&c, 1, 1)]);
}

#[test]
fn a_waiter_that_leaves_the_head_frees_those_behind_it() {
    // By a cancel, a withdrawal, a death, and a death that a refused caller finds.
    for way in 0..4 {
        let (stage, [a, head, second, third]) = Stage::with(settings(3, 10));
        a.hold(1, 1);
        let wait = head.wait(1, 3);
        second.wait(1, 2);
        third.wait(1, 1);
        match way {
            0 => assert_eq!(head.cancel(wait), Cancelled::Yes),
            1 => assert_eq!(head.withdraw(wait), Cancelled::Yes),
            2 => head.die(),
            _ => {
                head.begin_exit();
                assert_eq!(a.try_acquire(1, 1), Err(KeyRefusal::KeyFull));
                head.finish_exit();
            }
        }
        assert!(second.was_granted() && !third.was_granted(), "way {way}");
        assert_eq!(stage.sums().timed_out, u64::from(way == 0), "only a cancel is a time-out");
        assert_eq!(second.release(1, 1), Ok(()));
        assert!(third.was_granted());
        stage.at_rest(&[(&a, 1, 1), (&second, 1, 1), (&third, 1, 1)]);
    }
}

#[test]
fn waiters_leave_the_queue_at_any_place() {
    for leaves in 0..4 {
        let stage = Stage::open(6, settings(1, 10));
        let all = stage.processes(1..=6);
        all[0].hold(1, 1);
        let waits: Vec<_> = all[1..5].iter().map(|waiter| waiter.wait(1, 1)).collect();
        assert_eq!(all[1 + leaves].cancel(waits[leaves]), Cancelled::Yes);
        let mut expected: Vec<_> = (1..5).filter(|&at| at != 1 + leaves).collect();
        all[5].wait(1, 1);
        expected.push(5);
        let mut holder = 0;
        for next in expected {
            assert_eq!(all[holder].release(1, 1), Ok(()));
            assert!(all[next].was_granted(), "{next} after {holder}, without {}", 1 + leaves);
            holder = next;
        }
        assert_eq!(all[holder].release(1, 1), Ok(()));
        stage.nothing_is_left();
    }
}

#[test]
fn a_process_has_one_wait_for_a_key_and_can_have_one_for_each_of_many() {
    let (stage, [a, b]) = Stage::with(settings(1, 10));
    for key in 1..=3 {
        a.hold(key, 1);
        b.wait(key, 1);
        assert_eq!(b.park(key, 1), KeyParked::QueueFull);
    }
    stage.at_rest(&[(&a, 1, 1), (&a, 2, 1), (&a, 3, 1)]);
    b.die();
    assert_eq!(stage.sums().waiting, 0);
    assert_eq!(stage.sums().rejected, 3);
    a.die();
    stage.nothing_is_left();
}

#[test]
fn a_holder_can_wait_for_more_and_release_meanwhile() {
    let (stage, [a, b]) = Stage::with(settings(3, 10));
    a.hold(1, 2);
    b.hold(1, 1);
    let wait = b.wait(1, 2);
    assert_eq!(b.release(1, 1), Ok(()));
    assert_eq!(b.release(1, 1), Err(NotHeld), "the wait holds nothing");
    assert_eq!(a.release(1, 1), Ok(()));
    assert!(b.was_granted());
    assert_eq!(b.cancel(wait), Cancelled::TooLate);
    stage.at_rest(&[(&a, 1, 1), (&b, 1, 2)]);
}

#[test]
fn a_grant_has_the_kind_that_the_waiter_asked_for() {
    let (stage, [a, b]) = Stage::with(settings(1, 10));
    a.hold(1, 1);
    let (parked, _) = b.park_as(1, 1, Kind::Bound);
    let KeyParked::Waiting(id) = parked else { panic!("{parked:?}") };
    assert_eq!(a.release(1, 1), Ok(()));
    assert_eq!(b.release(1, 1), Err(NotHeld));
    assert_eq!(b.release_of(id, 1, Kind::Bound), Ok(()), "the id of the wait is that of the lease");
    stage.nothing_is_left();
}

#[test]
fn max_waiting_bounds_the_waiters_of_all_keys_together() {
    let (stage, [a, b, c]) = Stage::with(KeyedSettings { max_waiting: 1, ..settings(1, 10) });
    a.hold(1, 1);
    a.hold(2, 1);
    let wait = b.wait(1, 1);
    assert_eq!(c.park(2, 1), KeyParked::QueueFull);
    assert_eq!(stage.sums().rejected, 1);
    assert_eq!(b.cancel(wait), Cancelled::Yes);
    c.wait(2, 1);
    assert!(stage.change(KeyedChanges { max_waiting: Some(2), ..KeyedChanges::default() }));
    b.wait(1, 1);
    assert!(stage.change(KeyedChanges { max_waiting: Some(0), ..KeyedChanges::default() }));
    stage.at_rest(&[(&a, 1, 1), (&a, 2, 1)]);
    // Each way in which a wait ends makes room again: a grant, a death, and a refusal.
    assert_eq!(a.release(1, 1), Ok(()));
    assert_eq!(stage.sums().waiting, 1);
    c.die();
    assert_eq!(stage.sums().waiting, 0);
}

#[test]
fn waiters_stay_of_their_key_after_its_holders_die() {
    let (stage, [a, b, c, d]) = Stage::with(settings(1, 2));
    a.hold(1, 1);
    b.wait(1, 1);
    c.wait(1, 1);
    d.hold(2, 1);
    a.die();
    assert!(b.was_granted() && !c.was_granted());
    b.die();
    assert!(c.was_granted());
    c.die();
    // The place of the first key serves another.
    d.hold(3, 1);
    assert_eq!(d.try_acquire(1, 1), Err(KeyRefusal::TableFull));
    stage.at_rest(&[(&d, 2, 1), (&d, 3, 1)]);
}

#[test]
fn a_smaller_limit_refuses_the_waiters_that_exceed_it_and_no_others() {
    let stage = Stage::open(8, settings(4, 10));
    let all = stage.processes(1..=8);
    all[0].hold(1, 4);
    for (waiter, n) in all[1..].iter().zip([1, 3, 2, 4, 1, 3, 2]) {
        waiter.wait(1, n);
    }
    assert!(stage.update(2));
    let refused: Vec<_> = all[1..].iter().map(|waiter| waiter.answers() == [Answer::Full]).collect();
    assert_eq!(refused, [false, true, false, true, false, true, false]);
    assert_eq!(stage.sums().rejected, 3);
    stage.at_rest(&[(&all[0], 1, 4)]);
    assert_eq!(all[0].release(1, 4), Ok(()));
    assert!(all[1].was_granted() && !all[3].was_granted(), "the second asks for more than is left");
    assert!(stage.update(5));
    assert!(all[3].was_granted() && all[5].was_granted() && !all[7].was_granted());
    stage.at_rest(&[(&all[1], 1, 1), (&all[3], 1, 2), (&all[5], 1, 1)]);
}

#[test]
fn a_larger_limit_grants_to_the_waiters_of_each_key() {
    let stage = Stage::open(101, settings(2, 50));
    let all = stage.processes(1..=101);
    for key in 0..50 {
        all[0].hold(key, 2);
        all[1 + key as usize].wait(key, 1);
        all[51 + key as usize].wait(key, 2);
    }
    assert!(stage.update(3));
    stage.serve_deferred();
    assert!(all[1..=50].iter().all(|waiter| waiter.was_granted()));
    assert!(all[51..].iter().all(|waiter| waiter.answers().is_empty()));
    assert_eq!((stage.sums().in_use, stage.sums().waiting), (150, 50));
}
