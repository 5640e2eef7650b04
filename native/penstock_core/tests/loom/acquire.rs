//! Races of acquires and releases that do not wait.

use std::rc::Rc;

use loom::cell::UnsafeCell;
use penstock_core::{Cancelled, Parked};

use crate::explore::explore;
use crate::spawn;
use crate::support::{Process, Stage, limit};

/// A process that is admitted by a released permit sees the work of the releaser done: at a limit
/// of 1 a pool is a lock.
fn work_against_work(admitted: impl Fn(&Process) -> bool + Copy + Send + Sync + 'static) {
    explore(move || {
        let (stage, [a, b]) = Stage::cast(limit(1));
        // The threads of a model run on one OS thread, so `Rc` is safe.
        let work = Rc::new(UnsafeCell::new(()));
        let turn = |work: Rc<UnsafeCell<()>>| {
            move |me: Process| {
                if admitted(&me) {
                    // The model fails unless this happens before, or after, what the other
                    // process does here.
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
        // The grant may still be on its way, but the permit is taken.
        Parked::Waiting(id) => me.cancel(id) == Cancelled::TooLate,
        other => panic!("{other:?}"),
    });
}
