//! Races of the many-holders hint, which tells that a pool has too many living holders to scan.
//! While the hint is published, a pool refuses without a scan for dead holders. Under loom two
//! holders are many.
//!
//! A holder *leaves* when it stops holding: it stores its count and then loads the hint. A scan
//! stores the hint and then loads the counts (store buffering). One of the two must see what the
//! other stored. Otherwise the hint would be stale: a refusal would skip its scan, although only
//! one holder is left, which may be dead.

use penstock_core::{Adoption, Parked};

use crate::explore::explore;
use crate::support::{Process, Stage, limit};
use crate::{assert_death_is_found, meanwhile, spawn};

/// One of two holders leaves by `leave` while a scan counts both. The holder that stays is not
/// many, so a refusal must find its death.
fn many_holders_against(leave: impl Fn(&Process, &Process) + Copy + Send + Sync + 'static) {
    explore(move || {
        let (stage, [stays, leaves, scanner, asker]) = Stage::with_processes(limit(2));
        stays.hold(1);
        leaves.hold(1);
        let other = stays.clone();
        let leaving = spawn(&leaves, move |leaves| leave(&leaves, &other));
        assert!(scanner.try_acquire(2).is_err());
        leaving.join().unwrap();
        assert_death_is_found(&stage, &stays, &asker, 2);
    });
}

/// The holder leaves by a release (`Pool::give_back`).
#[test]
fn many_holders_against_a_release() {
    many_holders_against(|leaves, _| assert_eq!(leaves.release(1), Ok(())));
}

/// A holder releases while a scan counts that holder, another living one and a dead one. Then one
/// living holder is left. One is not many, so the next refusal must scan.
#[test]
fn many_holders_against_a_release_with_a_dead_holder() {
    explore(|| {
        let (stage, [dead, stays, leaves, scanner, asker]) = Stage::with_processes(limit(3));
        for holder in [&dead, &stays, &leaves] {
            holder.hold(1);
        }
        dead.begin_exit();
        let leaving = spawn(&leaves, |leaves| assert_eq!(leaves.release(1), Ok(())));
        let admitted = scanner.try_acquire(2).is_ok();
        leaving.join().unwrap();
        if admitted {
            assert_eq!(scanner.release(2), Ok(()));
        }
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        dead.finish_exit();
        stage.at_rest(&[(&stays, 1), (&asker, 2)]);
    });
}

/// A holder releases while two scans run, and both may propose the hint. One scan must not
/// publish the proposal of the other (`ManyHolders::publish`).
#[test]
fn many_holders_against_a_release_and_another_scan() {
    explore(|| {
        let (stage, [stays, leaves, scanner, asker]) = Stage::with_processes(limit(2));
        stays.hold(1);
        leaves.hold(1);
        let leaving = spawn(&leaves, |leaves| assert_eq!(leaves.release(1), Ok(())));
        let scanning = spawn(&scanner, |scanner| assert!(scanner.try_acquire(2).is_err()));
        meanwhile(&asker, |asker| assert!(asker.try_acquire(2).is_err()));
        leaving.join().unwrap();
        scanning.join().unwrap();
        assert_death_is_found(&stage, &stays, &asker, 2);
    });
}

/// The holder leaves by its death: `Pool::reclaim` wipes its entry and then loads the hint.
#[test]
fn many_holders_against_a_death() {
    many_holders_against(|leaves, _| leaves.die());
}

/// The holder leaves by a transfer to the holder that stays (`Pool::transfer`).
#[test]
fn many_holders_against_a_transfer() {
    many_holders_against(|leaves, stays| assert_eq!(leaves.transfer(stays, 1), Ok(())));
}

/// A spawner leaves when its child adopts the offered permit (`Pool::complete`). The child holds
/// a permit already, so it is no new holder.
#[test]
fn many_holders_against_an_adoption_by_a_holder() {
    explore(|| {
        let (stage, [spawner, child, scanner, asker]) = Stage::with_processes(limit(2));
        // The child gets a permit by a transfer before its first instruction.
        scanner.hold(1);
        assert_eq!(scanner.transfer(&child, 1), Ok(()));
        let offer = spawner.acquire_and_offer(1);
        let adopting = spawn(&child, move |child| assert_eq!(child.adopt(offer), Adoption::Adopted));
        assert!(scanner.try_acquire(1).is_err());
        adopting.join().unwrap();
        // The spawner dies without a call of `hand_over`, which would clear a stale hint.
        spawner.die();
        assert_death_is_found(&stage, &child, &asker, 2);
    });
}

