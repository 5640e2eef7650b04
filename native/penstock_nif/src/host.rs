//! The BEAM as the host of the core.

use std::cell::Cell;
use std::sync::atomic::{fence, AtomicBool, Ordering};

use penstock_core::{Answer, Host, Pid, Pool, PoolHost, SHARD_COUNT};

use crate::clock;
use crate::monitor::{Watch, Watches};
use crate::node::{self, lasting};
use crate::term::Env;
use crate::ticket::Ticket;

/// One call or callback.
pub(crate) struct Beam {
    pub(crate) env: Env,
    accountable: bool,
    /// Work since the scheduler was last told, in units of some 20 ns.
    work: Cell<u32>,
    /// Work of the whole call, in the same units.
    spent: Cell<u32>,
}

/// Work, 5 µs, after which the scheduler is told again: a call counts as one reduction by itself,
/// however long it is.
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

    /// Makes the host of a destructor or a monitor. No process called it, and the VM crashes if
    /// it is told of a time slice there.
    pub(crate) fn in_callback(env: Env) -> Self {
        Self { env, accountable: false, work: Cell::new(0), spent: Cell::new(0) }
    }

    /// Returns the work of the call, in units of some 20 ns.
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
            // ORDERING: pairs with the barriers of the VM, which marks a process as exiting, and
            // takes it out of its table, after its last instruction. So its entries are read as
            // its last instruction left them.
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
    type PoolData = PoolData;

    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool {
        self.did(MONITOR);
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
    deferred: AtomicBool,
}

impl Default for PoolData {
    fn default() -> Self {
        Self { watches: Watches::new(), deferred: AtomicBool::new(false) }
    }
}

impl PoolData {
    /// Returns `false` if the pool is in the janitor's queue already.
    pub(crate) fn begin_deferral(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `end_deferral`. A `true` that is read here
        // belongs to a pool that is still queued; serving it sees all that was done before this.
        !self.deferred.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_deferral(&self) {
        // ORDERING: AcqRel pairs with the swap in `begin_deferral`; the work of the queue comes
        // after it.
        self.deferred.swap(false, Ordering::AcqRel);
    }
}
