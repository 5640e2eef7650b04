//! Restarts: free permits, takeovers and overdrafts of a key.

use penstock_core::{KeyRefusal, KeyRestart, KeyedSettings, Kind, Pid};

use crate::hooks::{Point, Ticket, at_each_point, key, no_hook, open};
use crate::stage::{Process, Stage, settings};

const REFUSED: KeyRestart = KeyRestart::Refused(KeyRefusal::KeyFull);

fn overdraft(limit: u32, max_overdraft: u64) -> KeyedSettings {
    KeyedSettings { max_overdraft, ..settings(limit, 10) }
}

#[test]
fn a_restart_exceeds_the_limit_of_its_key_by_max_overdraft_at_most() {
    let (stage, [a, supervisor]) = Stage::with(overdraft(2, 1));
    a.hold(1, 2);
    a.hold(2, 1);
    supervisor.restarted(1, 1);
    assert_eq!(supervisor.restart(1, 1), REFUSED);
    supervisor.restarted(2, 1);
    assert_eq!(supervisor.restart(2, 2), REFUSED);
    supervisor.restarted(2, 1);
    assert_eq!(stage.sums().rejected, 2, "one for each refused restart");
    assert_eq!(a.try_acquire(1, 1), Err(KeyRefusal::KeyFull));
    assert_eq!(a.release(1, 1), Ok(()));
    assert_eq!(a.try_acquire(1, 1), Err(KeyRefusal::KeyFull), "the overdraft is paid back");
    stage.at_rest(&[(&a, 1, 1), (&a, 2, 1), (&supervisor, 1, 1), (&supervisor, 2, 2)]);
}

#[test]
fn a_restart_pauses_and_waits_before_it_is_refused() {
    let (_stage, [a, supervisor]) = Stage::with(overdraft(1, 0));
    a.hold(1, 1);
    let mut step = 0;
    let mut answers = Vec::new();
    let last = loop {
        match supervisor.restart_step(1, 1, step) {
            KeyRestart::Pause(next) => (step, answers) = (next, [answers, vec!["pause"]].concat()),
            KeyRestart::Wait(next) => (step, answers) = (next, [answers, vec!["wait"]].concat()),
            last => break last,
        }
    };
    assert_eq!(answers, ["pause", "pause", "pause", "wait", "wait", "wait"]);
    assert_eq!(last, REFUSED);
    assert_eq!(supervisor.restart_step(1, 1, u64::MAX), REFUSED, "of any step");
}

#[test]
fn a_restart_takes_over_from_a_dead_holder_before_it_exceeds_the_limit() {
    let (stage, [dead, alive, supervisor, waiter]) = Stage::with(overdraft(4, 4));
    dead.hold(1, 3);
    alive.hold(1, 1);
    waiter.wait(1, 2);
    dead.begin_exit();
    supervisor.restarted(1, 1);
    assert!(waiter.was_granted(), "the restart keeps one of three permits");
    assert_eq!(stage.info(1).in_use, 4);
    assert_eq!(stage.sums().released_by_exit, 3);
    dead.finish_exit();
    assert_eq!(stage.sums().released_by_exit, 3, "the permits come back once");
    stage.at_rest(&[(&alive, 1, 1), (&supervisor, 1, 1), (&waiter, 1, 2)]);
}

#[test]
fn a_takeover_needs_enough_permits_of_a_holder_that_is_dead() {
    let (stage, [first, second, alive, supervisor]) = Stage::with(overdraft(4, 0));
    first.hold(1, 1);
    second.hold(1, 2);
    alive.hold(1, 1);
    first.begin_exit();
    second.begin_exit();
    supervisor.restarted(1, 2);
    assert_eq!(stage.holdings(1).get(&first.pid.word()), Some(&1), "the first had too few");
    second.finish_exit();
    first.finish_exit();
    stage.at_rest(&[(&alive, 1, 1), (&supervisor, 1, 2)]);
}

#[test]
fn a_takeover_includes_the_permits_of_a_pending_handoff_and_ends_a_wait() {
    let (stage, [dead, supervisor, waiter, child]) = Stage::with(overdraft(2, 0));
    let offer = dead.acquire_and_offer(1, 2);
    dead.wait(1, 1);
    waiter.wait(1, 1);
    dead.begin_exit();
    supervisor.restarted(1, 1);
    assert!(waiter.was_granted());
    assert!(dead.answers().is_empty());
    assert_eq!(child.adopt(offer), penstock_core::Adoption::Revoked);
    dead.finish_exit();
    stage.at_rest(&[(&supervisor, 1, 1), (&waiter, 1, 1)]);
}

#[test]
fn a_restart_is_refused_while_the_pool_is_not_open() {
    let (stage, [a, supervisor]) = Stage::with(overdraft(2, 2));
    a.hold(1, 1);
    supervisor.wait_for_drain();
    let closed = KeyRestart::Refused(KeyRefusal::Closed);
    assert_eq!(supervisor.restart(1, 1), closed);
    assert_eq!(supervisor.restart(2, 1), closed);
    assert!(stage.reopen());
    supervisor.restarted(1, 1);
    stage.close();
    a.begin_exit();
    assert_eq!(supervisor.restart(1, 1), closed, "a closed pool lets no restart take over");
    a.finish_exit();
    stage.at_rest(&[(&supervisor, 1, 1)]);
}

