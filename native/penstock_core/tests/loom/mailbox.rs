//! Races at a mailbox between its senders, its waiters, and the server that takes messages up or
//! dies.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use penstock_core::{Cancelled, MailOpened, MailParked, MailboxSettings, Overflow};

use crate::explore::explore;
use crate::mailbox_stage::{Sent, Stage, pid, refuse};

const SERVER: u64 = 1;

fn with(stage: &Arc<Stage>, act: impl FnOnce(&Stage) + 'static) -> JoinHandle<()> {
    let stage = Arc::clone(stage);
    thread::spawn(move || act(&stage))
}

fn opened(processes: usize, settings: MailboxSettings) -> Arc<Stage> {
    let stage = Stage::new(processes);
    assert_eq!(stage.open(pid(SERVER), settings), MailOpened::Yes);
    stage
}

/// Takes up all messages, and returns them in order.
fn take_all(stage: &Stage) -> Vec<u32> {
    std::iter::from_fn(|| stage.take(pid(SERVER))).collect()
}

/// The last room comes back while a sender parks, and a newcomer sends. Either the sender finds the
/// room, or the server finds the sender in line.
#[test]
fn room_against_a_sender_that_parks() {
    explore(|| {
        let stage = opened(3, refuse(1));
        assert_eq!(stage.send(pid(SERVER), 1), Sent::Yes);
        let taking = with(&stage, |stage| assert_eq!(stage.take(pid(SERVER)), Some(1)));
        let parking = with(&stage, |stage| {
            let parked = stage.park(pid(SERVER), pid(2), 2);
            assert!(matches!(parked, Some(MailParked::Sent | MailParked::Waiting(_))));
        });
        let passed = stage.send(pid(SERVER), 3) == Sent::Yes;
        taking.join().unwrap();
        parking.join().unwrap();
        stage.at_rest(pid(SERVER));
        let mut taken = take_all(&stage);
        stage.at_rest(pid(SERVER));
        taken.sort_unstable();
        assert_eq!(taken, if passed { vec![2, 3] } else { vec![2] });
    });
}

/// Two senders race for the last room. One gets it, and the other's refusal leaves no trace.
#[test]
fn two_senders_for_the_last_room() {
    explore(|| {
        let stage = opened(3, refuse(1));
        let first = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let sent = Arc::clone(&first);
        let sending = with(&stage, move |stage| {
            sent.store(stage.send(pid(SERVER), 1) == Sent::Yes, std::sync::atomic::Ordering::Relaxed);
        });
        let second = stage.send(pid(SERVER), 2) == Sent::Yes;
        sending.join().unwrap();
        assert!(first.load(std::sync::atomic::Ordering::Relaxed) != second);
        stage.at_rest(pid(SERVER));
    });
}

/// A waiter gives up as its turn comes. It learns that it gave up, or its message is sent.
#[test]
fn a_turn_against_a_waiter_that_gives_up() {
    explore(|| {
        let stage = opened(3, refuse(1));
        stage.send(pid(SERVER), 1);
        let Some(MailParked::Waiting(token)) = stage.park(pid(SERVER), pid(2), 2) else { panic!("not parked") };
        let Some(MailParked::Waiting(_)) = stage.park(pid(SERVER), pid(3), 3) else { panic!("not parked") };
        let taking = with(&stage, |stage| assert_eq!(stage.take(pid(SERVER)), Some(1)));
        let cancelled = stage.cancel(pid(SERVER), pid(2), token);
        taking.join().unwrap();
        stage.at_rest(pid(SERVER));
        let expected = if cancelled == Cancelled::Yes { vec![3] } else { vec![2, 3] };
        assert_eq!(take_all(&stage), expected);
        assert_eq!(stage.host.mailbox(pid(2)).len(), usize::from(cancelled == Cancelled::TooLate));
        stage.at_rest(pid(SERVER));
    });
}

/// The only waiter is dead, or dies, as its turn comes, and a newcomer sends. The room is not lost.
#[test]
fn a_turn_against_the_death_of_the_waiter() {
    explore(|| {
        let stage = opened(3, refuse(1));
        stage.send(pid(SERVER), 1);
        stage.park(pid(SERVER), pid(2), 2);
        let taking = with(&stage, |stage| assert_eq!(stage.take(pid(SERVER)), Some(1)));
        let dying = with(&stage, |stage| stage.kill(pid(2)));
        let passed = stage.send(pid(SERVER), 3) == Sent::Yes;
        taking.join().unwrap();
        dying.join().unwrap();
        stage.at_rest(pid(SERVER));
        let taken = take_all(&stage);
        assert_eq!(taken.contains(&3), passed);
        stage.at_rest(pid(SERVER));
        assert_eq!(stage.send(pid(SERVER), 4), Sent::Yes);
    });
}

