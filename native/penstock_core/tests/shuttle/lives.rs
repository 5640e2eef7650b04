//! Processes that make all calls of a pool, spawn children, kill each other, and change the
//! limit.

use std::sync::Arc;

use penstock_core::{Kind, Settings};
use shuttle::thread;

use crate::explore;
use crate::scenario::{Actor, Scenario, any};
use crate::support::limit;

/// Runs the processes that a scenario begins with. Each calls `act` up to `acts` times, and stops
/// when it is killed. A killed process dies. If `survives` is `false`, the others die after their
/// last act.
fn run(scenario: &Arc<Scenario>, acts: usize, act: fn(&mut Actor) -> Option<()>, survives: bool) {
    let lives: Vec<_> = (1..=scenario.first)
        .map(|number| {
            let mut actor = scenario.actor(number as usize);
            thread::spawn(move || {
                let is_killed = (0..acts).any(|_| actor.killed() || act(&mut actor).is_none());
                if is_killed || !survives {
                    actor.die();
                }
            })
        })
        .collect();
    lives.into_iter().for_each(|life| life.join().unwrap());
    scenario.check_end();
}

/// No process holds permits while it waits, and each process gives back what it got. So each wait
/// must end by an answer, unless the process cancels the wait or is killed. After a lost wake-up
/// a process waits without end, which the scheduler reports as a deadlock.
#[test]
fn no_waiter_waits_forever() {
    explore("no_waiter_waits_forever", 70_000, || {
        let scenario = Scenario::new(7, 8, limit(2), 3);
        run(&scenario, 3, patient_act, false);
        assert_eq!(scenario.stage.in_use(), 0);
    });
}

/// Processes make all calls, and some live on. The pool must count exactly what these hold.
#[test]
fn the_pool_counts_what_living_processes_hold() {
    explore("the_pool_counts_what_living_processes_hold", 70_000, || {
        let scenario = Scenario::new(8, 8, Settings { max_waiting: 3, ..limit(4) }, 5);
        run(&scenario, 5, impatient_act, true);
    });
}

/// Makes some calls, after which the process holds nothing. Returns `None` if the process was
/// killed meanwhile.
fn patient_act(actor: &mut Actor) -> Option<()> {
    let stage = Arc::clone(&actor.me.stage);
    match any(16) {
        0..=5 => {
            let n = 1 + any(2);
            if actor.acquire(n, Kind::Manual, None)? {
                thread::yield_now();
                // If `n` is 2, the permits come back one by one, and a waiter may need both.
                actor.release(1);
                actor.release(n);
            }
        }
        6..=7 => {
            if actor.acquire(1, Kind::Manual, Some(any(6)))? {
                actor.release(1);
            }
        }
        8..=11 => {
            let n = 1 + any(2);
            if actor.acquire(n, Kind::Bound, None)? && !actor.spawn(n) {
                return None;
            }
        }
        12 => actor.scenario.kill(&actor.another()),
        13 => {
            // The limit must not stay at 0, because then waiters would wait without end.
            stage.update(u64::from(any(4)));
            thread::yield_now();
            stage.update(3);
        }
        14 => actor.drain_and_reopen(true)?,
        _ => {
            if actor.try_acquire(1, Kind::Manual) {
                actor.release(1);
            }
        }
    }
    Some(())
}

/// Makes one call, after which the process may hold permits. Cancels each wait after some steps.
/// Returns `None` if the process was killed meanwhile.
fn impatient_act(actor: &mut Actor) -> Option<()> {
    let stage = Arc::clone(&actor.me.stage);
    match any(20) {
        0..=3 => {
            let kind = if any(3) == 0 { Kind::Bound } else { Kind::Manual };
            actor.acquire(1 + any(3), kind, Some(any(12)))?;
        }
        4..=6 => {
            actor.try_acquire(1 + any(2), Kind::Manual);
        }
        7..=9 => actor.release(1 + any(2)),
        10..=12 => actor.transfer(&actor.another(), 1 + any(2)),
        13..=15 => {
            if actor.acquire(1, Kind::Bound, Some(any(6)))? && !actor.spawn(1) {
                return None;
            }
        }
        16..=17 => actor.scenario.kill(&actor.another()),
        18 => stage.update(u64::from(any(6))),
        // Other processes may keep their permits, so the drainer must not wait until all permits
        // are back.
        _ => actor.drain_and_reopen(false)?,
    }
    Some(())
}
