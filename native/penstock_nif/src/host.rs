//! The host of the core, which is the BEAM here. Implements the core's traits by calls of the VM.

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
    /// Whether to report the work to the scheduler. Must be `false` in a callback.
    accountable: bool,
    /// Work since the last report to the scheduler, in units of some 20 ns.
    work: Cell<u32>,
    /// Work of the whole call, in the same units.
    spent: Cell<u32>,
}

/// The work after which the host reports to the scheduler: 5 µs. Without a report, the VM counts
/// a call as one reduction, no matter how long the call takes.
const NOTEWORTHY: u32 = 250;
/// The work of 1 % of a time slice: 10 µs, because a time slice is 1 ms.
const PERCENT: u32 = 500;
/// The work of sending one message: 0.8 µs.
const MESSAGE: u32 = 40;
/// The work of making one monitor: 1 µs.
const MONITOR: u32 = 50;

impl Beam {
    #[inline(always)]
    pub(crate) fn new(env: Env) -> Self {
        Self { env, accountable: true, work: Cell::new(0), spent: Cell::new(0) }
    }

    /// Makes the host of a callback, which is a destructor or a `down`. This host reports no
    /// work: no process runs a callback, so `enif_consume_timeslice` would crash the VM there.
    pub(crate) fn in_callback(env: Env) -> Self {
        Self { env, accountable: false, work: Cell::new(0), spent: Cell::new(0) }
    }

    /// Returns the work of the call, in units of some 20 ns.
    pub(crate) fn spent(&self) -> u32 {
        self.spent.get()
    }

    /// Counts work. In a call, reports the work to the scheduler once it reaches [`NOTEWORTHY`].
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
            // ORDERING: pairs with the barriers by which the VM marks a process as exiting and
            // removes it from the process table. The VM does both after the last instruction of
            // the process. So this thread reads the holder entries of the process as its last
            // instruction left them.
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

/// The data that the host keeps in each pool.
pub(crate) struct PoolData {
    watches: Watches<SHARD_COUNT>,
    /// Whether the pool is in the queue of deferred work.
    deferred: AtomicBool,
}

impl Default for PoolData {
    fn default() -> Self {
        Self { watches: Watches::new(), deferred: AtomicBool::new(false) }
    }
}

impl PoolData {
    /// Marks the pool as queued. Returns `false` if the pool is marked already.
    pub(crate) fn begin_deferral(&self) -> bool {
        // ORDERING: AcqRel pairs with the swap in `end_deferral`. If this swap reads `true`, the
        // server (the thread that serves the pool) has yet to make its swap. The server's swap
        // then reads from this one. So the server sees all that this thread did before.
        !self.deferred.swap(true, Ordering::AcqRel)
    }

    /// Marks the pool as taken from the queue. The thread that serves the pool calls this first.
    pub(crate) fn end_deferral(&self) {
        // ORDERING: AcqRel pairs with the swap in `begin_deferral`. Acquire keeps the work on
        // the pool after this swap. So the work sees all that other threads did before they
        // called `begin_deferral`.
        self.deferred.swap(false, Ordering::AcqRel);
    }
}