/// A server dies while one sender sends and another parks, and its pid and place go to a new server.
/// The new mailbox counts only what was sent to it.
#[test]
fn a_death_against_senders_of_the_next_server() {
    explore(|| {
        let stage = opened(3, refuse(1));
        let dying = with(&stage, |stage| {
            stage.kill(pid(SERVER));
            stage.host.reuse(pid(SERVER));
            assert_eq!(stage.open(pid(SERVER), refuse(1)), MailOpened::Yes);
        });
        let sending = with(&stage, |stage| {
            stage.send(pid(SERVER), 1);
        });
        let parked = stage.park(pid(SERVER), pid(2), 2);
        dying.join().unwrap();
        sending.join().unwrap();
        let waiting = matches!(parked, Some(MailParked::Waiting(_)));
        let info = stage.info(pid(SERVER)).unwrap();
        assert!(waiting || info.waiting == 0);
        // A message of the old server may have gone with its queue, and never counts for the new one.
        let queued = stage.host.messages(pid(SERVER)).len();
        assert!(info.in_use as usize <= queued, "{info:?}");
    });
}

/// Two callers open the mailbox of a server that dies. It is open, or it is gone with its place.
#[test]
fn two_openings_against_the_death_of_the_server() {
    explore(|| {
        let stage = Stage::new(2);
        let opening = with(&stage, |stage| {
            stage.open(pid(SERVER), refuse(1));
        });
        let dying = with(&stage, |stage| stage.kill(pid(SERVER)));
        stage.open(pid(SERVER), refuse(1));
        opening.join().unwrap();
        dying.join().unwrap();
        assert!(stage.info(pid(SERVER)).is_none());
        assert_eq!(stage.host.watches(pid(SERVER)), 0);
        assert_eq!(stage.open(pid(2), refuse(1)), MailOpened::Yes);
    });
}

/// A place goes from one server to another while a sender still has the first one's mailbox in its
/// hands.
#[test]
fn a_stale_sender_against_the_next_server_of_the_place() {
    explore(|| {
        let stage = opened(3, refuse(1));
        let replacing = with(&stage, |stage| {
            stage.kill(pid(SERVER));
            assert_eq!(stage.open(pid(2), refuse(1)), MailOpened::Yes);
            assert_eq!(stage.send(pid(2), 2), Sent::Yes);
        });
        stage.send(pid(SERVER), 1);
        replacing.join().unwrap();
        assert_eq!(stage.info(pid(2)).unwrap().in_use, 1);
        stage.at_rest(pid(2));
    });
}

/// The server raises its limit while a sender parks. Either the sender finds the room, or the server
/// finds it in line.
#[test]
fn a_higher_limit_against_a_sender_that_parks() {
    explore(|| {
        let stage = opened(3, refuse(1));
        stage.send(pid(SERVER), 1);
        let parking = with(&stage, |stage| {
            let parked = stage.park(pid(SERVER), pid(2), 2);
            assert!(matches!(parked, Some(MailParked::Sent | MailParked::Waiting(_))));
        });
        stage.open(pid(SERVER), refuse(2));
        parking.join().unwrap();
        stage.at_rest(pid(SERVER));
        assert_eq!(take_all(&stage), [1, 2]);
        stage.at_rest(pid(SERVER));
    });
}

/// Two senders keep messages where only one has room, while the server takes one.
#[test]
fn two_kept_messages_against_the_server() {
    explore(|| {
        let stage = opened(1, MailboxSettings { overflow: Overflow::DropOldest, ..refuse(1) });
        assert_eq!(stage.send(pid(SERVER), 1), Sent::Yes);
        let sending = with(&stage, |stage| assert_eq!(stage.send(pid(SERVER), 2), Sent::Yes));
        let taken = stage.take(pid(SERVER));
        sending.join().unwrap();
        let rest = take_all(&stage);
        let all: Vec<u32> = taken.into_iter().chain(rest).collect();
        let dropped = stage.info(pid(SERVER)).unwrap().dropped;
        assert_eq!(all, if dropped == 1 { vec![2] } else { vec![1, 2] });
        stage.at_rest(pid(SERVER));
    });
}

/// A sender is about to tell the server of a kept message, which another takes the place of. That one
/// then sends a request, which must not come before.
#[test]
fn a_request_against_a_message_that_is_being_told() {
    explore(|| {
        let stage = opened(1, MailboxSettings { overflow: Overflow::DropOldest, ..refuse(1) });
        let sending = with(&stage, |stage| assert_eq!(stage.send(pid(SERVER), 1), Sent::Yes));
        assert_eq!(stage.send(pid(SERVER), 2), Sent::Yes);
        let open = stage.boxes.find(pid(SERVER)).unwrap();
        if open.is_told() {
            // A request may be sent now: all that is kept was told before.
            let kept = stage.info(pid(SERVER)).unwrap().in_use;
            assert_eq!(stage.host.messages(pid(SERVER)).len(), kept as usize);
        }
        sending.join().unwrap();
        assert!(stage.boxes.find(pid(SERVER)).unwrap().is_told());
        stage.at_rest(pid(SERVER));
    });
}
