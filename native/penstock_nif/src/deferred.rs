//! Pools at whose desk more was due than one call may do; the janitor goes on with them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use penstock_core::{Pid, Pool};

use crate::atoms;
use crate::beam::Beam;
use crate::resources::PoolRef;
use crate::term::Env;

static QUEUE: Mutex<VecDeque<PoolRef>> = Mutex::new(VecDeque::new());
static JANITOR: AtomicU64 = AtomicU64::new(0);

/// Who is sent `:settle` for each pool in the queue. What was queued before is its first work.
pub(crate) fn set_janitor(env: Env, pid: Pid) {
    // Either whoever queues a pool now finds this janitor, or we find the pool: the queue's lock orders the two.
    JANITOR.store(pid.word(), Ordering::Relaxed);
    let queued = QUEUE.lock().len();
    (0..queued).for_each(|_| env.send(pid, atoms::settle()));
}

pub(crate) fn push(env: Env, pool: &Pool<Beam>) {
    let Some(pool) = PoolRef::of(pool) else { return };
    if !pool.get().anchor.begin_deferral() {
        return;
    }
    QUEUE.lock().push_back(pool);
    // Nobody to tell is no loss: the queue is looked at when the next janitor comes.
    if let Some(janitor) = Pid::new(JANITOR.load(Ordering::Relaxed)) {
        env.send(janitor, atoms::settle());
    }
}

/// Settles the first pool of the queue.
pub(crate) fn settle_one(beam: &Beam) {
    let next = QUEUE.lock().pop_front();
    if let Some(pool) = next {
        // Before the work: what comes up during it, or is left by it, is queued again.
        pool.get().anchor.end_deferral();
        pool.get().settle(beam);
    }
}
