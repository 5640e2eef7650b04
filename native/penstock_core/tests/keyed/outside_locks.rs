//! The pool calls the runtime, and drops tickets, outside of all its locks.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use penstock_core::{KeyRestart, KeyedChanges, KeyedPool, Kind, Pid};

use crate::hooks::{Hooked, Ticket, at_each_point, key, open};
use crate::stage::{settings, tag};

/// Runs `test` on a thread of its own, with a hook that takes each lock of the pool. If the pool
/// has a lock at a call of the runtime, that thread never ends.
fn with_all_locks_taken(test: impl FnOnce(&KeyedPool<Hooked>, &Hooked, u32) + Send + 'static) {
    let (ended, end) = channel();
    let thread = std::thread::spawn(move || {
        let (pool, host, generation) = open(settings(2, 3));
        let (locked, of) = (Arc::clone(&pool), host.clone());
        at_each_point(move |_| {
            locked.info(&of);
        });
        test(&pool, &host, generation);
        ended.send(()).unwrap();
    });
    match end.recv_timeout(Duration::from_secs(60)) {
        Ok(()) => thread.join().unwrap(),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the pool calls the runtime inside a lock"),
    }
}

fn pid(n: u64) -> Pid {
    Pid::new(n).unwrap()
}

#[test]
fn acquires_waits_and_releases() {
    with_all_locks_taken(|pool, host, generation| {
        let key = |n| key(generation, n);
        let id = pool.try_acquire(host, pid(1), key(1), 2, Kind::Manual).unwrap();
        assert!(pool.try_acquire(host, pid(2), key(1), 1, Kind::Manual).is_err());
        pool.park(host, pid(2), key(1), 1, Kind::Manual, Ticket);
        let penstock_core::KeyParked::Waiting(wait) = pool.park(host, pid(3), key(1), 1, Kind::Manual, Ticket) else {
            panic!("the key is full");
        };
        // The queue has no room for a second wait of one process.
        pool.park(host, pid(3), key(1), 1, Kind::Manual, Ticket);
        pool.cancel(host, pid(3), wait);
        pool.park(host, pid(3), key(1), 2, Kind::Manual, Ticket);
        pool.release_of(host, pid(1), id, 1, Kind::Manual).unwrap();
        pool.release(host, pid(1), tag(1), 1).unwrap();
        pool.update(host, generation, KeyedChanges { limit: Some(1), ..KeyedChanges::default() });
        pool.release(host, pid(2), tag(1), 1).unwrap();
    });
}

#[test]
fn deaths_of_holders_and_waiters() {
    with_all_locks_taken(|pool, host, generation| {
        let key = |n| key(generation, n);
        pool.try_acquire(host, pid(1), key(1), 2, Kind::Manual).unwrap();
        for waiter in [2, 3, 4] {
            pool.park(host, pid(waiter), key(1), 2, Kind::Manual, Ticket);
        }
        host.kill(pid(2));
        pool.down(host, pid(2));
        host.kill(pid(1));
        host.kill(pid(3));
        pool.try_acquire(host, pid(5), key(1), 1, Kind::Manual).unwrap_err();
        pool.down(host, pid(3));
        // The process is dead before the runtime watches it.
        host.kill(pid(6));
        pool.take(host, pid(6), key(2), 1, Kind::Manual).unwrap_err();
        pool.park(host, pid(6), key(1), 1, Kind::Manual, Ticket);
        host.kill(pid(4));
        pool.ended(host, pid(4));
        assert_eq!(pool.info(host).in_use, 0);
    });
}

#[test]
fn restarts() {
    with_all_locks_taken(|pool, host, generation| {
        let key = |n| key(generation, n);
        // Of a new key, by a supervisor that the runtime must watch.
        assert!(matches!(pool.take_for_restart(host, pid(1), key(1), 1, 0), KeyRestart::Admitted(_)));
        // By a supervisor that is dead.
        host.kill(pid(2));
        assert!(matches!(pool.take_for_restart(host, pid(2), key(2), 1, 0), KeyRestart::Refused(_)));
        // By a takeover from a dead process that also waits, and whose permits go to a waiter.
        pool.try_acquire(host, pid(3), key(3), 2, Kind::Bound).unwrap();
        pool.park(host, pid(3), key(3), 1, Kind::Manual, Ticket);
        pool.park(host, pid(4), key(3), 1, Kind::Manual, Ticket);
        host.kill(pid(3));
        assert!(matches!(pool.take_for_restart(host, pid(1), key(3), 1, 0), KeyRestart::Admitted(_)));
        assert!(matches!(pool.take_for_restart(host, pid(1), key(3), 3, 0), KeyRestart::Pause(_)));
        // All places are in use, some by dead processes.
        host.kill(pid(4));
        pool.down(host, pid(1));
        pool.down(host, pid(4));
        for n in 1..=3 {
            pool.try_acquire(host, pid(5), key(n), 1, Kind::Bound).unwrap();
        }
        host.kill(pid(5));
        assert!(matches!(pool.take_for_restart(host, pid(6), key(4), 1, 0), KeyRestart::Admitted(_)));
    });
}

#[test]
fn handoffs_and_drains() {
    with_all_locks_taken(|pool, host, generation| {
        let key = |n| key(generation, n);
        let spawn = |from, to| {
            let id = pool.try_acquire(host, pid(from), key(1), 1, Kind::Bound).unwrap();
            let offer = pool.offer(pid(from), id, 1).unwrap();
            pool.hand_over(host, offer, pid(to));
            pool.adopt(host, pid(to), offer)
        };
        spawn(1, 2);
        pool.end_work(host, pid(2)).unwrap();
        host.kill(pid(3));
        spawn(1, 3);
        let id = pool.try_acquire(host, pid(1), key(1), 2, Kind::Bound).unwrap();
        let offer = pool.offer(pid(1), id, 1).unwrap();
        pool.park(host, pid(4), key(1), 1, Kind::Manual, Ticket);
        pool.retract(host, offer);
        let claimed = pool.offer(pid(1), id, 1).unwrap();
        let id = pool.claim(host, pid(5), pid(1), claimed).unwrap();
        pool.entrust(host, pid(5), id, pid(3), 1).unwrap_err();
        assert!(matches!(pool.drain(host, generation, pid(6), Ticket), Some(penstock_core::KeyedDrain::Waiting(_))));
        host.kill(pid(6));
        pool.drain(host, generation, pid(7), Ticket);
        assert!(pool.reopen(host, generation));
        pool.drain(host, generation, pid(7), Ticket);
        pool.release(host, pid(4), tag(1), 1).unwrap();
        pool.close(host, generation);
        assert!(pool.drain(host, generation, pid(7), Ticket).is_none());
    });
}
