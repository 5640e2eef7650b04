//! The state of an Erlang node: the registry of names, the deadlines, the timed waits, the queue
//! of deferred work, and the two processes that serve them.
//!
//! The state is static, so it outlives a purge of the module.

use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::sync::Lazy;
use parking_lot::Mutex;
use penstock_core::{Cursor, Deadlines, Opening, Pid, Pool, Registry, UnnamedId};

use crate::atoms;
use crate::host::Beam;
use crate::monitor::{Watch, Watches};
use crate::term::{Env, Term};

pub(crate) static REGISTRY: Registry<Beam> = Registry::new();

/// A closed, empty pool. It stands for each pool of a name that the registry has forgotten.
///
/// The registry forgets a name only when no process holds permits of its pools or waits for them.
/// So each of these pools was closed and empty, and a caller that still has the number of one
/// gets the same answers from this pool.
pub(crate) static CLOSED_POOL: Lazy<Pool<Beam>> = Lazy::new(Pool::new);

/// Returns the same pool for any lifetime: every pool of the VM lives as long as the VM.
pub(crate) fn lasting(pool: &Pool<Beam>) -> &'static Pool<Beam> {
    // SAFETY: the pool must live as long as the VM. This crate makes pools only in `REGISTRY` and
    // as `CLOSED_POOL`. Both are static, and the registry drops no pool.
    unsafe { &*ptr::from_ref(pool) }
}

/// A process that serves the node. It registers itself, and is sent an atom when there is work.
struct Server(AtomicU64);

impl Server {
    const fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    fn register(&self, pid: Pid) {
        self.0.store(pid.word(), Ordering::Relaxed);
    }

    fn send(&self, env: Env, message: Term) {
        if let Some(pid) = Pid::new(self.0.load(Ordering::Relaxed)) {
            env.send(pid, message);
        }
    }
}

// Deadlines, and the reaper, which kills overdue processes.

/// The deadlines of processes, which the reaper kills when they run too long.
///
/// Pools do not keep the deadlines: a pool that is closed, or whose handle is gone, forgets its
/// holders, but their deadlines stay.
pub(crate) static DEADLINES: Lazy<Deadlines<Admission>> = Lazy::new(Deadlines::new);
static REAPER: Server = Server::none();

/// The pool that admitted a process, and its opening then: the pool may have been opened again
/// for another name or handle by the time the process is overdue.
pub(crate) struct Admission {
    pub(crate) pool: &'static Pool<Beam>,
    pub(crate) opening: Opening,
}

impl Admission {
    pub(crate) fn by(pool: &Pool<Beam>) -> Self {
        Self { pool: lasting(pool), opening: pool.opening() }
    }
}

const DEADLINE_WATCHES: usize = 32;
static WATCHES: Watches<DEADLINE_WATCHES> = Watches::new();

/// Kills a process at `at_ms` of the exact clock, unless its work ends before.
pub(crate) fn set_deadline(env: Env, pid: Pid, at_ms: u64, admission: Admission) {
    let todo = DEADLINES.set(pid, at_ms, admission);
    // The low four bits of the word are the same for all pids.
    let place = pid.word() as usize / 16 % DEADLINE_WATCHES;
    if todo.watch && !WATCHES.monitor(env, place, Watch::Deadlines, pid) {
        DEADLINES.remove(pid);
    }
    if todo.wake {
        wake_reaper(env);
    }
}

pub(crate) fn register_reaper(pid: Pid) {
    REAPER.register(pid);
    DEADLINES.report_again();
}

fn wake_reaper(env: Env) {
    // Without a reaper no deadline is lost: the next one looks as soon as it has registered.
    REAPER.send(env, atoms::due());
}

// Waits by messages with a timeout, which the reaper ends.

static TIMED: Mutex<Timed> = Mutex::new(Timed { pools: Vec::new(), last: 0 });

