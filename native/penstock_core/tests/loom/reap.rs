//! Races of deaths. The monitor of a dead holder reaps it (`Pool::down`), or a *scan* does:
//! before a pool refuses a caller, the call visits the holders. Under loom two living holders are
//! many. A scan that meets two living holders stops, and reaps none.

use penstock_core::{Parked, TransferError};

use crate::explore::explore;
use crate::support::{Process, Stage, limit};
use crate::{assert_death_is_found, has, meanwhile, spawn};

/// Two calls of `Pool::down` reap one dead holder, which also waits. Its permits must come back
/// once, and its wait must end.
#[test]
fn down_against_down() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(3));
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

/// The asker's call scans while the monitor reaps the dead holder. The asker saw the death, so it
/// must be admitted in either order.
#[test]
fn scan_against_down() {
    explore(|| {
        let (stage, [dead, asker]) = Stage::with_processes(limit(1));
        dead.hold(1).begin_exit();
        let telling = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(asker.try_acquire(1), Ok(()), "the asker saw the death, and no other process asks");
        telling.join().unwrap();
        stage.at_rest(&[(&asker, 1)]);
        assert_eq!(stage.report().released_by_exit, 1);
    });
}

/// The calls of two askers scan at once, and find one dead holder of two permits. One call reaps
/// the holder. The other call tries once more to take after its scan. So both askers must be
/// admitted.
#[test]
fn scan_against_a_scan() {
    explore(|| {
        let (stage, [dead, asker, other]) = Stage::with_processes(limit(2));
        dead.hold(2).begin_exit();
        let asking = spawn(&other, |other| assert_eq!(other.try_acquire(1), Ok(())));
        assert_eq!(asker.try_acquire(1), Ok(()), "two permits come back");
        asking.join().unwrap();
        dead.finish_exit();
        stage.at_rest(&[(&asker, 1), (&other, 1)]);
        assert_eq!(stage.report().released_by_exit, 2);
    });
}

/// The calls of an asker and of a parking process scan at once, and find one dead holder of two
/// permits. The asker and the parking process must get one permit each.
#[test]
fn scan_against_a_waiter_parking() {
    explore(|| {
        let (stage, [dead, asker, other]) = Stage::with_processes(limit(2));
        dead.hold(2).begin_exit();
        let waiting = spawn(&other, |other| other.acquire(1));
        assert_eq!(asker.try_acquire(1), Ok(()), "two permits come back");
        let acquired = waiting.join().unwrap();
        assert!(has(&other, acquired));
        dead.finish_exit();
        stage.at_rest(&[(&asker, 1), (&other, 1)]);
    });
}

/// The asker's call scans while the monitor reaps the dead holder of two permits. The waiter must
/// get one permit, and the asker the one that is left.
#[test]
fn scan_against_down_with_a_waiter() {
    explore(|| {
        let (stage, [dead, asker, waiter]) = Stage::with_processes(limit(2));
        dead.hold(2);
        waiter.wait(1);
        dead.begin_exit();
        let telling = spawn(&dead, |dead| dead.finish_exit());
        assert_eq!(asker.try_acquire(1), Ok(()), "two permits come back");
        telling.join().unwrap();
        assert!(waiter.was_granted());
        stage.at_rest(&[(&asker, 1), (&waiter, 1)]);
    });
}

