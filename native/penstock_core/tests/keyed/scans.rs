//! Dead holders that a refused request finds before their monitors have run.

use penstock_core::{KeyParked, KeyRefusal};

use crate::stage::{Stage, settings};

#[test]
fn a_refusal_finds_the_dead_among_eight_holders_of_its_key() {
    for holders in [1, 8, 9, 16] {
        let stage = Stage::open(20, settings(holders, 10));
        let all = stage.processes(1..=u64::from(holders));
        let asker = stage.process(20);
        for holder in &all {
            holder.hold(1, 1);
        }
        // The one that the scan meets last.
        all[0].begin_exit();
        let found = asker.try_acquire(1, 1).is_ok();
        assert_eq!(found, holders <= 9, "{holders} holders, of whom one is dead");
        all[0].finish_exit();
        assert_eq!(stage.info(1).in_use, holders - u32::from(!found));
    }
}

#[test]
fn a_refusal_finds_dead_holders_of_any_number_if_few_live() {
    let stage = Stage::open(502, settings(500, 10));
    let all = stage.processes(1..=500);
    for holder in &all {
        holder.hold(1, 1);
        holder.begin_exit();
    }
    let asker = stage.process(502);
    let mut calls = 0;
    let acquired = loop {
        match asker.try_acquire(1, 500) {
            Err(KeyRefusal::Again) => calls += 1,
            other => break other,
        }
    };
    assert!(acquired.is_ok() && calls < 20, "{calls} calls");
    for dead in all {
        dead.finish_exit();
    }
    stage.at_rest(&[(&asker, 1, 500)]);
}

#[test]
fn a_waiter_is_granted_what_a_scan_takes_back() {
    let (stage, [dead, also_dead, waiter, asker]) = Stage::with(settings(2, 10));
    dead.hold(1, 2);
    also_dead.wait(1, 2);
    dead.begin_exit();
    also_dead.begin_exit();
    assert!(matches!(waiter.park(1, 2), KeyParked::Granted(_)), "the dead waiter is granted, and reaped");
    assert_eq!(asker.try_acquire(1, 1), Err(KeyRefusal::KeyFull));
    also_dead.finish_exit();
    dead.finish_exit();
    stage.at_rest(&[(&waiter, 1, 2)]);
}

#[test]
fn a_full_table_is_searched_for_dead_processes_of_few() {
    // Three processes with many keys each: the last to be found is dead.
    for keys in [2, 20, 60] {
        let (stage, [a, b, dead, asker]) = Stage::with(settings(1, 3 * keys));
        for (holder, first) in [&a, &b, &dead].into_iter().zip([0, 1_000, 2_000]) {
            for key in 0..u64::from(keys) {
                holder.hold(first + key, 1);
            }
        }
        assert_eq!(asker.try_acquire(5_000, 1), Err(KeyRefusal::TableFull));
        dead.begin_exit();
        assert!(asker.try_acquire(5_000, 1).is_ok(), "{keys} keys of each process");
        assert!(matches!(asker.park(5_001, 1), KeyParked::Granted(_)));
        dead.finish_exit();
        stage.serve_deferred();
        assert_eq!(stage.sums().keys, u64::from(2 * keys + 2));
    }
}

#[test]
fn a_full_table_of_many_living_processes_refuses_after_few_looks() {
    let stage = Stage::open(102, settings(1, 100));
    for (key, holder) in (0..).zip(stage.processes(1..=100)) {
        holder.hold(key, 1);
    }
    stage.host.take_worked();
    assert_eq!(stage.process(102).try_acquire(500, 1), Err(KeyRefusal::TableFull));
    assert!(stage.host.take_worked() < 100);
}

#[test]
fn a_scan_reaps_once_with_the_monitor() {
    let (stage, [dead, asker]) = Stage::with(settings(1, 10));
    dead.hold(1, 1);
    dead.hold(2, 1);
    dead.begin_exit();
    asker.hold(1, 1);
    dead.finish_exit();
    stage.pool.down(&stage.host, dead.pid);
    assert_eq!(stage.sums().released_by_exit, 2);
    stage.at_rest(&[(&asker, 1, 1)]);
}
