//! Races of a pool that closes, drains or is reopened. A *drainer* is a process that drains the
//! pool, and waits until no permit is held.

use penstock_core::{Answer, Cancelled, Drain, Parked, Status};

use crate::explore::explore;
use crate::support::{Acquired, Stage, limit};
use crate::{meanwhile, spawn};

/// One process takes and another parks while the pool closes. The flag CLOSED in the state word
/// decides which of the two the pool admits. A process that waits must get one answer.
#[test]
fn close_against_acquires() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        let taking = spawn(&a, |a| u64::from(a.take(1)));
        let waiting = spawn(&b, |b| b.acquire(1));
        let then = meanwhile(&c, |c| {
            c.stage.pool.close(&c.stage.host);
            c.stage.in_use()
        });
        let a_has = taking.join().unwrap();
        let b_has = match waiting.join().unwrap() {
            Acquired::Yes => 1,
            Acquired::No(no) => {
                assert_eq!(no, Parked::Closed);
                0
            }
            Acquired::Waiting(_) => {
                assert_eq!(b.answers(), [Answer::Closed], "one answer");
                0
            }
        };
        assert_eq!(a_has + b_has, then, "no caller is admitted after the close");
        stage.at_rest(&[(&a, a_has), (&b, b_has)]);
        assert_eq!(stage.pool.open(limit(1)), then == 0, "a pool with holders does not open");
    });
}

/// A process acquires while the pool closes. The pool opens again if no permit is held. It must
/// admit the process before the close or after the opening, or refuse it.
#[test]
fn close_and_open_against_an_acquire() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(limit(1));
        let reopening = spawn(&b, |b| {
            b.stage.pool.close(&b.stage.host);
            b.stage.pool.open(limit(2))
        });
        let acquired = a.acquire(1);
        let opened = reopening.join().unwrap();
        let held = match acquired {
            Acquired::Yes => 1,
            no => {
                assert_eq!(no, Acquired::No(Parked::Closed));
                0
            }
        };
        assert!(opened || held == 1);
        assert_eq!(stage.info().status, if opened { Status::Open } else { Status::Closed });
        stage.at_rest(&[(&a, held)]);
    });
}

/// The pool closes and opens again with a limit of 0 while a process takes. The process must take
/// by the old limit, or not at all.
#[test]
fn close_and_open_with_less_against_an_acquire() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(limit(1));
        let reopening = spawn(&b, |b| {
            b.stage.pool.close(&b.stage.host);
            b.stage.pool.open(limit(0))
        });
        let took = a.take(1);
        assert_eq!(reopening.join().unwrap(), !took, "the acquire follows the old limit, or is refused");
        stage.at_rest(&[(&a, u64::from(took))]);
    });
}

/// The pool closes while a waiter times out. The call that first removes the waiter from the
/// queue decides.
#[test]
fn close_against_a_timeout() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(limit(1));
        a.hold(1);
        let id = b.wait(1);
        let closing = spawn(&a, |a| a.stage.pool.close(&a.stage.host));
        let cancelled = b.cancel(id);
        closing.join().unwrap();
        assert_eq!(b.answers(), if cancelled == Cancelled::Yes { vec![] } else { vec![Answer::Closed] });
        stage.at_rest(&[(&a, 1)]);
    });
}

/// A drain sets the flag CLOSED in the state word while a process takes. Either the drain finds
/// the permit in use and waits, or the pool refuses the process.
#[test]
fn drain_against_an_acquire() {
    explore(|| {
        let (stage, [a, d]) = Stage::with_processes(limit(1));
        let taking = spawn(&a, |a| a.take(1));
        let drain = d.drain();
        let took = taking.join().unwrap();
        assert_eq!(drain == Drain::Done, !took, "no caller is admitted after the drain");
        stage.at_rest(&[(&a, u64::from(took))]);
        if took {
            a.die();
            assert_eq!(d.answers(), [Answer::Drained]);
        }
    });
}

