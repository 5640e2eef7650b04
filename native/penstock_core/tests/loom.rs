//! Every interleaving, and every order of memory that the orderings allow, of two or three calls that race.
//!
//! One test for each race, named after the two sides of it. What must come out is asserted exactly: who holds how much,
//! who was told what, and that nothing is lost ([`Stage::at_rest`]).
//!
//!     RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test -p penstock_core --release --test loom
#![cfg(loom)]

#[path = "support/explore.rs"]
mod explore;
mod support;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering};

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};
use penstock_core::{
    Adoption, Answer, Cancelled, Deadlines, Drain, Ending, Expiry, Hit, Incarnation, Key, LimiterSettings, Limits,
    NotHeld, Parked, Pid, Rate, Refusal, Registry, Restart, Settings, Started, Status, TransferError, WaiterId,
};

use explore::explore;
use support::{Acquired, Fake, Process, Stage, limit};

/// Has a process do something while others do something else.
fn spawn<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> JoinHandle<T> {
    let process = process.clone();
    thread::spawn(move || act(process))
}

/// As a third party to what others do: on a thread of its own, so that to begin with it takes no preemption.
fn meanwhile<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> T {
    spawn(process, act).join().unwrap()
}

/// How much of the work that the pool admits is going on. Work that has begun to end is not.
#[derive(Clone, Default)]
struct Work(Arc<PlainU64>);

impl Work {
    fn begin(&self, limit: u64) {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) < limit, "more work than the limit");
    }
    fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a caller that waited, if it had to, has what it asked for.
fn has(process: &Process, acquired: Acquired) -> bool {
    match acquired {
        Acquired::Yes => process.answers().is_empty(),
        Acquired::Waiting(_) => process.was_granted(),
        Acquired::No(no) => panic!("neither admitted nor parked: {no:?}"),
    }
}

// Permits against permits.

/// Whoever is admitted by what another gave back finds the other's work done: at a limit of 1 a pool is a lock.
fn work_against_work(admitted: impl Fn(&Process) -> bool + Copy + Send + Sync + 'static) {
    explore(move || {
        let (stage, [a, b]) = Stage::cast(limit(1));
        // The model's threads are one in truth.
        let work = Rc::new(UnsafeCell::new(()));
        let turn = |work: Rc<UnsafeCell<()>>| {
            move |me: Process| {
                if admitted(&me) {
                    // The model fails if this does not happen before, or after, what the other does here.
                    work.with_mut(|_| ());
                    assert_eq!(me.release(1), Ok(()));
                }
            }
        };
        let other = spawn(&a, turn(Rc::clone(&work)));
        turn(work)(b);
        other.join().unwrap();
        stage.at_rest(&[]);
    });
}

#[test]
fn acquire_against_acquire() {
    work_against_work(|me| me.take(1));
}

#[test]
fn acquire_after_a_look_against_acquire() {
    work_against_work(|me| me.try_acquire(1).is_ok());
}

#[test]
fn park_that_need_not_wait_against_another() {
    work_against_work(|me| match me.park(1) {
        Parked::Granted => true,
        // The answer may still be on its way; the permit is there.
        Parked::Waiting(id) => me.cancel(id) == Cancelled::TooLate,
        other => panic!("{other:?}"),
    });
}

#[test]
fn first_acquire_against_a_transfer_to_the_same_process() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(2));
        a.hold(1);
        let taking = spawn(&b, |b| assert!(b.take(1)));
        assert_eq!(a.transfer(&b, 1), Ok(()));
        taking.join().unwrap();
        stage.at_rest(&[(&b, 2)]);
        assert_eq!(b.release(2), Ok(()), "what came by transfer is its own");
        stage.at_rest(&[]);
    });
}

#[test]
fn release_against_a_transfer_to_the_same_process() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
        a.hold(2);
        assert_eq!(a.transfer(&b, 1), Ok(()));
        c.wait(1);
        // It has to fold what it was given in the moment that more is given.
        let releasing = spawn(&b, |b| assert_eq!(b.release(1), Ok(())));
        assert_eq!(a.transfer(&b, 1), Ok(()));
        releasing.join().unwrap();
        assert!(c.was_granted());
        stage.at_rest(&[(&b, 1), (&c, 1)]);
    });
}

#[test]
fn transfer_against_a_transfer_back() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(2));
        a.hold(1);
        b.hold(1);
        let there = b.clone();
        let giving = spawn(&a, move |a| assert_eq!(a.transfer(&there, 1), Ok(())));
        assert_eq!(b.transfer(&a, 1), Ok(()));
        giving.join().unwrap();
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

// Permits that come back against those who wait for them.

#[test]
fn last_permit_against_a_waiter_parking() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let waiting = spawn(&b, |b| b.acquire(1));
        let passing = meanwhile(&c, |c| c.take(1));
        releasing.join().unwrap();
        let waited = has(&b, waiting.join().unwrap());
        assert!(waited != passing, "one of them has it");
        if passing {
            stage.at_rest(&[(&c, 1)]);
            assert_eq!(c.release(1), Ok(()));
            assert!(b.was_granted());
        }
        stage.at_rest(&[(&b, 1)]);
    });
}

#[test]
fn last_permit_against_two_waiters_parking() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let waiting = spawn(&b, |b| b.acquire(1));
        let second = meanwhile(&c, |c| c.acquire(1));
        releasing.join().unwrap();
        let first = has(&b, waiting.join().unwrap());
        let second = has(&c, second);
        assert!(first != second, "one of them has it");
        let (has_it, waits) = if first { (&b, &c) } else { (&c, &b) };
        stage.at_rest(&[(has_it, 1)]);
        assert_eq!(has_it.release(1), Ok(()));
        assert!(waits.was_granted());
        stage.at_rest(&[(waits, 1)]);
    });
}

#[test]
fn release_against_a_queue_that_is_full() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(Settings { max_waiting: 0, ..limit(1) });
        a.hold(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let got = match b.acquire(1) {
            Acquired::Yes => 1,
            no => {
                assert_eq!(no, Acquired::No(Parked::QueueFull));
                0
            }
        };
        releasing.join().unwrap();
        stage.at_rest(&[(&b, got)]);
    });
}

#[test]
fn two_releases_against_one_waiter_that_wants_two() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
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

#[test]
fn release_against_timeout() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(1));
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

#[test]
fn timeout_against_a_newcomer() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
        a.hold(1);
        let id = b.wait(2);
        let passing = spawn(&c, |c| c.take(1));
        assert_eq!(b.cancel(id), Cancelled::Yes);
        let passed = passing.join().unwrap();
        stage.at_rest(&[(&a, 1), (&c, u64::from(passed))]);
    });
}

#[test]
fn timeout_against_the_death_of_the_next_in_line() {
    explore(|| {
        let (stage, [a, b, c, d]) = Stage::cast(limit(1));
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

#[test]
fn grant_against_death_of_the_waiter() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        b.wait(1);
        c.wait(1);
        let dying = spawn(&b, |b| b.die());
        assert_eq!(a.release(1), Ok(()));
        dying.join().unwrap();
        assert!(b.answers().len() <= 1);
        assert!(c.was_granted(), "what the dead was granted, or not, is passed on");
        stage.at_rest(&[(&c, 1)]);
    });
}

fn ask(process: &Process, n: u32, until: Option<u64>) -> (WaiterId, bool) {
    let stage = &process.stage;
    match stage.pool.ask(&stage.host, process.pid, n, stage.host.ticket(), until, || true) {
        (Parked::Waiting(id), begins) => (id, begins),
        (other, _) => panic!("not parked but {other:?}"),
    }
}

