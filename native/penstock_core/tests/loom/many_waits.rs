//! Races of processes that ask for permits without blocking. Such a process can have several
//! waits at once, which form a ring. The entry of the process names one wait, from which the ring
//! leads to the others. The host ends the waits whose time is over (`Pool::expire`).

use penstock_core::{Answer, Cancelled, Expiry, Parked, WaiterId};

use crate::explore::explore;
use crate::spawn;
use crate::support::{Process, Stage, limit};

/// Asks for permits that are not free. Returns the wait, and whether the host must begin to call
/// `Pool::expire`.
fn ask(process: &Process, n: u32, until: Option<u64>) -> (WaiterId, bool) {
    let stage = &process.stage;
    match stage.pool.ask(&stage.host, process.pid, n, stage.host.ticket(), until, || true) {
        (Parked::Waiting(id), begins) => (id, begins),
        (other, _) => panic!("not parked but {other:?}"),
    }
}

/// A release grants a permit to a process with two waits while the death of the process ends both
/// (`Pool::remove_waits_of`). The waiter behind them must get the permit.
#[test]
fn grant_against_death_of_a_process_with_two_waits() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        ask(&b, 1, None);
        ask(&b, 1, Some(10));
        c.wait(1);
        let dying = spawn(&b, |b| b.die());
        assert_eq!(a.release(1), Ok(()));
        dying.join().unwrap();
        stage.serve_deferred();
        assert!(c.was_granted(), "the dead process neither keeps the permit nor blocks the next waiter");
        assert_eq!(stage.info().waiting, 0);
        stage.at_rest(&[(&c, 1)]);
    });
}

/// The monitor of a dead process and a scan both try to reap it. Its two waits must end once.
#[test]
fn a_monitor_against_a_scan_that_reap_a_process_with_two_waits() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(2));
        a.hold(1);
        b.hold(1);
        ask(&b, 1, None);
        ask(&b, 1, None);
        b.begin_exit();
        let dying = spawn(&b, |b| b.finish_exit());
        let asked = c.try_acquire(1);
        dying.join().unwrap();
        stage.serve_deferred();
        assert_eq!(stage.info().waiting, 0);
        stage.at_rest(&[(&a, 1), (&c, asked.is_ok().into())]);
    });
}

/// A process with three waits leaves the second one and dies, while a release grants the first.
/// The entry names one of the waits. A call that ends that wait must make the entry name another
/// (`Pool::repoint_entry`).
#[test]
fn leaving_a_wait_and_death_against_a_grant_of_another_wait() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        ask(&b, 1, None);
        let (second, _) = ask(&b, 1, None);
        ask(&b, 1, None);
        let releasing = spawn(&a, |a| assert_eq!(a.release(1), Ok(())));
        assert_eq!(b.withdraw(second), Cancelled::Yes);
        b.begin_exit();
        b.finish_exit();
        releasing.join().unwrap();
        stage.serve_deferred();
        assert_eq!(stage.info().waiting, 0, "the entry named a wait that had ended");
        c.hold(1);
        stage.at_rest(&[(&c, 1)]);
    });
}

/// A release, the host and the waiting process try to end one wait at once. One of the three must
/// succeed, and the process must get at most one answer.
#[test]
fn expiry_against_a_grant_and_the_process_leaving() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
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
            other => panic!("answered {other:?}"),
        }
        let granted = b.answers() == [Answer::Granted];
        stage.at_rest(&[(&b, granted.into())]);
    });
}

/// The host ends the last timed wait while another timed wait begins. Either `Pool::expire` tells
/// the host to call again, or `Pool::ask` tells the host to begin again (`Guarded::timed`).
#[test]
fn expiry_of_the_last_timed_wait_against_the_next() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        ask(&b, 1, Some(10));
        let expiring = spawn(&c, |c| c.stage.pool.expire(&c.stage.host, 10));
        let (_, begins) = ask(&b, 1, Some(20));
        let expiry = expiring.join().unwrap();
        assert_eq!(begins, expiry == Expiry::Nothing, "one of the two calls tells the host to go on");
        stage.at_rest(&[(&a, 1)]);
    });
}
