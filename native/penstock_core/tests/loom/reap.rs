//! Races of death: monitors, and the scans of refusals, both of which reap dead holders. A pool
//! of two living holders has many in these models, and a refusal does not scan it to the end.

use penstock_core::{Parked, TransferError};

use crate::explore::explore;
use crate::support::{Process, Stage, limit};
use crate::{assert_death_is_found, has, meanwhile, spawn};

/// Two calls of `Pool::down` reap one dead holder, which also waits: its permits come back once,
/// and its wait ends.
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

/// A refusal scans while the monitor reaps the dead holder: the asker saw the death, and is
/// admitted in either order.
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

/// Two refusals scan at once, and find one dead holder of two permits. The call that does not
/// reap it takes once more after its scan.
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

/// A refusal and a parking process both scan, and find one dead holder of two permits: both get
/// one.
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

/// A refusal scans while the monitor reaps the dead holder of two permits. The waiter comes
/// first, and the asker takes what it leaves.
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

/// A process acquires for the first time and dies; another process sees it dead and asks. The
/// scan finds the entry active, or the permit given back (`Table::each_active`).
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

/// A process in the active set that holds nothing begins to hold by `acquire` while a scan
/// deactivates its entry. The process announces permits and then loads `active`; the scan clears
/// `active` and then loads the permits (`Table::deactivate_if_idle`). If both miss each other, no
/// later scan finds the process dead.
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

/// The process takes and offers the permit at once: `Entry::held` counts it in one word or the
/// other.
#[test]
fn scan_against_an_acquire_that_is_offered_at_once() {
    scan_against_an_idle_process(|idle| {
        idle.acquire_and_offer(1);
    });
}

/// The process parks and finds a permit free (`Pool::record_unannounced`).
#[test]
fn scan_against_a_park() {
    scan_against_an_idle_process(|idle| assert_eq!(idle.park(1), Parked::Granted));
}

/// As `scan_against_a_park`, with a parking process whose own scan stops at two living holders,
/// before it comes to its own entry.
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

/// A scan deactivates the idle receiver of a transfer, which credits it under the shard lock
/// (`Table::credit`).
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

/// A process acquires for the first time and dies while it gets a permit by a transfer. A third
/// process sees it dead and asks: the scan finds what the dead process acquired itself.
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
