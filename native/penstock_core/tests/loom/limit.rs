//! Races of a limit that changes.

use crate::explore::explore;
use crate::support::{Stage, limit};
use crate::{has, meanwhile, spawn};

/// The limit falls while two processes take. The update subtracts from the free permits in the
/// state word, from which both processes take. So no process can take by the old limit after the
/// update.
#[test]
fn shrink_against_two_acquires() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(2));
        let first = spawn(&a, |a| u64::from(a.take(1)));
        let second = spawn(&b, |b| u64::from(b.take(1)));
        let then = meanwhile(&c, |c| {
            c.stage.update(1);
            c.stage.in_use()
        });
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert!(first + second <= then.max(1), "no caller is admitted by the old limit");
        stage.at_rest(&[(&a, first), (&b, second)]);
    });
}

/// The limit grows while a process parks. Either the process finds the new permit, or the update
/// serves the process.
#[test]
fn growth_against_a_waiter_parking() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(limit(1));
        a.hold(1);
        let waiting = spawn(&b, |b| b.acquire(1));
        stage.update(2);
        let acquired = waiting.join().unwrap();
        assert!(has(&b, acquired));
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

/// The limit grows while a newcomer takes. The flag WAITERS in the state word must keep the new
/// permit for the waiter.
#[test]
fn growth_against_a_newcomer() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        b.wait(1);
        let passing = spawn(&c, |c| c.take(1));
        stage.update(2);
        assert!(!passing.join().unwrap(), "the waiter is first");
        assert!(b.was_granted());
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

/// Two updates race: one raises the limit, and one lowers it. If the growth comes later, it must
/// serve the waiter.
#[test]
fn growth_against_a_shrink() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        a.hold(1);
        b.wait(1);
        let growing = spawn(&c, |c| c.stage.update(2));
        stage.update(0);
        growing.join().unwrap();
        let granted = b.was_granted();
        let limit = stage.info().settings.limit;
        assert!(granted || limit == 0, "a growth after the shrink serves the waiter");
        stage.at_rest(&[(&a, 1), (&b, u64::from(granted))]);
    });
}

/// The peak is the largest number of permits in use so far. An acquire computes the number in use
/// as the limit minus the free permits. These two are in two words. If the acquire reads one word
/// before the update and the other after it, it must not note a number that was never in use
/// (`LimitWord`). It may miss a peak that is reached during the update.
fn peak_against_an_update(to: u64) {
    explore(move || {
        let (stage, [a, b, c]) = Stage::with_processes(limit(4));
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
