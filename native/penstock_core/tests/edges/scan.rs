//! The dead holders that a scan finds, and those that it must leave to their monitors.

use penstock_core::Refusal;

use crate::processes;
use crate::support::{Process, Stage, limit};

#[test]
fn a_refusal_also_finds_a_dead_waiter_that_is_granted_during_its_scan() {
    let (stage, [waiter, dead, asker]) = Stage::with_processes(limit(1));
    // The permit of the dead holder goes to a waiter that is dead as well. The scan passes the
    // waiter before the holder in one round, and after it in the other.
    for (waiter, dead) in [(&waiter, &dead), (&dead, &waiter)] {
        // The waiter has an active entry, in which it holds nothing.
        waiter.hold(1);
        assert_eq!(waiter.release(1), Ok(()));
        dead.hold(1);
        waiter.wait(1);
        dead.begin_exit();
        waiter.begin_exit();
        while asker.try_acquire(1) == Err(Refusal::Again) {}
        assert_eq!(asker.release(1), Ok(()), "both other processes were dead");
        dead.finish_exit();
        waiter.finish_exit();
        stage.host.reuse(dead.pid);
        stage.host.reuse(waiter.pid);
    }
    stage.at_rest(&[]);
}

#[test]
fn nine_holders_are_not_scanned_and_eight_are() {
    let stage = Stage::open(10, limit(9));
    let holders = processes(&stage, 1..=9);
    let asker = stage.process(10);
    for holder in &holders {
        holder.hold(1);
    }
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full));
    stage.host.take_worked();
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full));
    assert_eq!(stage.host.take_worked(), 0, "the hint is published");
    holders[8].begin_exit();
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full), "the dead holder is left to its monitor");
    // A holder that stops holding clears the hint. Eight holders are left, so the refusal scans.
    assert_eq!(holders[0].transfer(&holders[1], 1), Ok(()));
    assert_eq!(asker.try_acquire(1), Ok(()));
    holders[8].finish_exit();
    let expected: Vec<_> =
        holders[1..8].iter().enumerate().map(|(at, holder)| (holder, if at == 0 { 2 } else { 1 })).collect();
    assert_eq!(asker.release(1), Ok(()));
    stage.at_rest(&expected);
}

/// Checks that neither a waiter nor a refused caller reaps the dead holders of a pool with many
/// holders. The waiter is granted when their monitors have run.
fn assert_the_dead_are_left(stage: &Stage, dead: &[Process], asker: &Process, waiter: &Process) {
    let in_use = stage.info().in_use;
    waiter.wait(1);
    while asker.try_acquire(1) == Err(Refusal::Again) {}
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full));
    assert_eq!(stage.info().in_use, in_use);
    assert!(waiter.answers().is_empty(), "no permit is free yet");
    dead.iter().for_each(Process::finish_exit);
    assert!(waiter.was_granted());
}

#[test]
fn a_dead_holder_among_many_is_left_to_its_monitor() {
    const HOLDERS: usize = 10;
    // Each number puts the dead holder at another place. A scan meets it before it has counted
    // nine living ones, or stops before it meets the dead one.
    for dead in 0..HOLDERS {
        // The first scan publishes the many-holders hint. Either the waiter makes that scan, or
        // the asker does.
        for waits_first in [false, true] {
            let stage = Stage::open(HOLDERS + 2, limit(HOLDERS as u64));
            let mut holders = processes(&stage, 1..=HOLDERS);
            let (asker, waiter) = (stage.process(HOLDERS + 1), stage.process(HOLDERS + 2));
            for holder in &holders {
                holder.hold(1);
            }
            holders[dead].begin_exit();
            if !waits_first {
                assert_eq!(asker.try_acquire(1), Err(Refusal::Full), "holder {dead} is dead");
            }
            let dead = holders.remove(dead);
            assert_the_dead_are_left(&stage, &[dead], &asker, &waiter);
            stage.at_rest(&holders.iter().chain([&waiter]).map(|holder| (holder, 1)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn many_dead_holders_before_many_living_ones_are_left_to_their_monitors() {
    const DEAD: usize = 500;
    const HOLDERS: usize = 2 * DEAD;
    let stage = Stage::open(HOLDERS + 2, limit(HOLDERS as u64));
    let (dead, living) = (processes(&stage, 1..=DEAD), processes(&stage, DEAD + 1..=HOLDERS));
    for holder in dead.iter().chain(&living) {
        holder.hold(1);
    }
    dead.iter().for_each(Process::begin_exit);
    let (asker, waiter) = (stage.process(HOLDERS + 1), stage.process(HOLDERS + 2));
    assert_the_dead_are_left(&stage, &dead, &asker, &waiter);
    stage.at_rest(&living.iter().chain([&waiter]).map(|holder| (holder, 1)).collect::<Vec<_>>());
}

#[test]
fn many_holders_are_found_behind_more_entries_than_one_call_visits() {
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
    assert_the_dead_are_left(&stage, dead, &asker, &waiter);
    stage.at_rest(&living.iter().chain([&waiter]).map(|holder| (holder, 1)).collect::<Vec<_>>());
}
