//! A fake runtime.
//!
//! It behaves as the BEAM does. A process that dies is not alive from then on. The pools that
//! watch the process are told later, once for each watch. Until they are told, a pool can begin
//! to watch the process; after that, no pool can. No process dies inside a call.
//!
//! State that synchronizes threads uses the primitives of the model checker. The clock, the
//! counters and the record of dead processes use primitives that the checker does not see. In a
//! model these order no threads, so they hide no missing ordering of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as PlainU32, AtomicUsize as PlainUsize, Ordering};

use penstock_core::{Answer, Discarded, Host, KeyedHost, KeyedPool, MailHost, Mailboxes, Pid, Pool, PoolHost};

#[cfg(loom)]
mod sync {
    pub use loom::sync::atomic::AtomicBool;
    pub use loom::sync::{Condvar, Mutex};
}

#[cfg(shuttle)]
mod sync {
    pub use shuttle::sync::atomic::AtomicBool;
    pub use shuttle::sync::{Condvar, Mutex};
}

#[cfg(not(any(loom, shuttle)))]
mod sync {
    pub use std::sync::atomic::AtomicBool;
    pub use std::sync::{Condvar, Mutex};
}

use sync::{AtomicBool, Condvar, Mutex};

/// Identifies one wait among all waits of a test. An answer consumes the ticket, which is not
/// `Clone`: no wait is answered twice.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(pub u32);

/// The runtime. Clones share their processes.
#[derive(Clone)]
pub struct Fake(Arc<World>);

struct World {
    /// The process of pid `n` is at `n - 1`.
    processes: Vec<ProcessState>,
    clock_ms: PlainU32,
    tickets: PlainU32,
    answers: PlainUsize,
    deferrals: PlainUsize,
    worked: PlainUsize,
    /// The process of each call of `alive` that returned `false`, in the order of the calls.
    found_dead: std::sync::Mutex<Vec<Pid>>,
}

struct ProcessState {
    alive: AtomicBool,
    watchers: Mutex<Watchers>,
    /// Each answer, with the number of its ticket.
    mailbox: Mutex<Vec<(u32, Answer)>>,
    /// The messages that were sent to the process, and that it has not received yet.
    messages: Mutex<Vec<u32>>,
    arrived: Condvar,
}

struct Watchers {
    /// The addresses of the pools that must be told of the death, once for each watch.
    pools: Vec<usize>,
    /// Whether the watchers were told of the death. From then on, no pool can watch the process.
    gone: bool,
}

fn address<T>(pool: &T) -> usize {
    std::ptr::from_ref(pool).addr()
}

/// A pool of any kind, which the runtime tells of deaths.
pub trait Watching {
    fn address(&self) -> usize;
    fn down(&self, host: &Fake, pid: Pid);
}

impl Watching for Pool<Fake> {
    fn address(&self) -> usize {
        address(self)
    }
    fn down(&self, host: &Fake, pid: Pid) {
        Self::down(self, host, pid);
    }
}

impl Watching for KeyedPool<Fake> {
    fn address(&self) -> usize {
        address(self)
    }
    fn down(&self, host: &Fake, pid: Pid) {
        Self::down(self, host, pid);
    }
}

/// The table of mailboxes is a single one, of which the host knows without its address.
const MAILBOXES: usize = 1;

impl Watching for Mailboxes<Fake> {
    fn address(&self) -> usize {
        MAILBOXES
    }
    fn down(&self, host: &Fake, pid: Pid) {
        Self::down(self, host, pid);
    }
}

impl Fake {
    /// Creates a runtime of `processes` processes, numbered from 1.
    pub fn new(processes: usize) -> Self {
        let process = || ProcessState {
            alive: AtomicBool::new(true),
            watchers: Mutex::new(Watchers { pools: Vec::new(), gone: false }),
            mailbox: Mutex::new(Vec::new()),
            messages: Mutex::new(Vec::new()),
            arrived: Condvar::new(),
        };
        Self(Arc::new(World {
            processes: (0..processes).map(|_| process()).collect(),
            clock_ms: PlainU32::new(1_000),
            tickets: PlainU32::new(0),
            answers: PlainUsize::new(0),
            deferrals: PlainUsize::new(0),
            worked: PlainUsize::new(0),
            found_dead: std::sync::Mutex::new(Vec::new()),
        }))
    }

    fn process(&self, pid: Pid) -> &ProcessState {
        &self.0.processes[pid.word() as usize - 1]
    }

