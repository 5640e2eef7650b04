//! The dead holders that a scan finds, and those that it must leave to their monitors.

use penstock_core::Refusal;

use crate::processes;
use crate::support::{Process, Stage, limit};

#[test]
fn a_refusal_has_also_looked_at_who_was_granted_while_it_looked() {
    let (stage, [waiter, dead, asker]) = Stage::with_processes(limit(1));
    // Both orders of the two in the table: the permit of the dead holder goes to a waiter that is
    // dead as well.
    for (waiter, dead) in [(&waiter, &dead), (&dead, &waiter)] {
        let _ = (waiter.take(1) && waiter.release(1).is_ok(), dead.hold(1), waiter.wait(1));
        dead.begin_exit();
        waiter.begin_exit();
        while asker.try_acquire(1) == Err(Refusal::Again) {}
        assert_eq!(asker.release(1), Ok(()), "all who held or waited were dead");
        dead.finish_exit();
        waiter.finish_exit();
        stage.host.reuse(dead.pid);
        stage.host.reuse(waiter.pid);
    }
    stage.at_rest(&[]);
}

#[test]
fn a_crowd_is_not_looked_at_and_eight_holders_are() {
    let stage = Stage::open(10, limit(9));
    let holders = processes(&stage, 1..=9);
    let asker = stage.process(10);
    for holder in &holders {
        holder.hold(1);
    }
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full));
    stage.host.take_worked();
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full));
    assert_eq!(stage.host.take_worked(), 0, "it is known that they are many");
    holders[8].begin_exit();
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full), "its monitor will tell");
    // One holder leaves, here by a transfer, so that the pool has eight.
    assert_eq!(holders[0].transfer(&holders[1], 1), Ok(()));
    assert_eq!(asker.try_acquire(1), Ok(()));
    holders[8].finish_exit();
    let expected: Vec<_> =
        holders[1..8].iter().enumerate().map(|(at, holder)| (holder, if at == 0 { 2 } else { 1 })).collect();
    assert_eq!(asker.release(1), Ok(()));
    stage.at_rest(&expected);
}

/// Checks that a refusal reaps no dead holder while the pool has many holders: only the monitors
/// do, also for a waiter.
fn leaves_the_dead_alone(stage: &Stage, dead: &[Process], asker: &Process, waiter: &Process) {
    let in_use = stage.info().in_use;
    waiter.wait(1);
    while asker.try_acquire(1) == Err(Refusal::Again) {}
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full));
    assert_eq!(stage.info().in_use, in_use);
    assert!(waiter.answers().is_empty(), "no place is free yet");
    dead.iter().for_each(Process::finish_exit);
    assert!(waiter.was_granted());
}

#[test]
fn the_dead_of_a_crowd_are_left_to_their_monitors() {
    const HOLDERS: usize = 10;
    // The dead holder is at each place of the table: before the scan has counted many, or behind.
    for dead in 0..HOLDERS {
        // Either the waiter or the asker scans first, when no hint is published.
        for waits_first in [false, true] {
            let stage = Stage::open(HOLDERS + 2, limit(HOLDERS as u64));
            let mut holders = processes(&stage, 1..=HOLDERS);
            let (asker, waiter) = (stage.process(HOLDERS + 1), stage.process(HOLDERS + 2));
            for holder in &holders {
                holder.hold(1);
            }
            holders[dead].begin_exit();
            if !waits_first {
                assert_eq!(asker.try_acquire(1), Err(Refusal::Full), "{dead}");
            }
            let dead = holders.remove(dead);
            leaves_the_dead_alone(&stage, &[dead], &asker, &waiter);
            stage.at_rest(&holders.iter().chain([&waiter]).map(|holder| (holder, 1)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_massacre_before_a_crowd_is_left_to_the_monitors() {
    const DEAD: usize = 500;
    const HOLDERS: usize = 2 * DEAD;
    let stage = Stage::open(HOLDERS + 2, limit(HOLDERS as u64));
    let (dead, living) = (processes(&stage, 1..=DEAD), processes(&stage, DEAD + 1..=HOLDERS));
    for holder in dead.iter().chain(&living) {
        holder.hold(1);
    }
    dead.iter().for_each(Process::begin_exit);
    let (asker, waiter) = (stage.process(HOLDERS + 1), stage.process(HOLDERS + 2));
    leaves_the_dead_alone(&stage, &dead, &asker, &waiter);
    stage.at_rest(&living.iter().chain([&waiter]).map(|holder| (holder, 1)).collect::<Vec<_>>());
}

#[test]
fn a_crowd_behind_more_than_one_call_looks_at_is_a_crowd() {
    const IDLE: usize = 3_000;
    const LIVING: usize = 500;
    let stage = Stage::open(1 + IDLE + LIVING + 2, limit(1 + IDLE as u64 + LIVING as u64));
    let everybody = processes(&stage, 1..=1 + IDLE + LIVING);
    for process in &everybody {
        process.hold(1);
    }
    let (dead, idle, living) = (&everybody[..1], &everybody[1..=IDLE], &everybody[1 + IDLE..]);
    idle.iter().for_each(|process| assert_eq!(process.release(1), Ok(())));
    stage.update(1 + LIVING as u64);
    dead[0].begin_exit();
    let (asker, waiter) = (stage.process(2 + IDLE + LIVING), stage.process(3 + IDLE + LIVING));
    leaves_the_dead_alone(&stage, dead, &asker, &waiter);
    stage.at_rest(&living.iter().chain([&waiter]).map(|holder| (holder, 1)).collect::<Vec<_>>());
}
