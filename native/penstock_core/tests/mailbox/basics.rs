use penstock_core::{Answer, Cancelled, MailOpened, MailParked, MailboxSettings, Overflow};

use crate::stage::{Sent, Stage, pid, refuse};

#[test]
fn admits_up_to_the_limit_and_again_as_the_server_takes_up() {
    let (stage, server) = (Stage::new(1), pid(1));
    assert_eq!(stage.open(server, refuse(2)), MailOpened::Yes);
    assert_eq!([1, 2, 3].map(|n| stage.send(server, n)), [Sent::Yes, Sent::Yes, Sent::Full]);
    assert_eq!(stage.take(server), Some(1));
    assert_eq!([4, 5].map(|n| stage.send(server, n)), [Sent::Yes, Sent::Full]);
    assert_eq!(stage.host.messages(server), [2, 4]);
    let info = stage.info(server).unwrap();
    assert_eq!((info.in_use, info.admitted, info.rejected), (2, 3, 2));
    stage.at_rest(server);
}

#[test]
fn serves_waiters_in_order_and_passes_none_by() {
    let (stage, server) = (Stage::new(4), pid(1));
    stage.open(server, refuse(1));
    assert_eq!(stage.send(server, 1), Sent::Yes);
    for n in 2..=4 {
        assert!(matches!(stage.park(server, pid(n.into()), n), Some(MailParked::Waiting(_))));
    }
    assert_eq!(stage.take(server), Some(1));
    assert_eq!(stage.host.messages(server), [2]);
    assert_eq!(stage.host.mailbox(pid(2)).len(), 1);
    assert_eq!(stage.send(server, 9), Sent::Full);
    assert_eq!([stage.take(server), stage.take(server), stage.take(server)], [Some(2), Some(3), Some(4)]);
    assert_eq!(stage.host.mailbox(pid(4)), [(2, Answer::Granted)]);
    stage.at_rest(server);
    assert_eq!(stage.send(server, 10), Sent::Yes);
}

#[test]
fn passes_the_turn_of_a_dead_waiter_on() {
    let (stage, server) = (Stage::new(4), pid(1));
    stage.open(server, refuse(1));
    stage.send(server, 1);
    for n in 2..=4 {
        stage.park(server, pid(n.into()), n);
    }
    stage.kill(pid(2));
    stage.kill(pid(3));
    stage.take(server);
    assert_eq!(stage.host.messages(server), [4]);
    stage.at_rest(server);
}

#[test]
fn a_full_line_forgets_its_dead() {
    let (stage, server) = (Stage::new(8), pid(1));
    stage.open(server, MailboxSettings { max_waiting: 2, ..refuse(1) });
    stage.send(server, 1);
    assert!(matches!(stage.park(server, pid(2), 2), Some(MailParked::Waiting(_))));
    assert!(matches!(stage.park(server, pid(3), 3), Some(MailParked::Waiting(_))));
    assert_eq!(stage.park(server, pid(4), 4), Some(MailParked::Full));
    stage.kill(pid(3));
    assert!(matches!(stage.park(server, pid(4), 4), Some(MailParked::Waiting(_))));
    assert_eq!(stage.park(server, pid(5), 5), Some(MailParked::Full));
    assert_eq!(stage.info(server).unwrap().waiting, 2);
    assert_eq!([stage.take(server), stage.take(server), stage.take(server)], [Some(1), Some(2), Some(4)]);
    stage.at_rest(server);
}

#[test]
fn a_wait_ends_once() {
    let (stage, server) = (Stage::new(3), pid(1));
    stage.open(server, refuse(1));
    stage.send(server, 1);
    let Some(MailParked::Waiting(token)) = stage.park(server, pid(2), 2) else { panic!("not parked") };
    assert_eq!(stage.cancel(server, pid(3), token), Cancelled::TooLate, "it is another's");
    assert_eq!(stage.cancel(server, pid(2), token), Cancelled::Yes);
    assert_eq!(stage.cancel(server, pid(2), token), Cancelled::TooLate);
    stage.take(server);
    assert_eq!(stage.host.messages(server), []);
    assert_eq!(stage.info(server).unwrap().timed_out, 1);
    stage.at_rest(server);
}

#[test]
fn the_death_of_a_server_ends_its_mailbox_and_frees_its_place() {
    let (stage, server) = (Stage::new(2), pid(1));
    for round in 0..100 {
        assert_eq!(stage.open(server, refuse(1)), MailOpened::Yes);
        assert_eq!(stage.send(server, 1), Sent::Yes, "round {round}");
        stage.park(server, pid(2), 2);
        let stale = stage.boxes.find(server).unwrap();
        stage.kill(server);
        assert_eq!(stage.send(server, 3), Sent::No);
        assert!(stage.info(server).is_none());
        assert!(stale.admit().is_err());
        assert_eq!(stage.open(server, refuse(1)), MailOpened::Dead);
        stage.host.reuse(server);
        assert_eq!(stage.open(server, refuse(1)), MailOpened::Yes);
        // A call that found the mailbox before the death changes nothing of the next.
        stale.taken(true);
        stale.withdraw();
        assert!(stale.next().is_none());
        assert_eq!(stage.info(server).unwrap().in_use, 0);
        assert_eq!(stage.send(server, 1), Sent::Yes);
        stale.withdraw();
        assert_eq!(stage.info(server).unwrap().in_use, 1);
        stage.take(server);
        stage.at_rest(server);
        stage.kill(server);
        stage.host.reuse(server);
    }
}