    /// Returns a ticket for one more wait.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.0.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the number of answers given so far, to all processes.
    pub fn answers(&self) -> usize {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// Returns how often a pool called `defer` since the last call of this function.
    pub fn take_deferrals(&self) -> usize {
        self.0.deferrals.swap(0, Ordering::Relaxed)
    }

    /// Returns `true` if a pool called `defer` since then.
    pub fn has_deferrals(&self) -> bool {
        self.0.deferrals.load(Ordering::Relaxed) > 0
    }

    /// Returns how many entries and cache lines the pools visited since the last call of this
    /// function.
    pub fn take_worked(&self) -> usize {
        self.0.worked.swap(0, Ordering::Relaxed)
    }

    /// Returns the processes that `alive` found dead since the last call of this function, in the
    /// order of the calls.
    pub fn take_found_dead(&self) -> Vec<Pid> {
        std::mem::take(&mut self.0.found_dead.lock().unwrap())
    }

    /// Sets the clock forward.
    pub fn advance(&self, ms: u32) {
        self.0.clock_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Makes the process dead. The pools that watch it are not told yet.
    pub fn begin_exit(&self, pid: Pid) {
        // ORDERING: pairs with the load in `alive`: a pool that sees the process dead also sees
        // all that the process did before.
        assert!(self.process(pid).alive.swap(false, Ordering::AcqRel), "{pid:?} was dead already");
    }

    /// Tells the pools that watch the process of its death, as monitors do. Each such pool must
    /// be in `pools`.
    pub fn finish_exit(&self, pid: Pid, pools: &[&dyn Watching]) {
        let watchers = {
            let mut watchers = self.process(pid).watchers.lock().unwrap();
            watchers.gone = true;
            std::mem::take(&mut watchers.pools)
        };
        for watcher in watchers {
            let pool = pools.iter().find(|pool| pool.address() == watcher).expect("a watcher is one of `pools`");
            pool.down(self, pid);
        }
    }

    /// Returns the number of watches of the process; a pool with two watches counts twice.
    pub fn watches(&self, pid: Pid) -> usize {
        self.process(pid).watchers.lock().unwrap().pools.len()
    }

    /// Gives the pid of a dead process to a new process.
    pub fn reuse(&self, pid: Pid) {
        let mut watchers = self.process(pid).watchers.lock().unwrap();
        assert!(watchers.gone && watchers.pools.is_empty(), "{pid:?} is still watched");
        watchers.gone = false;
        self.process(pid).messages.lock().unwrap().clear();
        // ORDERING: pairs with the load in `alive`; publishes the new watch state of the pid.
        self.process(pid).alive.store(true, Ordering::Release);
    }

    /// Returns the answers that a process got, each with the number of its ticket.
    pub fn mailbox(&self, pid: Pid) -> Vec<(u32, Answer)> {
        self.process(pid).mailbox.lock().unwrap().clone()
    }

    /// Waits until the process has an answer for the ticket, and returns it. Calls `give_up` at
    /// the start, after each answer to the process, and after each nudge. Returns `None` once
    /// `give_up` returns `true`.
    pub fn receive(&self, pid: Pid, ticket: u32, give_up: impl Fn() -> bool) -> Option<Answer> {
        let process = self.process(pid);
        let mut mailbox = process.mailbox.lock().unwrap();
        loop {
            if let Some(&(_, answer)) = mailbox.iter().find(|(of, _)| *of == ticket) {
                return Some(answer);
            }
            if give_up() {
                return None;
            }
            mailbox = process.arrived.wait(mailbox).unwrap();
        }
    }

    /// Sends a message. Returns `false`, and drops the message, if the process is dead.
    pub fn send(&self, to: Pid, message: u32) -> bool {
        let alive = self.process(to).alive.load(Ordering::Acquire);
        if alive {
            self.process(to).messages.lock().unwrap().push(message);
        }
        alive
    }

    /// Returns the messages that the process has not received yet.
    pub fn messages(&self, pid: Pid) -> Vec<u32> {
        self.process(pid).messages.lock().unwrap().clone()
    }

    /// Receives the oldest message.
    pub fn receive_message(&self, pid: Pid) -> Option<u32> {
        let mut messages = self.process(pid).messages.lock().unwrap();
        (!messages.is_empty()).then(|| messages.remove(0))
    }

    /// Wakes the threads that wait in `receive` for this process, so that they call `give_up`.
    pub fn nudge(&self, pid: Pid) {
        let _mailbox = self.process(pid).mailbox.lock().unwrap();
        self.process(pid).arrived.notify_all();
    }
}

impl Host for Fake {
    type Ticket = Ticket;

    fn alive(&self, pid: Pid) -> bool {
        // ORDERING: pairs with the swap in `begin_exit` and the store in `reuse`.
        let alive = self.process(pid).alive.load(Ordering::Acquire);
        if !alive {
            self.0.found_dead.lock().unwrap().push(pid);
        }
        alive
    }

    fn wake(&self, pid: Pid, ticket: Ticket, answer: Answer) {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
        self.process(pid).mailbox.lock().unwrap().push((ticket.0, answer));
        self.process(pid).arrived.notify_all();
    }

    fn now_ms(&self) -> u32 {
        self.0.clock_ms.load(Ordering::Relaxed)
    }

    fn worked(&self, entries: usize) {
        self.0.worked.fetch_add(entries, Ordering::Relaxed);
    }
}

impl Fake {
    fn watch(&self, pool: usize, pid: Pid) -> bool {
        let mut watchers = self.process(pid).watchers.lock().unwrap();
        if !watchers.gone {
            watchers.pools.push(pool);
        }
        !watchers.gone
    }

    fn note_deferral(&self) {
        self.0.deferrals.fetch_add(1, Ordering::Relaxed);
    }
}

impl PoolHost for Fake {
    type PoolData = ();

    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool {
        Self::watch(self, address(pool), pid)
    }

    fn defer(&self, _pool: &Pool<Self>) {
        self.note_deferral();
    }
}

impl KeyedHost for Fake {
    type KeyedData = ();

    fn watch_keyed(&self, pool: &KeyedPool<Self>, pid: Pid) -> bool {
        Self::watch(self, address(pool), pid)
    }

    fn defer_keyed(&self, _pool: &KeyedPool<Self>) {
        self.note_deferral();
    }
}

impl MailHost for Fake {
    type Parcel = u32;

    fn post(&self, to: Pid, parcel: u32) {
        self.send(to, parcel);
    }

    fn watch_server(&self, pid: Pid) -> bool {
        Self::watch(self, MAILBOXES, pid)
    }

    fn discard(&self, mut left: Discarded<Self>) {
        while !left.is_empty() {
            left.drop_some(2);
        }
    }
}
