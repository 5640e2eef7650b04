//! The smallest and largest limits, and full queues.

use penstock_core::{Answer, Cancelled, Parked, Refusal, Settings, UNLIMITED};

use crate::support::{Stage, limit};

#[test]
fn an_unlimited_pool_counts_and_never_refuses() {
    let (stage, [a, b, c]) = Stage::with_processes(limit(UNLIMITED));
    for _ in 0..1_000 {
        a.hold(i32::MAX as u32);
    }
    let held = 1_000 * i32::MAX as u64;
    assert_eq!((stage.in_use(), stage.info().peak), (held, held));
    // The limit falls below the number of permits held. `b` gets none until this overdraft is
    // paid back.
    stage.update(10);
    assert_eq!(stage.in_use(), held);
    assert_eq!(b.try_acquire(1), Err(Refusal::Full));
    b.wait(1);
    a.die();
    assert!(b.was_granted());
    stage.update(UNLIMITED);
    c.hold(1);
    stage.at_rest(&[(&b, 1), (&c, 1)]);
}

#[test]
fn the_largest_limit_is_not_unlimited() {
    let most = i32::MAX as u64;
    let (stage, [a, b]) = Stage::with_processes(limit(most));
    a.hold(i32::MAX as u32);
    assert_eq!(stage.in_use(), most);
    assert_eq!(b.try_acquire(1), Err(Refusal::Full));
    stage.at_rest(&[(&a, most)]);
}

#[test]
fn a_request_of_any_size_waits_through_a_pause() {
    let (stage, [a, b]) = Stage::with_processes(limit(0));
    assert_eq!(a.try_acquire(1_000), Err(Refusal::Full));
    a.wait(1_000);
    b.wait(3);
    stage.update(5);
    assert_eq!(a.answers(), [Answer::Full], "the request exceeds the new limit");
    assert!(b.was_granted());
    stage.at_rest(&[(&b, 3)]);
}

#[test]
fn a_full_queue_does_not_keep_newcomers_out() {
    let (stage, [a, b, c]) = Stage::with_processes(Settings { max_waiting: 0, ..limit(2) });
    a.hold(1);
    assert_eq!(b.park(2), Parked::QueueFull);
    assert_eq!(c.try_acquire(1), Ok(()));
    stage.at_rest(&[(&a, 1), (&c, 1)]);
}

#[test]
fn a_waiter_that_left_or_died_keeps_no_other_out() {
    let (stage, [a, b, c]) = Stage::with_processes(limit(2));
    a.hold(1);
    let id = b.wait(2);
    assert_eq!(b.cancel(id), Cancelled::Yes);
    stage.at_rest(&[(&a, 1)]);
    b.wait(2);
    c.wait(1);
    b.die();
    assert!(c.was_granted());
    stage.at_rest(&[(&a, 1), (&c, 1)]);
}
