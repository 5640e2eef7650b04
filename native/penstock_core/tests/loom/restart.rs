//! Races of restarts. A restart takes permits that are free. If too few are free, it takes over
//! the permits of a dead holder. If it finds none, it takes permits beyond the limit.

use std::sync::Arc;

use penstock_core::{Refusal, Restart, Settings};

use crate::explore::explore;
use crate::spawn;
use crate::support::{Process, Stage, limit};

/// Returns settings with a limit of 1 and this `max_overdraft`.
fn overdraft(max_overdraft: u64) -> Settings {
    Settings { max_overdraft, ..limit(1) }
}

/// A restart takes over the permit of a dead child while the monitor of the child reaps the
/// child. Both call `Pool::reclaim`, which must give the permit once: to the restart or to the
/// pool.
#[test]
fn a_restart_against_the_monitor_of_its_predecessor() {
    explore(|| {
        let (stage, [supervisor, child, other]) = Stage::with_processes(overdraft(1));
        child.hold(1);
        child.begin_exit();
        let finishing = spawn(&child, |child| child.finish_exit());
        let answer = supervisor.restart(1);
        finishing.join().unwrap();
        assert_eq!(answer, Restart::Admitted);
        assert!(!other.take(1));
        stage.at_rest(&[(&supervisor, 1)]);
        assert_eq!(stage.report().released_by_exit, 1);
    });
}

/// Two restarts find the same dead holder. One of them must take over its permit. The other must
/// take a permit beyond the limit.
#[test]
fn two_restarts_against_one_dead_holder() {
    explore(|| {
        let (stage, [first, second, dead]) = Stage::with_processes(overdraft(1));
        dead.hold(1);
        dead.begin_exit();
        let restarting = spawn(&first, |first| first.restart(1));
        let answer = second.restart(1);
        assert_eq!((restarting.join().unwrap(), answer), (Restart::Admitted, Restart::Admitted));
        dead.finish_exit();
        stage.at_rest(&[(&first, 1), (&second, 1)]);
        assert_eq!(stage.report().released_by_exit, 1);
    });
}

/// Opens a pool with a limit of 2, in which two holders die. A restart finds both, takes over the
/// permit of one, and makes the pool remember the other.
///
/// Returns, in this order, the supervisor of that restart, another supervisor, the remembered
/// holder, and the holder whose permit was taken over.
fn remembered(max_overdraft: u64) -> (Arc<Stage>, [Process; 4]) {
    let (stage, [first, second, a, b]) = Stage::with_processes(Settings { max_overdraft, ..limit(2) });
    for dead in [&a, &b] {
        dead.hold(1);
        dead.begin_exit();
    }
    assert_eq!(first.restart(1), Restart::Admitted);
    let (left, gone) = if stage.holdings().contains_key(&a.pid.word()) { (a, b) } else { (b, a) };
    (stage, [first, second, left, gone])
}

/// A restart takes over the permit of a remembered dead holder (`Pool::take_over_remembered`)
/// while the monitor of that holder reaps it.
#[test]
fn a_restart_that_remembers_a_dead_holder_against_its_monitor() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        let finishing = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(second.restart(1), Restart::Admitted, "the restart takes the permit over or finds it free");
        finishing.join().unwrap();
        stage.at_rest(&[(&first, 1), (&second, 1)]);
        assert_eq!(stage.report().released_by_exit, 2);
    });
}

/// Two restarts want the permit of the one dead holder that the pool remembers. No overdraft is
/// allowed, so exactly one restart must be admitted.
#[test]
fn two_restarts_against_one_dead_holder_that_is_remembered() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        let restarting = spawn(&first, |first| first.restart(1));
        let second_has = second.restart(1) == Restart::Admitted;
        let first_has = restarting.join().unwrap() == Restart::Admitted;
        assert!(first_has != second_has, "one permit is left");
        dead.finish_exit();
        stage.at_rest(&[(&first, 1 + u64::from(first_has)), (&second, second_has.into())]);
    });
}

/// The pool remembers a pid that belongs to a new process by now. That process acquires while a
/// restart looks at the pid. The restart must not take over the permit of the living process.
#[test]
fn a_restart_that_remembers_a_dead_holder_against_a_new_process_of_its_pid() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        dead.finish_exit();
        stage.host.reuse(dead.pid);
        let successor = dead;
        let taking = spawn(&successor, |successor| successor.take(1));
        let restarted = second.restart(1) == Restart::Admitted;
        let taken = taking.join().unwrap();
        assert!(restarted != taken, "one permit is left");
        stage.at_rest(&[(&first, 1), (if taken { &successor } else { &second }, 1)]);
    });
}