/// The pools with timed waits. A pool enters when its first timed wait begins, and leaves when it
/// reports that it has none. Each entry gets a number.
struct Timed {
    pools: Vec<(u64, &'static Pool<Beam>)>,
    last: u64,
}

/// Enters a pool whose first timed wait has begun.
pub(crate) fn begin_to_time(env: Env, pool: &Pool<Beam>) {
    {
        let mut timed = TIMED.lock();
        timed.last += 1;
        let number = timed.last;
        timed.pools.push((number, lasting(pool)));
    }
    if DEADLINES.begin_other() {
        wake_reaper(env);
    }
}

/// Returns the pool at an index of the list, with the number of its entry.
pub(crate) fn timed(at: usize) -> Option<(u64, &'static Pool<Beam>)> {
    TIMED.lock().pools.get(at).copied()
}

/// Removes the entry of a pool that has reported no timed waits. A timed wait that has begun
/// since is in another entry of the pool, with another number.
pub(crate) fn end_to_time(at: usize, number: u64) {
    let out = {
        let mut timed = TIMED.lock();
        let there = timed.pools.get(at).is_some_and(|(of, _)| *of == number);
        there.then(|| timed.pools.swap_remove(at))
    };
    if out.is_some() {
        DEADLINES.end_other();
    }
}

// Deferred work: the work of pools that exceeds one call. The janitor continues with it.

static QUEUE: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());
static JANITOR: Server = Server::none();

enum Job {
    /// Waiters of a pool that are due an answer.
    Serve(&'static Pool<Beam>),
    /// An unnamed pool that no caller can reach.
    Clear(Clearing),
}

struct Clearing {
    pool: &'static Pool<Beam>,
    id: UnnamedId,
    /// How far the pool is cleared.
    from: Cursor,
}

/// The number of entries that one turn clears, some 80 ns each.
const CLEARED_PER_TURN: usize = 512;
/// The number of entries that a destructor clears, so that a pool with few holders can be reused
/// as soon as its handle is gone.
const CLEARED_AT_ONCE: usize = 32;

/// Registers the process that is sent `:serve` for each job in the queue, beginning with the
/// jobs that are queued already.
pub(crate) fn register_janitor(env: Env, pid: Pid) {
    // The lock of the queue orders this call and a caller that queues a job now: either that
    // caller finds this janitor, or this call finds the job.
    JANITOR.register(pid);
    let queued = QUEUE.lock().len();
    (0..queued).for_each(|_| env.send(pid, atoms::serve()));
}

/// Queues a pool whose waiters are due an answer, unless it is queued already.
pub(crate) fn defer(env: Env, pool: &Pool<Beam>) {
    let pool = lasting(pool);
    if pool.data.begin_deferral() {
        queue(env, Job::Serve(pool));
    }
}

fn queue(env: Env, job: Job) {
    QUEUE.lock().push_back(job);
    // Without a janitor no job is lost: the next one looks at the queue first.
    JANITOR.send(env, atoms::serve());
}

/// Begins to clear a pool whose handle is gone. The janitor does the rest of the work.
pub(crate) fn begin_clear(beam: &Beam, pool: &'static Pool<Beam>, id: UnnamedId) {
    clear(beam, Clearing { pool, id, from: Cursor::default() }, CLEARED_AT_ONCE);
}

fn clear(beam: &Beam, Clearing { pool, id, from }: Clearing, most: usize) {
    match pool.clear(beam, from, most) {
        None => REGISTRY.give_back_unnamed(id),
        Some(from) => queue(beam.env, Job::Clear(Clearing { pool, id, from })),
    }
}

/// Does one turn of the first job in the queue.
pub(crate) fn do_one_job(beam: &Beam) {
    let next = QUEUE.lock().pop_front();
    match next {
        Some(Job::Serve(pool)) => {
            // Before the work, so that work which arises meanwhile, or remains, is queued again.
            pool.data.end_deferral();
            pool.serve(beam);
        }
        Some(Job::Clear(clearing)) => clear(beam, clearing, CLEARED_PER_TURN),
        None => {}
    }
}
