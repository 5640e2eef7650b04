//! The BEAM as the core's host.

use std::cell::Cell;
use std::sync::atomic::{fence, Ordering};

use parking_lot::Mutex;
use penstock_core::{Answer, Host, Pid, Pool, PoolHost};
use rustler::sys::{self, ErlNifEnv};

use crate::asks::Ask;
use crate::atoms;
use crate::clock;
use crate::deferred;
use crate::resources::{self, Anchor};
use crate::term::{Env, Term};

/// One call or callback.
pub(crate) struct Beam {
    pub(crate) env: Env,
    accountable: bool,
    /// What the call did since the scheduler was last told, in units of some 20 ns.
    work: Cell<u32>,
    /// What it did in all, in the same units.
    spent: Cell<u32>,
}

/// Each time a call has done this much, 5 µs, the scheduler is told: a call counts as one reduction whatever it does.
const NOTEWORTHY: u32 = 250;
/// 1 % of a time slice: 10 µs.
const PERCENT: u32 = 500;
const MESSAGE: u32 = 40;
const MONITOR: u32 = 50;

impl Beam {
    #[inline(always)]
    pub(crate) fn new(env: Env) -> Self {
        Self { env, accountable: true, work: Cell::new(0), spent: Cell::new(0) }
    }

    /// For a destructor or a monitor: no process called, and the VM crashes if it is told of a time slice then.
    pub(crate) fn in_callback(env: Env) -> Self {
        Self { env, accountable: false, work: Cell::new(0), spent: Cell::new(0) }
    }

    /// What the call did so far, in units of some 20 ns.
    pub(crate) fn spent(&self) -> u32 {
        self.spent.get()
    }

    fn did(&self, work: u32) {
        self.spent.set(self.spent.get().saturating_add(work));
        let work = self.work.get().saturating_add(work);
        if work < NOTEWORTHY {
            self.work.set(work);
        } else {
            self.work.set(0);
            if !self.accountable {
                return;
            }
            self.env.consume_timeslice(work.div_ceil(PERCENT));
        }
    }
}

impl Host for Beam {
    type Ticket = Ticket;

    fn alive(&self, pid: Pid) -> bool {
        self.did(1);
        let alive = self.env.is_alive(pid);
        if !alive {
            // ORDERING: pairs with the barriers of the VM, which marks a process as exiting, and takes it out of its table,
            // after its last instruction: its entries are read as that left them.
            fence(Ordering::Acquire);
        }
        alive
    }

    fn wake(&self, pid: Pid, ticket: Ticket, answer: Answer) {
        self.did(MESSAGE);
        let message = ticket.message(answer);
        self.env.send(pid, message);
        ticket.set_told();
    }

    #[inline(always)]
    fn now_ms(&self) -> u32 {
        clock::now_ms()
    }

    #[inline]
    fn exact_ms(&self) -> u32 {
        clock::exact_ms() as u32
    }

    fn worked(&self, entries: usize) {
        self.did(entries as u32);
    }
}

impl PoolHost for Beam {
    type Anchor = Anchor;

    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool {
        self.did(MONITOR);
        resources::watch(self.env, pool, pid)
    }

    fn defer(&self, pool: &Pool<Self>) {
        deferred::push(self.env, pool);
    }
}

/// How to reach a waiter: the reference it waits for, in an environment of its own.
pub(crate) struct Ticket {
    env: *mut ErlNifEnv,
    reference: Term,
    /// What the reference refers to, if the process goes on while it waits; else null.
    ask: *const Ask,
}

// SAFETY: a process-independent environment belongs to whoever has the ticket; only one thread
// has it at a time. An `Ask` may be used by any thread.
unsafe impl Send for Ticket {}

/// Environments to use again: making one costs an allocation of a kilobyte.
static SPARE: Mutex<Vec<SpareEnv>> = Mutex::new(Vec::new());
const MOST_SPARE: usize = 256;

struct SpareEnv(*mut ErlNifEnv);

// SAFETY: as for `Ticket`.
unsafe impl Send for SpareEnv {}

impl Ticket {
    /// `reference` is of the current call's environment.
    pub(crate) fn new(reference: Term) -> Self {
        let spare = SPARE.lock().pop();
        let env = match spare {
            Some(SpareEnv(env)) => env,
            // SAFETY: the environment is freed, or kept as a spare, by `drop` alone.
            None => unsafe { sys::enif_alloc_env() },
        };
        // SAFETY: `env` is process independent and ours.
        let reference = Term::of(unsafe { sys::enif_make_copy(env, reference.raw()) });
        Self { env, reference, ask: std::ptr::null() }
    }

    /// The same for a process that goes on while it waits: `reference` refers to `ask`.
    pub(crate) fn of_ask(reference: Term, ask: &Ask) -> Self {
        let mut ticket = Self::new(reference);
        ticket.ask = ask;
        ticket
    }

    /// The message has been sent.
    fn set_told(&self) {
        // SAFETY: null, or what our copy of the reference refers to, and so keeps.
        if let Some(ask) = unsafe { self.ask.as_ref() } {
            ask.set_told();
        }
    }

    fn message(&self, answer: Answer) -> Term {
        let env = Env::of(self.env);
        if !self.ask.is_null() {
            let answer = match answer {
                Answer::Granted => atoms::ok(),
                no => env.tuple(&[atoms::error(), reason(no)]),
            };
            return env.tuple(&[self.reference, answer]);
        }
        let answer = match answer {
            Answer::Undrained(in_use) => env.tuple(&[atoms::undrained(), env.make_u64(in_use)]),
            other => reason(other),
        };
        env.tuple(&[self.reference, answer])
    }
}

fn reason(answer: Answer) -> Term {
    match answer {
        Answer::Granted => atoms::granted(),
        Answer::Full => atoms::full(),
        Answer::Closed => atoms::closed(),
        Answer::TimedOut => atoms::timeout(),
        Answer::Drained => atoms::drained(),
        Answer::Undrained(_) => atoms::undrained(),
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // SAFETY: the environment is ours, and nothing refers to its terms after this.
        unsafe { sys::enif_clear_env(self.env) };
        let mut spare = SPARE.lock();
        if spare.len() < MOST_SPARE {
            spare.push(SpareEnv(self.env));
        } else {
            drop(spare);
            // SAFETY: as above.
            unsafe { sys::enif_free_env(self.env) };
        }
    }
}
