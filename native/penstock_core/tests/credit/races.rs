//! Races of sharded credit: each interleaving of two or three calls, and each result that the
//! memory orderings allow.
//!
//! A refill moves one permit here, and needs no patience. A shard collects up to two.

use std::rc::Rc;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};
use penstock_core::{Credit, Spread};

use crate::explore::explore_at_least;

/// More preemptions than a model needs to reach each of its interleavings. The models are small.
const PREEMPTIONS: usize = 20;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_at_least(PREEMPTIONS, model);
}

/// Returns an open pool of two shards, which are recalled.
fn open(limit: i64) -> Arc<Credit> {
    let credit = Credit::new(2, Spread { part: 1, least: 1, most: 1, patience: 0 });
    credit.shift(limit);
    credit.open();
    Arc::new(credit)
}

/// Returns an open pool with a limit of 4 and 2 permits held. Each shard has a credit of 1.
fn one_each() -> Arc<Credit> {
    let credit = open(4);
    for shard in 0..2 {
        // This takes one permit from the central word, and moves one to the shard.
        assert_eq!(credit.take(shard, 1), Ok(()));
    }
    assert!(credit.is_spread());
    credit
}

/// Returns an open pool with a limit of 2 and no permit held. Shard 0 has both.
fn both_on_shard_0() -> Arc<Credit> {
    let credit = open(2);
    assert_eq!(credit.take(0, 1), Ok(()));
    assert!(!credit.give(0, 1));
    assert!(credit.is_spread());
    credit
}

/// Runs the calls of another thread.
fn spawn<T: 'static>(credit: &Arc<Credit>, act: impl FnOnce(&Credit) -> T + 'static) -> JoinHandle<T> {
    let credit = Arc::clone(credit);
    thread::spawn(move || act(&credit))
}

/// Returns two references to one place, for work that two threads must not do at the same time. loom
/// fails a model in which they can.
fn place() -> (Rc<UnsafeCell<()>>, Rc<UnsafeCell<()>>) {
    // loom runs the threads of a model on one OS thread, so `Rc` is safe.
    let place = Rc::new(UnsafeCell::new(()));
    (Rc::clone(&place), place)
}

/// Returns two references to one flag, which is not raised.
fn flag() -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    (Arc::clone(&flag), flag)
}

/// Asserts that the free permits are exactly these, however they were spread.
#[track_caller]
fn at_rest(credit: &Credit, free: i64) {
    assert_eq!(credit.look().free(), free, "permits were lost or doubled");
}

/// A caller takes a permit from its shard while the credit is recalled. The permit is free, or
/// held, never both.
#[test]
fn take_against_recall() {
    explore(|| {
        let credit = one_each();
        let other = spawn(&credit, |credit| credit.take(0, 1));
        let seen = credit.look().free();
        assert!(seen == 1 || seen == 2, "{seen}");
        assert_eq!(other.join().unwrap(), Ok(()));
        at_rest(&credit, 1);
    });
}

/// A caller gives a permit to its shard while the credit is recalled. The recall takes the
/// permit, or the caller gives it to the central word.
#[test]
fn give_against_recall() {
    explore(|| {
        let credit = one_each();
        let other = spawn(&credit, |credit| credit.give(0, 1));
        let seen = credit.look().free();
        assert!(seen == 2 || seen == 3, "{seen}");
        assert!(!other.join().unwrap());
        at_rest(&credit, 3);
        // A permit left in a shard that counts as recalled would be missing here.
        assert_eq!(credit.take(1, 3), Ok(()));
    });
}

/// Two calls recall at once. Neither decides while the other has credit on its way.
#[test]
fn recall_against_recall() {
    explore(|| {
        let credit = one_each();
        let other = spawn(&credit, |credit| credit.look().free());
        assert_eq!(credit.look().free(), 2);
        assert_eq!(other.join().unwrap(), 2);
    });
}

