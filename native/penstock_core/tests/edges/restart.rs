//! Restarts that take over the permits of dead holders, or pass the limit.

use std::sync::Arc;

use penstock_core::{AS_LIMIT, Refusal, Restart, Settings, Step};

use crate::processes;
use crate::support::{Process, Stage, limit};

#[test]
fn a_restart_takes_over_from_a_dead_holder_before_it_passes_the_limit() {
    let (stage, [supervisor, child, waiter, other]) = Stage::with_processes(Settings { max_overdraft: 1, ..limit(2) });
    child.hold(1);
    other.hold(1);
    waiter.wait(1);
    child.begin_exit();
    assert_eq!(supervisor.restart(1), Restart::Admitted);
    assert_eq!((stage.in_use(), stage.info().peak), (2, 2));
    child.finish_exit();
    assert!(!waiter.was_granted(), "the restart took over the permit of the child");
    assert_eq!(supervisor.restart(1), Restart::Admitted);
    assert_eq!(stage.in_use(), 3, "beyond the limit");
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full));
    assert_eq!(supervisor.release_bound(1), Ok(()));
    assert!(!waiter.was_granted(), "the overdraft is paid back first");
    assert_eq!(supervisor.release_bound(1), Ok(()));
    assert!(waiter.was_granted());
    stage.at_rest(&[(&other, 1), (&waiter, 1)]);
    stage.pool.close(&stage.host);
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Closed));
}

#[test]
fn restarts_can_bring_back_the_permits_in_use_when_the_limit_shrank() {
    let (stage, [supervisor, holder]) = Stage::with_processes(limit(10));
    holder.hold(8);
    stage.update(2);
    assert_eq!(holder.release(3), Ok(()));
    for _ in 0..3 {
        assert_eq!(supervisor.restart(1), Restart::Admitted);
    }
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full), "8 permits were in use when the limit shrank");
    // Once the overdraft is paid back, restarts cannot bring it back.
    assert_eq!((holder.release(5), supervisor.release_bound(1)), (Ok(()), Ok(())));
    holder.wait(1);
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full));
    stage.update(3);
    assert!(holder.was_granted());
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full));
}

#[test]
fn an_overdraft_as_large_as_the_limit_follows_it() {
    let (stage, [supervisor, holder]) = Stage::with_processes(Settings { max_overdraft: AS_LIMIT, ..limit(0) });
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full));
    stage.update(2);
    holder.hold(2);
    assert_eq!((supervisor.restart(2), supervisor.restart(1)), (Restart::Admitted, Restart::Refused(Refusal::Full)));
}

#[test]
fn a_waiter_gets_the_permits_of_a_dead_holder_that_a_restart_leaves() {
    let (stage, [supervisor, dead, waiter]) = Stage::with_processes(limit(3));
    dead.hold(3);
    waiter.wait(2);
    dead.begin_exit();
    assert_eq!(supervisor.restart(1), Restart::Admitted);
    assert!(waiter.was_granted());
    dead.finish_exit();
    stage.at_rest(&[(&supervisor, 1), (&waiter, 2)]);
    assert_eq!(stage.report().released_by_exit, 3);
}

const MANY: usize = 5_000;

/// Returns a stage whose pool has one holder for each of its `MANY` permits. Also returns a
/// supervisor, and the holders.
fn full_pool(max_overdraft: u64) -> (Arc<Stage>, Process, Vec<Process>) {
    let stage = Stage::open(MANY + 1, Settings { max_overdraft, ..limit(MANY as u64) });
    let (supervisor, holders) = (stage.process(1), processes(&stage, 2..=MANY + 1));
    for holder in &holders {
        holder.hold(1);
    }
    (stage, supervisor, holders)
}

#[test]
fn a_restart_finds_a_dead_holder_among_thousands() {
    let (stage, supervisor, holders) = full_pool(0);
    for holder in [&holders[0], &holders[MANY / 2], &holders[MANY - 1]] {
        holder.begin_exit();
        assert_eq!(supervisor.restart(1), Restart::Admitted);
        holder.finish_exit();
        assert_eq!(stage.in_use(), MANY as u64);
    }
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full), "no overdraft is allowed");
}

