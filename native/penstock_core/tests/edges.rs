//! Cases that no random sequence reaches: numbers that are too large for it, words that
//! the pool never issued, and the bounds on the work of one call.
//!
//! | scenario | what it rules out |
//! |---|---|
//! | 10,000 idle entries lie before the holders | a refusal of unbounded work |
//! | 300 waiters become admissible at once | more than 64 messages by one call |
//! | a shrink refuses 1,000 waiters, some die meanwhile | a walk that loses its place |
//! | updates follow each other without a pause | a walk that begins again and never ends |
//! | a dead waiter is granted while a scan is under way | a permit that a refusal has missed |
//! | nine holders, one of them dead | a scan on each refusal of a large pool |
//! | 500 dead among 1,000 holders | one refusal that reaps them all |
//! | 30,000 processes hold, die, and hold again | entries that outlive their processes |
//! | words that the pool never issued | a forged offer or wait that has an effect |
//! | 500 dead children among 5,000 holders restart | an overdraft where a dead holder is left |
//! | a dead holder's pid lives again before a restart | a permit taken from a living process |
#![cfg(not(any(loom, shuttle)))]

mod support;

use std::sync::Arc;

use penstock_core::{
    AS_LIMIT, Adoption, Answer, Cancelled, Census, Drain, Expiry, Holding, Kind, NotHeld, Offer, Parked, Pid, Pool,
    Position, Refusal, Restart, SHARD_COUNT, Settings, Status, Step, TransferError, UNLIMITED, WaiterId,
};
use proptest::prelude::*;

use support::{Fake, Process, Stage, limit};

/// The number of messages that one call sends at most.
const MESSAGES: usize = 64;
/// The number of entries that one call visits at most.
const LOOKS: usize = 1024;
/// The number of cache lines that one call reads at most to find the entries, in a table that has
/// held 20,000 processes.
const LINES: usize = 400;

fn processes(stage: &Arc<Stage>, numbers: std::ops::RangeInclusive<usize>) -> Vec<Process> {
    numbers.map(|number| stage.process(number)).collect()
}

/// Runs the work that the pool deferred to the host, and returns the number of calls.
fn settle_what_was_deferred(stage: &Stage) -> usize {
    let mut times = 0;
    while stage.host.take_deferrals() > 0 {
        let before = stage.host.answers();
        stage.pool.settle(&stage.host);
        assert!(stage.host.answers() - before <= MESSAGES, "each time is one call");
        times += 1;
    }
    times
}

// How much one call may do.

#[test]
fn a_look_past_many_idle_entries_goes_only_so_far_each_time() {
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
        assert!(stage.host.take_worked() <= LOOKS + LINES);
    }
    assert_eq!(answers.len(), IDLE.div_ceil(LOOKS));
    assert!(answers[..answers.len() - 1].iter().all(|answer| *answer == Err(Refusal::Again)));
    assert_eq!(stage.census().rejected, 1, "to be asked to come again is no refusal");

    // A scan removes an idle entry from the active set, so the next scan does not visit it.
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
    assert_eq!(asker.release(1), Ok(()), "it was admitted in the end");
    dead.finish_exit();
    stage.at_rest(&[]);
}

#[test]
fn answers_beyond_what_one_call_may_send_are_deferred() {
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
    assert!(!stage.process(1).take(1), "the waiters are still before a newcomer");
    assert_eq!(settle_what_was_deferred(&stage), WAITERS.div_ceil(MESSAGES) - 1);
    assert!(waiters.iter().all(Process::was_granted));
    assert_eq!(stage.info().granted, WAITERS as u64);
    let holders: Vec<_> = waiters.iter().chain([&holder]).map(|process| (process, 1)).collect();
    stage.at_rest(&holders);
}

#[test]
fn nobody_is_kept_out_by_a_line_that_one_call_has_just_emptied() {
    let stage = Stage::open(MESSAGES + 2, limit(1));
    let (holder, newcomer) = (stage.process(MESSAGES + 1), stage.process(MESSAGES + 2));
    holder.hold(1);
    for waiter in processes(&stage, 1..=MESSAGES) {
        waiter.wait(1);
    }
    stage.update(MESSAGES as u64 + 2);
    assert_eq!((stage.host.answers(), stage.info().waiting), (MESSAGES, 0));
    // One permit is free and the queue is empty, even if the pool has deferred work.
    assert_eq!(newcomer.try_acquire(1), Ok(()));
}

