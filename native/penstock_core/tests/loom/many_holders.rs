//! Races of the hint that a pool has many holders.

use penstock_core::{Adoption, Parked};

use crate::explore::explore;
use crate::support::{Process, Stage, limit};
use crate::{meanwhile, spawn};

/// While a scan finds two holders, one of them leaves by `leave`. The remaining holder is not
/// many: when it dies, an asker that saw the death is admitted.
fn crowd_against(leave: impl Fn(&Process, &Process) + Copy + Send + Sync + 'static) {
    explore(move || {
        let (stage, [stays, leaves, looker, asker]) = Stage::cast(limit(2));
        stays.hold(1);
        leaves.hold(1);
        let other = stays.clone();
        let leaving = spawn(&leaves, move |leaves| leave(&leaves, &other));
        assert!(looker.try_acquire(2).is_err());
        leaving.join().unwrap();
        stays.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        stays.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn crowd_against_a_release() {
    crowd_against(|leaves, _| assert_eq!(leaves.release(1), Ok(())));
}

#[test]
fn crowd_against_a_release_beside_one_that_is_dead() {
    explore(|| {
        let (stage, [dead, stays, leaves, looker, asker]) = Stage::cast(limit(3));
        for holder in [&dead, &stays, &leaves] {
            holder.hold(1);
        }
        dead.begin_exit();
        let leaving = spawn(&leaves, |leaves| assert_eq!(leaves.release(1), Ok(())));
        let served = looker.try_acquire(2).is_ok();
        leaving.join().unwrap();
        if served {
            assert_eq!(looker.release(2), Ok(()));
        }
        assert_eq!(asker.try_acquire(2), Ok(()), "the dead one was taken for a crowd");
        dead.finish_exit();
        stage.at_rest(&[(&stays, 1), (&asker, 2)]);
    });
}

#[test]
fn crowd_against_a_release_and_another_look() {
    explore(|| {
        let (stage, [stays, leaves, looker, asker]) = Stage::cast(limit(2));
        stays.hold(1);
        leaves.hold(1);
        let leaving = spawn(&leaves, |leaves| assert_eq!(leaves.release(1), Ok(())));
        // One scan must not publish what another proposed.
        let looking = spawn(&looker, |looker| assert!(looker.try_acquire(2).is_err()));
        meanwhile(&asker, |asker| assert!(asker.try_acquire(2).is_err()));
        leaving.join().unwrap();
        looking.join().unwrap();
        stays.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        stays.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn crowd_against_a_death() {
    crowd_against(|leaves, _| leaves.die());
}

#[test]
fn crowd_against_a_transfer() {
    crowd_against(|leaves, stays| assert_eq!(leaves.transfer(stays, 1), Ok(())));
}

#[test]
fn crowd_against_an_adoption_by_a_holder() {
    explore(|| {
        let (stage, [spawner, child, looker, asker]) = Stage::cast(limit(2));
        // The child got a permit by a transfer before its first instruction.
        looker.hold(1);
        assert_eq!(looker.transfer(&child, 1), Ok(()));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let adopting = spawn(&child, move |child| assert_eq!(child.adopt(offer), Adoption::Adopted));
        assert!(looker.try_acquire(1).is_err());
        adopting.join().unwrap();
        // The spawner never comes to hand over, which would have cleared the hint.
        spawner.die();
        child.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        child.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn refusal_in_a_crowd_against_a_park_that_need_not_wait() {
    explore(|| {
        let (stage, [a, b, parker, asker]) = Stage::cast(limit(4));
        a.hold(1);
        b.hold(1);
        assert!(asker.try_acquire(3).is_err(), "now it is known that they are many");
        let parking = spawn(&parker, |parker| assert_eq!(parker.park(1), Parked::Granted));
        assert_eq!(asker.try_acquire(1), Ok(()), "there is enough for both");
        parking.join().unwrap();
        stage.at_rest(&[(&a, 1), (&b, 1), (&parker, 1), (&asker, 1)]);
    });
}

#[test]
fn crowd_against_a_refused_announcement() {
    explore(|| {
        let (stage, [a, b, looker, asker]) = Stage::cast(limit(1));
        // Both are in the active set, so that a scan sees what they announce.
        for process in [&a, &b] {
            process.hold(1);
            assert_eq!(process.release(1), Ok(()));
        }
        let first = spawn(&a, |a| a.take(1));
        let second = spawn(&b, |b| b.take(1));
        let third = meanwhile(&looker, |looker| looker.try_acquire(1));
        let first = first.join().unwrap();
        let second = second.join().unwrap();
        let won = [first, second, third.is_ok()];
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
        let winner = if first {
            a
        } else if second {
            b
        } else {
            looker
        };
        winner.begin_exit();
        assert_eq!(asker.try_acquire(1), Ok(()), "the hint is stale");
        winner.finish_exit();
        stage.at_rest(&[(&asker, 1)]);
    });
}

#[test]
fn crowd_against_a_retraction() {
    explore(|| {
        let (stage, [stays, spawner, looker, asker]) = Stage::cast(limit(2));
        stays.hold(1);
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let retracting = spawn(&spawner, move |spawner| spawner.retract(offer));
        assert!(looker.try_acquire(2).is_err());
        retracting.join().unwrap();
        stays.begin_exit();
        assert_eq!(asker.try_acquire(2), Ok(()), "the hint is stale");
        stays.finish_exit();
        stage.at_rest(&[(&asker, 2)]);
    });
}

#[test]
fn crowd_against_a_hand_over() {
    explore(|| {
        let (stage, [spawner, child, looker, asker]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let to = child.clone();
        // A scan at the wrong moments sees the permit twice.
        let handing = spawn(&spawner, move |spawner| spawner.hand_over(offer, &to));
        assert!(looker.try_acquire(1).is_err());
        handing.join().unwrap();
        child.begin_exit();
        assert_eq!(asker.try_acquire(1), Ok(()), "the hint is stale");
        child.finish_exit();
        stage.at_rest(&[(&asker, 1)]);
    });
}

#[test]
fn crowd_against_an_adoption_from_a_dead_spawner() {
    explore(|| {
        let (stage, [spawner, child, looker, asker]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let adopting = spawn(&child, move |child| assert_eq!(child.adopt(offer), Adoption::Adopted));
        assert!(looker.try_acquire(1).is_err());
        adopting.join().unwrap();
        // The spawner never comes to hand over, which would have cleared the hint.
        spawner.die();
        child.begin_exit();
        assert_eq!(asker.try_acquire(1), Ok(()), "the hint is stale");
        child.finish_exit();
        stage.at_rest(&[(&asker, 1)]);
    });
}
