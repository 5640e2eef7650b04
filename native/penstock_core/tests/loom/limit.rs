//! Races of a limit that changes.

use crate::explore::explore;
use crate::support::{Stage, limit};
use crate::{has, meanwhile, spawn};

#[test]
fn shrink_against_two_acquires() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
        let first = spawn(&a, |a| u64::from(a.take(1)));
        let second = spawn(&b, |b| u64::from(b.take(1)));
        let then = meanwhile(&c, |c| {
            c.stage.update(1);
            c.stage.in_use()
        });
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert!(first + second <= then.max(1), "nobody is admitted by a limit that is no longer in force");
        stage.at_rest(&[(&a, first), (&b, second)]);
    });
}

#[test]
fn growth_against_a_waiter_parking() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(1));
        a.hold(1);
        let waiting = spawn(&b, |b| b.acquire(1));
        stage.update(2);
        let acquired = waiting.join().unwrap();
        assert!(has(&b, acquired));
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

#[test]
fn growth_against_a_newcomer() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        b.wait(1);
        let passing = spawn(&c, |c| c.take(1));
        stage.update(2);
        assert!(!passing.join().unwrap(), "who waits is first");
        assert!(b.was_granted());
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

#[test]
fn growth_against_a_shrink() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        b.wait(1);
        let growing = spawn(&c, |c| c.stage.update(2));
        stage.update(0);
        growing.join().unwrap();
        let granted = b.was_granted();
        let limit = stage.info().settings.limit;
        assert!(granted || limit == 0, "the last growth has woken it");
        stage.at_rest(&[(&a, 1), (&b, u64::from(granted))]);
    });
}

/// A limit and a state word of different times must not be taken for a peak. A peak that was
/// reached at that very moment may be missed.
fn peak_against_an_update(to: u64) {
    explore(move || {
        let (stage, [a, b, c]) = Stage::cast(limit(4));
        a.hold(1);
        let updating = spawn(&c, move |c| c.stage.update(to));
        let held = 1 + u64::from(b.take(1));
        updating.join().unwrap();
        assert!((1..=held).contains(&stage.info().peak));
        stage.at_rest(&[(&a, 1), (&b, held - 1)]);
    });
}

#[test]
fn peak_against_growth() {
    peak_against_an_update(6);
}

#[test]
fn peak_against_a_shrink() {
    peak_against_an_update(3);
}
