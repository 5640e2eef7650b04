//! The work of one call is bounded. What is left is done by calls of `serve`.

use penstock_core::{Answer, KeyRefusal, KeyRestart, KeyedSettings, Kind, Pid};

use crate::hooks::{Point, Ticket, at_each_point, key, no_hook, open};
use crate::stage::{Stage, settings};

/// The largest number of answers that one call may give.
const MOST_ANSWERS: usize = 200;
/// The largest number of queues and waiters that one call may visit.
const MOST_VISITED: usize = 1_200;

fn many_waiters(limit: u32, max_keys: u32) -> KeyedSettings {
    KeyedSettings { max_waiting: 1_000_000, ..settings(limit, max_keys) }
}

/// Lets the deferred work run, and asserts that each call of it is bounded.
fn serve_in_bounded_calls(stage: &Stage) {
    let mut calls = 0;
    while stage.host.take_deferrals() > 0 {
        let before = stage.host.answers();
        stage.host.take_worked();
        stage.pool.serve(&stage.host);
        assert!(stage.host.answers() - before <= MOST_ANSWERS, "in one call");
        assert!(stage.host.take_worked() <= MOST_VISITED, "in one call");
        calls += 1;
        assert!(calls < 10_000, "the deferred work ends");
    }
}

#[test]
fn a_death_that_many_waiters_of_many_keys_wait_for() {
    let stage = Stage::open(3_001, many_waiters(30, 100));
    let all = stage.processes(1..=3_001);
    for key in 0..100 {
        all[0].hold(key, 30);
        for waiter in &all[1 + 30 * key as usize..][..30] {
            waiter.wait(key, 1);
        }
    }
    all[0].die();
    assert!(stage.host.answers() <= MOST_ANSWERS, "{} answers", stage.host.answers());
    serve_in_bounded_calls(&stage);
    assert!(all[1..].iter().all(|waiter| waiter.was_granted()));
    assert_eq!((stage.sums().in_use, stage.sums().waiting), (3_000, 0));
}

#[test]
fn a_refusal_that_finds_dead_holders_whom_many_wait_for() {
    let stage = Stage::open(2_000, many_waiters(640, 10));
    let all = stage.processes(1..=2_000);
    let id = all[0].hold_bound(1, 640);
    for waiter in &all[20..1_999] {
        waiter.wait(1, 1);
    }
    // The scan looks at the newest leases of the key first: those of the children.
    for child in &all[1..=16] {
        assert_eq!(all[0].entrust(id, child, 40), Ok(()));
        child.begin_exit();
    }
    loop {
        let before = stage.host.answers();
        let answer = all[1_999].try_acquire(1, 1);
        assert!(stage.host.answers() - before <= MOST_ANSWERS, "in one call");
        if answer != Err(KeyRefusal::Again) {
            break;
        }
    }
    serve_in_bounded_calls(&stage);
    for dead in &all[1..=16] {
        dead.finish_exit();
    }
    stage.serve_deferred();
    assert!(all[20..660].iter().all(|waiter| waiter.was_granted()));
    assert_eq!((stage.info(1).in_use, stage.sums().waiting), (640, 1_979 - 640));
}

#[test]
fn a_release_before_many_waiters_visits_none_but_the_head() {
    let stage = Stage::open(1_002, many_waiters(3, 10));
    let all = stage.processes(1..=1_002);
    all[0].hold(1, 3);
    all[1].wait(1, 3);
    for waiter in &all[2..] {
        waiter.wait(1, 1);
    }
    // After the limit fell, one sweep visits all of them.
    assert!(stage.update(5) && stage.update(3));
    serve_in_bounded_calls(&stage);
    assert_eq!(all[0].release(1, 1), Ok(()));
    assert_eq!(stage.host.take_deferrals(), 0, "nothing is left to visit");
}

#[test]
fn a_smaller_limit_that_exceeds_many_requests() {
    let stage = Stage::open(2_001, many_waiters(2, 10));
    let all = stage.processes(1..=2_001);
    all[0].hold(1, 2);
    all[1].wait(1, 1);
    for waiter in &all[2..] {
        waiter.wait(1, 2);
    }
    assert!(stage.update(1));
    assert!(stage.host.answers() <= MOST_ANSWERS);
    serve_in_bounded_calls(&stage);
    assert!(all[2..].iter().all(|waiter| waiter.answers() == [Answer::Full]));
    assert!(all[1].answers().is_empty());
}

