//! Handoffs: each step with each other, by processes that live or die.

use penstock_core::{Adoption, Kind, NotHeld, TransferError};

use crate::stage::{Stage, settings};

#[test]
fn one_call_completes_a_handoff() {
    let (stage, [spawner, child, other]) = Stage::with(settings(2, 10));
    let offer = spawner.acquire_and_offer(1, 2);
    assert_eq!(stage.info(1).in_use, 2, "the permits of a pending handoff are in use");
    assert_eq!(child.adopt(offer), Adoption::Adopted);
    spawner.hand_over(offer, &other);
    spawner.retract(offer);
    assert_eq!(other.claim(&spawner, offer), None);
    assert_eq!(other.adopt(offer), Adoption::Revoked);
    assert_eq!(child.adopt(offer), Adoption::Adopted, "the child has the permits");
    stage.at_rest(&[(&child, 1, 2)]);
    assert_eq!(child.release(1, 1), Err(NotHeld), "the permits of a child are bound");
    assert_eq!(child.end_work(), Ok(()));
    assert_eq!(child.end_work(), Err(NotHeld));
    stage.nothing_is_left();
}

#[test]
fn a_retracted_handoff_frees_its_permits_for_the_waiters() {
    let (stage, [spawner, child, waiter]) = Stage::with(settings(2, 10));
    let offer = spawner.acquire_and_offer(1, 2);
    waiter.wait(1, 1);
    spawner.retract(offer);
    assert!(waiter.was_granted());
    assert_eq!(child.adopt(offer), Adoption::Revoked);
    spawner.hand_over(offer, &child);
    stage.at_rest(&[(&waiter, 1, 1)]);
}

#[test]
fn the_death_of_the_spawner_revokes_its_offer_and_no_completed_one() {
    let (stage, [spawner, first, second]) = Stage::with(settings(2, 10));
    let completed = spawner.acquire_and_offer(1, 1);
    spawner.hand_over(completed, &first);
    let pending = spawner.acquire_and_offer(1, 1);
    spawner.die();
    assert_eq!(second.adopt(pending), Adoption::Revoked);
    assert_eq!(first.adopt(completed), Adoption::Adopted);
    assert_eq!(stage.sums().released_by_exit, 1);
    stage.at_rest(&[(&first, 1, 1)]);
}

#[test]
fn permits_that_reach_a_dead_child_are_free_again() {
    let (stage, [spawner, child, waiter]) = Stage::with(settings(1, 10));
    let offer = spawner.acquire_and_offer(1, 1);
    waiter.wait(1, 1);
    child.die();
    spawner.hand_over(offer, &child);
    assert!(waiter.was_granted());
    stage.at_rest(&[(&waiter, 1, 1)]);
}

#[test]
fn a_lease_has_one_pending_handoff() {
    let (stage, [spawner, child]) = Stage::with(settings(3, 10));
    let id = spawner.hold_bound(1, 2);
    spawner.hold(1, 1);
    assert_eq!(spawner.offer(id, 3), None, "the third permit is manual");
    let first = spawner.offer(id, 1).unwrap();
    assert_eq!(spawner.offer(id, 1), None, "one is pending");
    assert_eq!(spawner.release_of(id, 2, Kind::Bound), Err(NotHeld), "one is offered");
    spawner.hand_over(first, &child);
    let second = spawner.offer(id, 1).unwrap();
    assert_ne!(first, second);
    spawner.retract(first);
    stage.at_rest(&[(&spawner, 1, 2), (&child, 1, 1)]);
    spawner.retract(second);
    stage.at_rest(&[(&spawner, 1, 1), (&child, 1, 1)]);
}

#[test]
fn an_old_offer_names_no_handoff_of_a_later_use_of_its_lease() {
    let (stage, [a, b, c]) = Stage::with(settings(1, 10));
    let old = a.acquire_and_offer(1, 1);
    a.retract(old);
    // The cell of the lease serves another process.
    let new = b.acquire_and_offer(1, 1);
    assert_eq!(c.adopt(old), Adoption::Revoked);
    assert_eq!(c.claim(&a, new), None, "the offer is not one of the named spawner");
    a.retract(old);
    stage.at_rest(&[(&b, 1, 1)]);
    assert_eq!(c.adopt(new), Adoption::Adopted);
    stage.at_rest(&[(&c, 1, 1)]);
}

#[test]
fn a_supervisor_claims_and_entrusts() {
    let (stage, [spawner, supervisor, child]) = Stage::with(settings(2, 10));
    let offer = spawner.acquire_and_offer(1, 2);
    let id = supervisor.claim(&spawner, offer).unwrap();
    assert_eq!(supervisor.claim(&spawner, offer), None);
    assert_eq!(supervisor.entrust(id, &child, 3), Err(TransferError::NotHeld));
    assert_eq!(supervisor.entrust(id, &child, 1), Ok(()));
    stage.at_rest(&[(&supervisor, 1, 1), (&child, 1, 1)]);
    assert_eq!(supervisor.entrust(id, &supervisor, 1), Ok(()), "to itself");
    stage.at_rest(&[(&supervisor, 1, 1), (&child, 1, 1)]);
    child.die();
    assert_eq!(supervisor.entrust(id, &child, 1), Err(TransferError::Gone));
    assert_eq!(supervisor.entrust(id, &child, 1), Err(TransferError::NotHeld));
    assert_eq!(stage.sums().acquired, 1, "one caller was admitted");
    stage.nothing_is_left();
}

#[test]
fn the_end_of_work_releases_the_bound_permits_of_a_child_with_many_keys() {
    let (stage, [spawner, child, waiter]) = Stage::with(settings(1, 100));
    let offer = spawner.acquire_and_offer(0, 1);
    spawner.hand_over(offer, &child);
    for key in 1..=50 {
        child.hold(key, 1);
    }
    waiter.wait(0, 1);
    assert_eq!(child.end_work(), Ok(()));
    assert!(waiter.was_granted());
    assert_eq!(stage.sums().in_use, 51);
    assert_eq!(child.end_work(), Err(NotHeld));
}

#[test]
fn the_end_of_work_releases_the_bound_permits_of_several_keys() {
    let (stage, [child]) = Stage::with(settings(3, 100));
    for key in 0..5 {
        child.hold_bound(key, 2);
        child.hold(key, 1);
    }
    assert_eq!(child.end_work(), Ok(()));
    assert_eq!(stage.sums().in_use, 5);
    child.die();
    stage.nothing_is_left();
}

#[test]
fn a_report_of_the_end_of_a_living_child_has_no_effect() {
    let (stage, [spawner, child]) = Stage::with(settings(1, 10));
    let offer = spawner.acquire_and_offer(1, 1);
    spawner.hand_over(offer, &child);
    spawner.report_end_of(&child);
    stage.at_rest(&[(&child, 1, 1)]);
    child.begin_exit();
    spawner.report_end_of(&child);
    assert_eq!(stage.sums().in_use, 0);
    child.finish_exit();
    spawner.report_end_of(&child);
    stage.nothing_is_left();
}
