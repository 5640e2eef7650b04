//! Races of restarts, which may pass the limit.

use std::sync::Arc;

use penstock_core::{Refusal, Restart, Settings};

use crate::explore::explore;
use crate::spawn;
use crate::support::{Process, Stage, limit};

pub(crate) fn overdraft(max_overdraft: u64) -> Settings {
    Settings { max_overdraft, ..limit(1) }
}

#[test]
fn a_restart_against_the_monitor_of_its_predecessor() {
    explore(|| {
        let (stage, [supervisor, child, other]) = Stage::cast(overdraft(1));
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

#[test]
fn two_restarts_against_one_dead_holder() {
    explore(|| {
        let (stage, [first, second, dead]) = Stage::cast(overdraft(1));
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

/// Two holders are dead. A restart has taken over the permit of one, and remembers the other.
/// Returns both supervisors, the remembered holder, and the one taken over.
pub(crate) fn remembered(max_overdraft: u64) -> (Arc<Stage>, [Process; 4]) {
    let (stage, [first, second, a, b]) = Stage::cast(Settings { max_overdraft, ..limit(2) });
    for dead in [&a, &b] {
        dead.hold(1);
        dead.begin_exit();
    }
    assert_eq!(first.restart(1), Restart::Admitted);
    let (left, gone) = if stage.holdings().contains_key(&a.pid.word()) { (a, b) } else { (b, a) };
    (stage, [first, second, left, gone])
}

#[test]
fn a_restart_that_remembers_a_dead_holder_against_its_monitor() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        let finishing = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(second.restart(1), Restart::Admitted, "its permit, or the same when it is free");
        finishing.join().unwrap();
        stage.at_rest(&[(&first, 1), (&second, 1)]);
        assert_eq!(stage.report().released_by_exit, 2);
    });
}

#[test]
fn two_restarts_against_one_dead_holder_that_is_remembered() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        let restarting = spawn(&first, |first| first.restart(1));
        let answer = second.restart(1) == Restart::Admitted;
        let other = restarting.join().unwrap() == Restart::Admitted;
        assert!(answer != other, "one of them");
        dead.finish_exit();
        stage.at_rest(&[(&first, 2 - u64::from(answer)), (&second, answer.into())]);
    });
}

#[test]
fn a_restart_that_remembers_a_dead_holder_against_a_process_of_its_pid() {
    explore(|| {
        let (stage, [first, second, dead, _]) = remembered(0);
        dead.finish_exit();
        stage.host.reuse(dead.pid);
        let taking = spawn(&dead, |next| next.take(1));
        let answer = second.restart(1) == Restart::Admitted;
        let taken = taking.join().unwrap();
        assert!(answer != taken, "there is one permit, and that of a living process is its own");
        stage.at_rest(&[(&first, 1), (if taken { &dead } else { &second }, 1)]);
    });
}

#[test]
fn a_restart_that_remembers_a_dead_holder_against_a_refusal_that_buries() {
    explore(|| {
        let (stage, [first, second, dead, other]) = remembered(1);
        // The reaped process finishes its exit as well, and another process gets its pid.
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

#[test]
fn a_restart_against_a_refusal_that_buries() {
    explore(|| {
        let (stage, [supervisor, dead, other]) = Stage::cast(overdraft(1));
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

#[test]
fn two_restarts_against_an_overdraft_for_one() {
    explore(|| {
        let (stage, [first, second, holder]) = Stage::cast(overdraft(1));
        holder.hold(1);
        let restarting = spawn(&first, |first| first.restart(1) == Restart::Admitted);
        let answer = second.restart(1) == Restart::Admitted;
        let other = restarting.join().unwrap();
        assert!(answer != other, "one of them");
        stage.at_rest(&[(&holder, 1), (if other { &first } else { &second }, 1)]);
    });
}

#[test]
fn a_restart_that_passes_the_limit_against_a_release_and_a_waiter() {
    explore(|| {
        let (stage, [supervisor, holder, waiter]) = Stage::cast(overdraft(1));
        holder.hold(1);
        waiter.wait(1);
        let releasing = spawn(&holder, |holder| assert_eq!(holder.release(1), Ok(())));
        assert_eq!(supervisor.restart(1), Restart::Admitted);
        releasing.join().unwrap();
        // The restart found the permit free, and the waiter waits. Or it came before or after
        // that, and passed the limit by one.
        let granted = waiter.was_granted();
        let held = [(&supervisor, 1), (&waiter, 1)];
        stage.at_rest(if granted { &held } else { &held[..1] });
        assert_eq!(supervisor.release_bound(1), Ok(()));
        assert!(waiter.was_granted());
    });
}

#[test]
fn a_restart_against_a_limit_that_shrinks() {
    explore(|| {
        let (stage, [supervisor, holder, other]) = Stage::cast(Settings { max_overdraft: 1, ..limit(2) });
        holder.hold(2);
        let shrinking = spawn(&other, |other| other.stage.update(1));
        let answer = supervisor.restart(1);
        shrinking.join().unwrap();
        let held = [(&holder, 2), (&supervisor, 1)];
        stage.at_rest(if answer == Restart::Admitted { &held } else { &held[..1] });
        assert_eq!(
            supervisor.restart(1),
            Restart::Refused(Refusal::Full),
            "by more than the overdraft, or what was held"
        );
    });
}
