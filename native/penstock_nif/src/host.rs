//! The host of the core, which is the BEAM here. Implements the core's traits by calls of the VM.

use std::cell::Cell;
use std::sync::atomic::{fence, AtomicBool, Ordering};

use penstock_core::{
    Answer, Discarded, Host, KeyedHost, KeyedPool, MailHost, Pid, Pool, PoolHost, GROUP_COUNT, SHARD_COUNT,
};

use crate::clock;
use crate::monitor::{Watch, Watches};
use crate::node::{self, lasting, lasting_keyed};
use crate::parcel::Parcel;
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

impl KeyedHost for Beam {
    type KeyedData = KeyedData;

    fn watch_keyed(&self, pool: &KeyedPool<Self>, pid: Pid) -> bool {
        self.count_work(MONITOR);
        let watch = Watch::Keyed(lasting_keyed(pool));
        pool.data.watches.monitor(self.env, KeyedPool::<Self>::group_of(pid), watch, pid)
    }

    fn defer_keyed(&self, pool: &KeyedPool<Self>) {
        node::defer_keyed(self.env, pool);
    }
}

impl MailHost for Beam {
    type Parcel = Parcel;

    fn post(&self, to: Pid, parcel: Parcel) {
        self.count_work(MESSAGE);
        parcel.send(self.env, to);
    }

    fn watch_server(&self, pid: Pid) -> bool {
        self.count_work(MONITOR);
        node::watch_server(self.env, pid)
    }

    fn discard(&self, left: Discarded<Self>) {
        node::discard(self, left);
    }
}

/// The data of the host in each pool.
#[derive(Default)]
pub(crate) struct PoolData {
    watches: Watches<SHARD_COUNT>,
    pub(crate) deferral: Deferral,
}

/// The data of the host in each keyed pool.
#[derive(Default)]
pub(crate) struct KeyedData {
    watches: Watches<GROUP_COUNT>,
    pub(crate) deferral: Deferral,
}

/// Whether a pool is in the janitor's queue.
#[derive(Default)]
pub(crate) struct Deferral(AtomicBool);

impl Deferral {
    /// Marks the pool as queued. Returns `false` if it is in the janitor's queue already.
    pub(crate) fn begin(&self) -> bool {
        // ORDERING: AcqRel pairs with the swap in `end`. If this swap reads `true`, the pool is
        // still queued: the janitor's swap comes later and reads from this one. So the janitor
        // sees all that this thread did before this swap.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Marks the pool as taken from the queue, before its work is done.
    pub(crate) fn end(&self) {
        // ORDERING: AcqRel pairs with the swap in `begin`. Acquire keeps the janitor's work on the
        // pool after this swap, so that the work sees what that thread did.
        self.0.swap(false, Ordering::AcqRel);
    }
}
