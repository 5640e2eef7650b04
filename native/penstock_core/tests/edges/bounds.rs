//! The bounds on the work of one call: on the entries that it visits, and on the messages that it
//! sends. The rest is left to further calls.

use penstock_core::{Answer, Cancelled, Drain, Expiry, Parked, Refusal};

use crate::support::{Process, Stage, limit};
use crate::{LINES, MESSAGES, VISITS, processes, serve_in_parts};

#[test]
fn a_scan_past_many_idle_entries_is_bounded_in_each_call() {
    const IDLE: usize = 10_000;
    let stage = Stage::open(IDLE + 2, limit(3));
    for idle in processes(&stage, 1..=IDLE) {
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
    }
    let (holder, asker) = (stage.process(IDLE + 1), stage.process(IDLE + 2));
    holder.hold(2);
    stage.host.take_worked();
    let mut answers = Vec::new();
    while answers.last() != Some(&Err(Refusal::Full)) {
        answers.push(asker.try_acquire(2));
        assert!(stage.host.take_worked() <= VISITS + LINES);
    }
    assert_eq!(answers.len(), IDLE.div_ceil(VISITS));
    assert!(answers[..answers.len() - 1].iter().all(|answer| *answer == Err(Refusal::Again)));
    assert_eq!(stage.report().rejected, 1, "`Again` is no refusal");

    // The scan has deactivated the idle entries, so the next one does not visit them.
    assert_eq!(asker.try_acquire(2), Err(Refusal::Full));
    assert!(stage.host.take_worked() <= LINES);
    stage.at_rest(&[(&holder, 2)]);
}

#[test]
fn a_death_is_found_behind_many_idle_entries() {
    const IDLE: usize = 5_000;
    let stage = Stage::open(IDLE + 2, limit(2));
    for idle in processes(&stage, 1..=IDLE) {
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
    }
    let (dead, asker) = (stage.process(IDLE + 1), stage.process(IDLE + 2));
    dead.hold(2).begin_exit();
    while asker.try_acquire(1) == Err(Refusal::Again) {}
    assert_eq!(asker.release(1), Ok(()), "the asker was admitted");
    dead.finish_exit();
    stage.at_rest(&[]);
}

#[test]
fn answers_beyond_the_bound_of_one_call_are_deferred() {
    const WAITERS: usize = 300;
    let stage = Stage::open(WAITERS + 1, limit(1));
    let holder = stage.process(WAITERS + 1);
    holder.hold(1);
    let waiters = processes(&stage, 1..=WAITERS);
    for waiter in &waiters {
        waiter.wait(1);
    }
    stage.update(WAITERS as u64 + 1);
    assert_eq!(stage.host.answers(), MESSAGES);
    assert_eq!((stage.in_use(), stage.info().waiting), (MESSAGES as u64 + 1, WAITERS - MESSAGES));
    assert!(!stage.process(1).take(1), "a waiter comes before a newcomer");
    assert_eq!(serve_in_parts(&stage), WAITERS.div_ceil(MESSAGES) - 1);
    assert!(waiters.iter().all(Process::was_granted));
    assert_eq!(stage.info().granted, WAITERS as u64);
    let holders: Vec<_> = waiters.iter().chain([&holder]).map(|process| (process, 1)).collect();
    stage.at_rest(&holders);
}

#[test]
fn a_queue_that_one_call_has_just_emptied_keeps_no_newcomer_out() {
    let stage = Stage::open(MESSAGES + 2, limit(1));
    let (holder, newcomer) = (stage.process(MESSAGES + 1), stage.process(MESSAGES + 2));
    holder.hold(1);
    for waiter in processes(&stage, 1..=MESSAGES) {
        waiter.wait(1);
    }
    stage.update(MESSAGES as u64 + 2);
    assert_eq!((stage.host.answers(), stage.info().waiting), (MESSAGES, 0));
    // One permit is free and the queue is empty, although the pool has deferred work to the host.
    assert_eq!(newcomer.try_acquire(1), Ok(()));
}