/// The last permit is released while a drainer joins the queue. The drain finds no permit in use,
/// or the release answers the drainer.
#[test]
fn drain_against_the_last_release() {
    explore(|| {
        let (stage, [a, d]) = Stage::with_processes(limit(1));
        a.hold(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let drain = d.drain();
        releasing.join().unwrap();
        assert_eq!(d.answers(), if drain == Drain::Done { vec![] } else { vec![Answer::Drained] });
        stage.at_rest(&[]);
    });
}

/// The last holder dies while a drainer joins the queue. The drain finds no permit in use, or
/// `Pool::down` answers the drainer.
#[test]
fn drain_against_the_death_of_the_last_holder() {
    explore(|| {
        let (stage, [a, d]) = Stage::with_processes(limit(1));
        a.hold(1);
        let dying = spawn(&a, |a| a.die());
        let drain = d.drain();
        dying.join().unwrap();
        assert_eq!(d.answers(), if drain == Drain::Done { vec![] } else { vec![Answer::Drained] });
        stage.at_rest(&[]);
    });
}

/// A drain meets a process that acquires and releases, and one that parks. If the drainer or the
/// parked process waits, it must get one answer.
#[test]
fn drain_against_an_acquire_and_a_waiter_parking() {
    explore(|| {
        let (stage, [a, b, d]) = Stage::with_processes(limit(1));
        let taking = spawn(&a, |a| {
            if a.take(1) {
                assert_eq!(a.release(1), Ok(()));
            }
        });
        let waiting = spawn(&b, |b| b.acquire(1));
        let drain = meanwhile(&d, |d| d.drain());
        taking.join().unwrap();
        match waiting.join().unwrap() {
            Acquired::Yes => assert_eq!(b.release(1), Ok(())),
            Acquired::No(no) => assert_eq!(no, Parked::Closed),
            Acquired::Waiting(_) => match b.answers().as_slice() {
                [Answer::Closed] => {}
                [Answer::Granted] => assert_eq!(b.release(1), Ok(())),
                other => panic!("answered {other:?}"),
            },
        }
        assert_eq!(d.answers(), if drain == Drain::Done { vec![] } else { vec![Answer::Drained] });
        stage.at_rest(&[]);
    });
}

/// The drainer times out while the last permit is released. The call that first removes the
/// drainer from the queue decides.
#[test]
fn timeout_of_a_drain_against_the_last_release() {
    explore(|| {
        let (stage, [a, d]) = Stage::with_processes(limit(1));
        a.hold(1);
        let Drain::Waiting(id) = d.drain() else { panic!("a permit is held") };
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let cancelled = d.cancel(id);
        releasing.join().unwrap();
        assert_eq!(d.answers(), if cancelled == Cancelled::Yes { vec![] } else { vec![Answer::Drained] });
        assert!(stage.pool.reopen(&stage.host));
        stage.at_rest(&[]);
    });
}

/// A draining pool is reopened while the last permit is released. The drainer must get one
/// answer: `Drained` or `Undrained`.
#[test]
fn reopening_against_the_last_release() {
    explore(|| {
        let (stage, [a, d]) = Stage::with_processes(limit(1));
        a.hold(1);
        assert!(matches!(d.drain(), Drain::Waiting(_)));
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        assert!(stage.pool.reopen(&stage.host));
        releasing.join().unwrap();
        assert!(matches!(d.answers().as_slice(), [Answer::Drained | Answer::Undrained(1)]));
        stage.at_rest(&[]);
    });
}

/// A draining pool is closed while the last permit is released. The drainer must get one answer:
/// `Drained` or `Undrained`.
#[test]
fn close_against_the_last_release_of_a_drain() {
    explore(|| {
        let (stage, [a, d]) = Stage::with_processes(limit(1));
        a.hold(1);
        assert!(matches!(d.drain(), Drain::Waiting(_)));
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        stage.pool.close(&stage.host);
        releasing.join().unwrap();
        assert!(matches!(d.answers().as_slice(), [Answer::Drained | Answer::Undrained(1)]));
    });
}

/// A pool is reopened while one process drains it and another parks. In the end a waiter must be
/// left only in an open pool, and a drainer only in a draining one.
#[test]
fn reopening_against_a_drain() {
    explore(|| {
        let (stage, [a, b, d]) = Stage::with_processes(limit(1));
        a.hold(1);
        let draining = spawn(&d, |d| d.drain());
        let waiting = spawn(&b, |b| b.acquire(1));
        meanwhile(&a, |a| assert!(a.stage.pool.reopen(&a.stage.host)));
        assert!(matches!(draining.join().unwrap(), Drain::Waiting(_)));
        let b_waits = match waiting.join().unwrap() {
            Acquired::Waiting(_) if b.answers().is_empty() => true,
            Acquired::Waiting(_) => {
                assert_eq!(b.answers(), [Answer::Closed]);
                false
            }
            no => {
                assert_eq!(no, Acquired::No(Parked::Closed));
                false
            }
        };
        if stage.info().status == Status::Open {
            assert_eq!(d.answers(), [Answer::Undrained(1)]);
        } else {
            assert!(!b_waits);
            assert_eq!(d.answers(), []);
        }
        stage.at_rest(&[(&a, 1)]);
        assert_eq!(a.release(1), Ok(()));
        stage.at_rest(&[(&b, u64::from(b_waits))]);
        assert_eq!(d.answers().len(), 1);
    });
}