/// The hint is published, so refusals skip their scan. Two permits are free. A process parks and
/// sets the flag WAITERS in the state word, which keeps another caller from the permits. Before
/// the pool refuses that caller, it must serve the queue, and then let the caller take a permit
/// that is left.
#[test]
fn a_refusal_that_skips_its_scan_against_a_park() {
    explore(|| {
        let (stage, [a, b, parker, asker]) = Stage::with_processes(limit(4));
        a.hold(1);
        b.hold(1);
        assert!(asker.try_acquire(3).is_err(), "the scan publishes the hint");
        let parking = spawn(&parker, |parker| assert_eq!(parker.park(1), Parked::Granted));
        assert_eq!(asker.try_acquire(1), Ok(()), "one permit is free for each");
        parking.join().unwrap();
        stage.at_rest(&[(&a, 1), (&b, 1), (&parker, 1), (&asker, 1)]);
    });
}

/// A process that acquires announces the permits in its entry, and then takes them by a CAS on
/// the state word. If the CAS fails, it removes the announcement. A scan may have counted the
/// process as a holder by its announcement. So the process must clear the hint after the removal.
#[test]
fn many_holders_against_a_refused_announcement() {
    explore(|| {
        let (stage, [a, b, scanner, asker]) = Stage::with_processes(limit(1));
        // Both entries are active, so that a scan sees what they announce.
        for process in [&a, &b] {
            process.hold(1);
            assert_eq!(process.release(1), Ok(()));
        }
        let first = spawn(&a, |a| a.take(1));
        let second = spawn(&b, |b| b.take(1));
        let third = meanwhile(&scanner, |scanner| scanner.try_acquire(1));
        let first = first.join().unwrap();
        let second = second.join().unwrap();
        let won = [first, second, third.is_ok()];
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
        let winner = if first {
            a
        } else if second {
            b
        } else {
            scanner
        };
        assert_death_is_found(&stage, &winner, &asker, 1);
    });
}

/// A spawner leaves by a retraction of its offer (`Pool::retract`).
#[test]
fn many_holders_against_a_retraction() {
    explore(|| {
        let (stage, [stays, spawner, scanner, asker]) = Stage::with_processes(limit(2));
        stays.hold(1);
        let offer = spawner.acquire_and_offer(1);
        let retracting = spawn(&spawner, move |spawner| spawner.retract(offer));
        assert!(scanner.try_acquire(2).is_err());
        retracting.join().unwrap();
        assert_death_is_found(&stage, &stays, &asker, 2);
    });
}

/// A spawner leaves when it hands over to its child. A scan may count one permit in both entries,
/// and take the spawner and the child for two holders.
#[test]
fn many_holders_against_a_hand_over() {
    explore(|| {
        let (stage, [spawner, child, scanner, asker]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        let to = child.clone();
        let handing = spawn(&spawner, move |spawner| spawner.hand_over(offer, &to));
        assert!(scanner.try_acquire(1).is_err());
        handing.join().unwrap();
        assert_death_is_found(&stage, &child, &asker, 1);
    });
}

/// A spawner leaves when its child adopts. The spawner then dies, and never hands over. A scan
/// may count one permit in both entries, and take the spawner and the child for two holders.
#[test]
fn many_holders_against_an_adoption_from_a_dead_spawner() {
    explore(|| {
        let (stage, [spawner, child, scanner, asker]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        let adopting = spawn(&child, move |child| assert_eq!(child.adopt(offer), Adoption::Adopted));
        assert!(scanner.try_acquire(1).is_err());
        adopting.join().unwrap();
        // The spawner dies without a call of `hand_over`, which would clear a stale hint.
        spawner.die();
        assert_death_is_found(&stage, &child, &asker, 1);
    });
}
