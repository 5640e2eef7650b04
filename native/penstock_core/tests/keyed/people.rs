//! Processes of many keys, keys of many holders, and the records of very many processes.

use std::collections::BTreeSet;

use penstock_core::{GROUP_COUNT, KeyedPool, NotHeld, Pid};

use crate::stage::{Stage, settings};
use crate::support::Fake;

#[test]
fn a_process_of_many_keys_and_a_key_of_many_holders() {
    let stage = Stage::open(300, settings(1_000, 1_000));
    let all = stage.processes(1..=300);
    // Both lists of the lease of the first process on key 0 are long.
    for key in 0..500 {
        all[0].hold(key, 1);
    }
    for holder in &all[1..] {
        holder.hold(0, 2);
    }
    for key in 500..1_000 {
        all[0].hold(key, 1);
    }
    assert_eq!(stage.info(0).in_use, 599);
    all[0].hold(0, 1);
    assert_eq!(stage.holdings(0)[&1], 2, "both permits are in one lease");
    assert_eq!(all[0].release(0, 2), Ok(()));
    assert_eq!(all[0].release(0, 1), Err(NotHeld));
    for holder in all[1..].iter().step_by(3) {
        assert_eq!(holder.release(0, 2), Ok(()));
        assert_eq!(holder.release(0, 1), Err(NotHeld));
    }
    for holder in all[1..].iter().skip(1).step_by(3) {
        holder.die();
    }
    assert_eq!(stage.info(0).in_use, 2 * 99);
    assert_eq!(stage.holdings(0).len(), 99);
    for key in (1..1_000).rev() {
        assert_eq!(all[0].release(key, 1), Ok(()));
    }
    assert_eq!(stage.sums().keys, 1);
    all.iter().filter(|holder| stage.holdings(0).contains_key(&holder.pid.word())).for_each(|holder| holder.die());
    stage.nothing_is_left();
}

#[test]
fn records_of_very_many_processes_are_found() {
    const PROCESSES: u64 = 20_000;
    let stage = Stage::open(PROCESSES as usize, settings(1, PROCESSES as u32));
    let all = stage.processes(1..=PROCESSES);
    // The tables of the records grow all the while. Each process is watched once.
    for (key, process) in (0..).zip(&all) {
        process.hold(key, 1);
        assert_eq!(process.release(key, 1), Ok(()));
        process.hold(key, 1);
    }
    assert!(all.iter().all(|process| stage.host.watches(process.pid) == 1));
    assert_eq!(stage.sums().keys, PROCESSES);
    for process in all.iter().step_by(2).chain(all.iter().skip(1).step_by(2).rev()) {
        process.die();
    }
    stage.nothing_is_left();
}

#[test]
fn a_process_is_watched_once_while_it_lives_and_again_in_its_next_life() {
    let (stage, [a]) = Stage::with(settings(1, 10));
    for key in 0..3 {
        a.hold(key, 1);
        assert_eq!(a.release(key, 1), Ok(()));
    }
    assert_eq!(stage.host.watches(a.pid), 1);
    a.die();
    stage.host.reuse(a.pid);
    a.hold(1, 1);
    assert_eq!(stage.host.watches(a.pid), 1);
    a.die();
    stage.nothing_is_left();
}

#[test]
fn a_report_of_an_old_death_finds_no_record_of_it() {
    let (stage, [a, b]) = Stage::with(settings(1, 10));
    a.hold(1, 1);
    a.die();
    b.hold(1, 1);
    stage.pool.down(&stage.host, a.pid);
    stage.pool.down(&stage.host, Pid::new(u64::MAX).unwrap());
    stage.at_rest(&[(&b, 1, 1)]);
    assert_eq!(stage.sums().released_by_exit, 1);
}

#[test]
fn processes_spread_over_the_groups() {
    let groups: BTreeSet<_> =
        (1..=10 * GROUP_COUNT as u64).map(|n| KeyedPool::<Fake>::group_of(Pid::new(n << 4).unwrap())).collect();
    assert!(groups.len() > GROUP_COUNT / 2 && groups.iter().all(|&group| group < GROUP_COUNT));
}
