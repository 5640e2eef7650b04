//! Pools for which more is due than one call may do; the janitor goes on with them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use penstock_core::{Pid, Pool, Position, UnnamedId};

use crate::atoms;
use crate::beam::Beam;
use crate::gates::REGISTRY;
use crate::resources::lasting;
use crate::term::Env;

/// One thing to go on with.
enum Job {
    /// Answers that are due at the desk.
    Settle(&'static Pool<Beam>),
    /// An unnamed pool that no caller can reach, and how far it is cleared.
    Clear(Clearing),
}

struct Clearing {
    pool: &'static Pool<Beam>,
    id: UnnamedId,
    from: Position,
}

static QUEUE: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());
static JANITOR: AtomicU64 = AtomicU64::new(0);

/// Entries that one turn clears, some 80 ns each.
const TURN: usize = 512;
/// Entries that a destructor clears at once, so that the pool of a few holders is spare when its
/// handle is gone.
const AT_ONCE: usize = 32;

/// Who is sent `:settle` for each pool in the queue. What was queued before is its first work.
pub(crate) fn set_janitor(env: Env, pid: Pid) {
    // Either whoever queues a pool now finds this janitor, or we find the pool: the queue's lock orders the two.
    JANITOR.store(pid.word(), Ordering::Relaxed);
    let queued = QUEUE.lock().len();
    (0..queued).for_each(|_| env.send(pid, atoms::settle()));
}

pub(crate) fn push(env: Env, pool: &Pool<Beam>) {
    let pool = lasting(pool);
    if pool.anchor.begin_deferral() {
        queue(env, Job::Settle(pool));
    }
}

fn queue(env: Env, job: Job) {
    QUEUE.lock().push_back(job);
    // Without a janitor no job is lost: the next one looks at the queue first.
    if let Some(janitor) = Pid::new(JANITOR.load(Ordering::Relaxed)) {
        env.send(janitor, atoms::settle());
    }
}

/// Clears a pool whose handle is gone, or has the janitor do so.
pub(crate) fn begin_clear(beam: &Beam, pool: &'static Pool<Beam>, id: UnnamedId) {
    clear(beam, Clearing { pool, id, from: Position::default() }, AT_ONCE);
}

fn clear(beam: &Beam, Clearing { pool, id, from }: Clearing, most: usize) {
    match pool.clear(beam, from, most) {
        None => REGISTRY.give_back_unnamed(id),
        Some(from) => queue(beam.env, Job::Clear(Clearing { pool, id, from })),
    }
}

/// Goes on with the first job of the queue.
pub(crate) fn settle_one(beam: &Beam) {
    let next = QUEUE.lock().pop_front();
    match next {
        Some(Job::Settle(pool)) => {
            // Before the work: what comes up during it, or is left by it, is queued again.
            pool.anchor.end_deferral();
            pool.settle(beam);
        }
        Some(Job::Clear(clearing)) => clear(beam, clearing, TURN),
        None => {}
    }
}
