//! Races of deadlines with the reaper. The reaper stores that it sleeps and then loads the number
//! of deadlines; a caller adds to the number and then loads whether the reaper sleeps (store
//! buffering).

use std::sync::Arc;

use loom::thread;
use penstock_core::{Deadlines, Ending, Pid};

use crate::explore::explore;

/// Work ends while `Deadlines::due` finds that its deadline has passed. One lock decides: either
/// the work ended in time, or its process was counted as expired and reported.
#[test]
fn the_end_of_work_against_a_report_that_it_is_due() {
    explore(|| {
        let deadlines = Arc::new(Deadlines::new());
        let pid = Pid::new(16).unwrap();
        deadlines.set(pid, 10, ());
        let worker = {
            let deadlines = Arc::clone(&deadlines);
            thread::spawn(move || deadlines.end_work(pid))
        };
        let mut expired = 0;
        let reported = deadlines.due(10, 10, |_, ()| expired += 1);
        match worker.join().unwrap() {
            Ending::InTime => assert_eq!((reported, expired), (vec![], 0)),
            Ending::Overdue => assert_eq!((reported, expired), (vec![pid], 1)),
        }
    });
}

/// A deadline is set as the reaper goes to sleep: the reaper stays awake, or is woken.
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
        assert_eq!(sleeps, woken, "the reaper is woken if and only if it sleeps");
    });
}

/// Two deadlines are set as the reaper goes to sleep: it stays awake, or is woken once.
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
        assert_eq!(usize::from(sleeps), woken, "one setter wakes the reaper if it sleeps");
    });
}

/// A pool gets its first timed wait (`Deadlines::begin_other`) as the reaper goes to sleep. The
/// reaper must end timed waits, so it must be awake in the end.
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
        assert!(!sleeps || woken, "the reaper sleeps, and no call wakes it");
        deadlines.end_other();
        assert!(deadlines.rest());
    });
}
