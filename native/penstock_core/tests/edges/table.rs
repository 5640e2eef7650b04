//! The table of many processes, and the totals of a pool.

use penstock_core::{Cancelled, Cursor, HolderInfo, Host, Pid, Refusal, Report, SHARD_COUNT, UNLIMITED};

use crate::processes;
use crate::support::{Process, Stage, limit};

#[test]
fn entries_of_several_levels_are_found_listed_and_reused() {
    const MANY: usize = 30_000;
    let stage = Stage::open(MANY, limit(UNLIMITED));
    let mut empty = Vec::new();
    for round in 1..=2 {
        let everybody = processes(&stage, 1..=MANY);
        for process in &everybody {
            process.hold(round);
        }
        let report = stage.report();
        assert_eq!(report.holders, MANY as u64);
        assert!(report.visited > MANY, "entries, and the cache lines of their keys");
        assert_eq!(stage.holders().len(), MANY);
        for process in &everybody[..MANY / 2] {
            assert_eq!(process.release(round), Ok(()));
        }
        assert_eq!(stage.report().holders, MANY as u64 / 2);
        everybody.iter().for_each(Process::die);
        let report = stage.report();
        assert_eq!(report.holders, 0);
        empty.push(report.visited);
        assert_eq!(report.released_by_exit, (1..=u64::from(round)).sum::<u64>() * MANY as u64 / 2);
        everybody.iter().for_each(|process| stage.host.reuse(process.pid));
    }
    assert_eq!(stage.in_use(), 0);
    assert!(
        empty[0] < MANY && empty[0] == empty[1],
        "entries are removed with their processes, and their places are reused"
    );
}

#[test]
fn processes_that_come_and_go_leave_nothing_behind() {
    let stage = Stage::open(20_000, limit(1));
    for process in processes(&stage, 1..=20_000) {
        process.hold(1).die();
    }
    assert_eq!(stage.report().visited, Stage::open(0, limit(1)).report().visited, "the table has not grown");
    assert_eq!(stage.report().released_by_exit, 20_000);
    stage.at_rest(&[]);
}

#[test]
fn totals_begin_at_zero_when_a_pool_is_opened_again() {
    let (stage, [a, b, c, d]) = Stage::with_processes(limit(2));
    a.hold(2);
    assert_eq!(b.try_acquire(1), Err(Refusal::Full));
    let id = b.wait(1);
    assert_eq!(b.cancel(id), Cancelled::Yes);
    c.wait(1);
    a.die();
    assert!(c.was_granted());
    assert_eq!(c.release(1), Ok(()));
    d.hold(1);
    let report = stage.report();
    assert_eq!(report, Report { holders: 1, acquired: 2, rejected: 1, timed_out: 1, released_by_exit: 2, ..report });
    assert_eq!((stage.info().peak, stage.info().granted), (2, 1));

    stage.pool.close(&stage.host);
    assert!(!stage.pool.open(limit(5)), "a permit is held");
    assert_eq!(d.release(1), Ok(()));
    assert!(stage.pool.open(limit(5)));
    assert_eq!(stage.report(), Report { visited: stage.report().visited, ..Report::default() });
    assert_eq!((stage.info().peak, stage.info().granted, stage.info().settings), (0, 0, limit(5)));

    // These processes have entries from before the second opening. The counts in them begin at 0
    // with that opening.
    d.hold(1).hold(1);
    b.hold(1);
    assert_eq!(stage.report().acquired, 3);
    assert!(!stage.pool.open(limit(1)), "the pool is open");
    stage.at_rest(&[(&d, 2), (&b, 1)]);
}

#[test]
fn a_walk_through_all_entries_goes_on_where_it_stopped() {
    const MANY: usize = 5_000;
    let stage = Stage::open(MANY, limit(MANY as u64));
    for process in processes(&stage, 1..=MANY) {
        process.hold(1);
    }
    for most in [1, 2, 9, 100] {
        let (mut sums, mut next) = (Report::default(), Some(Cursor::default()));
        while let Some(at) = next {
            let (part, rest) = stage.pool.report(&stage.host, at, most);
            assert!(part.visited < most + 9, "a walk stops only after a bucket: a line of keys and eight entries");
            assert_ne!(rest, next);
            sums += part;
            next = rest;
        }
        assert_eq!(sums, stage.report());

        let (mut all, mut next) = (Vec::new(), Some(Cursor::default()));
        while let Some(at) = next {
            let (part, rest) = stage.pool.holders(at, most);
            assert!(part.len() < most + 8);
            all.extend(part);
            next = rest;
        }
        assert_eq!(all, stage.holders());
        assert_eq!(all.len(), MANY);
    }
    // A cursor that the pool never issued ends the walk early.
    for beyond in [(SHARD_COUNT as u64) << 32, 31 << 27, u64::MAX] {
        let (sums, rest) = stage.pool.report(&stage.host, Cursor::from_bits(beyond), 1_000_000);
        assert!(rest.is_none() && sums.holders < MANY as u64);
        assert_eq!(stage.pool.holders(Cursor::from_bits(u64::MAX), 1_000_000), (vec![], None));
    }
}

#[test]
fn the_time_that_permits_were_held_does_not_wrap() {
    let holding = |since_ms| HolderInfo { pid: Pid::new(1).unwrap(), permits: 1, since_ms };
    assert_eq!(holding(1_000).held_ms(1_250), 250);
    assert_eq!(holding(u32::MAX - 9).held_ms(40), 50, "the clock has wrapped");
    assert_eq!(holding(1_250).held_ms(1_240), 0, "the clock was read before the permits were acquired");
}

#[test]
fn holders_are_found_by_when_they_began_although_the_clock_wraps() {
    let (stage, all) = Stage::with_processes::<5>(limit(5));
    stage.host.advance(u32::MAX - 25 - stage.host.now_ms());
    for process in &all {
        process.hold(1);
        stage.host.advance(10);
    }
    let now = stage.host.now_ms();
    assert_eq!(now, 24, "the third of them began just before the wrap");
    // The ages are 50, 40, 30, 20 and 10.
    let found = |at_least, not_before| {
        let (found, rest) = stage.pool.holders_since(Cursor::default(), 1_000_000, now, at_least, not_before);
        assert_eq!(rest, None);
        let mut ages: Vec<_> = found.iter().map(|holder| holder.held_ms(now)).collect();
        ages.sort_unstable();
        ages
    };
    assert_eq!(found(20, None), [20, 30, 40, 50]);
    for (age, expected) in [(50, vec![20, 30, 40, 50]), (40, vec![20, 30, 40]), (39, vec![20, 30]), (0, vec![])] {
        assert_eq!(found(20, Some(now.wrapping_sub(age))), expected, "began at most {age} ms ago");
    }
}

#[test]
fn only_a_process_with_bound_permits_has_a_time_of_work() {
    let (stage, [spawner, child, other]) = Stage::with_processes(limit(2));
    let offer = spawner.acquire_and_offer(1);
    other.hold(1);
    stage.host.advance(10);
    spawner.hand_over(offer, &child);
    stage.host.advance(30);
    let work_ms = |of: &Process| stage.pool.work_ms(&stage.host, of.pid);
    assert_eq!((work_ms(&spawner), work_ms(&child), work_ms(&other)), (None, Some(30), None));
    assert_eq!(child.end_work(), Ok(()));
    assert_eq!(work_ms(&child), None);
}