fn settle_what_was_deferred(stage: &Stage) {
    while stage.host.take_deferrals() > 0 {
        stage.pool.settle(&stage.host);
    }
}

#[test]
fn grant_against_death_of_a_process_with_two_waits() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        ask(&b, 1, None);
        ask(&b, 1, Some(10));
        c.wait(1);
        let dying = spawn(&b, |b| b.die());
        assert_eq!(a.release(1), Ok(()));
        dying.join().unwrap();
        settle_what_was_deferred(&stage);
        assert!(c.was_granted(), "neither wait of the dead keeps what it was granted, or others behind it");
        assert_eq!(stage.info().waiting, 0);
        stage.at_rest(&[(&c, 1)]);
    });
}

#[test]
fn two_that_bury_a_process_with_two_waits() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
        a.hold(1);
        b.hold(1);
        ask(&b, 1, None);
        ask(&b, 1, None);
        b.begin_exit();
        let dying = spawn(&b, |b| b.finish_exit());
        // A refusal of a small pool looks at all holders.
        let asked = c.try_acquire(1);
        dying.join().unwrap();
        settle_what_was_deferred(&stage);
        assert_eq!(stage.info().waiting, 0);
        stage.at_rest(&[(&a, 1), (&c, asked.is_ok().into())]);
    });
}

#[test]
fn a_wait_that_is_taken_back_against_the_grant_of_another_of_the_process_and_its_death() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        ask(&b, 1, None);
        let (second, _) = ask(&b, 1, None);
        ask(&b, 1, None);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        assert_eq!(b.leave_line(second), Cancelled::Yes);
        b.begin_exit();
        b.finish_exit();
        releasing.join().unwrap();
        settle_what_was_deferred(&stage);
        assert_eq!(stage.info().waiting, 0, "its entry named a wait that was left");
        c.hold(1);
        stage.at_rest(&[(&c, 1)]);
    });
}

#[test]
fn a_timeout_that_the_host_ends_against_a_grant_and_the_process_taking_it_back() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        let (id, begins) = ask(&b, 1, Some(10));
        assert!(begins);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let expiring = spawn(&c, |c| c.stage.pool.expire(&c.stage.host, 10));
        let cancelled = b.leave_line(id);
        releasing.join().unwrap();
        assert_eq!(expiring.join().unwrap(), Expiry::Nothing);
        match b.answers().as_slice() {
            [] => assert_eq!(cancelled, Cancelled::Yes),
            [Answer::Granted | Answer::TimedOut] => assert_eq!(cancelled, Cancelled::TooLate),
            other => panic!("told {other:?}"),
        }
        let granted = b.answers() == [Answer::Granted];
        stage.at_rest(&[(&b, granted.into())]);
    });
}

#[test]
fn the_last_timeout_that_the_host_ends_against_another_that_begins() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        ask(&b, 1, Some(10));
        let expiring = spawn(&c, |c| c.stage.pool.expire(&c.stage.host, 10));
        let (_, begins) = ask(&b, 1, Some(20));
        let expiry = expiring.join().unwrap();
        assert!(begins == (expiry == Expiry::Nothing), "{begins}, {expiry:?}: the host looks on, and once");
        stage.at_rest(&[(&a, 1)]);
    });
}

#[test]
fn death_of_the_holder_against_death_of_the_waiter() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
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

// A head of the line that keeps others waiting.

#[test]
fn timeout_of_an_oversized_head_against_a_release() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(3));
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

#[test]
fn timeout_of_an_oversized_head_against_followers_parking() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
        a.hold(1);
        let id = b.wait(2);
        let following = spawn(&c, |c| c.acquire(1));
        assert_eq!(b.cancel(id), Cancelled::Yes);
        let acquired = following.join().unwrap();
        assert!(has(&c, acquired));
        stage.at_rest(&[(&a, 1), (&c, 1)]);
    });
}

#[test]
fn death_of_an_oversized_head_against_a_release() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(3));
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

#[test]
fn death_of_an_oversized_head_against_followers_parking() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
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

#[test]
fn shrink_below_the_heads_request_against_a_release() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(3));
        a.hold(1);
        b.wait(3);
        c.wait(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        stage.update(2);
        releasing.join().unwrap();
        match b.answers().as_slice() {
            [Answer::Full] => {}
            [Answer::Granted] => {
                // By the limit that was: an overdraft now, paid back before anybody else is admitted.
                stage.at_rest(&[(&b, 3)]);
                assert_eq!(b.release(3), Ok(()));
            }
            other => panic!("told {other:?}"),
        }
        assert!(c.was_granted(), "followers are served");
        stage.at_rest(&[(&c, 1)]);
    });
}

#[test]
fn shrink_below_the_heads_request_against_its_timeout() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(3));
        a.hold(1);
        let id = b.wait(3);
        c.wait(1);
        let shrinking = spawn(&a, |a| a.stage.update(2));
        let cancelled = b.cancel(id);
        shrinking.join().unwrap();
        let told = if cancelled == Cancelled::Yes { vec![] } else { vec![Answer::Full] };
        assert_eq!(b.answers(), told);
        assert!(c.was_granted());
        stage.at_rest(&[(&a, 1), (&c, 1)]);
    });
}

// The limit changes.

#[test]
fn shrink_against_two_acquires() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
        let first = spawn(&a, |a| u64::from(a.take(1)));
        let second = spawn(&b, |b| u64::from(b.take(1)));
        let then = meanwhile(&c, |c| {
            c.stage.update(1);
            c.stage.in_use()
        });
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert!(first + second <= then.max(1), "nobody is admitted by a limit that is no longer in force");
        stage.at_rest(&[(&a, first), (&b, second)]);
    });
}

#[test]
fn growth_against_a_waiter_parking() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(1));
        a.hold(1);
        let waiting = spawn(&b, |b| b.acquire(1));
        stage.update(2);
        let acquired = waiting.join().unwrap();
        assert!(has(&b, acquired));
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

#[test]
fn growth_against_a_newcomer() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        b.wait(1);
        let passing = spawn(&c, |c| c.take(1));
        stage.update(2);
        assert!(!passing.join().unwrap(), "who waits is first");
        assert!(b.was_granted());
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

#[test]
fn growth_against_a_shrink() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        b.wait(1);
        let growing = spawn(&c, |c| c.stage.update(2));
        stage.update(0);
        growing.join().unwrap();
        let granted = b.was_granted();
        let limit = stage.info().settings.limit;
        assert!(granted || limit == 0, "whoever grew last has woken it");
        stage.at_rest(&[(&a, 1), (&b, u64::from(granted))]);
    });
}

/// A limit and a state word that do not belong together must not be taken for a peak. (That one was reached in just that
/// moment may go unnoticed.)
fn peak_against_an_update(to: u64) {
    explore(move || {
        let (stage, [a, b, c]) = Stage::cast(limit(4));
        a.hold(1);
        let updating = spawn(&c, move |c| c.stage.update(to));
        let held = 1 + u64::from(b.take(1));
        updating.join().unwrap();
        assert!((1..=held).contains(&stage.info().peak));
        stage.at_rest(&[(&a, 1), (&b, held - 1)]);
    });
}

#[test]
fn peak_against_growth() {
    peak_against_an_update(6);
}

#[test]
fn peak_against_a_shrink() {
    peak_against_an_update(3);
}

