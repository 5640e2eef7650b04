//! Deadlines against a plain model: one list, looked through from end to end.
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
fn who_is_due_is_told_once_to_each_reaper_and_counted_once() {
    let deadlines = Deadlines::new();
    assert_eq!(deadlines.set(pid(1), 50, "one"), Todo { watch: true, wake: true });
    let doomed = RefCell::new(Vec::new());
    let due = |now| deadlines.due(now, 10, |pid, value| doomed.borrow_mut().push((pid, *value)));
    assert_eq!(due(49), []);
    assert_eq!(due(50), [pid(1)]);
    assert_eq!(due(1_000), [], "it was told");
    assert_eq!(deadlines.end_work(pid(1)), Ending::Overdue);
    assert_eq!(deadlines.set(pid(1), 1_000, "again"), NOTHING, "it has no more time");
    deadlines.report_again();
    assert_eq!(due(50), [pid(1)]);
    assert_eq!(due(50), []);
    deadlines.report_again();
    deadlines.remove(pid(1));
    assert_eq!(due(1_000), []);
    assert_eq!(*doomed.borrow(), [(pid(1), "one")]);
    assert!(deadlines.rest());
}

#[test]
fn a_second_deadline_takes_the_place_of_the_first() {
    let deadlines = Deadlines::new();
    assert_eq!(deadlines.set(pid(1), 50, ()), Todo { watch: true, wake: true });
    assert_eq!(deadlines.set(pid(1), 100, ()), NOTHING);
    assert_eq!(deadlines.due(99, 10, |_, ()| {}), []);
    assert_eq!(deadlines.due(100, 10, |_, ()| {}), [pid(1)]);
}

#[test]
fn one_message_wakes_the_reaper_and_not_one_for_each_process() {
    let deadlines = Deadlines::new();
    assert!(deadlines.set(pid(1), 50, ()).wake);
    assert!(!deadlines.set(pid(2), 50, ()).wake, "it is awake");
    assert!(!deadlines.rest(), "there are some");
    assert_eq!(deadlines.end_work(pid(1)), Ending::InTime);
    assert_eq!(deadlines.end_work(pid(2)), Ending::InTime);
    assert!(!deadlines.set(pid(3), 50, ()).wake, "it has not been told to sleep");
    deadlines.remove(pid(3));
    assert!(deadlines.rest());
    assert!(deadlines.set(pid(4), 50, ()).wake);
}

#[test]
fn no_more_are_told_than_asked_for_and_all_in_the_end() {
    let deadlines = Deadlines::new();
    for n in 1..=1_000 {
        deadlines.set(pid(n), n % 7, ());
    }
    let mut told = Vec::new();
    loop {
        let some = deadlines.due(10, 64, |_, ()| {});
        if some.is_empty() {
            break;
        }
        assert!(some.len() <= 64);
        told.extend(some);
    }
    told.sort();
    assert_eq!(told, (1..=1_000).map(pid).collect::<Vec<_>>());
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64, u64),
    End(u64),
    Die(u64),
    Pass(u64),
    Look,
    NextReaper,
    Rest,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 1..9_u64;
    let step = prop_oneof![
        (who.clone(), 0..300_u64).prop_map(|(pid, ms)| Step::Set(pid, ms)),
        who.clone().prop_map(Step::End),
        who.prop_map(Step::Die),
        (0..120_u64).prop_map(Step::Pass),
        Just(Step::Look),
        Just(Step::NextReaper),
        Just(Step::Rest),
    ];
    prop::collection::vec(step, 0..80)
}

/// Per pid: the deadline, whether it has expired, and whether this reaper was told.
type Model = BTreeMap<u64, (u64, bool, bool)>;

proptest! {
    #[test]
    fn as_the_model_has_it(steps in steps()) {
        let deadlines = Deadlines::new();
        let mut model = Model::new();
        let (mut now, mut awake) = (0, false);
        for step in steps {
            match step {
                Step::Set(who, ms) => {
                    let todo = deadlines.set(pid(who), now + ms, ());
                    let fresh = !model.contains_key(&who);
                    prop_assert_eq!(todo, Todo { watch: fresh, wake: fresh && !awake });
                    awake |= fresh;
                    if model.get(&who).is_none_or(|(_, doomed, _)| !doomed) {
                        model.insert(who, (now + ms, false, false));
                    }
                }
                Step::End(who) => {
                    let doomed = model.get(&who).is_some_and(|(_, doomed, _)| *doomed);
                    let expected = if doomed { Ending::Overdue } else { Ending::InTime };
                    prop_assert_eq!(deadlines.end_work(pid(who)), expected);
                    if !doomed {
                        model.remove(&who);
                    }
                }
                Step::Die(who) => {
                    deadlines.remove(pid(who));
                    model.remove(&who);
                }
                Step::Pass(ms) => now += ms,
                Step::Look => {
                    let mut doomed = Vec::new();
                    let mut due = deadlines.due(now, 100, |pid, ()| doomed.push(pid.word()));
                    due.sort();
                    doomed.sort_unstable();
                    let expected: Vec<u64> = (model.iter())
                        .filter(|(_, (at, _, told))| *at <= now && !told)
                        .map(|(who, _)| *who)
                        .collect();
                    let fresh: Vec<u64> = expected.iter().copied().filter(|who| !model[who].1).collect();
                    prop_assert_eq!(due, expected.iter().copied().map(pid).collect::<Vec<_>>());
                    prop_assert_eq!(doomed, fresh);
                    for who in expected {
                        let (at, ..) = model[&who];
                        model.insert(who, (at, true, true));
                    }
                }
                Step::NextReaper => {
                    deadlines.report_again();
                    model.values_mut().for_each(|(_, _, told)| *told = false);
                }
                Step::Rest => {
                    let slept = deadlines.rest();
                    prop_assert_eq!(slept, model.is_empty());
                    awake = !slept;
                }
            }
        }
    }
}
