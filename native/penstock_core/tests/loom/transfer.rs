//! Races of a transfer with its receiver, and with death.

use penstock_core::{NotHeld, TransferError};

use crate::explore::explore;
use crate::support::{Stage, limit};
use crate::{meanwhile, spawn};

#[test]
fn first_acquire_against_a_transfer_to_the_same_process() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(2));
        a.hold(1);
        let taking = spawn(&b, |b| assert!(b.take(1)));
        assert_eq!(a.transfer(&b, 1), Ok(()));
        taking.join().unwrap();
        stage.at_rest(&[(&b, 2)]);
        assert_eq!(b.release(2), Ok(()), "what came by transfer is its own");
        stage.at_rest(&[]);
    });
}

#[test]
fn release_against_a_transfer_to_the_same_process() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(2));
        a.hold(2);
        assert_eq!(a.transfer(&b, 1), Ok(()));
        c.wait(1);
        // The receiver folds the permits that it was given at the moment that it is given more.
        let releasing = spawn(&b, |b| assert_eq!(b.release(1), Ok(())));
        assert_eq!(a.transfer(&b, 1), Ok(()));
        releasing.join().unwrap();
        assert!(c.was_granted());
        stage.at_rest(&[(&b, 1), (&c, 1)]);
    });
}

#[test]
fn transfer_against_a_transfer_back() {
    explore(|| {
        let (stage, [a, b]) = Stage::cast(limit(2));
        a.hold(1);
        b.hold(1);
        let there = b.clone();
        let giving = spawn(&a, move |a| assert_eq!(a.transfer(&there, 1), Ok(())));
        assert_eq!(b.transfer(&a, 1), Ok(()));
        giving.join().unwrap();
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

fn transfer_against_the_death_of_the_receiver(known: bool) {
    explore(move || {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        if known {
            b.hold(1);
            assert_eq!(b.release(1), Ok(()));
        }
        a.hold(1);
        c.wait(1);
        let dying = spawn(&b, |b| b.die());
        let given = a.transfer(&b, 1);
        assert!(matches!(given, Ok(()) | Err(TransferError::Gone)));
        dying.join().unwrap();
        assert!(c.was_granted());
        stage.at_rest(&[(&c, 1)]);
    });
}

#[test]
fn transfer_against_the_death_of_a_receiver_that_held_before() {
    transfer_against_the_death_of_the_receiver(true);
}

#[test]
fn transfer_against_the_death_of_a_receiver_that_never_held() {
    transfer_against_the_death_of_the_receiver(false);
}

#[test]
fn two_transfers_against_the_death_of_the_receiver() {
    explore(|| {
        let (stage, [a, b, c, d]) = Stage::cast(limit(2));
        a.hold(1);
        b.hold(1);
        d.wait(2);
        let to = c.clone();
        let giving = spawn(&a, move |a| a.transfer(&to, 1));
        let dying = spawn(&c, |c| c.die());
        let to = c.clone();
        let _ = meanwhile(&b, move |b| b.transfer(&to, 1));
        let _ = giving.join().unwrap();
        dying.join().unwrap();
        assert!(d.was_granted());
        stage.at_rest(&[(&d, 2)]);
    });
}

#[test]
fn transfer_and_death_of_the_giver_against_a_release_by_the_receiver() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::cast(limit(1));
        a.hold(1);
        c.wait(1);
        let to = b.clone();
        let giving = spawn(&a, move |a| {
            assert_eq!(a.transfer(&to, 1), Ok(()));
            a.die();
        });
        let released = b.release(1);
        giving.join().unwrap();
        match released {
            Ok(()) => {
                assert!(c.was_granted());
                stage.at_rest(&[(&c, 1)]);
            }
            Err(NotHeld) => stage.at_rest(&[(&b, 1)]),
        }
    });
}
