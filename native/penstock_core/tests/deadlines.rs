//! Tests the deadlines of processes, and the reports of due processes to the reaper. One test
//! compares each answer with that of a plain model: a map that each step searches from end to
//! end.
#![cfg(not(any(loom, shuttle)))]

use std::cell::RefCell;
use std::collections::BTreeMap;

use penstock_core::{Deadlines, Ending, Pid, Todo};
use proptest::prelude::*;

fn pid(n: u64) -> Pid {
    Pid::new(n).unwrap()
}

const NOTHING: Todo = Todo { watch: false, wake: false };

#[test]
fn an_expired_process_is_reported_once_to_each_reaper_and_counted_once() {
    let deadlines = Deadlines::new();
    assert_eq!(deadlines.set(pid(1), 50, "one"), Todo { watch: true, wake: true });
    let expired = RefCell::new(Vec::new());
    let due = |now| deadlines.due(now, 10, |pid, value| expired.borrow_mut().push((pid, *value)));
    assert_eq!(due(49), []);
    assert_eq!(due(50), [pid(1)]);
    assert_eq!(due(1_000), [], "this reaper got the report before");
    assert_eq!(deadlines.end_work(pid(1)), Ending::Overdue);
    assert_eq!(deadlines.set(pid(1), 1_000, "again"), NOTHING, "an expired process gets no more time");
    deadlines.report_again();
    assert_eq!(due(50), [pid(1)]);
    assert_eq!(due(50), []);
    deadlines.report_again();
    deadlines.remove(pid(1));
    assert_eq!(due(1_000), []);
    assert_eq!(*expired.borrow(), [(pid(1), "one")]);
    assert!(deadlines.rest());
}

#[test]
fn a_second_deadline_replaces_the_first() {
    let deadlines = Deadlines::new();
    assert_eq!(deadlines.set(pid(1), 50, ()), Todo { watch: true, wake: true });
    assert_eq!(deadlines.set(pid(1), 100, ()), NOTHING);
    assert_eq!(deadlines.due(99, 10, |_, ()| {}), []);
    assert_eq!(deadlines.due(100, 10, |_, ()| {}), [pid(1)]);
}

#[test]
fn only_the_first_deadline_wakes_the_reaper() {
    let deadlines = Deadlines::new();
    assert!(deadlines.set(pid(1), 50, ()).wake);
    assert!(!deadlines.set(pid(2), 50, ()).wake, "the reaper is awake");
    assert!(!deadlines.rest(), "there are deadlines");
    assert_eq!(deadlines.end_work(pid(1)), Ending::InTime);
    assert_eq!(deadlines.end_work(pid(2)), Ending::InTime);
    assert!(!deadlines.set(pid(3), 50, ()).wake, "the reaper has not gone to sleep since");
    deadlines.remove(pid(3));
    assert!(deadlines.rest());
    assert!(deadlines.set(pid(4), 50, ()).wake);
}

#[test]
fn each_call_reports_at_most_the_number_asked_for_and_all_are_reported() {
    let deadlines = Deadlines::new();
    for n in 1..=1_000 {
        deadlines.set(pid(n), n % 7, ());
    }
    let mut reported = Vec::new();
    loop {
        let some = deadlines.due(10, 64, |_, ()| {});
        if some.is_empty() {
            break;
        }
        assert!(some.len() <= 64);
        reported.extend(some);
    }
    reported.sort();
    assert_eq!(reported, (1..=1_000).map(pid).collect::<Vec<_>>());
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The process gets a deadline, in ms from now.
    Set(u64, u64),
    /// The work of the process ends.
    End(u64),
    Die(u64),
    /// The clock advances, in ms.
    Pass(u64),
    /// The reaper asks which processes are due.
    Due,
    /// The reaper dies, and another one begins.
    NextReaper,
    /// The reaper tries to sleep.
    Rest,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let pid = 1..9_u64;
    prop_oneof![
        (pid.clone(), 0..300_u64).prop_map(|(pid, ms)| Step::Set(pid, ms)),
        pid.clone().prop_map(Step::End),
        pid.prop_map(Step::Die),
        (0..120_u64).prop_map(Step::Pass),
        Just(Step::Due),
        Just(Step::NextReaper),
        Just(Step::Rest),
    ]
}

/// By pid: the deadline in ms, whether it has expired, and whether the present reaper was told.
type Model = BTreeMap<u64, (u64, bool, bool)>;

/// Makes the steps, and compares each answer with that of the model.
pub(crate) fn compare(steps: Vec<Step>) {
    let deadlines = Deadlines::new();
    let mut model = Model::new();
    let (mut now, mut awake) = (0, false);
    for step in steps {
        match step {
            Step::Set(n, ms) => {
                let todo = deadlines.set(pid(n), now + ms, ());
                let fresh = !model.contains_key(&n);
                assert_eq!(todo, Todo { watch: fresh, wake: fresh && !awake });
                awake |= fresh;
                if model.get(&n).is_none_or(|(_, expired, _)| !expired) {
                    model.insert(n, (now + ms, false, false));
                }
            }
            Step::End(n) => {
                let expired = model.get(&n).is_some_and(|(_, expired, _)| *expired);
                let expected = if expired { Ending::Overdue } else { Ending::InTime };
                assert_eq!(deadlines.end_work(pid(n)), expected);
                if !expired {
                    model.remove(&n);
                }
            }
            Step::Die(n) => {
                deadlines.remove(pid(n));
                model.remove(&n);
            }
            Step::Pass(ms) => now += ms,
            Step::Due => {
                let mut expired = Vec::new();
                let mut due = deadlines.due(now, 100, |pid, ()| expired.push(pid.word()));
                due.sort();
                expired.sort_unstable();
                let expected: Vec<u64> =
                    (model.iter()).filter(|(_, (at, _, told))| *at <= now && !told).map(|(n, _)| *n).collect();
                let fresh: Vec<u64> = expected.iter().copied().filter(|n| !model[n].1).collect();
                assert_eq!(due, expected.iter().copied().map(pid).collect::<Vec<_>>());
                assert_eq!(expired, fresh);
                for n in expected {
                    let (at, ..) = model[&n];
                    model.insert(n, (at, true, true));
                }
            }
            Step::NextReaper => {
                deadlines.report_again();
                model.values_mut().for_each(|(_, _, told)| *told = false);
            }
            Step::Rest => {
                let slept = deadlines.rest();
                assert_eq!(slept, model.is_empty());
                awake = !slept;
            }
        }
    }
}

proptest! {
    #[test]
    fn each_answer_is_that_of_the_model(steps in prop::collection::vec(step(), 0..80)) {
        compare(steps);
    }
}