// The pool closes, or is drained.

#[test]
fn close_against_acquires() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
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
                assert_eq!(b.answers(), [Answer::Closed], "told once");
                0
            }
        };
        assert_eq!(a_has + b_has, then, "nobody is admitted once it is closed");
        stage.at_rest(&[(&a, a_has), (&b, b_has)]);
        assert_eq!(stage.pool.open(limit(1)), then == 0, "opened again only if nothing is held");
    });
}

#[test]
fn close_and_open_against_an_acquire() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(1));
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

#[test]
fn close_and_open_with_less_against_an_acquire() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(1));
        let reopening = spawn(&b, |b| {
            b.stage.pool.close(&b.stage.host);
            b.stage.pool.open(limit(0))
        });
        let took = a.take(1);
        assert_eq!(reopening.join().unwrap(), !took, "by the old limit, or not at all");
        stage.at_rest(&[(&a, u64::from(took))]);
    });
}

#[test]
fn close_against_a_timeout() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(1));
        a.hold(1);
        let id = b.wait(1);
        let closing = spawn(&a, |a| a.stage.pool.close(&a.stage.host));
        let cancelled = b.cancel(id);
        closing.join().unwrap();
        assert_eq!(b.answers(), if cancelled == Cancelled::Yes { vec![] } else { vec![Answer::Closed] });
        stage.at_rest(&[(&a, 1)]);
    });
}

#[test]
fn drain_against_an_acquire() {
    explore(|| {
        let (stage, [a, d]) = Stage::cast(limit(1));
        let taking = spawn(&a, |a| a.take(1));
        let drain = d.drain();
        let took = taking.join().unwrap();
        assert_eq!(drain == Drain::Done, !took, "nobody is admitted once it is drained");
        stage.at_rest(&[(&a, u64::from(took))]);
        if took {
            a.die();
            assert_eq!(d.answers(), [Answer::Drained]);
        }
    });
}

#[test]
fn drain_against_the_last_release() {
    explore(|| {
        let (stage, [a, d]) = Stage::cast(limit(1));
        a.hold(1);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let drain = d.drain();
        releasing.join().unwrap();
        assert_eq!(d.answers(), if drain == Drain::Done { vec![] } else { vec![Answer::Drained] });
        stage.at_rest(&[]);
    });
}

#[test]
fn drain_against_the_death_of_the_last_holder() {
    explore(|| {
        let (stage, [a, d]) = Stage::cast(limit(1));
        a.hold(1);
        let dying = spawn(&a, |a| a.die());
        let drain = d.drain();
        dying.join().unwrap();
        assert_eq!(d.answers(), if drain == Drain::Done { vec![] } else { vec![Answer::Drained] });
        stage.at_rest(&[]);
    });
}

#[test]
fn drain_against_an_acquire_and_a_waiter_parking() {
    explore(|| {
        let (stage, [a, b, d]) = Stage::cast(limit(1));
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
                other => panic!("told {other:?}"),
            },
        }
        assert_eq!(d.answers(), if drain == Drain::Done { vec![] } else { vec![Answer::Drained] });
        stage.at_rest(&[]);
    });
}

#[test]
fn timeout_of_a_drain_against_the_last_release() {
    explore(|| {
        let (stage, [a, d]) = Stage::cast(limit(1));
        a.hold(1);
        let Drain::Waiting(id) = d.drain() else { panic!("something is held") };
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        let cancelled = d.cancel(id);
        releasing.join().unwrap();
        assert_eq!(d.answers(), if cancelled == Cancelled::Yes { vec![] } else { vec![Answer::Drained] });
        assert!(stage.pool.reopen(&stage.host));
        stage.at_rest(&[]);
    });
}

#[test]
fn reopening_against_the_last_release() {
    explore(|| {
        let (stage, [a, d]) = Stage::cast(limit(1));
        a.hold(1);
        assert!(matches!(d.drain(), Drain::Waiting(_)));
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        assert!(stage.pool.reopen(&stage.host));
        releasing.join().unwrap();
        assert!(matches!(d.answers().as_slice(), [Answer::Drained | Answer::Undrained(1)]));
        stage.at_rest(&[]);
    });
}

#[test]
fn closing_against_the_last_release_of_a_drain() {
    explore(|| {
        let (stage, [a, d]) = Stage::cast(limit(1));
        a.hold(1);
        assert!(matches!(d.drain(), Drain::Waiting(_)));
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        stage.pool.close(&stage.host);
        releasing.join().unwrap();
        assert!(matches!(d.answers().as_slice(), [Answer::Drained | Answer::Undrained(1)]));
    });
}

#[test]
fn reopening_against_a_drain() {
    explore(|| {
        let (stage, [a, b, d]) = Stage::cast(limit(1));
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

// Death.

#[test]
fn down_against_down() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(3));
        a.hold(2);
        b.hold(1);
        a.wait(1);
        c.wait(3);
        a.begin_exit();
        let again = spawn(&a, |a| a.stage.pool.down(&a.stage.host, a.pid));
        stage.pool.down(&stage.host, a.pid);
        again.join().unwrap();
        stage.at_rest(&[(&b, 1)]);
        assert_eq!(stage.census().released_by_exit, 2);
        assert_eq!(b.release(1), Ok(()));
        assert!(c.was_granted());
        stage.at_rest(&[(&c, 3)]);
    });
}

fn transfer_against_the_death_of_the_receiver(known: bool) {
    explore(move || {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        if known {
            b.hold(1);
            assert_eq!(b.release(1), Ok(()));
        }
        a.hold(1);
        c.wait(1);
        let dying = spawn(&b, |b| b.die());
        let given = a.transfer(&b, 1);
        assert!(matches!(given, Ok(()) | Err(TransferError::Gone)));
        dying.join().unwrap();
        assert!(c.was_granted());
        stage.at_rest(&[(&c, 1)]);
    });
}

#[test]
fn transfer_against_the_death_of_a_receiver_that_held_before() {
    transfer_against_the_death_of_the_receiver(true);
}

#[test]
fn transfer_against_the_death_of_a_receiver_that_never_held() {
    transfer_against_the_death_of_the_receiver(false);
}

#[test]
fn two_transfers_against_the_death_of_the_receiver() {
    explore(|| {
        let (stage, [a, b, c, d]) = Stage::cast(limit(2));
        a.hold(1);
        b.hold(1);
        d.wait(2);
        let to = c.clone();
        let giving = spawn(&a, move |a| a.transfer(&to, 1));
        let dying = spawn(&c, |c| c.die());
        let to = c.clone();
        let _ = meanwhile(&b, move |b| b.transfer(&to, 1));
        let _ = giving.join().unwrap();
        dying.join().unwrap();
        assert!(d.was_granted());
        stage.at_rest(&[(&d, 2)]);
    });
}

#[test]
fn transfer_and_death_of_the_giver_against_a_release_by_the_receiver() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        c.wait(1);
        let to = b.clone();
        let giving = spawn(&a, move |a| {
            assert_eq!(a.transfer(&to, 1), Ok(()));
            a.die();
        });
        let released = b.release(1);
        giving.join().unwrap();
        match released {
            Ok(()) => {
                assert!(c.was_granted());
                stage.at_rest(&[(&c, 1)]);
            }
            Err(NotHeld) => stage.at_rest(&[(&b, 1)]),
        }
    });
}

// A permit on its way from a spawner to its child.