#[test]
fn a_shrink_refuses_a_long_queue_in_parts() {
    const WAITERS: usize = 1_000;
    let stage = Stage::open(WAITERS + 1, limit(4));
    let holder = stage.process(WAITERS + 1);
    holder.hold(4);
    let waiters = processes(&stage, 1..=WAITERS);
    // Every second waiter asks for more than the new limit.
    for (at, waiter) in waiters.iter().enumerate() {
        waiter.wait(if at % 2 == 0 { 3 } else { 1 });
    }
    stage.update(2);
    // Five waiters die at the place where the walk goes on. The walk would refuse three of them.
    waiters[2 * MESSAGES..2 * MESSAGES + 5].iter().for_each(|waiter| waiter.die());
    serve_in_parts(&stage);
    for (at, waiter) in waiters.iter().enumerate() {
        let died = (2 * MESSAGES..2 * MESSAGES + 5).contains(&at);
        if !died {
            assert_eq!(waiter.answers(), if at % 2 == 0 { vec![Answer::Full] } else { vec![] });
        }
    }
    stage.at_rest(&[(&holder, 4)]);
    assert_eq!(holder.release(4), Ok(()));
    assert!(waiters[1].was_granted() && waiters[3].was_granted());
    stage.at_rest(&[(&waiters[1], 1), (&waiters[3], 1)]);
}

#[test]
fn a_pause_in_the_middle_of_a_shrink_ends_its_refusals() {
    const WAITERS: usize = 200;
    let stage = Stage::open(WAITERS + 1, limit(4));
    let holder = stage.process(WAITERS + 1);
    holder.hold(4);
    let waiters = processes(&stage, 1..=WAITERS);
    for waiter in &waiters {
        waiter.wait(3);
    }
    stage.update(2);
    assert_eq!(stage.info().waiting, WAITERS - MESSAGES, "one call refuses 64");
    // A limit of 0 pauses the pool: requests of any size wait.
    stage.update(0);
    serve_in_parts(&stage);
    assert_eq!(stage.info().waiting, WAITERS - MESSAGES);
    // The next shrink refuses the waiters that are left.
    stage.update(2);
    serve_in_parts(&stage);
    assert_eq!(stage.info().waiting, 0);
    assert!(waiters.iter().all(|waiter| waiter.answers() == [Answer::Full]));
    stage.at_rest(&[(&holder, 4)]);
}

#[test]
fn a_reopening_answers_many_drainers_and_refuses_the_waiters_left() {
    // Each of the 32 drains answers up to 64 waiters. The queue is longer than that, so waiters
    // are still in it when all drainers have asked. One hold of the queue lock answers all 32
    // drainers.
    const DRAINERS: usize = 32;
    const WAITERS: usize = MESSAGES * (DRAINERS + 2) + 10;
    let stage = Stage::open(DRAINERS + WAITERS + 1, limit(2));
    let holder = stage.process(DRAINERS + WAITERS + 1);
    holder.hold(1);
    let waiters = processes(&stage, DRAINERS + 1..=DRAINERS + WAITERS);
    for waiter in &waiters {
        waiter.wait(2);
    }
    let drainers = processes(&stage, 1..=DRAINERS);
    drainers.iter().for_each(|drainer| assert!(matches!(drainer.drain(), Drain::Waiting(_))));
    stage.update(1);
    assert!(stage.info().waiting > 0);
    assert!(stage.pool.reopen(&stage.host));
    serve_in_parts(&stage);
    assert!(drainers.iter().all(|drainer| drainer.answers() == [Answer::Undrained(1)]));
    assert!(waiters.iter().all(|waiter| matches!(waiter.answers().as_slice(), [Answer::Closed | Answer::Full])));
    stage.at_rest(&[(&holder, 1)]);
}