/// Two callers need two permits together, and two are free, both on one shard. A refusal would be
/// wrong at each instant.
#[test]
fn refusal_against_take() {
    explore(|| {
        let credit = both_on_shard_0();
        let other = spawn(&credit, |credit| credit.take(0, 1));
        assert_eq!(credit.take(1, 1), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        at_rest(&credit, 0);
    });
}

/// One caller takes a permit and gives it back, and another one needs the other permit.
#[test]
fn refusal_against_take_and_give() {
    explore(|| {
        let credit = both_on_shard_0();
        let other = spawn(&credit, |credit| {
            assert_eq!(credit.take(0, 1), Ok(()));
            credit.give(0, 1)
        });
        assert_eq!(credit.take(1, 1), Ok(()));
        assert!(!other.join().unwrap());
        at_rest(&credit, 1);
    });
}

/// Two callers ask for more than is free: one of three gets none. The one that is refused sees
/// less than it asked for.
#[test]
fn refusal_against_refusal() {
    explore(|| {
        let credit = both_on_shard_0();
        let other = spawn(&credit, |credit| credit.take(0, 2));
        let mine = credit.take(1, 2);
        let other = other.join().unwrap();
        assert!(mine.is_ok() != other.is_ok());
        let seen = mine.and(other).unwrap_err();
        assert!(seen.free() == 0, "{seen:?}");
        at_rest(&credit, 0);
    });
}

/// A caller that knows of a free permit is not refused. The permit was given to a shard that a
/// third caller has refilled, of which this caller knows nothing.
#[test]
fn refusal_by_an_old_word_against_give() {
    explore(|| {
        let credit = open(3);
        assert_eq!(credit.take_for_waiter(3).map(|seen| seen.free()), Ok(0));
        // This caller gives two permits back, and then takes one and refills shard 0 by the
        // other.
        let refilling = spawn(&credit, |credit| {
            credit.give(0, 2);
            credit.take(0, 1)
        });
        let (given, theirs) = flag();
        let giving = spawn(&credit, move |credit| {
            credit.give(0, 1);
            theirs.store(true, Ordering::Release);
        });
        if given.load(Ordering::Acquire) {
            assert_eq!(credit.take(1, 1), Ok(()));
            assert!(!credit.give(1, 1));
        }
        giving.join().unwrap();
        assert_eq!(refilling.join().unwrap(), Ok(()));
        at_rest(&credit, 2);
    });
}

/// Ends a wait for `n` permits that meets a give: the waiter takes them, or the giver is told to
/// serve, and then the waiter gets them.
#[track_caller]
fn assert_woken(credit: &Credit, n: u32, taken: bool, told: bool) {
    assert!(taken || told, "a lost wake-up");
    if !taken {
        assert!(credit.take_for_waiter(n).is_ok(), "the waiter waits while enough permits are free");
    }
    credit.clear_waiters();
}

/// A process parks for three permits: two are in the shards, and another caller gives one to its
/// shard. The permits are enough, so the waiter must get them.
#[test]
fn waiter_against_give() {
    explore(|| {
        let credit = one_each();
        let other = spawn(&credit, |credit| credit.give(0, 1));
        credit.set_waiters();
        let taken = credit.take_for_waiter(3).is_ok();
        let told = other.join().unwrap();
        assert_woken(&credit, 3, taken, told);
        at_rest(&credit, 0);
    });
}

/// The same, while the shard of the giver is full, so that the permit goes to the central word.
#[test]
fn waiter_against_give_beyond_the_most() {
    explore(|| {
        let credit = one_each();
        assert!(!credit.give(0, 1));
        let other = spawn(&credit, |credit| credit.give(0, 1));
        credit.set_waiters();
        let taken = credit.take_for_waiter(4).is_ok();
        let told = other.join().unwrap();
        assert_woken(&credit, 4, taken, told);
        at_rest(&credit, 0);
    });
}

/// A process parks for both permits while a caller takes one with a refill, and gives it back. No
/// refill may follow the flag, or the give would miss the waiter.
#[test]
fn waiter_against_refill_and_give() {
    explore(|| {
        let credit = open(2);
        let other = spawn(&credit, |credit| credit.take(0, 1).is_ok() && credit.give(0, 1));
        credit.set_waiters();
        assert!(!credit.is_spread());
        let taken = credit.take_for_waiter(2).is_ok();
        let told = other.join().unwrap();
        assert_woken(&credit, 2, taken, told);
        at_rest(&credit, 0);
    });
}

/// The pool closes while a caller takes from its shard. No caller is admitted after the close.
#[test]
fn close_against_take() {
    explore(|| {
        let credit = one_each();
        let other = spawn(&credit, |credit| credit.take(0, 1).is_ok());
        credit.close();
        // The takes come before the look, which would recall what the close left in the shards.
        for shard in 0..2 {
            assert!(credit.take(shard, 1).is_err_and(|seen| seen.closed()));
        }
        let free = credit.look().free();
        assert_eq!(free, if other.join().unwrap() { 1 } else { 2 });
        at_rest(&credit, free);
    });
}

/// The pool closes while a holder gives a permit back to its shard. If the close does not find
/// the permit, the holder is told to serve drainers.
#[test]
fn close_against_give() {
    explore(|| {
        let credit = one_each();
        let other = spawn(&credit, |credit| credit.give(0, 1));
        credit.close();
        let found = credit.look().free() == 3;
        let told = other.join().unwrap();
        assert!(found || told, "a drainer that no call answers");
        at_rest(&credit, 3);
    });
}

/// The limit falls from 4 to 2 while 2 permits are held and a caller takes one. The answer tells
/// whether it was taken before, and no caller is admitted by the old limit afterwards.
#[test]
fn lower_limit_against_take() {
    explore(|| {
        let credit = one_each();
        let other = spawn(&credit, |credit| credit.take(0, 1).is_ok());
        let before = credit.shift(-2);
        assert!(credit.take(1, 1).is_err());
        let taken = other.join().unwrap();
        assert_eq!(before, if taken { 1 } else { 2 });
        at_rest(&credit, before - 2);
    });
}

/// The limit rises while a caller asks for more than is free. The caller gets it, if it asks
/// after the change.
#[test]
fn higher_limit_against_take() {
    explore(|| {
        let credit = one_each();
        let (raised, theirs) = flag();
        let other = spawn(&credit, move |credit| (theirs.load(Ordering::Acquire), credit.take(0, 3).is_ok()));
        assert_eq!(credit.shift(1), 2);
        raised.store(true, Ordering::Release);
        let (knows, taken) = other.join().unwrap();
        assert!(taken || !knows);
        at_rest(&credit, if taken { 0 } else { 3 });
    });
}

/// A restart overdraws by one while a caller takes. The permits in the shards are taken first.
#[test]
fn overdraw_against_take() {
    explore(|| {
        let credit = one_each();
        let other = spawn(&credit, |credit| credit.take(0, 1).is_ok());
        // Two permits are free, and at most one may be overdrawn.
        let overdrawn = credit.overdraw(3, -1, -1).is_ok();
        let taken = other.join().unwrap();
        assert!(overdrawn != taken, "{overdrawn} {taken}");
        at_rest(&credit, if overdrawn { -1 } else { 1 });
    });
}

/// A refill of shard 0 has permits on their way while a caller of shard 1 asks for two. At least
/// two are free at each instant.
#[test]
fn refill_against_take_on_another_shard() {
    explore(|| {
        let credit = open(3);
        let other = spawn(&credit, |credit| credit.take(0, 1));
        assert_eq!(credit.take(1, 2), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        at_rest(&credit, 0);
    });
}

/// Two shards are refilled at once, and a third caller recalls.
#[test]
fn refill_against_refill_and_recall() {
    explore(|| {
        let credit = open(4);
        let other = spawn(&credit, |credit| credit.take(0, 1));
        let third = spawn(&credit, |credit| credit.look().free());
        assert_eq!(credit.take(1, 1), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        assert!((2..=4).contains(&third.join().unwrap()));
        at_rest(&credit, 2);
    });
}

/// Lets two callers each try to take all `permits`, work, and give them back. The work of one happens
/// before the work of the other.
fn work_in_turn(credit: &Arc<Credit>, permits: u32) {
    let turn = move |credit: &Credit, work: &UnsafeCell<()>, shard| {
        if credit.take(shard, permits).is_ok() {
            work.with_mut(|_| ());
            credit.give(shard, permits.into());
        }
    };
    let (work, theirs) = place();
    let other = spawn(credit, move |credit| turn(credit, &theirs, 0));
    turn(credit, &work, 1);
    other.join().unwrap();
    at_rest(credit, i64::from(permits));
}

/// Two callers work while they hold both permits: on shard 0, and on shard 1, which must recall.
#[test]
fn work_against_work() {
    explore(|| work_in_turn(&both_on_shard_0(), 2));
}

/// Two callers work in turn by the only permit, which never leaves the central word. A caller may
/// load the word before the other takes and gives back, and find the same value afterwards.
#[test]
fn work_against_work_by_the_central_word() {
    explore(|| work_in_turn(&open(1), 1));
}

/// One caller works and gives its permits to the central word. Another one refills a shard from
/// there, and a third takes what the refill brought. It observes the work of the first.
#[test]
fn work_against_take_after_a_refill() {
    explore(|| {
        let credit = open(2);
        assert!(credit.take_for_waiter(2).is_ok());
        let (work, theirs) = place();
        let working = spawn(&credit, move |credit| {
            theirs.with_mut(|_| ());
            credit.give(0, 2);
        });
        let refilling = spawn(&credit, |credit| credit.take(0, 1).is_ok());
        let taken = credit.take(0, 1).is_ok();
        if taken {
            work.with(|_| ());
        }
        working.join().unwrap();
        let refilled = refilling.join().unwrap();
        at_rest(&credit, 2 - i64::from(taken) - i64::from(refilled));
    });
}

/// A holder works, and gives its permits to its shard. A third caller recalls them, and the next
/// holder takes them from the central word. It observes the work.
#[test]
fn work_against_take_after_a_recall() {
    explore(|| {
        let credit = both_on_shard_0();
        assert_eq!(credit.take(0, 2), Ok(()));
        let (work, theirs) = place();
        let working = spawn(&credit, move |credit| {
            theirs.with_mut(|_| ());
            credit.give(0, 2);
        });
        let recalling = spawn(&credit, |credit| credit.look().free());
        let taken = credit.take(1, 2).is_ok();
        if taken {
            work.with(|_| ());
        }
        working.join().unwrap();
        recalling.join().unwrap();
        at_rest(&credit, if taken { 0 } else { 2 });
    });
}

/// A holder that is told to serve observes what was done before the flag was set.
#[test]
fn told_holder_against_close() {
    explore(|| {
        let credit = open(1);
        assert_eq!(credit.take(0, 1), Ok(()));
        let (before, theirs) = place();
        let other = spawn(&credit, move |credit| {
            if credit.give(0, 1) {
                theirs.with(|_| ());
            }
        });
        before.with_mut(|_| ());
        credit.close();
        other.join().unwrap();
        at_rest(&credit, 1);
    });
}
