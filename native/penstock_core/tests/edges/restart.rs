//! Restarts that take over from the dead, or pass the limit.

use penstock_core::{AS_LIMIT, Refusal, Restart, Settings, Step};

use crate::processes;
use crate::support::{Process, Stage, limit};

#[test]
fn a_restart_takes_over_what_a_dead_holder_had_before_it_passes_the_limit() {
    let (stage, [supervisor, child, waiter, other]) = Stage::with_processes(Settings { max_overdraft: 1, ..limit(2) });
    child.hold(1);
    other.hold(1);
    waiter.wait(1);
    child.begin_exit();
    assert_eq!(supervisor.restart(1), Restart::Admitted);
    assert_eq!((stage.in_use(), stage.info().peak), (2, 2));
    child.finish_exit();
    assert!(!waiter.was_granted(), "its permit was taken over");
    assert_eq!(supervisor.restart(1), Restart::Admitted);
    assert_eq!(stage.in_use(), 3, "beyond the limit");
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full));
    assert_eq!(supervisor.release_bound(1), Ok(()));
    assert!(!waiter.was_granted(), "what is beyond the limit is paid back first");
    assert_eq!(supervisor.release_bound(1), Ok(()));
    assert!(waiter.was_granted());
    stage.at_rest(&[(&other, 1), (&waiter, 1)]);
    stage.pool.close(&stage.host);
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Closed));
}

#[test]
fn what_was_in_use_when_the_limit_shrank_may_be_so_again_by_restarts() {
    let (stage, [supervisor, holder]) = Stage::with_processes(limit(10));
    holder.hold(8);
    stage.update(2);
    assert_eq!(holder.release(3), Ok(()));
    for _ in 0..3 {
        assert_eq!(supervisor.restart(1), Restart::Admitted);
    }
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full), "as much as there was, and no more");
    // Once the excess is paid back, the pool forgets it.
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
fn what_a_dead_holder_had_beyond_a_restart_goes_to_who_waits() {
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

#[test]
fn a_restart_finds_a_dead_holder_among_thousands() {
    const MANY: usize = 5_000;
    let stage = Stage::open(MANY + 1, limit(MANY as u64));
    let processes: Vec<_> = (1..=MANY + 1).map(|number| stage.process(number)).collect();
    let (supervisor, holders) = processes.split_first().unwrap();
    for holder in holders {
        holder.hold(1);
    }
    for holder in [&holders[0], &holders[MANY / 2], &holders[MANY - 1]] {
        holder.begin_exit();
        stage.host.take_worked();
        assert_eq!(supervisor.restart(1), Restart::Admitted);
        holder.finish_exit();
        assert_eq!(stage.in_use(), MANY as u64);
    }
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full), "no overdraft is allowed");
}

/// Asks for one restart with all the calls that it takes. Returns its answer, the number of
/// calls, and the highest number of entries that one of them visited.
fn restart_in_calls(stage: &Stage, supervisor: &Process, advance: u32) -> (Restart, usize, usize) {
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
        stage.host.advance(advance);
    }
}

#[test]
fn restarts_on_a_large_pool_look_at_a_part_each_and_share_what_they_find() {
    const MANY: usize = 5_000;
    let stage = Stage::open(MANY + 1, Settings { max_overdraft: MANY as u64, ..limit(MANY as u64) });
    let holders = processes(&stage, 2..=MANY + 1);
    let supervisor = stage.process(1);
    for holder in &holders {
        holder.hold(1);
    }
    let dead: Vec<_> = holders.iter().step_by(10).collect();
    for child in &dead {
        child.begin_exit();
    }
    let mut overdrawn = 0;
    for _ in &dead {
        let (answer, calls, looked_at) = restart_in_calls(&stage, &supervisor, 0);
        assert_eq!((answer, calls), (Restart::Admitted, 1));
        assert!(looked_at <= 600, "{looked_at} in one call");
        overdrawn = overdrawn.max(stage.in_use() - MANY as u64);
    }
    assert_eq!(overdrawn, 0, "there was a dead one for each");
    for child in &dead {
        child.finish_exit();
    }
    assert_eq!(stage.in_use(), MANY as u64);
    assert_eq!(stage.holdings()[&supervisor.pid.word()], dead.len() as u64);
}

#[test]
fn what_restarts_remember_of_a_pid_that_lives_again_or_was_buried_is_not_believed() {
    let (stage, [supervisor, first, second, third]) = Stage::with_processes(limit(3));
    for holder in [&first, &second, &third] {
        holder.hold(1);
        holder.begin_exit();
    }
    // This restart passes all three, takes over the permit of one, and remembers the others.
    assert_eq!(supervisor.restart(1), Restart::Admitted);
    for holder in [&first, &second, &third] {
        holder.finish_exit();
        stage.host.reuse(holder.pid);
    }
    assert_eq!(stage.in_use(), 1, "the monitors of two have brought back one each");
    first.hold(1);
    second.hold(1);
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full));
    stage.at_rest(&[(&supervisor, 1), (&first, 1), (&second, 1)]);
}

#[test]
fn a_lap_that_found_nobody_is_not_repeated_at_once() {
    const MANY: usize = 5_000;
    let stage = Stage::open(MANY + 1, limit(MANY as u64));
    let holders = processes(&stage, 2..=MANY + 1);
    let supervisor = stage.process(1);
    for holder in &holders {
        holder.hold(1);
    }
    let refused = Restart::Refused(Refusal::Full);
    let (answer, lap, _) = restart_in_calls(&stage, &supervisor, 1);
    assert!(answer == refused && lap > 10, "{answer:?} after {lap} calls");
    let (answer, calls, most) = restart_in_calls(&stage, &supervisor, 0);
    // The restart makes one call, three that let other processes run, and three that wait. The
    // next restart does not wait again.
    assert!(answer == refused && calls <= 8 && most <= 600, "{answer:?} after {calls} calls");
    let (answer, calls, _) = restart_in_calls(&stage, &supervisor, 0);
    assert!(answer == refused && calls <= 5, "{answer:?} after {calls} calls");
    stage.host.advance(10 * lap as u32 + 1);
    let (answer, calls, _) = restart_in_calls(&stage, &supervisor, 0);
    assert!(answer == refused && calls >= lap, "{answer:?} after {calls} calls");
}

#[test]
fn a_restart_waits_for_the_monitor_of_a_predecessor_that_no_lap_may_look_for() {
    const MANY: usize = 5_000;
    let stage = Stage::open(MANY + 1, limit(MANY as u64));
    let holders = processes(&stage, 2..=MANY + 1);
    let supervisor = stage.process(1);
    for holder in &holders {
        holder.hold(1);
    }
    let (answer, _, _) = restart_in_calls(&stage, &supervisor, 1);
    assert_eq!(answer, Restart::Refused(Refusal::Full));
    // The predecessor is at the end of the table, which the next piece of the scan does not
    // reach.
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