#[test]
fn hand_over_against_adoption() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let work = Work::default();
        let to = child.clone();
        let handing = spawn(&spawner, move |spawner| spawner.hand_over(offer, &to));
        let its = work.clone();
        let running = spawn(&child, move |child| {
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            its.begin(1);
            its.end();
            assert_eq!(child.end_work(), Ok(()), "it runs with what it was offered");
            assert_eq!(child.end_work(), Err(NotHeld), "once");
        });
        meanwhile(&other, move |other| {
            if other.take(1) {
                work.begin(1);
                work.end();
                assert_eq!(other.release(1), Ok(()));
            }
        });
        handing.join().unwrap();
        running.join().unwrap();
        stage.at_rest(&[]);
    });
}

#[test]
fn hand_over_against_a_child_that_adopts_and_ends() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        other.wait(1);
        let running = spawn(&child, move |child| {
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            child.die();
        });
        spawner.hand_over(offer, &child);
        running.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

#[test]
fn hand_over_against_the_death_of_the_child() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        other.wait(1);
        // Before its first instruction.
        let dying = spawn(&child, |child| child.die());
        spawner.hand_over(offer, &child);
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

#[test]
fn the_end_of_a_child_told_by_its_spawner_against_its_monitor() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let running = spawn(&child, move |child| {
            let _ = child.adopt(offer);
            child.begin_exit();
            child.finish_exit();
        });
        spawner.hand_over(offer, &child);
        let seen = !child.alive();
        if seen {
            // Without a lock, if the entry is gone.
            spawner.saw_the_end_of(&child);
            assert!(other.take(1), "whoever saw the end finds the permit");
        }
        running.join().unwrap();
        let held = [(&other, 1)];
        stage.at_rest(if seen { &held } else { &[] });
    });
}

#[test]
fn adoption_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let work = Work::default();
        let dying = spawn(&spawner, |spawner| spawner.die());
        let its = work.clone();
        let running = spawn(&child, move |child| {
            let adoption = child.adopt(offer);
            if adoption == Adoption::Adopted {
                its.begin(1);
                its.end();
                assert_eq!(child.release_bound(1), Ok(()), "it runs with what it was offered");
            }
            adoption
        });
        meanwhile(&other, move |other| {
            if other.take(1) {
                work.begin(1);
                work.end();
                assert_eq!(other.release(1), Ok(()));
            }
        });
        dying.join().unwrap();
        let adoption = running.join().unwrap();
        stage.at_rest(&[]);
        assert_eq!(stage.census().released_by_exit, u64::from(adoption == Adoption::Revoked));
    });
}

#[test]
fn adoption_against_a_look_that_finds_the_spawner_dead() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        spawner.begin_exit();
        let asking = spawn(&other, |other| other.try_acquire(1));
        let adoption = child.adopt(offer);
        let asked = asking.join().unwrap();
        assert!(asked.is_ok() != (adoption == Adoption::Adopted), "one of them has it");
        spawner.finish_exit();
        stage.at_rest(&[(if asked.is_ok() { &other } else { &child }, 1)]);
    });
}

#[test]
fn death_of_the_child_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        other.wait(1);
        let dying = spawn(&spawner, |spawner| spawner.die());
        let _ = child.adopt(offer);
        child.die();
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

#[test]
fn claim_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, supervisor, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        other.wait(1);
        let whose = spawner.clone();
        let claiming = spawn(&supervisor, move |supervisor| supervisor.claim(&whose, offer));
        spawner.die();
        let claimed = claiming.join().unwrap();
        assert_eq!(claimed.is_some(), !other.was_granted(), "one of them has it");
        stage.at_rest(&[(if claimed.is_some() { &supervisor } else { &other }, 1)]);
    });
}

#[test]
fn claim_against_retraction() {
    explore(|| {
        let (stage, [spawner, supervisor, child]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let (whose, to) = (spawner.clone(), child.clone());
        let claiming = spawn(&supervisor, move |supervisor| {
            let claimed = supervisor.claim(&whose, offer).is_some();
            if claimed {
                assert_eq!(supervisor.entrust(&to, 1), Ok(()));
            }
            claimed
        });
        spawner.retract(offer);
        let held = [(&child, 1)];
        stage.at_rest(if claiming.join().unwrap() { &held } else { &[] });
    });
}

#[test]
fn entrusting_against_the_death_of_the_child() {
    explore(|| {
        let (stage, [supervisor, child, other]) = Stage::cast(limit(1));
        assert_eq!(supervisor.try_bound(1), Ok(()));
        other.wait(1);
        let dying = spawn(&child, |child| child.die());
        let _ = supervisor.entrust(&child, 1);
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

// Restarts, which may pass the limit.

fn overdraft(max_overdraft: u64) -> Settings {
    Settings { max_overdraft, ..limit(1) }
}

#[test]
fn a_restart_against_the_monitor_of_its_predecessor() {
    explore(|| {
        let (stage, [supervisor, child, other]) = Stage::cast(overdraft(1));
        child.hold(1);
        child.begin_exit();
        let finishing = spawn(&child, |child| child.finish_exit());
        let answer = supervisor.restart(1);
        finishing.join().unwrap();
        assert_eq!(answer, Restart::Admitted);
        assert!(!other.take(1));
        stage.at_rest(&[(&supervisor, 1)]);
        assert_eq!(stage.census().released_by_exit, 1);
    });
}

#[test]
fn two_restarts_against_one_dead_holder() {
    explore(|| {
        let (stage, [first, second, dead]) = Stage::cast(overdraft(1));
        dead.hold(1);
        dead.begin_exit();
        let restarting = spawn(&first, |first| first.restart(1));
        let answer = second.restart(1);
        assert_eq!((restarting.join().unwrap(), answer), (Restart::Admitted, Restart::Admitted));
        dead.finish_exit();
        stage.at_rest(&[(&first, 1), (&second, 1)]);
        assert_eq!(stage.census().released_by_exit, 1);
    });
}

/// Two holders are dead; a restart has taken over one, and remembers the other. That one, and the
/// first supervisor.
fn remembered(max_overdraft: u64) -> (Arc<Stage>, [Process; 4]) {
    let (stage, [first, second, a, b]) = Stage::cast(Settings { max_overdraft, ..limit(2) });
    for dead in [&a, &b] {
        dead.hold(1);
        dead.begin_exit();
    }
    assert_eq!(first.restart(1), Restart::Admitted);
    let (left, gone) = if stage.holdings().contains_key(&a.pid.word()) { (a, b) } else { (b, a) };
    (stage, [first, second, left, gone])
}

#[test]
fn a_restart_that_remembers_a_dead_holder_against_its_monitor() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        let finishing = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(second.restart(1), Restart::Admitted, "its permit, or the same when it is free");
        finishing.join().unwrap();
        stage.at_rest(&[(&first, 1), (&second, 1)]);
        assert_eq!(stage.census().released_by_exit, 2);
    });
}

#[test]
fn two_restarts_against_one_dead_holder_that_is_remembered() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        let restarting = spawn(&first, |first| first.restart(1));
        let answer = second.restart(1) == Restart::Admitted;
        let other = restarting.join().unwrap() == Restart::Admitted;
        assert!(answer != other, "one of them");
        dead.finish_exit();
        stage.at_rest(&[(&first, 2 - u64::from(answer)), (&second, answer.into())]);
    });
}

