//! Drains, reopenings, closes, updates and further openings.

use penstock_core::{
    AS_LIMIT, Answer, Cancelled, KeyParked, KeyRefusal, KeyedChanges, KeyedDrain, KeyedPool, KeyedSettings, Kind,
    NotHeld, Reusable, Status,
};

use crate::stage::{Name, Stage, settings, tag};
use crate::support::Fake;

const CLOSED: KeyRefusal = KeyRefusal::Closed;

#[test]
fn a_drain_ends_with_the_last_permit_of_the_last_key() {
    for max_keys in [10, 5_000] {
        let (stage, [a, b, drainer, other]) = Stage::with(settings(2, max_keys));
        for key in 0..8 {
            a.hold(key, 1);
        }
        b.hold(0, 1);
        drainer.wait_for_drain();
        other.wait_for_drain();
        assert_eq!(b.try_acquire(1, 1), Err(CLOSED));
        for key in 0..8 {
            assert!(drainer.answers().is_empty(), "key {key} is held");
            assert_eq!(a.release(key, 1), Ok(()));
        }
        assert!(drainer.answers().is_empty());
        b.die();
        assert_eq!((drainer.answers(), other.answers()), (vec![Answer::Drained], vec![Answer::Drained]));
        assert_eq!(drainer.drain(), KeyedDrain::Done);
        assert_eq!(stage.sums().status, Status::Draining);
        stage.nothing_is_left();
    }
}

#[test]
fn a_drain_refuses_waiters_and_newcomers_until_the_pool_is_reopened() {
    let (stage, [a, waiter, drainer]) = Stage::with(settings(1, 10));
    a.hold(1, 1);
    waiter.wait(1, 1);
    let number = drainer.wait_for_drain();
    assert_eq!(waiter.answers(), [Answer::Closed]);
    assert_eq!(waiter.try_acquire(2, 1), Err(CLOSED));
    assert_eq!(waiter.park(1, 1), KeyParked::Refused(CLOSED));
    assert_eq!(stage.sums().rejected, 3);
    assert_eq!(a.stop_draining(number), Cancelled::TooLate, "another process waits");
    assert_eq!(drainer.stop_draining(number + 1), Cancelled::TooLate);
    assert_eq!(drainer.stop_draining(number), Cancelled::Yes);
    assert_eq!(drainer.stop_draining(number), Cancelled::TooLate);
    drainer.wait_for_drain();
    assert!(stage.reopen());
    assert!(stage.reopen(), "a second time");
    assert_eq!(drainer.answers(), [Answer::Undrained(1)]);
    waiter.wait(1, 1);
    assert_eq!(a.release(1, 1), Ok(()));
    assert_eq!(waiter.answers(), [Answer::Closed, Answer::Granted]);
    stage.at_rest(&[(&waiter, 1, 1)]);
}

#[test]
fn handoffs_and_releases_go_on_while_a_pool_drains_or_is_closed() {
    for close in [false, true] {
        let (stage, [spawner, child, drainer]) = Stage::with(settings(1, 10));
        let offer = spawner.acquire_and_offer(1, 1);
        drainer.wait_for_drain();
        if close {
            stage.close();
        }
        spawner.hand_over(offer, &child);
        assert_eq!(stage.holdings(1).get(&child.pid.word()), Some(&1));
        assert_eq!(child.end_work(), Ok(()));
        assert_eq!(drainer.answers(), [if close { Answer::Undrained(1) } else { Answer::Drained }]);
        assert_eq!(stage.sums().in_use, 0);
    }
}

#[test]
fn a_closed_pool_answers_all_and_counts_its_permits_until_they_come_back() {
    let (stage, [a, b, waiter, drainer]) = Stage::with(settings(1, 10));
    a.hold(1, 1);
    b.hold(2, 1);
    waiter.wait(1, 1);
    drainer.wait_for_drain();
    assert!(stage.pool.is_current(stage.generation()));
    stage.close();
    assert!(!stage.pool.is_current(stage.generation()), "the opening is over");
    assert_eq!(waiter.answers(), [Answer::Closed]);
    assert_eq!(drainer.answers(), [Answer::Undrained(2)]);
    assert_eq!(a.try_acquire(3, 1), Err(CLOSED));
    assert!(!stage.reopen() && !stage.update(5));
    assert!(!Reusable::fits(&stage.pool, stage.settings), "permits are held");
    assert_eq!(a.release(1, 1), Ok(()));
    assert_eq!(a.release(1, 1), Err(NotHeld));
    b.die();
    assert_eq!(stage.sums().in_use, 0);
    assert!(Reusable::fits(&stage.pool, stage.settings));
    assert!(!Reusable::fits(&stage.pool, settings(1, 11)));
}

