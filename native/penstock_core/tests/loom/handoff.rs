//! Races of a permit on its way from a spawner to its child. The spawner (`hand_over`) and the
//! child (`adopt`) both try to complete the handoff. A CAS on the handoff word of the spawner's
//! entry decides which of them does (`Entry::complete_handoff`).

use penstock_core::{Adoption, NotHeld};

use crate::explore::explore;
use crate::support::{Stage, limit};
use crate::{Work, has, meanwhile, spawn};

/// The spawner hands over while the child adopts. The child must find the permit in either order
/// of the two calls. A third process tries to work by the same permit. It must never work at the
/// same time as the child.
#[test]
fn hand_over_against_adoption() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        let work = Work::default();
        let to = child.clone();
        let handing = spawn(&spawner, move |spawner| spawner.hand_over(offer, &to));
        let childs_work = work.clone();
        let running = spawn(&child, move |child| {
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            childs_work.begin(1);
            childs_work.end();
            assert_eq!(child.end_work(), Ok(()), "the child runs with the offered permit");
            assert_eq!(child.end_work(), Err(NotHeld), "the child has ended its work already");
        });
        meanwhile(&other, move |other| {
            if other.take(1) {
                work.begin(1);
                work.end();
                assert_eq!(other.release(1), Ok(()));
            }
        });
        handing.join().unwrap();
        running.join().unwrap();
        stage.at_rest(&[]);
    });
}

/// The child adopts and dies while its spawner hands over. The permit must come back once, and go
/// to the waiter.
#[test]
fn hand_over_against_a_child_that_adopts_and_ends() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        other.wait(1);
        let running = spawn(&child, move |child| {
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            child.die();
        });
        spawner.hand_over(offer, &child);
        running.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

/// The child dies before its first instruction while its spawner hands over. Either
/// `PoolHost::watch` tells the spawner's call that the child is gone, or the host tells the pool
/// of the death later. In both cases the permit must come back once.
#[test]
fn hand_over_against_the_death_of_the_child() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        other.wait(1);
        let dying = spawn(&child, |child| child.die());
        spawner.hand_over(offer, &child);
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

/// A spawner that saw its child dead reports the death (`Pool::ended`) while the monitor of the
/// child reaps the child. After the report the permit must be free.
#[test]
fn the_spawners_report_of_the_end_of_a_child_against_its_monitor() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        let running = spawn(&child, move |child| {
            let _ = child.adopt(offer);
            child.die();
        });
        spawner.hand_over(offer, &child);
        let seen = !child.alive();
        if seen {
            // If the monitor came first, it has removed the entry of the child. This call then
            // finds no entry, and takes no lock.
            spawner.report_end_of(&child);
            assert!(other.take(1), "a caller that saw the end finds the permit free");
        }
        running.join().unwrap();
        let held = [(&other, 1)];
        stage.at_rest(if seen { &held } else { &[] });
    });
}

/// The spawner dies while its child adopts. Either the child completes the handoff and works, or
/// the monitor of the spawner takes the permit back and the child must end.
#[test]
fn adoption_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        let work = Work::default();
        let dying = spawn(&spawner, |spawner| spawner.die());
        let childs_work = work.clone();
        let running = spawn(&child, move |child| {
            let adoption = child.adopt(offer);
            if adoption == Adoption::Adopted {
                childs_work.begin(1);
                childs_work.end();
                assert_eq!(child.release_bound(1), Ok(()), "the child runs with the offered permit");
            }
            adoption
        });
        meanwhile(&other, move |other| {
            if other.take(1) {
                work.begin(1);
                work.end();
                assert_eq!(other.release(1), Ok(()));
            }
        });
        dying.join().unwrap();
        let adoption = running.join().unwrap();
        stage.at_rest(&[]);
        assert_eq!(stage.report().released_by_exit, u64::from(adoption == Adoption::Revoked));
    });
}

/// A caller asks for the permit of a dead spawner while the child adopts. Either the caller's
/// scan reaps the spawner, or the child completes the handoff. One of the two gets the permit.
#[test]
fn adoption_against_a_scan_that_finds_the_spawner_dead() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        spawner.begin_exit();
        let asking = spawn(&other, |other| other.try_acquire(1));
        let adoption = child.adopt(offer);
        let asked = asking.join().unwrap();
        assert!(asked.is_ok() != (adoption == Adoption::Adopted), "one process has the permit");
        spawner.finish_exit();
        stage.at_rest(&[(if asked.is_ok() { &other } else { &child }, 1)]);
    });
}

/// The child adopts and dies while its spawner dies. The permit must come back once, and go to
/// the waiter.
#[test]
fn death_of_the_child_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        other.wait(1);
        let dying = spawn(&spawner, |spawner| spawner.die());
        let _ = child.adopt(offer);
        child.die();
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

/// A supervisor claims the offer while the spawner dies. Either the supervisor gets the permit,
/// or the waiter does.
#[test]
fn claim_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, supervisor, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        other.wait(1);
        let of = spawner.clone();
        let claiming = spawn(&supervisor, move |supervisor| supervisor.claim(&of, offer));
        spawner.die();
        let claimed = claiming.join().unwrap();
        assert_eq!(claimed.is_some(), !other.was_granted(), "one process has the permit");
        stage.at_rest(&[(if claimed.is_some() { &supervisor } else { &other }, 1)]);
    });
}

/// A supervisor claims an offer while the spawner retracts that offer. Either the supervisor gets
/// the permit and entrusts it to the child, or the permit returns to the pool.
#[test]
fn claim_against_retraction() {
    explore(|| {
        let (stage, [spawner, supervisor, child]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        let (of, to) = (spawner.clone(), child.clone());
        let claiming = spawn(&supervisor, move |supervisor| {
            let claimed = supervisor.claim(&of, offer).is_some();
            if claimed {
                assert_eq!(supervisor.entrust(&to, 1), Ok(()));
            }
            claimed
        });
        spawner.retract(offer);
        let held = [(&child, 1)];
        stage.at_rest(if claiming.join().unwrap() { &held } else { &[] });
    });
}

/// A supervisor entrusts its permit to a child that dies. Either the permit comes back with the
/// entry of the child, or `entrust` gives it back. In both cases the waiter must get it.
#[test]
fn entrusting_against_the_death_of_the_child() {
    explore(|| {
        let (stage, [supervisor, child, other]) = Stage::with_processes(limit(1));
        assert_eq!(supervisor.try_bound(1), Ok(()));
        other.wait(1);
        let dying = spawn(&child, |child| child.die());
        let _ = supervisor.entrust(&child, 1);
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

/// A spawner retracts its offer while another process parks for the permit. That process must get
/// the permit: its wake-up must not be lost.
#[test]
fn retraction_against_a_waiter_parking() {
    explore(|| {
        let (stage, [spawner, other]) = Stage::with_processes(limit(1));
        let offer = spawner.acquire_and_offer(1);
        let waiting = spawn(&other, |other| other.acquire(1));
        spawner.retract(offer);
        let acquired = waiting.join().unwrap();
        assert!(has(&other, acquired));
        stage.at_rest(&[(&other, 1)]);
    });
}