#[test]
fn a_restart_that_remembers_a_dead_holder_against_a_process_of_its_pid() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        dead.finish_exit();
        stage.host.reuse(dead.pid);
        let taking = spawn(&dead, |next| next.take(1));
        let answer = second.restart(1) == Restart::Admitted;
        let taken = taking.join().unwrap();
        assert!(answer != taken, "there is one permit, and that of a living process is its own");
        stage.at_rest(&[(&first, 1), (if taken { &dead } else { &second }, 1)]);
    });
}

#[test]
fn a_restart_that_remembers_a_dead_holder_against_a_refusal_that_buries() {
    explore(|| {
        let (stage, [first, second, dead, other]) = remembered(1);
        // It ends as well, and another process gets its pid.
        other.finish_exit();
        stage.host.reuse(other.pid);
        let asking = spawn(&other, |other| other.try_acquire(1).is_ok());
        assert_eq!(second.restart(1), Restart::Admitted);
        let asked = asking.join().unwrap();
        dead.finish_exit();
        let all = [(&first, 1), (&second, 1), (&other, 1)];
        stage.at_rest(if asked { &all } else { &all[..2] });
    });
}

#[test]
fn a_restart_against_a_refusal_that_buries() {
    explore(|| {
        let (stage, [supervisor, dead, other]) = Stage::cast(overdraft(1));
        dead.hold(1);
        dead.begin_exit();
        let asking = spawn(&other, |other| other.try_acquire(1));
        assert_eq!(supervisor.restart(1), Restart::Admitted);
        let asked = asking.join().unwrap();
        dead.finish_exit();
        let both = [(&supervisor, 1), (&other, 1)];
        stage.at_rest(if asked.is_ok() { &both } else { &both[..1] });
    });
}

#[test]
fn two_restarts_against_an_overdraft_for_one() {
    explore(|| {
        let (stage, [first, second, holder]) = Stage::cast(overdraft(1));
        holder.hold(1);
        let restarting = spawn(&first, |first| first.restart(1) == Restart::Admitted);
        let answer = second.restart(1) == Restart::Admitted;
        let other = restarting.join().unwrap();
        assert!(answer != other, "one of them");
        stage.at_rest(&[(&holder, 1), (if other { &first } else { &second }, 1)]);
    });
}

#[test]
fn a_restart_that_passes_the_limit_against_a_release_and_a_waiter() {
    explore(|| {
        let (stage, [supervisor, holder, waiter]) = Stage::cast(overdraft(1));
        holder.hold(1);
        waiter.wait(1);
        let releasing = spawn(&holder, |holder| assert_eq!(holder.release(1), Ok(())));
        assert_eq!(supervisor.restart(1), Restart::Admitted);
        releasing.join().unwrap();
        // Either it found the permit free, and the waiter waits; or it came later, or before, and passed the limit by one.
        let granted = waiter.was_granted();
        let held = [(&supervisor, 1), (&waiter, 1)];
        stage.at_rest(if granted { &held } else { &held[..1] });
        assert_eq!(supervisor.release_bound(1), Ok(()));
        assert!(waiter.was_granted());
    });
}

#[test]
fn a_restart_against_a_limit_that_shrinks() {
    explore(|| {
        let (stage, [supervisor, holder, other]) = Stage::cast(Settings { max_overdraft: 1, ..limit(2) });
        holder.hold(2);
        let shrinking = spawn(&other, |other| other.stage.update(1));
        let answer = supervisor.restart(1);
        shrinking.join().unwrap();
        let held = [(&holder, 2), (&supervisor, 1)];
        stage.at_rest(if answer == Restart::Admitted { &held } else { &held[..1] });
        assert_eq!(
            supervisor.restart(1),
            Restart::Refused(Refusal::Full),
            "by more than the overdraft, or what was held"
        );
    });
}

#[test]
fn retraction_against_a_waiter_parking() {
    explore(|| {
        let (stage, [spawner, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let waiting = spawn(&other, |other| other.acquire(1));
        spawner.retract(offer);
        let acquired = waiting.join().unwrap();
        assert!(has(&other, acquired));
        stage.at_rest(&[(&other, 1)]);
    });
}

// The look for holders that are dead. A crowd is more than one holder here.

#[test]
fn look_against_down() {
    explore(|| {
        let (stage, [dead, asker]) = Stage::cast(limit(1));
        dead.hold(1).begin_exit();
        let telling = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(asker.try_acquire(1), Ok(()), "it saw the death, and nobody else asks");
        telling.join().unwrap();
        stage.at_rest(&[(&asker, 1)]);
        assert_eq!(stage.census().released_by_exit, 1);
    });
}

#[test]
fn look_against_a_look() {
    explore(|| {
        let (stage, [dead, asker, other]) = Stage::cast(limit(2));
        dead.hold(2).begin_exit();
        let asking = spawn(&other, |other| assert_eq!(other.try_acquire(1), Ok(())));
        assert_eq!(asker.try_acquire(1), Ok(()), "there is enough for both");
        asking.join().unwrap();
        dead.finish_exit();
        stage.at_rest(&[(&asker, 1), (&other, 1)]);
        assert_eq!(stage.census().released_by_exit, 2);
    });
}

#[test]
fn look_against_a_waiter_parking() {
    explore(|| {
        let (stage, [dead, asker, other]) = Stage::cast(limit(2));
        dead.hold(2).begin_exit();
        let waiting = spawn(&other, |other| other.acquire(1));
        assert_eq!(asker.try_acquire(1), Ok(()), "there is enough for both");
        let acquired = waiting.join().unwrap();
        assert!(has(&other, acquired));
        dead.finish_exit();
        stage.at_rest(&[(&asker, 1), (&other, 1)]);
    });
}

#[test]
fn look_against_down_with_a_waiter() {
    explore(|| {
        let (stage, [dead, asker, waiter]) = Stage::cast(limit(2));
        dead.hold(2);
        waiter.wait(1);
        dead.begin_exit();
        let telling = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(asker.try_acquire(1), Ok(()), "there is enough for both");
        telling.join().unwrap();
        assert!(waiter.was_granted());
        stage.at_rest(&[(&asker, 1), (&waiter, 1)]);
    });
}

#[test]
fn look_against_a_death_that_was_just_seen() {
    explore(|| {
        let (stage, [dead, asker]) = Stage::cast(limit(1));
        let dying = spawn(&dead, |dead| {
            dead.hold(1);
            dead.die();
        });
        if !dead.alive() {
            assert_eq!(asker.try_acquire(1), Ok(()));
            assert_eq!(asker.release(1), Ok(()));
        }
        dying.join().unwrap();
        stage.at_rest(&[]);
    });
}

#[test]
fn look_against_an_acquire_and_a_death() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::cast(limit(2));
        holder.hold(1);
        // On the list, but holding nothing: a look takes it off.
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let taking = spawn(&idle, |idle| assert!(idle.take(1)));
        assert!(asker.try_acquire(2).is_err());
        taking.join().unwrap();
        assert_eq!(holder.release(1), Ok(()));
        idle.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "a later look finds the holder");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn look_against_an_acquire_that_is_offered_at_once() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::cast(limit(2));
        holder.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let spawning = spawn(&idle, |idle| {
            assert_eq!(idle.try_bound(1), Ok(()));
            assert!(idle.offer(1).is_some());
        });
        assert!(asker.try_acquire(2).is_err());
        spawning.join().unwrap();
        assert_eq!(holder.release(1), Ok(()));
        idle.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "what is on offer is held");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn look_against_a_park_that_need_not_wait() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::cast(limit(2));
        holder.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let taking = spawn(&idle, |idle| assert_eq!(idle.park(1), Parked::Granted));
        assert!(asker.try_acquire(2).is_err());
        taking.join().unwrap();
        assert_eq!(holder.release(1), Ok(()));
        idle.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "a later look finds the holder");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn look_against_a_park_that_need_not_wait_and_saw_a_crowd() {
    explore(|| {
        let (stage, [stays, leaves, idle, asker]) = Stage::cast(limit(4));
        stays.hold(1);
        leaves.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        // It saw too many to look at all of them, and at itself.
        let taking = spawn(&idle, |idle| assert_eq!(idle.park(1), Parked::Granted));
        let leaving = spawn(&leaves, |leaves| {
            assert_eq!(leaves.release(1), Ok(()));
            assert!(leaves.try_acquire(4).is_err());
        });
        leaving.join().unwrap();
        taking.join().unwrap();
        assert_eq!(stays.release(1), Ok(()));
        idle.begin_exit();
        assert_eq!(asker.try_acquire(4), Ok(()), "a later look finds the holder");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 4)]);
    });
}