#[test]
fn an_opening_begins_with_totals_of_0_and_refuses_callers_of_an_earlier_one() {
    let (stage, [a, b]) = Stage::with(settings(1, 10));
    a.hold(1, 1);
    assert_eq!(a.try_acquire(1, 1), Err(KeyRefusal::KeyFull));
    a.release(1, 1).unwrap();
    stage.close();
    let later = stage.pool.open(settings(3, 10));
    assert_ne!(later, stage.generation());
    assert!(stage.pool.is_current(later) && !stage.pool.is_current(stage.generation()));
    let sums = stage.sums();
    assert_eq!((sums.acquired, sums.rejected, sums.settings.limit), (0, 0, 3));
    // The processes of the stage mean the earlier opening.
    assert_eq!(a.try_acquire(1, 1), Err(CLOSED));
    assert_eq!(a.park(1, 1), KeyParked::Refused(CLOSED));
    assert!(matches!(a.restart(1, 1), penstock_core::KeyRestart::Refused(CLOSED)));
    assert!(!stage.update(9) && !stage.reopen());
    stage.close();
    assert_eq!(stage.pool.drain(&stage.host, stage.generation(), b.pid, stage.host.ticket()), None);
    let sums = stage.sums();
    assert_eq!((sums.status, sums.rejected, sums.settings.limit), (Status::Open, 0, 3));
    let show = Name(1);
    let key = penstock_core::PoolKey { generation: later, tag: tag(1), show: &show };
    assert!(stage.pool.try_acquire(&stage.host, b.pid, key, 3, Kind::Manual).is_ok());
}

#[test]
fn an_update_changes_what_it_names_and_nothing_else() {
    let (stage, [a]) = Stage::with(settings(1, 10));
    let at_first = stage.sums().settings;
    assert!(stage.change(KeyedChanges::default()));
    assert_eq!(stage.sums().settings, at_first);
    assert!(stage.change(KeyedChanges { max_waiting: Some(7), ..KeyedChanges::default() }));
    assert!(stage.change(KeyedChanges { max_overdraft: Some(8), ..KeyedChanges::default() }));
    assert!(stage.update(9));
    let changed = KeyedSettings { limit: 9, max_waiting: 7, max_overdraft: 8, ..at_first };
    assert_eq!(stage.sums().settings, changed);
    a.hold(1, 9);
    a.restarted(1, 8);
    assert!(stage.change(KeyedChanges { max_overdraft: Some(AS_LIMIT), ..KeyedChanges::default() }));
    a.restarted(1, 1);
    stage.at_rest(&[(&a, 1, 18)]);
}

#[test]
fn an_owner_that_resumes_changes_what_differs_from_the_start_before() {
    let (stage, [a]) = Stage::with(settings(1, 10));
    assert!(stage.update(4));
    let resume = |old, new, is_owner: bool| {
        Reusable::resume(&stage.pool, stage.generation(), old, new, || 0, &|| is_owner);
        stage.sums().settings
    };
    let old = stage.settings;
    assert_eq!(resume(old, old, true).limit, 4, "an updated limit stays");
    let new = KeyedSettings { limit: 6, max_waiting: 3, max_overdraft: 2, ..old };
    assert_eq!(resume(old, new, false).limit, 4, "the owner has died");
    assert_eq!(resume(old, new, true), new, "changed settings win");
    assert!(<KeyedPool<Fake> as Reusable>::is_compatible(old, new));
    assert!(!<KeyedPool<Fake> as Reusable>::is_compatible(old, settings(1, 11)));
    a.hold(1, 6);
}

#[test]
fn a_pool_that_no_name_got_is_discarded_and_serves_another() {
    let (stage, []) = Stage::with(settings(1, 10));
    assert!(!Reusable::fits(&stage.pool, stage.settings), "the pool is open");
    Reusable::discard(&stage.pool, stage.generation());
    assert!(Reusable::fits(&stage.pool, stage.settings));
}
