//! Random calls, each compared with a plain model that has lists in place of words and locks.

use std::collections::VecDeque;

use penstock_core::{Answer, Cancelled, MailOpened, MailParked, MailboxInfo, MailboxSettings, Overflow, Token};
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
    line: VecDeque<Waiter>,
    held: u32,
    admitted: u64,
    rejected: u64,
    timed_out: u64,
    dropped: u64,
}

struct Waiter {
    pid: u64,
    token: Token,
    ticket: u32,
    message: u32,
}

/// By pid: whether the process is dead, and the answers to it with their tickets.
#[derive(Clone, Default)]
struct Process {
    dead: bool,
    answers: Vec<(u32, Answer)>,
}

impl Server {
    fn in_use(&self) -> u32 {
        self.queue.len() as u32 + self.held
    }

    fn has_room(&self) -> bool {
        self.line.is_empty() && self.settings.is_some_and(|settings| self.in_use() < settings.limit)
    }

    /// Gives room to a message, which is in the queue then.
    fn admit(&mut self, message: u32) {
        self.admitted += 1;
        self.queue.push_back(message);
    }

    fn serve(&mut self, processes: &mut [Process]) {
        let Some(settings) = self.settings else { return };
        while self.in_use() < settings.limit {
            let Some(Waiter { pid, ticket, message, .. }) = self.line.pop_front() else { return };
            let process = &mut processes[pid as usize];
            if !process.dead {
                self.admit(message);
                process.answers.push((ticket, Answer::Granted));
            }
        }
    }

    /// Returns what the mailbox must report, if it is open.
    fn info(&self) -> Option<MailboxInfo> {
        Some(MailboxInfo {
            settings: self.settings?,
            in_use: self.in_use(),
            waiting: self.line.len(),
            held: self.held,
            admitted: self.admitted,
            rejected: self.rejected,
            timed_out: self.timed_out,
            dropped: self.dropped,
        })
    }
}

fn compare(stage: &Stage, servers: &[Server], processes: &[Process]) {
    for (at, server) in (0..).zip(servers).skip(1) {
        assert_eq!(stage.info(pid(at)), server.info(), "server {at}");
        if server.settings.is_some() {
            assert_eq!(stage.host.messages(pid(at)), Vec::from(server.queue.clone()), "server {at}");
        }
    }
    for (at, process) in (0..).zip(processes).skip(1) {
        assert_eq!(stage.host.mailbox(pid(at)), process.answers, "answers to process {at}");
    }
}