#[test]
fn look_against_a_transfer() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::cast(limit(2));
        holder.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let to = idle.clone();
        let giving = spawn(&holder, move |holder| assert_eq!(holder.transfer(&to, 1), Ok(())));
        assert!(asker.try_acquire(2).is_err());
        giving.join().unwrap();
        idle.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "a later look finds the holder");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn look_against_a_transfer_to_one_that_acquires_and_dies() {
    explore(|| {
        let (stage, [giver, dead, asker]) = Stage::cast(limit(2));
        giver.hold(1);
        let dying = spawn(&dead, |dead| {
            assert!(dead.take(1));
            dead.begin_exit();
        });
        let to = dead.clone();
        let giving = spawn(&giver, move |giver| giver.transfer(&to, 1));
        let watched = dead.clone();
        let seen = meanwhile(&asker, move |asker| {
            let seen = !watched.alive();
            if seen {
                assert_eq!(asker.try_acquire(1), Ok(()), "what the dead took by its own hand is found");
            }
            seen
        });
        dying.join().unwrap();
        let given = giving.join().unwrap();
        assert!(matches!(given, Ok(()) | Err(TransferError::Gone)));
        dead.finish_exit();
        stage.at_rest(&[(&asker, u64::from(seen))]);
    });
}

// The hint that there is a crowd of holders.