/// Asks for one restart with all the calls that it takes, each `ms` after the call before.
/// Returns its answer, the number of calls, and the highest number of entries that one call
/// visited.
fn restart_in_calls(stage: &Stage, supervisor: &Process, ms: u32) -> (Restart, usize, usize) {
    let (mut step, mut calls, mut most) = (Step::default(), 0, 0);
    loop {
        stage.host.take_worked();
        let answer = stage.pool.take_for_restart(&stage.host, supervisor.pid, 1, step);
        most = most.max(stage.host.take_worked());
        calls += 1;
        match answer {
            Restart::More(next) | Restart::Pause(next) | Restart::Wait(next) => step = next,
            answer => return (answer, calls, most),
        }
        stage.host.advance(ms);
    }
}

#[test]
fn restarts_on_a_large_pool_each_scan_a_piece_and_share_the_dead_they_find() {
    let (stage, supervisor, holders) = full_pool(MANY as u64);
    let dead: Vec<_> = holders.iter().step_by(10).collect();
    for child in &dead {
        child.begin_exit();
    }
    let mut overdrawn = 0;
    for _ in &dead {
        let (answer, calls, visited) = restart_in_calls(&stage, &supervisor, 0);
        assert_eq!((answer, calls), (Restart::Admitted, 1));
        // The call visits one piece, which has at most 512 holders.
        assert!(visited <= 600, "{visited} in one call");
        overdrawn = overdrawn.max(stage.in_use() - MANY as u64);
    }
    assert_eq!(overdrawn, 0, "there was a dead holder for each restart");
    for child in &dead {
        child.finish_exit();
    }
    assert_eq!(stage.in_use(), MANY as u64);
    assert_eq!(stage.holdings()[&supervisor.pid.word()], dead.len() as u64);
}

#[test]
fn a_restart_takes_nothing_from_a_remembered_pid_that_lives_again_or_was_reaped() {
    let (stage, [supervisor, first, second, third]) = Stage::with_processes(limit(3));
    for holder in [&first, &second, &third] {
        holder.hold(1);
        holder.begin_exit();
    }
    // This restart finds all three, and takes over the permit of one. The pool remembers the
    // other two.
    assert_eq!(supervisor.restart(1), Restart::Admitted);
    for holder in [&first, &second, &third] {
        holder.finish_exit();
        stage.host.reuse(holder.pid);
    }
    assert_eq!(stage.in_use(), 1, "the monitors have brought back two permits");
    first.hold(1);
    second.hold(1);
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full));
    stage.at_rest(&[(&supervisor, 1), (&first, 1), (&second, 1)]);
}

#[test]
fn a_lap_that_found_no_dead_holder_is_not_repeated_at_once() {
    let (stage, supervisor, _) = full_pool(0);
    let refused = Restart::Refused(Refusal::Full);
    // A restart that finds no permit visits all holders in a lap, one piece in a call.
    let (answer, lap, _) = restart_in_calls(&stage, &supervisor, 1);
    assert!(answer == refused && lap > 10, "{answer:?} after {lap} calls");
    let (answer, calls, most) = restart_in_calls(&stage, &supervisor, 0);
    // This restart makes no lap. It makes one call, three after pauses, in which other processes
    // run, and three after waits of 1 ms. The next restart makes no waits, because this one has
    // just waited.
    assert!(answer == refused && calls <= 8 && most <= 600, "{answer:?} after {calls} calls");
    let (answer, calls, _) = restart_in_calls(&stage, &supervisor, 0);
    assert!(answer == refused && calls <= 5, "{answer:?} after {calls} calls");
    // The next lap begins only when ten times the duration of the last lap has passed.
    stage.host.advance(10 * lap as u32 + 1);
    let (answer, calls, _) = restart_in_calls(&stage, &supervisor, 0);
    assert!(answer == refused && calls >= lap, "{answer:?} after {calls} calls");
}

#[test]
fn a_restart_waits_for_the_monitor_of_its_predecessor_when_no_lap_is_due() {
    let (stage, supervisor, holders) = full_pool(0);
    let (answer, _, _) = restart_in_calls(&stage, &supervisor, 1);
    assert_eq!(answer, Restart::Refused(Refusal::Full));
    // The predecessor is at the end of the table, so it is not in the piece that the next restart
    // visits.
    let predecessor = holders.last().unwrap();
    predecessor.begin_exit();
    let mut step = Step::default();
    let mut waits = 0;
    let answer = loop {
        match stage.pool.take_for_restart(&stage.host, supervisor.pid, 1, step) {
            Restart::More(next) | Restart::Pause(next) => step = next,
            Restart::Wait(next) => {
                (step, waits) = (next, waits + 1);
                stage.host.advance(1);
                if waits == 2 {
                    predecessor.finish_exit();
                }
            }
            answer => break answer,
        }
    };
    assert_eq!((answer, waits), (Restart::Admitted, 2));
}