#[test]
fn a_higher_limit_serves_waiters_at_once() {
    let (stage, server) = (Stage::new(500), pid(1));
    let settings = MailboxSettings { max_waiting: 1_000, ..refuse(1) };
    stage.open(server, settings);
    stage.send(server, 1);
    for n in 2..=500 {
        assert!(matches!(stage.park(server, pid(n.into()), n), Some(MailParked::Waiting(_))));
    }
    stage.open(server, MailboxSettings { limit: 400, ..settings });
    stage.at_rest(server);
    assert_eq!(stage.host.messages(server), (1..=400).collect::<Vec<_>>());
    assert_eq!(stage.info(server).unwrap().waiting, 100);
    stage.open(server, MailboxSettings { limit: 1, ..settings });
    assert_eq!(stage.send(server, 999), Sent::Full);
    for n in 1..=399 {
        assert_eq!(stage.take(server), Some(n));
    }
    assert_eq!(stage.host.messages(server), [400]);
}

#[test]
fn keeps_the_newest_where_the_oldest_are_dropped() {
    let (stage, server) = (Stage::new(2), pid(1));
    stage.open(server, MailboxSettings { overflow: Overflow::DropOldest, ..refuse(3) });
    for n in 1..=10 {
        assert_eq!(stage.send(server, n), Sent::Yes);
    }
    assert_eq!(stage.host.messages(server).len(), 3);
    let info = stage.info(server).unwrap();
    assert_eq!((info.in_use, info.dropped, info.admitted), (3, 7, 10));
    assert_eq!(stage.take(server), Some(8));
    assert_eq!(stage.send(server, 11), Sent::Yes);
    assert_eq!([stage.take(server), stage.take(server), stage.take(server)], [Some(9), Some(10), Some(11)]);
    assert_eq!(stage.take(server), None);
    stage.at_rest(server);
}

#[test]
fn a_server_gives_room_back_by_hand() {
    let (stage, server) = (Stage::new(2), pid(1));
    stage.open(server, MailboxSettings { manual: true, ..refuse(2) });
    assert_eq!([stage.send(server, 1), stage.send(server, 2)], [Sent::Yes, Sent::Yes]);
    stage.take(server);
    assert_eq!(stage.send(server, 3), Sent::Full);
    let open = stage.boxes.find(server).unwrap();
    assert_eq!(open.release(2), None, "one is still in the queue");
    assert_eq!(open.release(1), Some(false));
    assert_eq!(open.release(1), None);
    assert_eq!(stage.send(server, 3), Sent::Yes);
    stage.at_rest(server);
}

#[test]
fn a_message_made_by_hand_gives_no_room() {
    let (stage, server) = (Stage::new(1), pid(1));
    stage.open(server, refuse(1));
    stage.boxes.find(server).unwrap().taken(true);
    assert_eq!(stage.info(server).unwrap().in_use, 0);
    assert_eq!([stage.send(server, 1), stage.send(server, 2)], [Sent::Yes, Sent::Full]);
}

#[test]
fn a_request_keeps_no_room_by_hand() {
    let (stage, server) = (Stage::new(1), pid(1));
    stage.open(server, MailboxSettings { manual: true, ..refuse(1) });
    assert_eq!(stage.send(server, 1), Sent::Yes);
    assert!(!stage.boxes.find(server).unwrap().taken(false));
    assert_eq!(stage.info(server).map(|info| (info.in_use, info.held)), Some((0, 0)));
}

#[test]
fn many_servers_have_mailboxes_of_their_own() {
    let count = 200_000;
    let stage = Stage::new(count);
    for n in 1..=count as u64 {
        assert_eq!(stage.open(pid(n), refuse(1)), MailOpened::Yes);
    }
    let some = (1..=count as u64).step_by(97);
    for n in some.clone() {
        assert_eq!(stage.send(pid(n), n as u32), Sent::Yes);
        assert_eq!(stage.send(pid(n), 1), Sent::Full);
    }
    for n in some.clone().step_by(2) {
        stage.kill(pid(n));
    }
    for (index, n) in some.enumerate() {
        assert_eq!(stage.info(pid(n)).map(|info| info.in_use), if index % 2 == 0 { None } else { Some(1) });
    }
}

#[test]
fn counts_the_refusals_of_all_threads_and_of_this_mailbox_alone() {
    const SERVERS: u64 = 200;
    let stage = Stage::new(SERVERS as usize);
    // There are fewer places, so each serves several servers. Not all threads have counts of their own.
    for number in 1..=SERVERS {
        let (server, threads, refusals) = (pid(number), if number == 1 { 80 } else { 2 }, 10);
        stage.open(server, refuse(1));
        assert_eq!(stage.info(server).unwrap().rejected, 0);
        stage.send(server, 1);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..refusals).for_each(|_| assert_eq!(stage.send(server, 2), Sent::Full)));
            }
        });
        assert_eq!(stage.info(server).unwrap().rejected, threads * refusals);
        stage.kill(server);
    }
}