/// While somebody looks and finds two holders, one of them leaves by `leave`. The one that is left is no crowd: when it
/// dies, whoever saw that is admitted.
fn crowd_against(leave: impl Fn(&Process, &Process) + Copy + Send + Sync + 'static) {
    explore(move || {
        let (stage, [stays, leaves, looker, asker]) = Stage::cast(limit(2));
        stays.hold(1);
        leaves.hold(1);
        let other = stays.clone();
        let leaving = spawn(&leaves, move |leaves| leave(&leaves, &other));
        assert!(looker.try_acquire(2).is_err());
        leaving.join().unwrap();
        stays.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        stays.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn crowd_against_a_release() {
    crowd_against(|leaves, _| assert_eq!(leaves.release(1), Ok(())));
}

#[test]
fn crowd_against_a_release_beside_one_that_is_dead() {
    explore(|| {
        let (stage, [dead, stays, leaves, looker, asker]) = Stage::cast(limit(3));
        for holder in [&dead, &stays, &leaves] {
            holder.hold(1);
        }
        dead.begin_exit();
        let leaving = spawn(&leaves, |leaves| assert_eq!(leaves.release(1), Ok(())));
        let served = looker.try_acquire(2).is_ok();
        leaving.join().unwrap();
        if served {
            assert_eq!(looker.release(2), Ok(()));
        }
        assert_eq!(asker.try_acquire(2), Ok(()), "the dead one was taken for a crowd");
        dead.finish_exit();
        stage.at_rest(&[(&stays, 1), (&asker, 2)]);
    });
}

#[test]
fn crowd_against_a_release_and_another_look() {
    explore(|| {
        let (stage, [stays, leaves, looker, asker]) = Stage::cast(limit(2));
        stays.hold(1);
        leaves.hold(1);
        let leaving = spawn(&leaves, |leaves| assert_eq!(leaves.release(1), Ok(())));
        // What one suspects the other must not confirm.
        let looking = spawn(&looker, |looker| assert!(looker.try_acquire(2).is_err()));
        meanwhile(&asker, |asker| assert!(asker.try_acquire(2).is_err()));
        leaving.join().unwrap();
        looking.join().unwrap();
        stays.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        stays.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn crowd_against_a_death() {
    crowd_against(|leaves, _| leaves.die());
}

#[test]
fn crowd_against_a_transfer() {
    crowd_against(|leaves, stays| assert_eq!(leaves.transfer(stays, 1), Ok(())));
}

#[test]
fn crowd_against_an_adoption_by_a_holder() {
    explore(|| {
        let (stage, [spawner, child, looker, asker]) = Stage::cast(limit(2));
        // Somebody gave the child a permit before its first instruction.
        looker.hold(1);
        assert_eq!(looker.transfer(&child, 1), Ok(()));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let adopting = spawn(&child, move |child| assert_eq!(child.adopt(offer), Adoption::Adopted));
        assert!(looker.try_acquire(1).is_err());
        adopting.join().unwrap();
        // It never comes to hand over, which would have wiped the hint.
        spawner.die();
        child.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        child.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn refusal_in_a_crowd_against_a_park_that_need_not_wait() {
    explore(|| {
        let (stage, [a, b, parker, asker]) = Stage::cast(limit(4));
        a.hold(1);
        b.hold(1);
        assert!(asker.try_acquire(3).is_err(), "now it is known that they are many");
        let parking = spawn(&parker, |parker| assert_eq!(parker.park(1), Parked::Granted));
        assert_eq!(asker.try_acquire(1), Ok(()), "there is enough for both");
        parking.join().unwrap();
        stage.at_rest(&[(&a, 1), (&b, 1), (&parker, 1), (&asker, 1)]);
    });
}

#[test]
fn crowd_against_a_refused_announcement() {
    explore(|| {
        let (stage, [a, b, looker, asker]) = Stage::cast(limit(1));
        // On the list, so that a look sees what they announce.
        for process in [&a, &b] {
            process.hold(1);
            assert_eq!(process.release(1), Ok(()));
        }
        let first = spawn(&a, |a| a.take(1));
        let second = spawn(&b, |b| b.take(1));
        let third = meanwhile(&looker, |looker| looker.try_acquire(1));
        let first = first.join().unwrap();
        let second = second.join().unwrap();
        let won = [first, second, third.is_ok()];
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
        let winner = if first {
            a
        } else if second {
            b
        } else {
            looker
        };
        winner.begin_exit();
        assert_eq!(asker.try_acquire(1), Ok(()), "the hint is stale");
        winner.finish_exit();
        stage.at_rest(&[(&asker, 1)]);
    });
}

#[test]
fn crowd_against_a_retraction() {
    explore(|| {
        let (stage, [stays, spawner, looker, asker]) = Stage::cast(limit(2));
        stays.hold(1);
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let retracting = spawn(&spawner, move |spawner| spawner.retract(offer));
        assert!(looker.try_acquire(2).is_err());
        retracting.join().unwrap();
        stays.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        stays.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn crowd_against_a_hand_over() {
    explore(|| {
        let (stage, [spawner, child, looker, asker]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let to = child.clone();
        // Who looks at the wrong moments sees the permit twice.
        let handing = spawn(&spawner, move |spawner| spawner.hand_over(offer, &to));
        assert!(looker.try_acquire(1).is_err());
        handing.join().unwrap();
        child.begin_exit();
        assert_eq!(asker.try_acquire(1), Ok(()), "the hint is stale");
        child.finish_exit();
        stage.at_rest(&[(&asker, 1)]);
    });
}

#[test]
fn crowd_against_an_adoption_from_a_dead_spawner() {
    explore(|| {
        let (stage, [spawner, child, looker, asker]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let adopting = spawn(&child, move |child| assert_eq!(child.adopt(offer), Adoption::Adopted));
        assert!(looker.try_acquire(1).is_err());
        adopting.join().unwrap();
        // It never comes to hand over, which would have wiped the hint.
        spawner.die();
        child.begin_exit();
        assert_eq!(asker.try_acquire(1), Ok(()), "the hint is stale");
        child.finish_exit();
        stage.at_rest(&[(&asker, 1)]);
    });
}

// Names.

const NAME: u64 = 0x40;

/// A registry in which the name is known, so that what is raced for is its pool.
fn registry(host: &Fake, first: Pid) -> Arc<Registry<Fake>> {
    let registry = Registry::new();
    assert_eq!(registry.start(host, NAME, first, limit(1)), Started::Fresh);
    Arc::new(registry)
}

fn pids<const N: usize>() -> [Pid; N] {
    std::array::from_fn(|at| Pid::new(at as u64 + 1).unwrap())
}

/// Somebody else's start of the same name, with a limit of 2.
fn start_elsewhere(registry: &Arc<Registry<Fake>>, host: &Fake, owner: Pid) -> JoinHandle<Started> {
    let (registry, host) = (Arc::clone(registry), host.clone());
    thread::spawn(move || registry.start(&host, NAME, owner, limit(2)))
}

/// Of two starts the one that came out so, with what it brought; the other was told of it.
fn winner<T>(so: Started, [(a, of_a, from_a), (b, of_b, from_b)]: [(Pid, Started, T); 2]) -> (Pid, T) {
    match (of_a, of_b) {
        (started, Started::AlreadyStarted(keeper)) if started == so && keeper == a => (a, from_a),
        (Started::AlreadyStarted(keeper), started) if started == so && keeper == b => (b, from_b),
        both => panic!("{both:?}"),
    }
}

#[test]
fn start_against_a_start_of_the_same_name() {
    explore(|| {
        let host = Fake::new(3);
        let [first, a, b] = pids();
        let registry = registry(&host, first);
        let named = registry.find(NAME).unwrap();
        assert!(named.close(&host, first));
        let other = start_elsewhere(&registry, &host, a);
        let mine = registry.start(&host, NAME, b, limit(3));
        let (winner, bound) = winner(Started::Fresh, [(a, other.join().unwrap(), 2), (b, mine, 3)]);
        assert_eq!(named.owner(), Some(winner));
        let (pool, id) = named.pool().unwrap();
        assert_eq!((pool.info().status, pool.info().settings.limit, id), (Status::Open, bound, 1));
    });
}

#[test]
fn start_against_a_start_when_the_owner_crashed() {
    explore(|| {
        let host = Fake::new(3);
        let [dead, a, b] = pids();
        let registry = registry(&host, dead);
        let named = registry.find(NAME).unwrap();
        let (pool, id) = named.pool().unwrap();
        assert_eq!(pool.try_acquire(&host, a, 1, penstock_core::Kind::Free), Ok(()));
        host.begin_exit(dead);
        let other = start_elsewhere(&registry, &host, a);
        let mine = registry.start(&host, NAME, b, limit(3));
        let (winner, bound) = winner(Started::Adopted, [(a, other.join().unwrap(), 2), (b, mine, 3)]);
        assert_eq!(named.owner(), Some(winner));
        assert_eq!(named.pool().map(|(_, id)| id), Some(id), "the same pool");
        assert_eq!((pool.info().in_use, pool.info().settings.limit), (1, bound));
    });
}

fn limiter() -> LimiterSettings {
    LimiterSettings {
        limits: Limits { limit: 1, per_ms: 100, rate: Rate::new(1, 100, 1).unwrap() },
        max_keys: 1,
        manual: false,
    }
}

#[test]
fn start_against_a_start_of_a_limiter_of_the_same_name() {
    explore(|| {
        let host = Fake::new(3);
        let [first, a, b] = pids();
        let registry = registry(&host, first);
        let named = registry.find(NAME).unwrap();
        assert!(named.close(&host, first));
        let other = start_elsewhere(&registry, &host, a);
        let mine = registry.start_limiter(&host, NAME, b, limiter(), || 0).unwrap();
        let (winner, ()) = winner(Started::Fresh, [(a, other.join().unwrap(), ()), (b, mine, ())]);
        assert_eq!(named.owner(), Some(winner));
        assert_eq!((named.pool().is_some(), named.limiter().is_some()), (winner == a, winner == b));
    });
}

#[test]
fn start_of_a_limiter_against_another_when_the_owner_crashed() {
    explore(|| {
        let host = Fake::new(3);
        let [dead, a, b] = pids();
        let registry = Arc::new(Registry::new());
        assert_eq!(registry.start_limiter(&host, NAME, dead, limiter(), || 0), Ok(Started::Fresh));
        let named = registry.find(NAME).unwrap();
        let hit = |key: Incarnation| named.limiter().unwrap().0.hit(Key::Global(key), 0, 1);
        assert_eq!(hit(1), Hit::Allow(0));
        host.begin_exit(dead);
        let other = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start_limiter(&host, NAME, a, limiter(), || 0).unwrap())
        };
        let mine = registry.start_limiter(&host, NAME, b, limiter(), || 0).unwrap();
        let (winner, ()) = winner(Started::Adopted, [(a, other.join().unwrap(), ()), (b, mine, ())]);
        assert_eq!(named.owner(), Some(winner));
        assert_eq!(hit(1), Hit::Deny(100_000_000));
    });
}

/// An owner is killed as it takes over, which goes on; and another takes over with other settings. Those of the last hold.
#[test]
fn adoption_against_an_adoption() {
    explore(|| {
        let host = Fake::new(3);
        let [dead, killed, next] = pids();
        let registry = Arc::new(Registry::new());
        let limits = |limit: u32| LimiterSettings {
            limits: Limits { limit, per_ms: 100, rate: Rate::new(limit, 100, 1).unwrap() },
            ..limiter()
        };
        assert_eq!(registry.start_limiter(&host, NAME, dead, limits(1), || 0), Ok(Started::Fresh));
        host.begin_exit(dead);
        let late = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start_limiter(&host, NAME, killed, limits(10), || 0).unwrap())
        };
        host.begin_exit(killed);
        // At the instant at which the other became it, it is told so, and asks again.
        let take_over = || registry.start_limiter(&host, NAME, next, limits(20), || 0).unwrap();
        if take_over() == Started::AlreadyStarted(killed) {
            assert_eq!(take_over(), Started::Adopted);
        }
        late.join().unwrap();
        let named = registry.find(NAME).unwrap();
        let (limiter, incarnation) = named.limiter().unwrap();
        let limit = limiter.info(incarnation).unwrap().limits.limit;
        assert_eq!(limit, if named.owner() == Some(next) { 20 } else { 10 });
    });
}

/// A limiter is closed, and its memory lent to another name, while somebody hits it.
#[test]
fn hit_against_a_close_and_the_next_of_its_memory() {
    const OTHER: u64 = 0x80;
    // A key's hash has the incarnation in it.
    let keys =
        |incarnation: Incarnation| [Key::Global(incarnation), Key::Tag(incarnation, u64::from(incarnation) << 32 | 7)];
    for which in [0, 1] {
        explore(move || {
            let host = Fake::new(2);
            let [a, b] = pids();
            let registry = Arc::new(Registry::new());
            assert_eq!(registry.start_limiter(&host, NAME, a, limiter(), || 0), Ok(Started::Fresh));
            let hitter = {
                let registry = Arc::clone(&registry);
                thread::spawn(move || {
                    let (limiter, incarnation) = registry.find(NAME).unwrap().limiter()?;
                    Some(limiter.hit(keys(incarnation)[which], 0, 1))
                })
            };
            assert!(registry.find(NAME).unwrap().close(&host, a));
            assert_eq!(registry.start_limiter(&host, OTHER, b, limiter(), || 0), Ok(Started::Fresh));
            let (limiter, incarnation) = registry.find(OTHER).unwrap().limiter().unwrap();
            let [all, tag] = keys(incarnation);
            assert_eq!(limiter.hit(all, 0, 1), Hit::Allow(0));
            assert_eq!(limiter.hit(all, 0, 1), Hit::Deny(100_000_000));
            let hit = hitter.join().unwrap();
            // It has left nothing behind in the one place.
            assert_eq!(limiter.hit(tag, 0, 1), Hit::Allow(0));
            assert!(matches!(hit, None | Some(Hit::Allow(0) | Hit::Gone)), "{hit:?}");
        });
    }
}

#[test]
fn close_against_a_start() {
    explore(|| {
        let host = Fake::new(2);
        let [a, b] = pids();
        let registry = registry(&host, a);
        let named = registry.find(NAME).unwrap();
        let starting = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start(&host, NAME, b, limit(2)))
        };
        assert!(named.close(&host, a));
        match starting.join().unwrap() {
            Started::AlreadyStarted(keeper) => {
                assert_eq!(keeper, a);
                assert!(named.pool().is_none());
                assert_eq!(named.owner(), None);
            }
            Started::Fresh => {
                assert_eq!(named.owner(), Some(b));
                let (pool, id) = named.pool().unwrap();
                assert_eq!((pool.info().status, pool.info().settings.limit), (Status::Open, 2));
                // A pool that was still closing is left alone, and a second one made.
                assert!(id <= 2);
                assert_eq!(named.instance(3 - id).map(|pool| pool.info().status).unwrap_or(Status::Closed), {
                    Status::Closed
                });
            }
            Started::Adopted => panic!("the owner is alive"),
        }
    });
}

#[test]
fn close_for_a_crashed_owner_against_its_successor() {
    explore(|| {
        let host = Fake::new(2);
        let [dead, successor] = pids();
        let registry = registry(&host, dead);
        host.begin_exit(dead);
        let starting = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start(&host, NAME, successor, limit(2)))
        };
        let named = registry.find(NAME).unwrap();
        let closed = named.close(&host, dead);
        assert_eq!(starting.join().unwrap(), if closed { Started::Fresh } else { Started::Adopted });
        assert_eq!(named.owner(), Some(successor));
        let (pool, _) = named.pool().unwrap();
        assert_eq!((pool.info().status, pool.info().settings.limit), (Status::Open, 2));
    });
}

#[test]
fn close_against_an_acquire_by_name() {
    explore(|| {
        let host = Fake::new(2);
        let [owner, user] = pids();
        let registry = registry(&host, owner);
        let asking = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || {
                let (pool, id) = registry.find(NAME).unwrap().pool()?;
                Some((pool.try_acquire(&host, user, 1, penstock_core::Kind::Free), id))
            })
        };
        let named = registry.find(NAME).unwrap();
        assert!(named.close(&host, owner));
        assert_eq!(registry.start(&host, NAME, owner, limit(1)), Started::Fresh);
        let (pool, new) = named.pool().unwrap();
        match asking.join().unwrap() {
            // The name was gone, or what it stood for.
            None | Some((Err(Refusal::Closed), _)) => assert_eq!((pool.info().in_use, new), (0, 1)),
            Some((Ok(()), old)) => {
                let held: u64 = [1, 2].iter().filter_map(|&id| named.instance(id)).map(|pool| pool.info().in_use).sum();
                assert_eq!(held, 1);
                assert_eq!(named.instance(old).unwrap().info().in_use, 1, "held where it was acquired");
            }
            Some((Err(other), _)) => panic!("{other:?}"),
        }
    });
}

// Deadlines.

#[test]
fn work_that_ends_against_its_being_found_overdue() {
    explore(|| {
        let deadlines = Arc::new(Deadlines::new());
        let pid = Pid::new(16).unwrap();
        deadlines.set(pid, 10, ());
        let worker = {
            let deadlines = Arc::clone(&deadlines);
            thread::spawn(move || deadlines.end_work(pid))
        };
        let mut doomed = 0;
        let told = deadlines.due(10, 10, |_, ()| doomed += 1);
        match worker.join().unwrap() {
            Ending::InTime => assert_eq!((told, doomed), (vec![], 0)),
            Ending::Overdue => assert_eq!((told, doomed), (vec![pid], 1)),
        }
    });
}

#[test]
fn a_reaper_that_goes_to_sleep_against_a_deadline_that_is_set() {
    explore(|| {
        let deadlines = Arc::new(Deadlines::new());
        let (first, second) = (Pid::new(16).unwrap(), Pid::new(32).unwrap());
        deadlines.set(first, 10, ());
        deadlines.remove(first);
        let setter = {
            let deadlines = Arc::clone(&deadlines);
            thread::spawn(move || deadlines.set(second, 20, ()).wake)
        };
        let sleeps = deadlines.rest();
        let woken = setter.join().unwrap();
        // There is one, so somebody looks after it, and it is not two who wake.
        assert_eq!(sleeps, woken, "asleep if and only if it is woken");
    });
}

#[test]
fn a_reaper_that_goes_to_sleep_against_two_deadlines() {
    explore(|| {
        let deadlines = Arc::new(Deadlines::new());
        deadlines.set(Pid::new(16).unwrap(), 10, ());
        deadlines.remove(Pid::new(16).unwrap());
        let setters: Vec<_> = [32, 48]
            .into_iter()
            .map(|word| {
                let deadlines = Arc::clone(&deadlines);
                thread::spawn(move || deadlines.set(Pid::new(word).unwrap(), 20, ()).wake)
            })
            .collect();
        let sleeps = deadlines.rest();
        let woken = setters.into_iter().map(|setter| usize::from(setter.join().unwrap())).sum::<usize>();
        assert_eq!(usize::from(sleeps), woken);
    });
}

#[test]
fn a_reaper_that_goes_to_sleep_against_a_pool_that_begins_to_time_waits() {
    explore(|| {
        let deadlines = Arc::new(Deadlines::<()>::new());
        let beginner = {
            let deadlines = Arc::clone(&deadlines);
            thread::spawn(move || deadlines.begin_other())
        };
        let sleeps = deadlines.rest();
        let woken = beginner.join().unwrap();
        // It is awake in the end; and never wakes itself without having been told to sleep.
        assert!(!sleeps || woken, "asleep, and nobody wakes it");
        deadlines.end_other();
        assert!(deadlines.rest());
    });
}
