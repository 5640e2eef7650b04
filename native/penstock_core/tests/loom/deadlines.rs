//! Races of deadlines with the reaper.

use std::sync::Arc;

use loom::thread;
use penstock_core::{Deadlines, Ending, Pid};

use crate::explore::explore;

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
        // One deadline is set, so one reaper must watch it, and only one call may wake it.
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
        // The reaper is awake in the end, and is woken only if it was told to sleep.
        assert!(!sleeps || woken, "asleep, and no call wakes it");
        deadlines.end_other();
        assert!(deadlines.rest());
    });
}