#[test]
fn a_shrink_refuses_a_long_line_in_parts() {
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
    // While the refusals are under way, some of the waiters that are next die.
    waiters[2 * MESSAGES..2 * MESSAGES + 5].iter().for_each(|waiter| waiter.die());
    settle_what_was_deferred(&stage);
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
fn a_pause_in_the_middle_of_a_shrink_refuses_nobody_more() {
    const WAITERS: usize = 200;
    let stage = Stage::open(WAITERS + 1, limit(4));
    let holder = stage.process(WAITERS + 1);
    holder.hold(4);
    let waiters = processes(&stage, 1..=WAITERS);
    for waiter in &waiters {
        waiter.wait(3);
    }
    stage.update(2);
    assert_eq!(stage.info().waiting, WAITERS - MESSAGES, "one call refuses MESSAGES, and the rest is deferred");
    // Limit 0 is a pause: requests of any size wait.
    stage.update(0);
    settle_what_was_deferred(&stage);
    assert_eq!(stage.info().waiting, WAITERS - MESSAGES);
    // The waiters that are left still ask for more than a limit of 2.
    stage.update(2);
    settle_what_was_deferred(&stage);
    assert_eq!(stage.info().waiting, 0);
    assert!(waiters.iter().all(|waiter| waiter.answers() == [Answer::Full]));
    stage.at_rest(&[(&holder, 4)]);
}

#[test]
fn drainers_and_a_shrunk_line_fit_into_one_reopening() {
    // There are as many drainers as one hold of the lock answers. The queue is so long that
    // waiters are left in it when all drainers have asked.
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
    settle_what_was_deferred(&stage);
    assert!(drainers.iter().all(|drainer| drainer.answers() == [Answer::Undrained(1)]));
    assert!(waiters.iter().all(|waiter| matches!(waiter.answers().as_slice(), [Answer::Closed | Answer::Full])));
    stage.at_rest(&[(&holder, 1)]);
}

#[test]
fn closing_and_draining_tell_many_in_parts() {
    const MANY: usize = 200;
    let stage = Stage::open(2 * MANY + 1, limit(1));
    let holder = stage.process(2 * MANY + 1);
    holder.hold(1);
    let (waiters, drainers) = (processes(&stage, 1..=MANY), processes(&stage, MANY + 1..=2 * MANY));
    for waiter in &waiters {
        waiter.wait(1);
    }
    drainers.iter().for_each(|drainer| assert!(matches!(drainer.drain(), Drain::Waiting(_))));
    settle_what_was_deferred(&stage);
    assert!(waiters.iter().all(|waiter| waiter.answers() == [Answer::Closed]));
    assert_eq!(holder.release(1), Ok(()));
    settle_what_was_deferred(&stage);
    assert!(drainers.iter().all(|drainer| drainer.answers() == [Answer::Drained]));
    stage.pool.close(&stage.host);
    assert!(stage.pool.open(limit(1)));
    stage.at_rest(&[]);
}

#[test]
fn a_look_that_finds_many_dead_stops_in_time() {
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
    // The scans of the waiters published the hint of many holders; a holder that leaves clears
    // it.
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
fn a_look_that_frees_much_answers_in_parts() {
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
        assert_eq!(asked, Err(Refusal::Again), "one permit is left for it");
    }
    assert!(calls > 1);
    assert!(waiters.iter().all(Process::was_granted));
    dead.iter().for_each(Process::finish_exit);
    let holders: Vec<_> = waiters.iter().chain([&asker]).map(|process| (process, 1)).collect();
    stage.at_rest(&holders);
}

#[test]
fn a_look_says_how_far_it_went() {
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
    assert!((1..=LINES).contains(&lines), "{lines} for one holder, of {MANY} that held once");
    stage.at_rest(&[(&everybody[0], 1)]);
}

// Who is found by a look.

#[test]
fn a_refusal_has_also_looked_at_who_was_granted_while_it_looked() {
    let (stage, [waiter, dead, asker]) = Stage::cast(limit(1));
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

// Many processes.

#[test]
fn every_level_of_the_table_is_found_listed_and_reused() {
    const MANY: usize = 30_000;
    let stage = Stage::open(MANY, limit(UNLIMITED));
    let mut empty = Vec::new();
    for round in 1..=2 {
        let everybody = processes(&stage, 1..=MANY);
        for process in &everybody {
            process.hold(round);
        }
        let census = stage.census();
        assert_eq!(census.holders, MANY as u64);
        assert!(census.looked_at > MANY, "at all of them, and at where they could be");
        assert_eq!(stage.holders().len(), MANY);
        for process in &everybody[..MANY / 2] {
            assert_eq!(process.release(round), Ok(()));
        }
        assert_eq!(stage.census().holders, MANY as u64 / 2);
        everybody.iter().for_each(Process::die);
        let census = stage.census();
        assert_eq!(census.holders, 0);
        empty.push(census.looked_at);
        assert_eq!(census.released_by_exit, (1..=u64::from(round)).sum::<u64>() * MANY as u64 / 2);
        everybody.iter().for_each(|process| stage.host.reuse(process.pid));
    }
    assert_eq!(stage.in_use(), 0);
    assert!(
        empty[0] < MANY && empty[0] == empty[1],
        "entries die with their processes, and their places are used again"
    );
}

#[test]
fn processes_that_come_and_go_leave_nothing_behind() {
    let stage = Stage::open(20_000, limit(1));
    for process in processes(&stage, 1..=20_000) {
        process.hold(1).die();
    }
    assert_eq!(stage.census().looked_at, Stage::open(0, limit(1)).census().looked_at, "the table has not grown");
    assert_eq!(stage.census().released_by_exit, 20_000);
    stage.at_rest(&[]);
}

// Totals.

#[test]
fn totals_begin_anew_when_a_pool_is_opened_again() {
    let (stage, [a, b, c, d]) = Stage::cast(limit(2));
    a.hold(2);
    assert_eq!(b.try_acquire(1), Err(Refusal::Full));
    let id = b.wait(1);
    assert_eq!(b.cancel(id), Cancelled::Yes);
    c.wait(1);
    a.die();
    assert!(c.was_granted());
    assert_eq!(c.release(1), Ok(()));
    d.hold(1);
    let census = stage.census();
    assert_eq!(census, Census { holders: 1, acquired: 2, rejected: 1, timed_out: 1, released_by_exit: 2, ..census });
    assert_eq!((stage.info().peak, stage.info().granted), (2, 1));

    stage.pool.close(&stage.host);
    assert!(!stage.pool.open(limit(5)), "something is held");
    assert_eq!(d.release(1), Ok(()));
    assert!(stage.pool.open(limit(5)));
    assert_eq!(stage.census(), Census { looked_at: stage.census().looked_at, ..Census::default() });
    assert_eq!((stage.info().peak, stage.info().granted, stage.info().settings), (0, 0, limit(5)));

    // Entries that existed before the pool was opened again count from one.
    d.hold(1).hold(1);
    b.hold(1);
    assert_eq!(stage.census().acquired, 3);
    assert!(!stage.pool.open(limit(1)), "it is open");
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
        let (mut sums, mut next) = (Census::default(), Some(Position::default()));
        while let Some(at) = next {
            let (part, rest) = stage.pool.census(&stage.host, at, most);
            assert!(
                part.looked_at < most + 9,
                "a bucket of a line of keys and eight entries is not left in its middle"
            );
            assert_ne!(rest, next);
            sums += part;
            next = rest;
        }
        assert_eq!(sums, stage.census());

        let (mut all, mut next) = (Vec::new(), Some(Position::default()));
        while let Some(at) = next {
            let (part, rest) = stage.pool.holders(at, most);
            assert!(part.len() < most + 8);
            all.extend(part);
            next = rest;
        }
        assert_eq!(all, stage.holders());
        assert_eq!(all.len(), MANY);
    }
    for beyond in [(SHARD_COUNT as u64) << 32, 31 << 27, u64::MAX] {
        let (sums, rest) = stage.pool.census(&stage.host, Position::from_bits(beyond), 1_000_000);
        assert!(rest.is_none() && sums.holders < MANY as u64);
        assert_eq!(stage.pool.holders(Position::from_bits(u64::MAX), 1_000_000), (vec![], None));
    }
}

#[test]
fn how_long_it_was_held_does_not_wrap() {
    let holding = |since_ms| Holding { pid: Pid::new(1).unwrap(), permits: 1, since_ms };
    assert_eq!(holding(1_000).held_ms(1_250), 250);
    assert_eq!(holding(u32::MAX - 9).held_ms(40), 50, "the clock went round");
    assert_eq!(holding(1_250).held_ms(1_240), 0, "taken after the look at the clock");
}

#[test]
fn who_was_handed_no_work_has_not_been_at_it() {
    let (stage, [spawner, child, other]) = Stage::cast(limit(2));
    assert_eq!(spawner.try_bound(1), Ok(()));
    let offer = spawner.offer(1).unwrap();
    other.hold(1);
    stage.host.advance(10);
    spawner.hand_over(offer, &child);
    stage.host.advance(30);
    let work_ms = |of: &Process| stage.pool.work_ms(&stage.host, of.pid);
    assert_eq!((work_ms(&spawner), work_ms(&child), work_ms(&other)), (None, Some(30), None));
    assert_eq!(child.end_work(), Ok(()));
    assert_eq!(work_ms(&child), None);
}

// Limits.

#[test]
fn an_unlimited_pool_counts_and_never_refuses() {
    let (stage, [a, b, c]) = Stage::cast(limit(UNLIMITED));
    for _ in 0..1_000 {
        a.hold(i32::MAX as u32);
    }
    let held = 1_000 * i32::MAX as u64;
    assert_eq!((stage.in_use(), stage.info().peak), (held, held));
    // The limit falls below what is held: an overdraft, which is paid back first.
    stage.update(10);
    assert_eq!(stage.in_use(), held);
    assert_eq!(b.try_acquire(1), Err(Refusal::Full));
    b.wait(1);
    a.die();
    assert!(b.was_granted());
    stage.update(UNLIMITED);
    c.hold(1);
    stage.at_rest(&[(&b, 1), (&c, 1)]);
}

#[test]
fn the_largest_limit_is_not_taken_for_none() {
    let most = i32::MAX as u64;
    let (stage, [a, b]) = Stage::cast(limit(most));
    a.hold(i32::MAX as u32);
    assert_eq!(stage.in_use(), most);
    assert_eq!(b.try_acquire(1), Err(Refusal::Full));
    stage.at_rest(&[(&a, most)]);
}

#[test]
fn a_request_of_any_size_waits_through_a_pause() {
    let (stage, [a, b]) = Stage::cast(limit(0));
    assert_eq!(a.try_acquire(1_000), Err(Refusal::Full));
    a.wait(1_000);
    b.wait(3);
    stage.update(5);
    assert_eq!(a.answers(), [Answer::Full], "more than there will be");
    assert!(b.was_granted());
    stage.at_rest(&[(&b, 3)]);
}

#[test]
fn a_full_queue_does_not_keep_newcomers_out() {
    let (stage, [a, b, c]) = Stage::cast(Settings { max_waiting: 0, ..limit(2) });
    a.hold(1);
    assert_eq!(b.park(2), Parked::QueueFull);
    assert_eq!(c.try_acquire(1), Ok(()));
    stage.at_rest(&[(&a, 1), (&c, 1)]);
}

#[test]
fn a_waiter_that_is_gone_does_not_keep_others_out() {
    let (stage, [a, b, c]) = Stage::cast(limit(2));
    a.hold(1);
    let id = b.wait(2);
    assert_eq!(b.cancel(id), Cancelled::Yes);
    stage.at_rest(&[(&a, 1)]);
    b.wait(2);
    c.wait(1);
    b.die();
    assert!(c.was_granted());
    stage.at_rest(&[(&a, 1), (&c, 1)]);
}

// Misuse.

#[test]
fn bound_permits_are_not_released_or_transferred_as_free_ones() {
    let (stage, [a, b]) = Stage::cast(limit(3));
    assert_eq!(a.try_bound(2), Ok(()));
    a.hold(1);
    assert_eq!(a.release(2), Err(NotHeld));
    assert!(a.transfer(&b, 2).is_err());
    assert_eq!(a.offer(3), None);
    assert_eq!(a.release_bound(3), Err(NotHeld));
    assert_eq!((b.release(1), b.release_bound(1)), (Err(NotHeld), Err(NotHeld)));
    stage.at_rest(&[(&a, 3)]);
}

#[test]
fn the_end_of_its_work_gives_back_all_bound_permits_and_no_other() {
    let (stage, [spawner, child, waiter]) = Stage::cast(limit(3));
    assert_eq!(child.end_work(), Err(NotHeld));
    assert_eq!(spawner.try_bound(2), Ok(()));
    let offer = spawner.offer(2).unwrap();
    spawner.hand_over(offer, &child);
    child.hold(1);
    waiter.wait(2);
    assert_eq!(child.end_work(), Ok(()));
    assert!(waiter.was_granted());
    assert_eq!(child.end_work(), Err(NotHeld), "once");
    stage.at_rest(&[(&child, 1), (&waiter, 2)]);
}

#[test]
fn the_end_of_a_child_that_lives_is_not_believed() {
    let (stage, [spawner, child, stranger]) = Stage::cast(limit(1));
    assert_eq!(spawner.try_bound(1), Ok(()));
    let offer = spawner.offer(1).unwrap();
    spawner.hand_over(offer, &child);
    spawner.saw_the_end_of(&child);
    spawner.saw_the_end_of(&stranger);
    stage.at_rest(&[(&child, 1)]);
    // The child is dead, and its monitor has not run.
    child.begin_exit();
    spawner.saw_the_end_of(&child);
    assert_eq!(stage.in_use(), 0);
    child.finish_exit();
    spawner.saw_the_end_of(&child);
    stage.at_rest(&[]);
}

#[test]
fn a_wait_that_is_left_is_no_time_out() {
    let (stage, [a, b, c]) = Stage::cast(limit(1));
    a.hold(1);
    let id = b.wait(1);
    c.wait(1);
    assert_eq!(b.leave_line(id), Cancelled::Yes);
    assert_eq!(b.leave_line(id), Cancelled::TooLate);
    assert_eq!(stage.census().timed_out, 0);
    let id = b.wait(1);
    assert_eq!(b.cancel(id), Cancelled::Yes);
    assert_eq!(stage.census().timed_out, 1);
    assert_eq!(a.release(1), Ok(()));
    assert!(c.was_granted());
    stage.at_rest(&[(&c, 1)]);
}

#[test]
fn a_claim_is_of_an_open_offer_of_that_process() {
    let (stage, [spawner, supervisor, child, thief]) = Stage::cast(limit(2));
    assert_eq!(spawner.try_bound(2), Ok(()));
    let offer = spawner.offer(2).unwrap();
    assert_eq!(thief.claim(&child, offer), None, "it is not that process'");
    assert_eq!(supervisor.claim(&spawner, offer), Some(2));
    assert_eq!(supervisor.claim(&spawner, offer), None, "once");
    assert_eq!(child.adopt(offer), Adoption::Revoked);
    spawner.retract(offer);
    assert_eq!(stage.holdings().get(&supervisor.pid.word()), Some(&2));
    assert_eq!(supervisor.entrust(&child, 2), Ok(()));
    assert_eq!(child.release(1), Err(NotHeld), "they are bound");
    child.die();
    assert_eq!(stage.census().acquired, 1, "it was admitted once");
    stage.at_rest(&[]);
}

#[test]
fn what_is_entrusted_to_a_dead_child_is_free_again() {
    let (stage, [supervisor, child]) = Stage::cast(limit(1));
    assert_eq!(supervisor.try_bound(1), Ok(()));
    child.die();
    assert_eq!(supervisor.entrust(&child, 1), Err(TransferError::Gone));
    assert_eq!(supervisor.entrust(&child, 1), Err(TransferError::NotHeld));
    stage.at_rest(&[]);
}

#[test]
fn a_restart_takes_over_what_a_dead_holder_had_before_it_passes_the_limit() {
    let (stage, [supervisor, child, waiter, other]) = Stage::cast(Settings { max_overdraft: 1, ..limit(2) });
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
    let (stage, [supervisor, holder]) = Stage::cast(limit(10));
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
    let (stage, [supervisor, holder]) = Stage::cast(Settings { max_overdraft: AS_LIMIT, ..limit(0) });
    assert_eq!(supervisor.restart(1), Restart::Refused(Refusal::Full));
    stage.update(2);
    holder.hold(2);
    assert_eq!((supervisor.restart(2), supervisor.restart(1)), (Restart::Admitted, Restart::Refused(Refusal::Full)));
}

#[test]
fn what_a_dead_holder_had_beyond_a_restart_goes_to_who_waits() {
    let (stage, [supervisor, dead, waiter]) = Stage::cast(limit(3));
    dead.hold(3);
    waiter.wait(2);
    dead.begin_exit();
    assert_eq!(supervisor.restart(1), Restart::Admitted);
    assert!(waiter.was_granted());
    dead.finish_exit();
    stage.at_rest(&[(&supervisor, 1), (&waiter, 2)]);
    assert_eq!(stage.census().released_by_exit, 3);
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

#[test]
fn an_offer_that_was_settled_is_nothing_to_anybody() {
    let (stage, [spawner, child, next, thief]) = Stage::cast(limit(2));
    assert_eq!(spawner.try_bound(2), Ok(()));
    let first = spawner.offer(1).unwrap();
    spawner.hand_over(first, &child);
    let second = spawner.offer(1).unwrap();
    // The old offer occupies the same place as the new one.
    spawner.retract(first);
    assert_eq!(thief.adopt(first), Adoption::Revoked);
    spawner.hand_over(first, &thief);
    assert_eq!(next.adopt(second), Adoption::Adopted);
    assert_eq!(next.adopt(second), Adoption::Adopted, "it has them");
    stage.at_rest(&[(&child, 1), (&next, 1)]);
}

#[test]
fn a_closed_pool_admits_nobody_and_takes_back_everything() {
    let pool = Pool::<Fake>::new();
    assert_eq!(pool.info().status, Status::Closed);
    let (stage, [a, b, c]) = Stage::cast(limit(2));
    a.hold(1);
    assert_eq!(b.try_bound(1), Ok(()));
    let offer = b.offer(1).unwrap();
    stage.pool.close(&stage.host);
    assert!(!c.take(1));
    assert_eq!(c.try_acquire(1), Err(Refusal::Closed));
    assert_eq!(c.park(1), Parked::Closed);
    assert!(!stage.pool.reopen(&stage.host));
    // Work that began before the close goes on.
    assert_eq!(a.transfer(&c, 1), Ok(()));
    b.hand_over(offer, &a);
    stage.at_rest(&[(&a, 1), (&c, 1)]);
    assert_eq!((a.release_bound(1), c.release(1)), (Ok(()), Ok(())));
    assert!(stage.pool.open(limit(1)));
    stage.at_rest(&[]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_that_were_never_given_out_change_nothing(bits: u64, small in 0..4_096_u64, shift in 0..59_u32) {
        let (stage, [holder, waiter, spawner, child, thief]) = Stage::cast(limit(3));
        holder.hold(2);
        waiter.wait(2);
        stage.update(3);
        assert_eq!(spawner.stage.pool.try_acquire(&stage.host, spawner.pid, 1, Kind::Bound), Err(Refusal::Full));
        assert_eq!(holder.release(1), Ok(()));
        prop_assert!(waiter.was_granted());
        stage.update(4);
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        // An offer has 59 bits; the upper 5 bits of the word are unused.
        for bits in [bits, small, small.rotate_right(shift), offer.to_bits().wrapping_add(small + 1), offer.to_bits() ^ 1 << shift] {
            let forged = Offer::from_bits(bits);
            prop_assert_eq!(thief.adopt(forged), Adoption::Revoked);
            holder.hand_over(forged, &thief);
            holder.retract(forged);
            prop_assert_eq!(thief.cancel(WaiterId::from_bits(bits)), Cancelled::TooLate);
            prop_assert_eq!(WaiterId::from_bits(bits).to_bits(), bits);
        }
        prop_assert_eq!(child.adopt(offer), Adoption::Adopted);
        stage.at_rest(&[(&holder, 1), (&waiter, 2), (&child, 1)]);
    }
}

#[test]
fn updates_without_a_pause_keep_nobody_in_line_waiting() {
    const MANY: usize = 2_000;
    let stage = Stage::open(MANY + 2, limit(10));
    let (holder, wide) = (stage.process(MANY + 1), stage.process(MANY + 2));
    holder.hold(10);
    let waiters = processes(&stage, 1..=MANY);
    for waiter in &waiters {
        waiter.wait(1);
    }
    wide.wait(10);
    // The walk along the queue, which each shrink begins, is in its middle.
    stage.update(5);
    assert_eq!(holder.release(10), Ok(()));
    assert!(waiters[..5].iter().all(Process::was_granted), "in order, and not after the walk");
    // The host runs nothing of what was deferred, so the updates alone must make progress.
    let mut updates = 0;
    while wide.answers().is_empty() {
        updates += 1;
        assert!(updates < 100, "a walk that begins again each time never ends");
        stage.update(if updates % 2 == 0 { 5 } else { 9 });
    }
    assert_eq!(wide.answers(), [Answer::Full]);
    let granted = waiters.iter().take_while(|waiter| waiter.was_granted()).count();
    assert!(granted >= 9 && waiters[granted..].iter().all(|waiter| !waiter.was_granted()), "{granted}, in order");
    while stage.host.take_deferrals() > 0 {
        stage.pool.settle(&stage.host);
    }
    assert_eq!(stage.info().waiting, MANY - granted);
}

#[test]
fn a_second_offer_before_the_first_is_settled_is_refused_and_loses_nothing() {
    let (stage, [spawner, child, other]) = Stage::cast(limit(4));
    assert_eq!(spawner.try_bound(3), Ok(()));
    let first = spawner.offer(2).unwrap();
    assert_eq!(spawner.offer(1), None);
    assert_eq!(stage.holdings().get(&spawner.pid.word()), Some(&3));
    spawner.hand_over(first, &child);
    stage.at_rest(&[(&spawner, 1), (&child, 2)]);
    // The first offer is completed, so another is possible.
    let second = spawner.offer(1).unwrap();
    assert_eq!(spawner.offer(1), None, "it has no more, either");
    spawner.die();
    assert_eq!(other.adopt(second), Adoption::Revoked);
    stage.at_rest(&[(&child, 2)]);
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
    let (stage, [supervisor, first, second, third]) = Stage::cast(limit(3));
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

fn ask(process: &Process, n: u32, until: Option<u64>) -> (Parked, bool) {
    let stage = &process.stage;
    stage.pool.ask(&stage.host, process.pid, n, stage.host.ticket(), until, || true)
}

#[test]
fn the_many_waits_of_a_process_that_dies_end_in_parts() {
    let (stage, [holder, asker, other]) = Stage::cast(limit(1));
    holder.hold(1);
    for n in 0..500 {
        assert!(matches!(ask(&asker, 1, (n % 2 == 0).then_some(n)), (Parked::Waiting(_), _)));
    }
    other.wait(1);
    asker.die();
    let left = stage.info().waiting;
    assert!((400..501).contains(&left), "{left} left by one call");
    assert_eq!(holder.release(1), Ok(()));
    assert!(!other.was_granted(), "nobody is served before the dead are out of the way");
    assert!(settle_what_was_deferred(&stage) > 5);
    assert!(other.was_granted());
    assert_eq!(stage.pool.expire(&stage.host, 1_000), Expiry::Nothing);
    assert_eq!((stage.info().waiting, stage.census().timed_out), (0, 0));
    stage.at_rest(&[(&other, 1)]);
}

#[test]
fn waits_that_the_host_ends_end_in_parts_and_let_others_go_on() {
    let (stage, [holder, asker, other]) = Stage::cast(limit(2));
    holder.hold(1);
    for n in 0..200 {
        assert_eq!(ask(&asker, 2, Some(10 + n)).1, n == 0, "the host is told of the first");
    }
    let last = other.wait(1);
    assert_eq!(stage.pool.expire(&stage.host, 9), Expiry::Later);
    assert_eq!(stage.pool.expire(&stage.host, 1_000), Expiry::More);
    let told = asker.answers().len();
    assert!((1..=100).contains(&told), "{told} by one call");
    while stage.pool.expire(&stage.host, 1_000) == Expiry::More {}
    assert_eq!(asker.answers(), vec![Answer::TimedOut; 200]);
    assert!(other.was_granted());
    assert_eq!(other.cancel(last), Cancelled::TooLate);
    assert_eq!(stage.pool.expire(&stage.host, 1_000), Expiry::Nothing);
    stage.update(0);
    assert!(ask(&asker, 1, Some(2_000)).1, "told again");
    assert_eq!(stage.census().timed_out, 200);
}
