//! Races of death: monitors, and scans for dead holders. More than one holder is many here.

use penstock_core::{Parked, TransferError};

use crate::explore::explore;
use crate::support::{Stage, limit};
use crate::{has, meanwhile, spawn};

#[test]
fn down_against_down() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(3));
        a.hold(2);
        b.hold(1);
        a.wait(1);
        c.wait(3);
        a.begin_exit();
        let again = spawn(&a, |a| a.stage.pool.down(&a.stage.host, a.pid));
        stage.pool.down(&stage.host, a.pid);
        again.join().unwrap();
        stage.at_rest(&[(&b, 1)]);
        assert_eq!(stage.report().released_by_exit, 2);
        assert_eq!(b.release(1), Ok(()));
        assert!(c.was_granted());
        stage.at_rest(&[(&c, 3)]);
    });
}

#[test]
fn look_against_down() {
    explore(|| {
        let (stage, [dead, asker]) = Stage::cast(limit(1));
        dead.hold(1).begin_exit();
        let telling = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(asker.try_acquire(1), Ok(()), "it saw the death, and nobody else asks");
        telling.join().unwrap();
        stage.at_rest(&[(&asker, 1)]);
        assert_eq!(stage.report().released_by_exit, 1);
    });
}

#[test]
fn look_against_a_look() {
    explore(|| {
        let (stage, [dead, asker, other]) = Stage::cast(limit(2));
        dead.hold(2).begin_exit();
        let asking = spawn(&other, |other| assert_eq!(other.try_acquire(1), Ok(())));
        assert_eq!(asker.try_acquire(1), Ok(()), "there is enough for both");
        asking.join().unwrap();
        dead.finish_exit();
        stage.at_rest(&[(&asker, 1), (&other, 1)]);
        assert_eq!(stage.report().released_by_exit, 2);
    });
}

#[test]
fn look_against_a_waiter_parking() {
    explore(|| {
        let (stage, [dead, asker, other]) = Stage::cast(limit(2));
        dead.hold(2).begin_exit();
        let waiting = spawn(&other, |other| other.acquire(1));
        assert_eq!(asker.try_acquire(1), Ok(()), "there is enough for both");
        let acquired = waiting.join().unwrap();
        assert!(has(&other, acquired));
        dead.finish_exit();
        stage.at_rest(&[(&asker, 1), (&other, 1)]);
    });
}

#[test]
fn look_against_down_with_a_waiter() {
    explore(|| {
        let (stage, [dead, asker, waiter]) = Stage::cast(limit(2));
        dead.hold(2);
        waiter.wait(1);
        dead.begin_exit();
        let telling = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(asker.try_acquire(1), Ok(()), "there is enough for both");
        telling.join().unwrap();
        assert!(waiter.was_granted());
        stage.at_rest(&[(&asker, 1), (&waiter, 1)]);
    });
}

#[test]
fn look_against_a_death_that_was_just_seen() {
    explore(|| {
        let (stage, [dead, asker]) = Stage::cast(limit(1));
        let dying = spawn(&dead, |dead| {
            dead.hold(1);
            dead.die();
        });
        if !dead.alive() {
            assert_eq!(asker.try_acquire(1), Ok(()));
            assert_eq!(asker.release(1), Ok(()));
        }
        dying.join().unwrap();
        stage.at_rest(&[]);
    });
}

#[test]
fn look_against_an_acquire_and_a_death() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::cast(limit(2));
        holder.hold(1);
        // The process is in the active set and holds nothing, so a scan deactivates it.
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let taking = spawn(&idle, |idle| assert!(idle.take(1)));
        assert!(asker.try_acquire(2).is_err());
        taking.join().unwrap();
        assert_eq!(holder.release(1), Ok(()));
        idle.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "a later look finds the holder");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn look_against_an_acquire_that_is_offered_at_once() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::cast(limit(2));
        holder.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let spawning = spawn(&idle, |idle| {
            assert_eq!(idle.try_bound(1), Ok(()));
            assert!(idle.offer(1).is_some());
        });
        assert!(asker.try_acquire(2).is_err());
        spawning.join().unwrap();
        assert_eq!(holder.release(1), Ok(()));
        idle.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "what is on offer is held");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn look_against_a_park_that_need_not_wait() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::cast(limit(2));
        holder.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let taking = spawn(&idle, |idle| assert_eq!(idle.park(1), Parked::Granted));
        assert!(asker.try_acquire(2).is_err());
        taking.join().unwrap();
        assert_eq!(holder.release(1), Ok(()));
        idle.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "a later look finds the holder");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn look_against_a_park_that_need_not_wait_and_saw_a_crowd() {
    explore(|| {
        let (stage, [stays, leaves, idle, asker]) = Stage::cast(limit(4));
        stays.hold(1);
        leaves.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        // The caller saw too many holders to scan all of them, and itself.
        let taking = spawn(&idle, |idle| assert_eq!(idle.park(1), Parked::Granted));
        let leaving = spawn(&leaves, |leaves| {
            assert_eq!(leaves.release(1), Ok(()));
            assert!(leaves.try_acquire(4).is_err());
        });
        leaving.join().unwrap();
        taking.join().unwrap();
        assert_eq!(stays.release(1), Ok(()));
        idle.begin_exit();
        assert_eq!(asker.try_acquire(4), Ok(()), "a later look finds the holder");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 4)]);
    });
}

#[test]
fn look_against_a_transfer() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::cast(limit(2));
        holder.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let to = idle.clone();
        let giving = spawn(&holder, move |holder| assert_eq!(holder.transfer(&to, 1), Ok(())));
        assert!(asker.try_acquire(2).is_err());
        giving.join().unwrap();
        idle.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "a later look finds the holder");
        idle.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn look_against_a_transfer_to_one_that_acquires_and_dies() {
    explore(|| {
        let (stage, [giver, dead, asker]) = Stage::cast(limit(2));
        giver.hold(1);
        let dying = spawn(&dead, |dead| {
            assert!(dead.take(1));
            dead.begin_exit();
        });
        let to = dead.clone();
        let giving = spawn(&giver, move |giver| giver.transfer(&to, 1));
        let watched = dead.clone();
        let seen = meanwhile(&asker, move |asker| {
            let seen = !watched.alive();
            if seen {
                assert_eq!(asker.try_acquire(1), Ok(()), "what the dead took by its own hand is found");
            }
            seen
        });
        dying.join().unwrap();
        let given = giving.join().unwrap();
        assert!(matches!(given, Ok(()) | Err(TransferError::Gone)));
        dead.finish_exit();
        stage.at_rest(&[(&asker, u64::from(seen))]);
    });
}
