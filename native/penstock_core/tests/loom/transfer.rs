//! Races of a transfer with acts of its receiver, and with the death of either process.

use penstock_core::{NotHeld, TransferError};

use crate::explore::explore;
use crate::support::{Stage, limit};
use crate::{meanwhile, spawn};

/// The receiver acquires for the first time while the giver transfers a permit to it. Both calls
/// may insert the entry of the receiver (`Table::get_or_insert`). There must be one entry in the
/// end.
#[test]
fn first_acquire_against_a_transfer_to_the_same_process() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(limit(2));
        a.hold(1);
        let taking = spawn(&b, |b| assert!(b.take(1)));
        assert_eq!(a.transfer(&b, 1), Ok(()));
        taking.join().unwrap();
        stage.at_rest(&[(&b, 2)]);
        assert_eq!(b.release(2), Ok(()), "the receiver can release the transferred permit");
        stage.at_rest(&[]);
    });
}

/// A transfer adds *inbound* permits to the entry of the receiver (`Table::credit`). To release a
/// permit, the receiver adds the inbound permits to its own (`Table::fold`). Meanwhile the giver
/// transfers another permit. No permit must be lost.
#[test]
fn release_against_a_transfer_to_the_same_process() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(2));
        a.hold(2);
        assert_eq!(a.transfer(&b, 1), Ok(()));
        c.wait(1);
        let releasing = spawn(&b, |b| assert_eq!(b.release(1), Ok(())));
        assert_eq!(a.transfer(&b, 1), Ok(()));
        releasing.join().unwrap();
        assert!(c.was_granted());
        stage.at_rest(&[(&b, 1), (&c, 1)]);
    });
}

/// Two processes transfer to each other at once. Neither call takes a shard lock while it holds
/// another, so the two must not block each other. No permit must be lost.
#[test]
fn transfer_against_a_transfer_back() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(limit(2));
        a.hold(1);
        b.hold(1);
        let there = b.clone();
        let giving = spawn(&a, move |a| assert_eq!(a.transfer(&there, 1), Ok(())));
        assert_eq!(b.transfer(&a, 1), Ok(()));
        giving.join().unwrap();
        stage.at_rest(&[(&a, 1), (&b, 1)]);
    });
}

/// The receiver dies during a transfer. The giver may credit an entry that the receiver's monitor
/// is about to remove. Or the giver inserts an entry, and learns of the death from
/// `PoolHost::watch`. In both cases the permit must come back once.
fn transfer_against_the_death_of_the_receiver(has_entry: bool) {
    explore(move || {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
        if has_entry {
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

/// The receiver has an entry.
#[test]
fn transfer_against_the_death_of_a_receiver_that_held_before() {
    transfer_against_the_death_of_the_receiver(true);
}

/// The giver inserts the entry of the receiver.
#[test]
fn transfer_against_the_death_of_a_receiver_that_never_held() {
    transfer_against_the_death_of_the_receiver(false);
}

/// Two givers transfer to a receiver that dies. The second giver may credit the entry that the
/// first giver inserted. When that entry is removed, the permit of the second giver must not be
/// lost.
#[test]
fn two_transfers_against_the_death_of_the_receiver() {
    explore(|| {
        let (stage, [a, b, c, d]) = Stage::with_processes(limit(2));
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

/// The receiver tries to release a permit while the giver transfers it and then dies. In the end
/// either the permit must be released, or the receiver must hold it.
#[test]
fn transfer_and_death_of_the_giver_against_a_release_by_the_receiver() {
    explore(|| {
        let (stage, [a, b, c]) = Stage::with_processes(limit(1));
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