/// The pool begins to drain, or closes, after the restart was refused a free permit and before it
/// takes over that of the dead holder.
#[test]
fn a_takeover_ends_where_a_drain_or_a_close_begins() {
    for close in [false, true] {
        let (pool, host, generation) = open(overdraft(1, 0));
        let [dead, supervisor] = [1, 2].map(|n| Pid::new(n).unwrap());
        pool.try_acquire(&host, dead, key(generation, 1), 1, Kind::Bound).unwrap();
        host.kill(dead);
        let (of, with) = (std::sync::Arc::clone(&pool), host.clone());
        at_each_point(move |point| match point {
            Point::Alive(_) if close => of.close(&with, generation),
            Point::Alive(_) => drop(of.drain(&with, generation, supervisor, Ticket)),
            _ => {}
        });
        let answer = pool.take_for_restart(&host, supervisor, key(generation, 1), 1, 0);
        no_hook();
        assert!(!matches!(answer, KeyRestart::Admitted(_)), "{answer:?}, closed: {close}");
        assert_eq!(pool.info(&host).in_use, 1, "the permit is left to the monitor");
        pool.down(&host, dead);
        assert_eq!(pool.info(&host).in_use, 0);
    }
}

#[test]
fn a_restart_of_a_key_without_a_place_has_the_overdraft_too() {
    let (stage, [supervisor]) = Stage::with(overdraft(3, 1));
    assert!(stage.update(1));
    supervisor.restarted(1, 2);
    assert_eq!(supervisor.restart(2, 3), REFUSED);
    stage.at_rest(&[(&supervisor, 1, 2)]);
}

#[test]
fn a_restart_of_a_new_key_reaps_the_dead_if_each_place_is_in_use() {
    let (stage, [dead, supervisor]) = Stage::with(settings(1, 2));
    dead.hold(1, 1);
    dead.hold(2, 1);
    dead.begin_exit();
    supervisor.restarted(3, 1);
    dead.finish_exit();
    stage.at_rest(&[(&supervisor, 3, 1)]);
    supervisor.restarted(1, 1);
    assert_eq!(supervisor.restart(2, 1), KeyRestart::Refused(KeyRefusal::TableFull));
}

fn hold_one_each(stage: &std::sync::Arc<Stage>, numbers: std::ops::RangeInclusive<u64>) -> Vec<Process> {
    let holders = stage.processes(numbers);
    for holder in &holders {
        holder.hold(1, 1);
    }
    holders
}

#[test]
fn restarts_of_a_key_that_a_smaller_limit_overdraws_reach_what_it_held_then() {
    let stage = Stage::open(20, overdraft(6, 1));
    let holders = hold_one_each(&stage, 1..=5);
    let supervisor = stage.process(20);
    assert!(stage.update(2));
    holders[0].die();
    holders[1].die();
    assert_eq!(stage.info(1).in_use, 3);
    supervisor.restarted(1, 1);
    supervisor.restarted(1, 1);
    assert_eq!(supervisor.restart(1, 1), REFUSED, "five were held when the limit fell");
    // A second, smaller limit does not lower that number.
    assert!(stage.update(1));
    holders[2].die();
    supervisor.restarted(1, 1);
    assert_eq!(supervisor.restart(1, 1), REFUSED);
    assert_eq!(stage.info(1).in_use, 5);
}

#[test]
fn an_old_limit_is_no_licence_for_an_overdraft_that_a_restart_begins() {
    let stage = Stage::open(20, overdraft(10, 1));
    let supervisor = stage.process(20);
    hold_one_each(&stage, 1..=2);
    assert!(stage.update(2));
    supervisor.restarted(1, 1);
    assert_eq!(supervisor.restart(1, 1), REFUSED, "the key was within the limit when it fell");
    // A new key, after the limit fell.
    supervisor.restarted(2, 2);
    supervisor.restarted(2, 1);
    assert_eq!(supervisor.restart(2, 1), REFUSED);
}

#[test]
fn a_key_that_was_paid_back_has_no_more_than_max_overdraft_again() {
    let stage = Stage::open(20, overdraft(6, 1));
    let holders = hold_one_each(&stage, 1..=5);
    let supervisor = stage.process(20);
    assert!(stage.update(2));
    for holder in &holders[..3] {
        holder.die();
    }
    assert_eq!(stage.info(1).in_use, 2);
    supervisor.restarted(1, 1);
    assert_eq!(supervisor.restart(1, 1), REFUSED);
}

#[test]
fn a_takeover_does_not_pay_an_overdraft_back() {
    let (stage, [large, small, last, supervisor]) = Stage::with(overdraft(6, 0));
    large.hold(1, 3);
    small.hold(1, 1);
    last.hold(1, 1);
    assert!(stage.update(2));
    // The permits of the dead holder stay in use throughout, so the key stays overdrawn.
    large.begin_exit();
    supervisor.restarted(1, 3);
    large.finish_exit();
    small.die();
    supervisor.restarted(1, 1);
    assert_eq!(supervisor.restart(1, 1), REFUSED);
    stage.at_rest(&[(&last, 1, 1), (&supervisor, 1, 4)]);
}
