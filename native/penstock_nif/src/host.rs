//! The BEAM as the host of the core: implements its traits by calls of the VM.

use std::cell::Cell;
use std::sync::atomic::{fence, AtomicBool, Ordering};

use penstock_core::{Answer, Host, Pid, Pool, PoolHost, SHARD_COUNT};

use crate::clock;
use crate::monitor::{Watch, Watches};
use crate::node::{self, lasting};
use crate::term::Env;
use crate::ticket::Ticket;

/// The host during one call or callback.
pub(crate) struct Beam {
    pub(crate) env: Env,
    /// Whether the scheduler is told of the work, which must not happen in a callback.
    accountable: bool,
    /// Work since the scheduler was last told, in units of some 20 ns.
    work: Cell<u32>,
    /// Work of the whole call, in the same units.
    spent: Cell<u32>,
}

/// Work after which the scheduler is told of it: 5 µs. By itself the VM counts a call as one
/// reduction, no matter how long it takes.
const NOTEWORTHY: u32 = 250;
/// The work of 1 % of a time slice: 10 µs.
const PERCENT: u32 = 500;
/// The work of one message.
const MESSAGE: u32 = 40;
/// The work of one monitor.
const MONITOR: u32 = 50;

impl Beam {
    #[inline(always)]
    pub(crate) fn new(env: Env) -> Self {
        Self { env, accountable: true, work: Cell::new(0), spent: Cell::new(0) }
    }

    /// Makes the host of a callback: a destructor or a monitor. No process runs a callback, and
    /// the VM crashes if `enif_consume_timeslice` is called there.
    pub(crate) fn in_callback(env: Env) -> Self {
        Self { env, accountable: false, work: Cell::new(0), spent: Cell::new(0) }
    }

    /// Returns the work of the call, in units of some 20 ns.
    pub(crate) fn spent(&self) -> u32 {
        self.spent.get()
    }

    /// Counts work, and tells the scheduler of it if there is enough.
    fn count_work(&self, work: u32) {
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
        self.count_work(1);
        let alive = self.env.is_alive(pid);
        if !alive {
            // ORDERING: pairs with the barriers of the VM, which marks a process as exiting, and
            // removes it from the process table, after its last instruction. So this thread reads
            // the entries of the process as its last instruction left them.
            fence(Ordering::Acquire);
        }
        alive
    }

    fn wake(&self, pid: Pid, ticket: Ticket, answer: Answer) {
        self.count_work(MESSAGE);
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
        self.count_work(entries as u32);
    }
}

impl PoolHost for Beam {
    type PoolData = PoolData;

    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool {
        self.count_work(MONITOR);
        let watch = Watch::Pool(lasting(pool));
        pool.data.watches.monitor(self.env, Pool::<Self>::shard_of(pid), watch, pid)
    }

    fn defer(&self, pool: &Pool<Self>) {
        node::defer(self.env, pool);
    }
}

/// The data of the host in each pool.
pub(crate) struct PoolData {
    watches: Watches<SHARD_COUNT>,
    /// Whether the pool is in the janitor's queue.
    deferred: AtomicBool,
}

impl Default for PoolData {
    fn default() -> Self {
        Self { watches: Watches::new(), deferred: AtomicBool::new(false) }
    }
}

impl PoolData {
    /// Marks the pool as queued. Returns `false` if it is in the janitor's queue already.
    pub(crate) fn begin_deferral(&self) -> bool {
        // ORDERING: AcqRel pairs with the swap in `end_deferral`. If this swap reads `true`, that
        // swap comes later and reads from it: the janitor then sees all that was done before
        // this.
        !self.deferred.swap(true, Ordering::AcqRel)
    }

    /// Marks the pool as taken from the queue, before its work is done.
    pub(crate) fn end_deferral(&self) {
        // ORDERING: AcqRel pairs with the swap in `begin_deferral`; Acquire keeps the work of the
        // janitor after this swap.
        self.deferred.swap(false, Ordering::AcqRel);
    }
}