#[test]
fn a_change_of_the_limit_that_concerns_none_of_many_waiters() {
    let stage = Stage::open(5_001, many_waiters(3, 3_000));
    let all = stage.processes(1..=5_001);
    for key in 0..2_500 {
        all[0].hold(key, 3);
        all[1 + 2 * key as usize].wait(key, 1);
        all[2 + 2 * key as usize].wait(key, 1);
    }
    stage.host.take_worked();
    assert!(stage.update(2));
    assert!(stage.host.take_worked() <= MOST_VISITED, "in one call");
    serve_in_bounded_calls(&stage);
    assert_eq!((stage.host.answers(), stage.sums().waiting), (0, 5_000));
    assert!(stage.update(5));
    serve_in_bounded_calls(&stage);
    assert_eq!(stage.host.answers(), 5_000);
}

#[test]
fn a_close_of_a_pool_with_many_waiters() {
    let stage = Stage::open(2_001, many_waiters(1, 3_000));
    let all = stage.processes(1..=2_001);
    for (key, waiter) in (0..2_000).zip(&all[1..]) {
        all[0].hold(key, 1);
        waiter.wait(key, 1);
    }
    stage.close();
    assert!(stage.host.answers() <= MOST_ANSWERS);
    serve_in_bounded_calls(&stage);
    assert!(all[1..].iter().all(|waiter| waiter.answers() == [Answer::Closed]));
    all[0].die();
    stage.serve_deferred();
    assert_eq!(stage.sums().keys, 0);
}

#[test]
fn a_drain_that_many_processes_wait_for() {
    for end in 0..3 {
        let stage = Stage::open(1_001, settings(1, 10));
        let all = stage.processes(1..=1_001);
        all[0].hold(1, 1);
        for drainer in &all[1..] {
            drainer.wait_for_drain();
        }
        match end {
            0 => drop(all[0].release(1, 1)),
            1 => drop(stage.reopen()),
            _ => stage.close(),
        }
        assert!(stage.host.answers() <= MOST_ANSWERS);
        serve_in_bounded_calls(&stage);
        let expected = if end == 0 { Answer::Drained } else { Answer::Undrained(1) };
        assert!(all[1..].iter().all(|drainer| drainer.answers() == [expected]), "end {end}");
    }
}

#[test]
fn a_drain_looks_at_few_other_drainers_and_forgets_the_dead_ones() {
    let (pool, host, generation) = open(settings(1, 10));
    let pid = |n| Pid::new(n).unwrap();
    pool.try_acquire(&host, pid(1), key(generation, 1), 1, Kind::Manual).unwrap();
    let looks = std::rc::Rc::new(std::cell::Cell::new((0, 0)));
    let count = std::rc::Rc::clone(&looks);
    at_each_point(move |point| {
        let (alive, dropped) = count.get();
        match point {
            Point::Alive(_) => count.set((alive + 1, dropped)),
            Point::TicketDropped => count.set((alive, dropped + 1)),
            _ => {}
        }
    });
    let drain = |n: u64| {
        looks.set((0, looks.get().1));
        pool.drain(&host, generation, pid(10 + n), Ticket).unwrap();
        assert!(looks.get().0 <= 100, "{} looks in one call", looks.get().0);
    };
    (0..1_000).for_each(drain);
    assert_eq!(looks.get().1, 0, "all of them live");
    // Those that live are the first that a drain looks at.
    (200..1_000).for_each(|n| host.kill(pid(10 + n)));
    (1_000..1_100).for_each(drain);
    assert_eq!(looks.get().1, 800, "the dead ones are forgotten");
    no_hook();
}

#[test]
fn a_restart_of_a_key_with_many_waiters() {
    let stage = Stage::open(6_002, KeyedSettings { max_overdraft: 0, ..many_waiters(1, 10) });
    let all = stage.processes(1..=6_002);
    all[0].hold(1, 1);
    for waiter in &all[1..6_001] {
        waiter.wait(1, 1);
    }
    stage.host.take_worked();
    assert!(matches!(all[6_001].restart_step(1, 1, 0), KeyRestart::Pause(_)));
    let worked = stage.host.take_worked();
    assert!(worked > 100 && worked < 3_000, "{worked} entries");
}

#[test]
fn a_process_of_very_many_keys_is_reaped_in_bounded_calls() {
    let stage = Stage::open(2, settings(1, 10_000));
    let holder = stage.process(1);
    for key in 0..10_000 {
        holder.hold(key, 1);
    }
    holder.die();
    assert!(stage.sums().in_use >= 9_000, "one call ends few of them");
    while stage.host.take_deferrals() > 0 {
        let before = stage.sums().in_use;
        stage.pool.serve(&stage.host);
        assert!(before - stage.sums().in_use <= 1_000, "in one call");
    }
    stage.nothing_is_left();
}
