//! Races between the return of permits and the processes that wait for them. If the head of the
//! queue asks for more permits than are free, all its followers wait behind it.

use penstock_core::{Answer, Cancelled, Parked, Settings};

use crate::explore::explore;
use crate::support::{Acquired, Stage, limit};
use crate::{has, meanwhile, spawn};

/// The only permit is released while a process parks and a newcomer tries to take it. If the
/// release comes before the flag WAITERS in the state word is set, the parking process finds the
/// permit. Otherwise the release finds the flag, and serves the queue.
#[test]
fn last_permit_against_a_waiter_parking() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let waiting = spawn(&b, |b| b.acquire(1));
        let passing = meanwhile(&c, |c| c.take(1));
        releasing.join().unwrap();
        let waited = has(&b, waiting.join().unwrap());
        assert!(waited != passing, "one process has the permit");
        if passing {
            stage.at_rest(&[(&c, 1)]);
            assert_eq!(c.release(1), Ok(()));
            assert!(b.was_granted());
        }
        stage.at_rest(&[(&b, 1)]);
    });
}

/// The only permit is released while two processes park. One of them must get the permit, and the
/// other must wait.
#[test]
fn last_permit_against_two_waiters_parking() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let waiting = spawn(&b, |b| b.acquire(1));
        let second = meanwhile(&c, |c| c.acquire(1));
        releasing.join().unwrap();
        let first = has(&b, waiting.join().unwrap());
        let second = has(&c, second);
        assert!(first != second, "one process has the permit");
        let (holder, waits) = if first { (&b, &c) } else { (&c, &b) };
        stage.at_rest(&[(holder, 1)]);
        assert_eq!(holder.release(1), Ok(()));
        assert!(waits.was_granted());
        stage.at_rest(&[(waits, 1)]);
    });
}

/// The only permit is released while a process tries to park in a queue without room. The flag
/// WAITERS must not stay set, since it keeps newcomers out.
#[test]
fn release_against_a_queue_that_is_full() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(Settings { max_waiting: 0, ..limit(1) });
        a.hold(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let held = match b.acquire(1) {
            Acquired::Yes => 1,
            no => {
                assert_eq!(no, Acquired::No(Parked::QueueFull));
                0
            }
        };
        releasing.join().unwrap();
        stage.at_rest(&[(&b, held)]);
    });
}

/// Two permits are released while a process parks for both. Either the process finds both free,
/// or the later release serves the process.
#[test]
fn two_releases_against_one_waiter_that_wants_two() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(2));
        a.hold(1);
        b.hold(1);
        let first = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let second = spawn(&b, |b| assert_eq!(b.release(1), Ok(())));
        let acquired = meanwhile(&c, |c| c.acquire(2));
        first.join().unwrap();
        second.join().unwrap();
        assert!(has(&c, acquired));
        stage.at_rest(&[(&c, 2)]);
    });
}

/// A release grants a permit to a waiter while the waiter times out and cancels its wait. The
/// call that first removes the waiter from the queue decides.
#[test]
fn release_against_timeout() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(limit(1));
        a.hold(1);
        let id = b.wait(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let cancelled = b.cancel(id);
        releasing.join().unwrap();
        match cancelled {
            Cancelled::Yes => assert_eq!(b.answers(), []),
            Cancelled::TooLate => assert_eq!(b.answers(), [Answer::Granted]),
        }
        stage.at_rest(&[(&b, u64::from(cancelled == Cancelled::TooLate))]);
    });
}

/// The only waiter asks for more permits than are free. It times out while a newcomer tries to
/// take the free permit. The flag WAITERS must be cleared when the last waiter leaves.
#[test]
fn timeout_against_a_newcomer() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(2));
        a.hold(1);
        let id = b.wait(2);
        let passing = spawn(&c, |c| c.take(1));
        assert_eq!(b.cancel(id), Cancelled::Yes);
        let passed = passing.join().unwrap();
        stage.at_rest(&[(&a, 1), (&c, u64::from(passed))]);
    });
}

/// The head of the queue times out while the waiter behind it dies. The next release must serve
/// the third waiter.
#[test]
fn timeout_against_the_death_of_the_next_waiter() {
    explore(|| {
        let (stage, [a, b, c, d]) = Stage::with_processes(limit(1));
        a.hold(1);
        let id = b.wait(1);
        c.wait(1);
        d.wait(1);
        let dying = spawn(&c, |c| c.die());
        assert_eq!(b.cancel(id), Cancelled::Yes);
        dying.join().unwrap();
        stage.at_rest(&[(&a, 1)]);
        assert_eq!(a.release(1), Ok(()));
        assert_eq!((b.answers(), c.answers(), d.answers()), (vec![], vec![], vec![Answer::Granted]));
        stage.at_rest(&[(&d, 1)]);
    });
}

