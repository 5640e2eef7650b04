//! Calls for permits, offers and waits that the caller does not have, and calls of a closed pool.

use penstock_core::{
    Adoption, Cancelled, Kind, NotHeld, Offer, Parked, Pool, Refusal, Status, TransferError, WaiterId,
};
use proptest::prelude::*;

use crate::support::{Fake, Stage, limit};

#[test]
fn bound_permits_are_not_released_or_transferred_as_manual_ones() {
    let (stage, [a, b]) = Stage::with_processes(limit(3));
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
fn the_end_of_the_work_of_a_child_releases_its_bound_permits_and_no_others() {
    let (stage, [spawner, child, waiter]) = Stage::with_processes(limit(3));
    assert_eq!(child.end_work(), Err(NotHeld));
    let offer = spawner.acquire_and_offer(2);
    spawner.hand_over(offer, &child);
    child.hold(1);
    waiter.wait(2);
    assert_eq!(child.end_work(), Ok(()));
    assert!(waiter.was_granted());
    assert_eq!(child.end_work(), Err(NotHeld), "the work ends once");
    stage.at_rest(&[(&child, 1), (&waiter, 2)]);
}

#[test]
fn a_report_of_the_end_of_a_living_child_has_no_effect() {
    let (stage, [spawner, child, stranger]) = Stage::with_processes(limit(1));
    let offer = spawner.acquire_and_offer(1);
    spawner.hand_over(offer, &child);
    spawner.report_end_of(&child);
    spawner.report_end_of(&stranger);
    stage.at_rest(&[(&child, 1)]);
    // The child is dead, and its monitor has not run.
    child.begin_exit();
    spawner.report_end_of(&child);
    assert_eq!(stage.in_use(), 0);
    child.finish_exit();
    spawner.report_end_of(&child);
    stage.at_rest(&[]);
}

#[test]
fn a_wait_that_its_process_leaves_counts_as_no_time_out() {
    let (stage, [a, b, c]) = Stage::with_processes(limit(1));
    a.hold(1);
    let id = b.wait(1);
    c.wait(1);
    assert_eq!(b.withdraw(id), Cancelled::Yes);
    assert_eq!(b.withdraw(id), Cancelled::TooLate);
    assert_eq!(stage.report().timed_out, 0);
    let id = b.wait(1);
    assert_eq!(b.cancel(id), Cancelled::Yes);
    assert_eq!(stage.report().timed_out, 1);
    assert_eq!(a.release(1), Ok(()));
    assert!(c.was_granted());
    stage.at_rest(&[(&c, 1)]);
}

#[test]
fn a_claim_needs_a_pending_offer_of_the_named_spawner() {
    let (stage, [spawner, supervisor, child, thief]) = Stage::with_processes(limit(2));
    let offer = spawner.acquire_and_offer(2);
    assert_eq!(thief.claim(&child, offer), None, "the offer is another process'");
    assert_eq!(supervisor.claim(&spawner, offer), Some(2));
    assert_eq!(supervisor.claim(&spawner, offer), None, "an offer is claimed once");
    assert_eq!(child.adopt(offer), Adoption::Revoked);
    spawner.retract(offer);
    assert_eq!(stage.holdings().get(&supervisor.pid.word()), Some(&2));
    assert_eq!(supervisor.entrust(&child, 2), Ok(()));
    assert_eq!(child.release(1), Err(NotHeld), "the permits of the child are bound");
    child.die();
    assert_eq!(stage.report().acquired, 1, "one caller was admitted");
    stage.at_rest(&[]);
}

#[test]
fn permits_entrusted_to_a_dead_child_are_free_again() {
    let (stage, [supervisor, child]) = Stage::with_processes(limit(1));
    assert_eq!(supervisor.try_bound(1), Ok(()));
    child.die();
    assert_eq!(supervisor.entrust(&child, 1), Err(TransferError::Gone));
    assert_eq!(supervisor.entrust(&child, 1), Err(TransferError::NotHeld));
    assert_eq!(stage.report().released_by_exit, 1, "as if the child had died after the call");
    stage.at_rest(&[]);
}

#[test]
fn a_completed_handoff_grants_nothing() {
    let (stage, [spawner, child, next, thief]) = Stage::with_processes(limit(2));
    assert_eq!(spawner.try_bound(2), Ok(()));
    let first = spawner.offer(1).unwrap();
    spawner.hand_over(first, &child);
    let second = spawner.offer(1).unwrap();
    // The first offer names the same entry as the second, but must have no effect on the second.
    spawner.retract(first);
    assert_eq!(thief.adopt(first), Adoption::Revoked);
    spawner.hand_over(first, &thief);
    assert_eq!(next.adopt(second), Adoption::Adopted);
    assert_eq!(next.adopt(second), Adoption::Adopted, "the process holds the permits already");
    stage.at_rest(&[(&child, 1), (&next, 1)]);
}

#[test]
fn a_closed_pool_admits_no_caller_and_takes_back_all_permits() {
    let pool = Pool::<Fake>::new();
    assert_eq!(pool.info().status, Status::Closed);
    let (stage, [a, b, c]) = Stage::with_processes(limit(2));
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
    fn words_that_the_pool_never_issued_change_nothing(bits: u64, small in 0..4_096_u64, shift in 0..59_u32) {
        let (stage, [holder, waiter, spawner, child, thief]) = Stage::with_processes(limit(3));
        holder.hold(2);
        waiter.wait(2);
        stage.update(3);
        assert_eq!(spawner.stage.pool.try_acquire(&stage.host, spawner.pid, 1, Kind::Bound), Err(Refusal::Full));
        assert_eq!(holder.release(1), Ok(()));
        prop_assert!(waiter.was_granted());
        stage.update(4);
        let offer = spawner.acquire_and_offer(1);
        // An offer has 59 bits, so `shift` stays below 59.
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
fn a_second_offer_before_the_first_is_completed_is_refused_and_loses_nothing() {
    let (stage, [spawner, child, other]) = Stage::with_processes(limit(4));
    assert_eq!(spawner.try_bound(3), Ok(()));
    let first = spawner.offer(2).unwrap();
    assert_eq!(spawner.offer(1), None);
    assert_eq!(stage.holdings().get(&spawner.pid.word()), Some(&3));
    spawner.hand_over(first, &child);
    stage.at_rest(&[(&spawner, 1), (&child, 2)]);
    // The first handoff is completed, so another can begin.
    let second = spawner.offer(1).unwrap();
    assert_eq!(spawner.offer(1), None, "the spawner holds no further permit");
    spawner.die();
    assert_eq!(other.adopt(second), Adoption::Revoked);
    stage.at_rest(&[(&child, 2)]);
}
