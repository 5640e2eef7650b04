//! Races of permits that come back with the waiters that they are for. The head of a queue may
//! keep its followers waiting.

use penstock_core::{Answer, Cancelled, Expiry, Parked, Settings, WaiterId};

use crate::explore::explore;
use crate::support::{Acquired, Process, Stage, limit};
use crate::{has, meanwhile, spawn};

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

pub(crate) fn ask(process: &Process, n: u32, until: Option<u64>) -> (WaiterId, bool) {
    let stage = &process.stage;
    match stage.pool.ask(&stage.host, process.pid, n, stage.host.ticket(), until, || true) {
        (Parked::Waiting(id), begins) => (id, begins),
        (other, _) => panic!("not parked but {other:?}"),
    }
}

pub(crate) fn serve_deferred(stage: &Stage) {
    while stage.host.take_deferrals() > 0 {
        stage.pool.serve(&stage.host);
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
        serve_deferred(&stage);
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
        // A refusal by a pool of few holders scans all of them.
        let asked = c.try_acquire(1);
        dying.join().unwrap();
        serve_deferred(&stage);
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
        assert_eq!(b.withdraw(second), Cancelled::Yes);
        b.begin_exit();
        b.finish_exit();
        releasing.join().unwrap();
        serve_deferred(&stage);
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
        let cancelled = b.withdraw(id);
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
                // The grant followed the old limit. It is an overdraft now, which is paid back
                // before another process is admitted.
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