/// A process acquires for the first time and dies. An asker that sees it dead must get the
/// permit. Either the asker's scan finds the entry of the dead process (`Table::each_active`), or
/// the permit was given back before.
#[test]
fn scan_against_a_death_that_was_just_seen() {
    explore(|| {
        let (stage, [dead, asker]) = Stage::with_processes(limit(1));
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

/// A scan deactivates the entry of a process that holds nothing. Meanwhile that process begins to
/// hold, by `acquire`. This is store buffering (`Table::deactivate_if_idle`):
///
/// 1. The process stores its permits in the entry, and then loads `active`.
/// 2. The scan clears `active`, and then loads the permits.
///
/// One of the two must see what the other stored. Otherwise no later scan would find the process
/// dead.
fn scan_against_an_idle_process(acquire: impl Fn(&Process) + Copy + Send + Sync + 'static) {
    explore(move || {
        let (stage, [idle, holder, asker]) = Stage::with_processes(limit(2));
        holder.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let acquiring = spawn(&idle, move |idle| acquire(&idle));
        assert!(asker.try_acquire(2).is_err());
        acquiring.join().unwrap();
        assert_eq!(holder.release(1), Ok(()));
        assert_death_is_found(&stage, &idle, &asker, 2);
    });
}

/// The process takes (`Pool::acquire_into`).
#[test]
fn scan_against_an_acquire() {
    scan_against_an_idle_process(|idle| assert!(idle.take(1)));
}

/// The process takes a permit and offers it at once. The permit moves from the word of the
/// process's own permits to the word of the offer. `Entry::held` must find it in one of the two.
#[test]
fn scan_against_an_acquire_that_is_offered_at_once() {
    scan_against_an_idle_process(|idle| {
        idle.acquire_and_offer(1);
    });
}

/// The process parks, and is granted a free permit at once. It has not announced the permit
/// before: `Pool::record_unannounced` records it.
#[test]
fn scan_against_a_park() {
    scan_against_an_idle_process(|idle| assert_eq!(idle.park(1), Parked::Granted));
}

/// As `scan_against_a_park`, but the parking process scans as well. Its scan may meet two living
/// holders. The scan then stops before it comes to the entry of the parking process itself.
#[test]
fn scan_against_a_park_that_skipped_the_rest_of_its_own_scan() {
    explore(|| {
        let (stage, [stays, leaves, idle, asker]) = Stage::with_processes(limit(4));
        stays.hold(1);
        leaves.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let taking = spawn(&idle, |idle| assert_eq!(idle.park(1), Parked::Granted));
        let leaving = spawn(&leaves, |leaves| {
            assert_eq!(leaves.release(1), Ok(()));
            assert!(leaves.try_acquire(4).is_err());
        });
        leaving.join().unwrap();
        taking.join().unwrap();
        assert_eq!(stays.release(1), Ok(()));
        assert_death_is_found(&stage, &idle, &asker, 4);
    });
}

/// A scan deactivates the entry of a process that holds nothing. Meanwhile another process
/// transfers a permit to it, and credits the entry under its shard lock (`Table::credit`).
#[test]
fn scan_against_a_transfer() {
    explore(|| {
        let (stage, [idle, holder, asker]) = Stage::with_processes(limit(2));
        holder.hold(1);
        idle.hold(1);
        assert_eq!(idle.release(1), Ok(()));
        let to = idle.clone();
        let giving = spawn(&holder, move |holder| assert_eq!(holder.transfer(&to, 1), Ok(())));
        assert!(asker.try_acquire(2).is_err());
        giving.join().unwrap();
        assert_death_is_found(&stage, &idle, &asker, 2);
    });
}

/// A process acquires for the first time and dies. Meanwhile another process transfers a permit
/// to it. An asker that sees it dead must get a permit: the asker's scan must find what the dead
/// process acquired itself.
#[test]
fn scan_against_a_transfer_to_a_process_that_acquires_and_dies() {
    explore(|| {
        let (stage, [giver, dead, asker]) = Stage::with_processes(limit(2));
        giver.hold(1);
        let dying = spawn(&dead, |dead| {
            assert!(dead.take(1));
            dead.begin_exit();
        });
        let to = dead.clone();
        let giving = spawn(&giver, move |giver| giver.transfer(&to, 1));
        let seen_dying = dead.clone();
        let seen = meanwhile(&asker, move |asker| {
            let seen = !seen_dying.alive();
            if seen {
                assert_eq!(asker.try_acquire(1), Ok(()), "the scan finds what the dead process acquired itself");
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
