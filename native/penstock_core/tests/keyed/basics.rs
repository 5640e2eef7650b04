//! Acquires, releases, waits and deaths.

use penstock_core::{Answer, Cancelled, KeyInfo, KeyParked, KeyRefusal, NotHeld};

use crate::stage::{Stage, settings};

fn info(in_use: u32, waiting: u32) -> KeyInfo {
    KeyInfo { in_use, limit: 2, waiting }
}

#[test]
fn each_key_has_the_whole_limit() {
    let (stage, [a, b]) = Stage::with(settings(2, 10));
    a.hold(1, 1);
    b.hold(1, 1);
    assert_eq!(a.try_acquire(1, 1), Err(KeyRefusal::KeyFull));
    a.hold(2, 2);
    assert_eq!(stage.info(1), info(2, 0));
    assert_eq!(a.release(1, 2), Err(NotHeld));
    assert_eq!(a.release(1, 1), Ok(()));
    assert_eq!(a.release(1, 1), Err(NotHeld));
    assert_eq!(stage.info(1), info(1, 0));
    a.hold(1, 1);
}

#[test]
fn keys_leave_no_trace() {
    let (stage, [a]) = Stage::with(settings(1, 3));
    for key in 0..10_000 {
        a.hold(key, 1);
        assert_eq!(a.release(key, 1), Ok(()));
    }
    let info = stage.pool.info(&stage.host);
    assert_eq!((info.keys, info.in_use, info.acquired), (0, 0, 10_000));
    for key in 0..3 {
        a.hold(key, 1);
    }
    assert_eq!(a.try_acquire(3, 1), Err(KeyRefusal::TableFull));
    assert_eq!(a.try_acquire(2, 1), Err(KeyRefusal::KeyFull));
    assert_eq!(a.release(0, 1), Ok(()));
    a.hold(3, 1);
}

#[test]
fn a_large_table_has_a_place_for_each_of_its_keys() {
    let (stage, [a]) = Stage::with(settings(1, 100_000));
    for key in 0..100_000 {
        a.hold(key, 1);
    }
    assert_eq!(a.try_acquire(100_000, 1), Err(KeyRefusal::TableFull));
    let info = stage.pool.info(&stage.host);
    assert_eq!(info.keys, 100_000);
    a.begin_exit();
    a.finish_exit();
    while stage.host.take_deferrals() > 0 {
        stage.pool.serve(&stage.host);
    }
    let info = stage.pool.info(&stage.host);
    assert_eq!((info.keys, info.in_use, info.released_by_exit), (0, 0, 100_000));
}

#[test]
fn a_death_gives_back_all_permits() {
    let (stage, [a, b]) = Stage::with(settings(2, 10));
    for key in 0..10 {
        a.hold(key, 2);
    }
    // The monitor has not run. The refused caller finds the dead holder.
    a.begin_exit();
    b.hold(3, 2);
    assert_eq!(stage.pool.info(&stage.host).in_use, 20);
    a.finish_exit();
    assert_eq!(stage.pool.info(&stage.host).in_use, 2);
}

#[test]
fn waiters_of_a_key_are_served_first_come_first_served() {
    let (stage, [a, b, c, d]) = Stage::with(settings(2, 10));
    a.hold(1, 2);
    b.wait(1, 2);
    c.wait(1, 1);
    // No other key waits for this one.
    d.hold(2, 2);
    assert_eq!(stage.info(1), info(2, 2));
    a.release(1, 1).unwrap();
    assert_eq!((b.answers(), c.answers()), (vec![], vec![]));
    assert_eq!(d.try_acquire(1, 1), Err(KeyRefusal::KeyFull));
    a.release(1, 1).unwrap();
    assert_eq!((b.answers(), c.answers()), (vec![Answer::Granted], vec![]));
    b.die();
    assert_eq!(c.answers(), [Answer::Granted]);
    assert_eq!(stage.info(1), info(1, 0));
}

#[test]
fn a_wait_can_be_cancelled_once() {
    let (stage, [a, b, c]) = Stage::with(settings(2, 10));
    a.hold(1, 1);
    let wait = b.wait(1, 2);
    c.wait(1, 1);
    assert_eq!(b.cancel(wait), Cancelled::Yes);
    assert_eq!(b.cancel(wait), Cancelled::TooLate);
    assert_eq!(c.answers(), [Answer::Granted]);
    let wait = b.wait(1, 1);
    a.release(1, 1).unwrap();
    assert_eq!(b.cancel(wait), Cancelled::TooLate);
    assert_eq!(b.answers(), [Answer::Granted]);
    assert_eq!(stage.info(1), info(2, 0));
    assert_eq!(b.park(1, 3), KeyParked::Refused(KeyRefusal::KeyFull));
}