/// Makes the calls, and compares the mailboxes with the model after each. Then kills all
/// processes, and opens a mailbox in each place again.
pub(crate) fn run(ops: Vec<Op>) {
    let stage = Stage::new(PROCESSES as usize);
    let mut processes = vec![Process::default(); PROCESSES as usize + 1];
    let mut servers: Vec<Server> = (0..=SERVERS).map(|_| Server::default()).collect();
    let mut waits: [Option<(u64, Token)>; PROCESSES as usize + 1] = Default::default();
    let mut tickets = 0;

    for (message, op) in (1_u32..).zip(ops) {
        match op {
            Op::Open(at, settings) => {
                let expected = if processes[at as usize].dead { MailOpened::Dead } else { MailOpened::Yes };
                assert_eq!(stage.open(pid(at), settings), expected);
                if expected == MailOpened::Yes {
                    servers[at as usize].settings = Some(settings);
                    servers[at as usize].serve(&mut processes);
                }
            }
            Op::Send(at) => {
                let server = &mut servers[at as usize];
                let expected = match server.settings {
                    None => Sent::No,
                    Some(settings) if server.has_room() => {
                        if settings.overflow == Overflow::DropOldest {
                            server.kept.push_back(message);
                            server.admit(NEXT);
                        } else {
                            server.admit(message);
                        }
                        Sent::Yes
                    }
                    Some(settings)
                        if settings.overflow == Overflow::DropOldest && server.kept.pop_front().is_some() =>
                    {
                        // The message takes the room of the oldest one.
                        server.kept.push_back(message);
                        server.dropped += 1;
                        server.admitted += 1;
                        Sent::Yes
                    }
                    Some(_) => {
                        server.rejected += 1;
                        Sent::Full
                    }
                };
                assert_eq!(stage.send(pid(at), message), expected);
            }
            Op::Park(at, waiter) => {
                // A process waits once at a time, and a server that waits for itself is refused
                // before.
                if processes[waiter as usize].dead || waits[waiter as usize].is_some() || waiter == at {
                    continue;
                }
                let server = &mut servers[at as usize];
                let parked = stage.park(pid(at), pid(waiter), message);
                let Some(settings) = server.settings else {
                    assert_eq!(parked, None);
                    continue;
                };
                let ticket = tickets;
                tickets += 1;
                let most = settings.max_waiting as usize;
                if !server.has_room() && server.line.len() >= most {
                    server.line.retain(|waiter| !processes[waiter.pid as usize].dead);
                }
                if server.has_room() {
                    server.admit(message);
                    assert_eq!(parked, Some(MailParked::Sent));
                } else if server.line.len() >= most {
                    assert_eq!(parked, Some(MailParked::Full));
                } else if let Some(MailParked::Waiting(token)) = parked {
                    server.line.push_back(Waiter { pid: waiter, token, ticket, message });
                    waits[waiter as usize] = Some((at, token));
                } else {
                    panic!("not parked: {parked:?}");
                }
            }
            Op::Cancel(waiter) => {
                let Some((at, token)) = waits[waiter as usize].take() else { continue };
                let server = &mut servers[at as usize];
                let there = server.line.iter().position(|other| (other.pid, other.token) == (waiter, token));
                let expected = there.map_or(Cancelled::TooLate, |_| Cancelled::Yes);
                if let Some(index) = there {
                    server.line.remove(index);
                    server.timed_out += 1;
                }
                assert_eq!(stage.cancel(pid(at), pid(waiter), token), expected);
            }
            Op::Take(at) => {
                let server = &mut servers[at as usize];
                let Some(settings) = server.settings else { continue };
                let expected = match server.queue.pop_front() {
                    Some(NEXT) => server.kept.pop_front(),
                    other => other,
                };
                if expected.is_some() && settings.manual {
                    server.held += 1;
                }
                server.serve(&mut processes);
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
                    server.serve(&mut processes);
                }
            }
            Op::Kill(at) => kill(&stage, at, &mut servers, &mut processes, &mut waits),
            Op::Reuse(at) => {
                // The pid of a dead waiter stays in line: the mailbox would take the new process
                // for it.
                let waits = servers.iter().any(|server| server.line.iter().any(|waiter| waiter.pid == at));
                if processes[at as usize].dead && !waits {
                    processes[at as usize].dead = false;
                    stage.host.reuse(pid(at));
                }
            }
        }
        compare(&stage, &servers, &processes);
    }
    for at in 1..=PROCESSES {
        kill(&stage, at, &mut servers, &mut processes, &mut waits);
    }
    compare(&stage, &servers, &processes);
    nothing_is_left(&stage);
}

fn kill(stage: &Stage, at: u64, servers: &mut [Server], processes: &mut [Process], waits: &mut [Option<(u64, Token)>]) {
    if !std::mem::replace(&mut processes[at as usize].dead, true) {
        stage.kill(pid(at));
        waits[at as usize] = None;
        if at <= SERVERS {
            servers[at as usize] = Server::default();
        }
    }
}

/// Asserts that the mailboxes of dead servers leave nothing to those that get their places.
fn nothing_is_left(stage: &Stage) {
    let settings = MailboxSettings { limit: 2, max_waiting: 1, overflow: Overflow::Refuse, manual: false };
    for server in (1..=SERVERS).map(pid) {
        assert_eq!(stage.send(server, 1), Sent::No);
        stage.host.reuse(server);
        assert_eq!(stage.open(server, settings), MailOpened::Yes);
        assert_eq!(stage.info(server), Server { settings: Some(settings), ..Server::default() }.info());
        assert_eq!([1, 2, 3].map(|message| stage.send(server, message)), [Sent::Yes, Sent::Yes, Sent::Full]);
        assert_eq!([stage.take(server), stage.take(server), stage.take(server)], [Some(1), Some(2), None]);
        stage.at_rest(server);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_call_answers_as_the_plain_model(ops in prop::collection::vec(op(), 1..80)) {
        run(ops);
    }
}
