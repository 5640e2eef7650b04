//! Random calls, each compared with a plain model that has lists in place of words and locks.

use std::collections::VecDeque;

use penstock_core::{Cancelled, MailOpened, MailParked, MailboxSettings, Overflow, Token};
use proptest::prelude::*;

use crate::stage::{NEXT, Sent, Stage, pid};

const SERVERS: u64 = 2;
const PROCESSES: u64 = 6;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Open(u64, MailboxSettings),
    Send(u64),
    Park(u64, u64),
    /// Cancels the wait of a process.
    Cancel(u64),
    Take(u64),
    Release(u64, u32),
    Kill(u64),
    /// Gives the pid of a dead process to a new one.
    Reuse(u64),
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let server = 1..=SERVERS;
    let process = 1..=PROCESSES;
    let settings =
        (1..4_u32, 0..4_u32, any::<bool>(), any::<bool>()).prop_map(|(limit, max_waiting, drops, manual)| {
            let overflow = if drops { Overflow::DropOldest } else { Overflow::Refuse };
            MailboxSettings { limit, max_waiting, overflow, manual }
        });
    prop_oneof![
        1 => (server.clone(), settings).prop_map(|(server, settings)| Op::Open(server, settings)),
        4 => server.clone().prop_map(Op::Send),
        4 => (server.clone(), process.clone()).prop_map(|(server, waiter)| Op::Park(server, waiter)),
        2 => process.clone().prop_map(Op::Cancel),
        4 => server.clone().prop_map(Op::Take),
        2 => (server, 1..3_u32).prop_map(|(server, n)| Op::Release(server, n)),
        1 => process.clone().prop_map(Op::Kill),
        1 => process.prop_map(Op::Reuse),
    ]
}

#[derive(Default)]
struct Server {
    settings: Option<MailboxSettings>,
    /// The messages in the queue of the server; [`NEXT`] stands for one of `kept`.
    queue: VecDeque<u32>,
    kept: VecDeque<u32>,
    line: VecDeque<(u64, Token, u32)>,
    held: u32,
    dropped: u64,
}

impl Server {
    fn in_use(&self) -> u32 {
        self.queue.len() as u32 + self.held
    }

    fn has_room(&self) -> bool {
        self.line.is_empty() && self.settings.is_some_and(|settings| self.in_use() < settings.limit)
    }

    fn serve(&mut self, dead: &[bool]) {
        let Some(settings) = self.settings else { return };
        while self.in_use() < settings.limit {
            let Some((pid, _, message)) = self.line.pop_front() else { return };
            if !dead[pid as usize] {
                self.queue.push_back(message);
            }
        }
    }
}

