//! Races of a permit on its way from a spawner to its child.

use penstock_core::{Adoption, NotHeld};

use crate::explore::explore;
use crate::support::{Stage, limit};
use crate::{Work, has, meanwhile, spawn};

#[test]
fn hand_over_against_adoption() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let work = Work::default();
        let to = child.clone();
        let handing = spawn(&spawner, move |spawner| spawner.hand_over(offer, &to));
        let its = work.clone();
        let running = spawn(&child, move |child| {
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            its.begin(1);
            its.end();
            assert_eq!(child.end_work(), Ok(()), "it runs with what it was offered");
            assert_eq!(child.end_work(), Err(NotHeld), "once");
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

#[test]
fn hand_over_against_a_child_that_adopts_and_ends() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
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

#[test]
fn hand_over_against_the_death_of_the_child() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        other.wait(1);
        // The child dies before its first instruction.
        let dying = spawn(&child, |child| child.die());
        spawner.hand_over(offer, &child);
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

#[test]
fn the_end_of_a_child_told_by_its_spawner_against_its_monitor() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let running = spawn(&child, move |child| {
            let _ = child.adopt(offer);
            child.begin_exit();
            child.finish_exit();
        });
        spawner.hand_over(offer, &child);
        let seen = !child.alive();
        if seen {
            // The call takes no lock if the entry is gone.
            spawner.saw_the_end_of(&child);
            assert!(other.take(1), "a caller that saw the end finds the permit");
        }
        running.join().unwrap();
        let held = [(&other, 1)];
        stage.at_rest(if seen { &held } else { &[] });
    });
}

#[test]
fn adoption_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let work = Work::default();
        let dying = spawn(&spawner, |spawner| spawner.die());
        let its = work.clone();
        let running = spawn(&child, move |child| {
            let adoption = child.adopt(offer);
            if adoption == Adoption::Adopted {
                its.begin(1);
                its.end();
                assert_eq!(child.release_bound(1), Ok(()), "it runs with what it was offered");
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

#[test]
fn adoption_against_a_look_that_finds_the_spawner_dead() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        spawner.begin_exit();
        let asking = spawn(&other, |other| other.try_acquire(1));
        let adoption = child.adopt(offer);
        let asked = asking.join().unwrap();
        assert!(asked.is_ok() != (adoption == Adoption::Adopted), "one of them has it");
        spawner.finish_exit();
        stage.at_rest(&[(if asked.is_ok() { &other } else { &child }, 1)]);
    });
}

#[test]
fn death_of_the_child_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        other.wait(1);
        let dying = spawn(&spawner, |spawner| spawner.die());
        let _ = child.adopt(offer);
        child.die();
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

#[test]
fn claim_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, supervisor, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        other.wait(1);
        let whose = spawner.clone();
        let claiming = spawn(&supervisor, move |supervisor| supervisor.claim(&whose, offer));
        spawner.die();
        let claimed = claiming.join().unwrap();
        assert_eq!(claimed.is_some(), !other.was_granted(), "one of them has it");
        stage.at_rest(&[(if claimed.is_some() { &supervisor } else { &other }, 1)]);
    });
}

#[test]
fn claim_against_retraction() {
    explore(|| {
        let (stage, [spawner, supervisor, child]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let (whose, to) = (spawner.clone(), child.clone());
        let claiming = spawn(&supervisor, move |supervisor| {
            let claimed = supervisor.claim(&whose, offer).is_some();
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

#[test]
fn entrusting_against_the_death_of_the_child() {
    explore(|| {
        let (stage, [supervisor, child, other]) = Stage::cast(limit(1));
        assert_eq!(supervisor.try_bound(1), Ok(()));
        other.wait(1);
        let dying = spawn(&child, |child| child.die());
        let _ = supervisor.entrust(&child, 1);
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1)]);
    });
}

#[test]
fn retraction_against_a_waiter_parking() {
    explore(|| {
        let (stage, [spawner, other]) = Stage::cast(limit(1));
        assert_eq!(spawner.try_bound(1), Ok(()));
        let offer = spawner.offer(1).unwrap();
        let waiting = spawn(&other, |other| other.acquire(1));
        spawner.retract(offer);
        let acquired = waiting.join().unwrap();
        assert!(has(&other, acquired));
        stage.at_rest(&[(&other, 1)]);
    });
}
