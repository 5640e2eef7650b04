//! The state of an Erlang node: the registry of names, the deadlines, the timed waits, the queue
//! of deferred work, and the two processes that serve them.
//!
//! The state is static, so it outlives a purge of the module.

use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::sync::Lazy;
use parking_lot::Mutex;
use penstock_core::{Cursor, Deadlines, KeyedPool, Opening, Pid, Pool, Registry, UnnamedId};

use crate::atoms;
use crate::host::Beam;
use crate::monitor::{Watch, Watches};
use crate::term::{Env, Term};

pub(crate) static REGISTRY: Registry<Beam> = Registry::new();

/// A closed, empty pool. It stands for each pool of a name that the registry has forgotten.
///
/// The registry forgets a name only when no process holds permits of its pools or waits for them.
/// So each pool of the name was closed and empty. A caller that still has the number of such a
/// pool gets the same answers from this pool.
pub(crate) static CLOSED_POOL: Lazy<Pool<Beam>> = Lazy::new(Pool::new);

/// Returns the same pool for any lifetime: every pool of the VM lives as long as the VM.
pub(crate) fn lasting(pool: &Pool<Beam>) -> &'static Pool<Beam> {
    // SAFETY: the pool must live as long as the VM. This crate makes pools only in `REGISTRY` and
    // as `CLOSED_POOL`. Both are static, and the registry drops no pool.
    unsafe { &*ptr::from_ref(pool) }
}

/// Returns the same keyed pool for any lifetime: every keyed pool lives as long as the VM.
pub(crate) fn lasting_keyed(pool: &KeyedPool<Beam>) -> &'static KeyedPool<Beam> {
    // SAFETY: the pool must live as long as the VM. This crate makes keyed pools only in
    // `REGISTRY`, which is static and drops none.
    unsafe { &*ptr::from_ref(pool) }
}

/// The pid of a process that serves the Erlang node: the reaper or the janitor; 0 until that
/// process registers itself. This library sends it an atom when there is work.
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
/// The deadlines are not kept in the pools: a pool that is closed, or whose handle is gone,
/// forgets its holders, but their deadlines stay.
pub(crate) static DEADLINES: Lazy<Deadlines<Option<Admission>>> = Lazy::new(Deadlines::new);
static REAPER: Server = Server::none();

/// The pool that admitted a process, and the pool's opening at that time. By the time that the
/// process is overdue, the pool may have been opened again, for another name or handle. The kill
/// must not count for that later opening.
pub(crate) struct Admission {
    pub(crate) pool: &'static Pool<Beam>,
    pub(crate) opening: Opening,
}

impl Admission {
    pub(crate) fn by(pool: &Pool<Beam>) -> Self {
        Self { pool: lasting(pool), opening: pool.opening() }
    }
}

/// The number of watches: each process is monitored by one, because all monitors of one watch
/// share a lock.
const DEADLINE_WATCHES: usize = 32;
static WATCHES: Watches<DEADLINE_WATCHES> = Watches::new();

/// Kills a process at `at_ms` of the exact clock, unless its work ends before. `admission` is
/// `None` if no pool admitted the process, but another kind of gate.
pub(crate) fn set_deadline(env: Env, pid: Pid, at_ms: u64, admission: Option<Admission>) {
    let todo = DEADLINES.set(pid, at_ms, admission);
    // The low four bits of the word are the same for all pids, so the index does without them.
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
    // If no reaper is alive to receive this, no deadline is lost: the next reaper looks for
    // overdue processes as soon as it has registered.
    REAPER.send(env, atoms::due());
}

// Waits by messages with a timeout, which the reaper ends.

static TIMED: Mutex<Timed> = Mutex::new(Timed { pools: Vec::new(), last: 0 });

/// The list of pools that have timed waits. A pool gets an entry when its first timed wait
/// begins, and loses it when the pool reports that it has none. Each entry has its own number.
struct Timed {
    pools: Vec<(u64, &'static Pool<Beam>)>,
    last: u64,
}

/// Adds the entry of a pool whose first timed wait has begun, and wakes the reaper.
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

/// Removes the entry of a pool that has reported no timed waits. A timed wait that begins after
/// the report adds another entry of the pool. That entry has another number, and stays.
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

// Deferred work: the work on pools that is too long for one call. The janitor continues with it.

static QUEUE: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());
static JANITOR: Server = Server::none();

enum Job {
    /// Answer the waiters of a pool that are due an answer.
    Serve(&'static Pool<Beam>),
    /// Answer the waiters of a keyed pool that are due an answer, and reap its dead processes.
    ServeKeyed(&'static KeyedPool<Beam>),
    /// Clear an unnamed pool: its handle is gone, so no caller can reach it.
    Clear(Clearing),
}

struct Clearing {
    pool: &'static Pool<Beam>,
    id: UnnamedId,
    /// The point up to which the pool is cleared.
    from: Cursor,
}

/// The number of holder entries that one turn of the janitor clears, some 80 ns each.
const CLEARED_PER_TURN: usize = 512;
/// The number of holder entries that the destructor of a handle clears itself, so that a pool
/// with few holders can be reused at once.
const CLEARED_AT_ONCE: usize = 32;

/// Registers the janitor: from now on, it is sent `:serve` for each job that is queued. Sends it
/// `:serve` for each job that is in the queue already.
pub(crate) fn register_janitor(env: Env, pid: Pid) {
    // Another thread may queue a job at the same time. The lock of the queue orders the two:
    // either that thread finds this janitor, or this call finds the job.
    JANITOR.register(pid);
    let queued = QUEUE.lock().len();
    (0..queued).for_each(|_| env.send(pid, atoms::serve()));
}

/// Queues a pool whose waiters are due an answer, unless it is queued already.
pub(crate) fn defer(env: Env, pool: &Pool<Beam>) {
    let pool = lasting(pool);
    if pool.data.deferral.begin() {
        queue(env, Job::Serve(pool));
    }
}

/// Queues a keyed pool that has work left, unless it is queued already.
pub(crate) fn defer_keyed(env: Env, pool: &KeyedPool<Beam>) {
    let pool = lasting_keyed(pool);
    if pool.data.deferral.begin() {
        queue(env, Job::ServeKeyed(pool));
    }
}

fn queue(env: Env, job: Job) {
    QUEUE.lock().push_back(job);
    // If no janitor is alive to receive this, no job is lost: the next janitor is sent `:serve`
    // for it when it registers.
    JANITOR.send(env, atoms::serve());
}

/// Begins to clear a pool whose handle is gone. Leaves the rest of the work to the janitor.
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
            // The pool is marked before its work is done: work that remains, or that arises
            // meanwhile, must be able to queue the pool again.
            pool.data.deferral.end();
            pool.serve(beam);
        }
        Some(Job::ServeKeyed(pool)) => {
            // Marked first, for the same reason.
            pool.data.deferral.end();
            pool.serve(beam);
        }
        Some(Job::Clear(clearing)) => clear(beam, clearing, CLEARED_PER_TURN),
        None => {}
    }
}