/// Makes the calls, and compares the mailboxes with the model after each.
pub(crate) fn run(ops: Vec<Op>) {
    let stage = Stage::new(PROCESSES as usize);
    let mut dead = [false; PROCESSES as usize + 1];
    let mut servers: Vec<Server> = (0..=SERVERS).map(|_| Server::default()).collect();
    let mut waits: [Option<(u64, Token)>; PROCESSES as usize + 1] = Default::default();

    for (message, op) in (1_u32..).zip(ops) {
        match op {
            Op::Open(at, settings) => {
                let expected = if dead[at as usize] { MailOpened::Dead } else { MailOpened::Yes };
                assert_eq!(stage.open(pid(at), settings), expected);
                if expected == MailOpened::Yes {
                    servers[at as usize].settings = Some(settings);
                    servers[at as usize].serve(&dead);
                }
            }
            Op::Send(at) => {
                let server = &mut servers[at as usize];
                let expected = match server.settings {
                    None => Sent::No,
                    Some(settings) if settings.overflow == Overflow::DropOldest => {
                        if server.has_room() {
                            server.kept.push_back(message);
                            server.queue.push_back(NEXT);
                            Sent::Yes
                        } else if server.kept.pop_front().is_some() {
                            server.kept.push_back(message);
                            server.dropped += 1;
                            Sent::Yes
                        } else {
                            Sent::Full
                        }
                    }
                    Some(_) if server.has_room() => {
                        server.queue.push_back(message);
                        Sent::Yes
                    }
                    Some(_) => Sent::Full,
                };
                assert_eq!(stage.send(pid(at), message), expected);
            }
            Op::Park(at, waiter) => {
                // A process waits once at a time, and a server that waits for itself is refused before.
                if dead[waiter as usize] || waits[waiter as usize].is_some() || waiter == at {
                    continue;
                }
                let server = &mut servers[at as usize];
                let parked = stage.park(pid(at), pid(waiter), message);
                let Some(settings) = server.settings else {
                    assert_eq!(parked, None);
                    continue;
                };
                if server.has_room() {
                    server.queue.push_back(message);
                    assert_eq!(parked, Some(MailParked::Sent));
                    continue;
                }
                if server.line.len() >= settings.max_waiting as usize {
                    server.line.retain(|&(pid, ..)| !dead[pid as usize]);
                    if server.has_room() {
                        server.queue.push_back(message);
                        assert_eq!(parked, Some(MailParked::Sent));
                        continue;
                    }
                }
                if server.line.len() >= settings.max_waiting as usize {
                    assert_eq!(parked, Some(MailParked::Full));
                } else if let Some(MailParked::Waiting(token)) = parked {
                    server.line.push_back((waiter, token, message));
                    waits[waiter as usize] = Some((at, token));
                } else {
                    panic!("not parked: {parked:?}");
                }
            }
            Op::Cancel(waiter) => {
                let Some((at, token)) = waits[waiter as usize].take() else { continue };
                let line = &mut servers[at as usize].line;
                let there = line.iter().position(|&(pid, of, _)| (pid, of) == (waiter, token));
                let expected = there.map_or(Cancelled::TooLate, |_| Cancelled::Yes);
                there.and_then(|index| line.remove(index));
                assert_eq!(stage.cancel(pid(at), pid(waiter), token), expected);
            }
            Op::Take(at) => {
                let server = &mut servers[at as usize];
                if dead[at as usize] || server.settings.is_none() {
                    continue;
                }
                let expected = match server.queue.pop_front() {
                    Some(NEXT) => server.kept.pop_front(),
                    other => other,
                };
                if expected.is_some() && server.settings.is_some_and(|settings| settings.manual) {
                    server.held += 1;
                }
                server.serve(&dead);
                assert_eq!(stage.take(pid(at)), expected);
            }
            Op::Release(at, n) => {
                let server = &mut servers[at as usize];
                let Some(open) = stage.boxes.find(pid(at)) else { continue };
                let expected = server.held >= n;
                let released = open.release(n);
                assert_eq!(released.is_some(), expected);
                if released == Some(true) {
                    stage.serve(pid(at));
                }
                if expected {
                    server.held -= n;
                    server.serve(&dead);
                }
            }
            Op::Kill(at) => {
                if !std::mem::replace(&mut dead[at as usize], true) {
                    stage.kill(pid(at));
                    waits[at as usize] = None;
                    if at <= SERVERS {
                        servers[at as usize] = Server::default();
                    }
                }
            }
            Op::Reuse(at) => {
                // The pid of a dead waiter stays in line: the mailbox would take the new process for it.
                let waits = servers.iter().any(|server| server.line.iter().any(|&(pid, ..)| pid == at));
                if dead[at as usize] && !waits {
                    dead[at as usize] = false;
                    stage.host.reuse(pid(at));
                }
            }
        }
        for at in 1..=SERVERS {
            let server = &servers[at as usize];
            let info = stage.info(pid(at));
            assert_eq!(info.map(|info| info.settings), server.settings);
            if let Some(info) = info {
                assert_eq!(info.in_use, server.in_use());
                assert_eq!(info.waiting, server.line.len());
                assert_eq!(info.held, server.held);
                assert_eq!(info.dropped, server.dropped);
                assert_eq!(stage.host.messages(pid(at)), Vec::from(server.queue.clone()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_call_answers_as_the_plain_model(ops in prop::collection::vec(op(), 1..80)) {
        run(ops);
    }
}