/// A release grants a permit to a waiter that dies. Either the permit comes back with the entry
/// of the dead waiter, or the grant finds no entry. In both cases the next waiter must get it.
#[test]
fn grant_against_death_of_the_waiter() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        b.wait(1);
        c.wait(1);
        let dying = spawn(&b, |b| b.die());
        assert_eq!(a.release(1), Ok(()));
        dying.join().unwrap();
        assert!(b.answers().len() <= 1);
        assert!(c.was_granted(), "the permit goes on to the next waiter");
        stage.at_rest(&[(&c, 1)]);
    });
}

/// The holder and the head of the queue die at once, and the monitor of each reaps it. The next
/// waiter must get the permit.
#[test]
fn death_of_the_holder_against_death_of_the_waiter() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        b.wait(1);
        c.wait(1);
        let dying = spawn(&b, |b| b.die());
        a.die();
        dying.join().unwrap();
        assert!(c.was_granted());
        stage.at_rest(&[(&c, 1)]);
    });
}

/// The head of the queue wants all permits, and times out while the last held permit is released.
/// Either the head is granted all permits, or its follower is granted one.
#[test]
fn timeout_of_a_large_head_against_a_release() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(3));
        a.hold(1);
        let id = b.wait(3);
        c.wait(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let cancelled = b.cancel(id);
        releasing.join().unwrap();
        if cancelled == Cancelled::TooLate {
            assert_eq!(b.answers(), [Answer::Granted]);
            stage.at_rest(&[(&b, 3)]);
            assert_eq!(b.release(3), Ok(()));
        } else {
            assert_eq!(b.answers(), []);
        }
        assert!(c.was_granted(), "followers are served");
        stage.at_rest(&[(&c, 1)]);
    });
}

/// The head of the queue wants all permits, and times out while a follower parks for the one that
/// is free. The follower must get that permit.
#[test]
fn timeout_of_a_large_head_against_a_follower_parking() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(2));
        a.hold(1);
        let id = b.wait(2);
        let following = spawn(&c, |c| c.acquire(1));
        assert_eq!(b.cancel(id), Cancelled::Yes);
        let acquired = following.join().unwrap();
        assert!(has(&c, acquired));
        stage.at_rest(&[(&a, 1), (&c, 1)]);
    });
}

/// The head of the queue wants all permits, and dies while the last held permit is released. Its
/// follower must be granted one permit.
#[test]
fn death_of_a_large_head_against_a_release() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(3));
        a.hold(1);
        b.wait(3);
        c.wait(1);
        let dying = spawn(&b, |b| b.die());
        assert_eq!(a.release(1), Ok(()));
        dying.join().unwrap();
        assert!(b.answers().len() <= 1);
        assert!(c.was_granted(), "followers are served");
        stage.at_rest(&[(&c, 1)]);
    });
}

/// The head of the queue wants all permits, and dies while a follower parks for the one that is
/// free. The follower must get that permit.
#[test]
fn death_of_a_large_head_against_a_follower_parking() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(2));
        a.hold(1);
        b.wait(2);
        let following = spawn(&c, |c| c.acquire(1));
        b.die();
        let acquired = following.join().unwrap();
        assert!(has(&c, acquired));
        assert_eq!(b.answers(), []);
        stage.at_rest(&[(&a, 1), (&c, 1)]);
    });
}

/// The limit falls below the request of the queue's head while the last held permit is released.
/// The head must be granted by the old limit or refused by the new one. Then its follower must be
/// served.
#[test]
fn shrink_below_the_heads_request_against_a_release() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(3));
        a.hold(1);
        b.wait(3);
        c.wait(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        stage.update(2);
        releasing.join().unwrap();
        match b.answers().as_slice() {
            [Answer::Full] => {}
            [Answer::Granted] => {
                // The grant followed the old limit, so one of the three permits is an overdraft
                // now. It must be paid back before another process is admitted.
                stage.at_rest(&[(&b, 3)]);
                assert_eq!(b.release(3), Ok(()));
            }
            other => panic!("answered {other:?}"),
        }
        assert!(c.was_granted(), "followers are served");
        stage.at_rest(&[(&c, 1)]);
    });
}

/// The limit falls below the request of the queue's head while the head times out. The head must
/// be refused, or cancel in time. Its follower must be served.
#[test]
fn shrink_below_the_heads_request_against_its_timeout() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(3));
        a.hold(1);
        let id = b.wait(3);
        c.wait(1);
        let shrinking = spawn(&a, |a| a.stage.update(2));
        let cancelled = b.cancel(id);
        shrinking.join().unwrap();
        assert_eq!(b.answers(), if cancelled == Cancelled::Yes { vec![] } else { vec![Answer::Full] });
        assert!(c.was_granted());
        stage.at_rest(&[(&a, 1), (&c, 1)]);
    });
}