#[test]
fn a_drain_and_its_end_answer_many_in_parts() {
    const MANY: usize = 200;
    let stage = Stage::open(2 * MANY + 1, limit(1));
    let holder = stage.process(2 * MANY + 1);
    holder.hold(1);
    let (waiters, drainers) = (processes(&stage, 1..=MANY), processes(&stage, MANY + 1..=2 * MANY));
    for waiter in &waiters {
        waiter.wait(1);
    }
    drainers.iter().for_each(|drainer| assert!(matches!(drainer.drain(), Drain::Waiting(_))));
    serve_in_parts(&stage);
    assert!(waiters.iter().all(|waiter| waiter.answers() == [Answer::Closed]));
    assert_eq!(holder.release(1), Ok(()));
    serve_in_parts(&stage);
    assert!(drainers.iter().all(|drainer| drainer.answers() == [Answer::Drained]));
    stage.pool.close(&stage.host);
    assert!(stage.pool.open(limit(1)));
    stage.at_rest(&[]);
}

#[test]
fn a_scan_that_finds_many_dead_is_bounded() {
    const DEAD: usize = 5_000;
    let stage = Stage::open(2 * DEAD + 1, limit(DEAD as u64));
    let (dead, waiters) = (processes(&stage, 1..=DEAD), processes(&stage, DEAD + 1..=2 * DEAD));
    for process in &dead {
        process.hold(1);
    }
    for waiter in &waiters {
        waiter.wait(1);
    }
    dead.iter().for_each(Process::begin_exit);
    // The scan of the first waiter published the many-holders hint. The first monitor of a dead
    // holder clears the hint, so the next refusal scans.
    dead[0].finish_exit();
    let before = stage.host.answers();
    let asker = stage.process(2 * DEAD + 1);
    assert!(matches!(asker.try_acquire(1), Err(Refusal::Again | Refusal::Full)));
    let answers = stage.host.answers() - before;
    assert!(answers <= MESSAGES, "{answers} messages in one call");
    dead[1..].iter().for_each(Process::finish_exit);
    let holders: Vec<_> = waiters.iter().map(|process| (process, 1)).collect();
    stage.at_rest(&holders);
}

#[test]
fn a_scan_that_frees_many_permits_answers_in_parts() {
    const DEAD: usize = 8;
    const EACH: usize = 64;
    let stage = Stage::open(DEAD + DEAD * EACH, limit((DEAD * EACH) as u64));
    let (dead, waiters) = (processes(&stage, 1..=DEAD), processes(&stage, DEAD + 1..=DEAD + DEAD * EACH - 1));
    for process in &dead {
        process.hold(EACH as u32);
    }
    for waiter in &waiters {
        waiter.wait(1);
    }
    dead.iter().for_each(Process::begin_exit);
    let asker = stage.process(DEAD + DEAD * EACH);
    let mut calls = 0;
    loop {
        let before = stage.host.answers();
        let asked = asker.try_acquire(1);
        let answers = stage.host.answers() - before;
        assert!(answers <= 2 * MESSAGES, "{answers} messages in one call");
        calls += 1;
        if asked == Ok(()) {
            break;
        }
        assert_eq!(asked, Err(Refusal::Again), "one permit is left for the asker");
    }
    assert!(calls > 1);
    assert!(waiters.iter().all(Process::was_granted));
    dead.iter().for_each(Process::finish_exit);
    let holders: Vec<_> = waiters.iter().chain([&asker]).map(|process| (process, 1)).collect();
    stage.at_rest(&holders);
}

#[test]
fn a_scan_reports_its_work_to_the_host() {
    const MANY: usize = 20_000;
    let stage = Stage::open(MANY + 1, limit(1));
    let everybody = processes(&stage, 1..=MANY);
    for process in &everybody {
        assert_eq!(process.hold(1).release(1), Ok(()));
    }
    everybody[0].hold(1);
    let asker = stage.process(MANY + 1);
    while asker.try_acquire(1) == Err(Refusal::Again) {}
    stage.host.take_worked();
    assert_eq!(asker.try_acquire(1), Err(Refusal::Full));
    let lines = stage.host.take_worked();
    assert!((1..=LINES).contains(&lines), "{lines} lines for one holder");
    stage.at_rest(&[(&everybody[0], 1)]);
}

