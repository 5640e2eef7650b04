//! Races of acquires and releases by two processes, neither of which blocks.

use std::rc::Rc;

use loom::cell::UnsafeCell;
use penstock_core::{Cancelled, Parked};

use crate::explore::explore;
use crate::spawn;
use crate::support::{Process, Stage, limit};

/// Runs a model of two processes that work while they hold the only permit. The CAS that takes a
/// permit synchronizes with the release before it. So the work of one process happens before the
/// work of the other.
fn work_against_work(is_admitted: impl Fn(&Process) -> bool + Copy + Send + Sync + 'static) {
    explore(move || {
        let (stage, [a, b]) = Stage::with_processes(limit(1));
        // loom runs the threads of a model on one OS thread, so `Rc` is safe.
        let work = Rc::new(UnsafeCell::new(()));
        let turn = |work: Rc<UnsafeCell<()>>| {
            move |me: Process| {
                if is_admitted(&me) {
                    // loom fails the model if the other process can access `work` at the same
                    // time.
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

/// Each process takes the permit by the CAS on the pool's state word alone.
#[test]
fn acquire_against_acquire() {
    work_against_work(|me| me.take(1));
}

/// Before a process is refused, its call scans for dead holders and tries once more to take.
#[test]
fn acquire_after_a_scan_against_acquire_after_a_scan() {
    work_against_work(|me| me.try_acquire(1).is_ok());
}

/// Each process parks: it finds the permit free under the queue lock, or joins the queue. If it
/// can no longer cancel its wait, the permit was granted to it.
#[test]
fn park_against_park() {
    work_against_work(|me| match me.park(1) {
        Parked::Granted => true,
        // The answer may still be on its way, but the permit is already this process's.
        Parked::Waiting(id) => me.cancel(id) == Cancelled::TooLate,
        other => panic!("{other:?}"),
    });
}