/// A restart wants to take over the permit of a remembered dead holder. Meanwhile the scan of
/// another caller reaps that holder. If the other caller gets the permit, the restart must take a
/// permit beyond the limit.
#[test]
fn a_restart_that_remembers_a_dead_holder_against_a_refusal_that_reaps() {
    explore(|| {
        let (stage, [first, second, dead, other]) = remembered(1);
        // The other caller is a new process. It has the pid of the holder whose permit was taken
        // over.
        other.finish_exit();
        stage.host.reuse(other.pid);
        let asking = spawn(&other, |other| other.try_acquire(1).is_ok());
        assert_eq!(second.restart(1), Restart::Admitted);
        let asked = asking.join().unwrap();
        dead.finish_exit();
        let all = [(&first, 1), (&second, 1), (&other, 1)];
        stage.at_rest(if asked { &all } else { &all[..2] });
    });
}

/// A restart visits the holders and finds a dead one. Meanwhile the scan of another caller reaps
/// that holder. If the other caller gets the permit, the restart must take a permit beyond the
/// limit.
#[test]
fn a_restart_against_a_refusal_that_reaps() {
    explore(|| {
        let (stage, [supervisor, dead, other]) = Stage::with_processes(overdraft(1));
        dead.hold(1);
        dead.begin_exit();
        let asking = spawn(&other, |other| other.try_acquire(1));
        assert_eq!(supervisor.restart(1), Restart::Admitted);
        let asked = asking.join().unwrap();
        dead.finish_exit();
        let both = [(&supervisor, 1), (&other, 1)];
        stage.at_rest(if asked.is_ok() { &both } else { &both[..1] });
    });
}

/// Two restarts want a permit beyond the limit at once (`State::overdraw`). The overdraft has
/// room for one, so exactly one restart must be admitted.
#[test]
fn two_restarts_against_an_overdraft_for_one() {
    explore(|| {
        let (stage, [first, second, holder]) = Stage::with_processes(overdraft(1));
        holder.hold(1);
        let restarting = spawn(&first, |first| first.restart(1) == Restart::Admitted);
        let second_has = second.restart(1) == Restart::Admitted;
        let first_has = restarting.join().unwrap();
        assert!(first_has != second_has, "the overdraft is one permit");
        stage.at_rest(&[(&holder, 1), (if first_has { &first } else { &second }, 1)]);
    });
}

/// A permit is released while a restart asks and a process waits. The restart takes the released
/// permit, or one beyond the limit. The waiter must get a permit once no overdraft is left.
#[test]
fn a_restart_that_passes_the_limit_against_a_release_and_a_waiter() {
    explore(|| {
        let (stage, [supervisor, holder, waiter]) = Stage::with_processes(overdraft(1));
        holder.hold(1);
        waiter.wait(1);
        let releasing = spawn(&holder, |holder| assert_eq!(holder.release(1), Ok(())));
        assert_eq!(supervisor.restart(1), Restart::Admitted);
        releasing.join().unwrap();
        // If the release served the waiter first, the restart took a permit beyond the limit.
        // Otherwise the waiter has no permit yet: the restart took the released permit, or the
        // release paid back the overdraft of the restart.
        let granted = waiter.was_granted();
        let held = [(&supervisor, 1), (&waiter, 1)];
        stage.at_rest(if granted { &held } else { &held[..1] });
        assert_eq!(supervisor.release_bound(1), Ok(()));
        assert!(waiter.was_granted());
    });
}

/// A restart wants a permit beyond the limit while an update lowers the limit. Both take the
/// queue lock, so the restart must follow either the old limit or the new one. By the new limit,
/// restarts cannot exceed the number of permits that were in use when the limit fell.
#[test]
fn a_restart_against_a_limit_that_shrinks() {
    explore(|| {
        let (stage, [supervisor, holder, other]) = Stage::with_processes(Settings { max_overdraft: 1, ..limit(2) });
        holder.hold(2);
        let shrinking = spawn(&other, |other| other.stage.update(1));
        let answer = supervisor.restart(1);
        shrinking.join().unwrap();
        let held = [(&holder, 2), (&supervisor, 1)];
        stage.at_rest(if answer == Restart::Admitted { &held } else { &held[..1] });
        assert_eq!(
            supervisor.restart(1),
            Restart::Refused(Refusal::Full),
            "neither the overdraft nor the number in use at the shrink allows this restart"
        );
    });
}