#[test]
fn updates_without_a_pause_let_the_walk_of_a_shrink_end() {
    const MANY: usize = 2_000;
    let stage = Stage::open(MANY + 2, limit(10));
    let (holder, large) = (stage.process(MANY + 1), stage.process(MANY + 2));
    holder.hold(10);
    let waiters = processes(&stage, 1..=MANY);
    for waiter in &waiters {
        waiter.wait(1);
    }
    large.wait(10);
    // A shrink begins a walk along the queue. The walk refuses requests above the new limit, and
    // takes many calls.
    stage.update(5);
    assert_eq!(holder.release(10), Ok(()));
    assert!(waiters[..5].iter().all(Process::was_granted), "the head does not wait for the walk");
    // The host runs no deferred work, so the updates alone must make progress.
    let mut updates = 0;
    while large.answers().is_empty() {
        updates += 1;
        assert!(updates < 100, "the walk has not ended after 100 updates");
        stage.update(if updates % 2 == 0 { 5 } else { 9 });
    }
    assert_eq!(large.answers(), [Answer::Full]);
    let granted = waiters.iter().take_while(|waiter| waiter.was_granted()).count();
    assert!(
        granted >= 9 && waiters[granted..].iter().all(|waiter| !waiter.was_granted()),
        "{granted} granted: not nine, or not the first"
    );
    stage.serve_deferred();
    assert_eq!(stage.info().waiting, MANY - granted);
}

/// Asks for permits that are not free. Returns the answer, and `true` if the host must begin to
/// call `Pool::expire`, which ends waits whose time is over.
fn ask(process: &Process, n: u32, until: Option<u64>) -> (Parked, bool) {
    let stage = &process.stage;
    stage.pool.ask(&stage.host, process.pid, n, stage.host.ticket(), until, || true)
}

#[test]
fn the_many_waits_of_a_process_that_dies_end_in_parts() {
    let (stage, [holder, asker, other]) = Stage::with_processes(limit(1));
    holder.hold(1);
    for n in 0..500 {
        assert!(matches!(ask(&asker, 1, (n % 2 == 0).then_some(n)), (Parked::Waiting(_), _)));
    }
    other.wait(1);
    asker.die();
    let left = stage.info().waiting;
    assert!((400..501).contains(&left), "{left} waits left by one call");
    assert_eq!(holder.release(1), Ok(()));
    assert!(!other.was_granted(), "no waiter is served while waits of the dead are left");
    assert!(serve_in_parts(&stage) > 5);
    assert!(other.was_granted());
    assert_eq!(stage.pool.expire(&stage.host, 1_000), Expiry::Nothing);
    assert_eq!((stage.info().waiting, stage.report().timed_out), (0, 0));
    stage.at_rest(&[(&other, 1)]);
}

#[test]
fn waits_that_the_host_ends_end_in_parts_and_let_others_go_on() {
    let (stage, [holder, asker, other]) = Stage::with_processes(limit(2));
    holder.hold(1);
    for n in 0..200 {
        assert_eq!(ask(&asker, 2, Some(10 + n)).1, n == 0, "the host is told of the first wait");
    }
    let last = other.wait(1);
    assert_eq!(stage.pool.expire(&stage.host, 9), Expiry::Later);
    assert_eq!(stage.pool.expire(&stage.host, 1_000), Expiry::More);
    let ended = asker.answers().len();
    assert!((1..=100).contains(&ended), "{ended} waits ended by one call");
    while stage.pool.expire(&stage.host, 1_000) == Expiry::More {}
    assert_eq!(asker.answers(), vec![Answer::TimedOut; 200]);
    assert!(other.was_granted());
    assert_eq!(other.cancel(last), Cancelled::TooLate);
    assert_eq!(stage.pool.expire(&stage.host, 1_000), Expiry::Nothing);
    stage.update(0);
    assert!(ask(&asker, 1, Some(2_000)).1, "the host is told again");
    assert_eq!(stage.report().timed_out, 200);
}
