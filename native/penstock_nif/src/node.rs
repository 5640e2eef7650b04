//! The state of an Erlang node: the registry of names, the pressure of the VM, the deadlines, the
//! mailboxes, the timed waits, the queue of deferred work, and the pids of the reaper and the janitor.
//!
//! The state is static, so it outlives a purge of `Penstock.Native`.

use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use once_cell::sync::Lazy;
use parking_lot::Mutex;
use penstock_core::{
    Cursor, Deadlines, Discarded, Generation, Host, KeyedPool, Mailboxes, Opening, Pid, Pool, Registry, UnnamedId,
};

use crate::atoms;
use crate::host::Beam;
use crate::monitor::{Watch, Watches};
use crate::term::{Env, Term};

pub(crate) static REGISTRY: Registry<Beam> = Registry::new();

/// A closed, empty pool. It stands for each pool of a name that the registry has forgotten.
///
/// The registry forgets a name only when each pool of the name is closed, and no process holds
/// permits of it or waits for them. A caller may still have the number of such a pool. That
/// caller gets the same answers from this pool as from the forgotten one.
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

/// The levels that the sampler of the VM has measured. The lowest bits are the pressure; the
/// sampler alone knows the others. They outlive the sampler, so the next one goes on from them.
static VM_LEVELS: AtomicU32 = AtomicU32::new(0);
/// The time, in µs, for which a process of normal priority last waited for a scheduler.
static VM_DELAY: AtomicU32 = AtomicU32::new(0);

/// The bits of [`VM_LEVELS`] with the pressure: 0 (normal), 1, 2 or 3 (critical).
const PRESSURE: u32 = 0b11;

/// Returns the pressure of the VM.
#[inline]
pub(crate) fn vm_pressure() -> u32 {
    VM_LEVELS.load(Ordering::Relaxed) & PRESSURE
}

/// Returns the levels and the delay that the sampler has set.
pub(crate) fn vm_levels() -> (u32, u32) {
    (VM_LEVELS.load(Ordering::Relaxed), VM_DELAY.load(Ordering::Relaxed))
}

/// Sets the levels and the delay. Two samplers never race here, since the next one starts after the
/// death of the last. No reader needs both words of the same sample.
pub(crate) fn set_vm_levels(levels: u32, delay: u32) {
    VM_LEVELS.store(levels, Ordering::Relaxed);
    VM_DELAY.store(delay, Ordering::Relaxed);
}

/// The pid of the reaper or of the janitor; 0 until that process registers itself. This library
/// sends an atom to the process when there is work for it.
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

/// The deadlines of processes: the reaper kills a process that runs past its deadline.
///
/// A deadline outlives its pool, so the pools do not keep the deadlines. A pool whose handle is
/// gone forgets its holders.
pub(crate) static DEADLINES: Lazy<Deadlines<Box<[Admission]>>> = Lazy::new(Deadlines::new);
static REAPER: Server = Server::none();

/// A pool that admitted a process, and the pool's opening at that time. The pool counts the kill of
/// an overdue process. By the time of the kill, the pool may have been opened again, for another
/// name or handle. The kill must not count for that later opening.
pub(crate) enum Admission {
    Pool(&'static Pool<Beam>, Opening),
    Keyed(&'static KeyedPool<Beam>, Generation),
}

impl Admission {
    pub(crate) fn by(pool: &Pool<Beam>) -> Self {
        Self::Pool(lasting(pool), pool.opening())
    }

    pub(crate) fn by_keyed(pool: &KeyedPool<Beam>) -> Self {
        Self::Keyed(lasting_keyed(pool), pool.generation())
    }

    /// Counts a process as killed for running too long.
    pub(crate) fn count_killed(&self, pid: Pid) {
        match *self {
            Self::Pool(pool, opening) => pool.count_killed(opening, pid),
            Self::Keyed(pool, generation) => pool.count_killed(generation),
        }
    }
}

/// The number of watches. One of them monitors each process that has a deadline. There are
/// several, because all monitors of one watch share a lock.
const DEADLINE_WATCHES: usize = 32;
static WATCHES: Watches<DEADLINE_WATCHES> = Watches::new();

/// Sets the deadline of a process: the reaper kills the process at `at_ms` of the exact clock,
/// unless its work ends before. `admissions` are by the pools that admitted the process, if any.
pub(crate) fn set_deadline(env: Env, pid: Pid, at_ms: u64, admissions: Box<[Admission]>) {
    let todo = DEADLINES.set(pid, at_ms, admissions);
    // The low four bits of the word are the same for all pids, so they do not enter the index.
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

// Mailboxes, each of one server.

pub(crate) static MAILBOXES: Mailboxes<Beam> = Mailboxes::new();

/// The number of watches. One of them monitors each server that has a mailbox.
const SERVER_WATCHES: usize = 32;
static SERVERS: Watches<SERVER_WATCHES> = Watches::new();

/// Watches a server. Returns `false` if it is dead.
pub(crate) fn watch_server(env: Env, pid: Pid) -> bool {
    // The low four bits of the word are the same for all pids, so they do not enter the index.
    SERVERS.monitor(env, pid.word() as usize / 16 % SERVER_WATCHES, Watch::Mailboxes, pid)
}

// Timed waits: waits by messages that have a timeout. The reaper ends them.

static TIMED: Mutex<Timed> = Mutex::new(Timed { pools: Vec::new(), last: 0 });

/// The list of pools that have timed waits. A pool gets an entry when its first timed wait
/// begins. It loses the entry after it has reported that it has no timed waits.
struct Timed {
    /// The entries: a number of its own for each entry, and the pool.
    pools: Vec<(u64, &'static Pool<Beam>)>,
    /// The number of the last entry that was made.
    last: u64,
}

/// Adds an entry for a pool that had no timed wait until one began, and wakes the reaper.
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

/// Removes the entry at the index `at`, if its number is still `number`. Its pool has reported
/// that it has no timed waits. A timed wait that begins after the report adds another entry of
/// the pool. That entry has another number, so it stays.
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

// Deferred work: work on pools that is too long for one call. The janitor continues that work.

static QUEUE: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());
static JANITOR: Server = Server::none();

enum Job {
    /// Answer those waiters of a pool whose answer is due.
    Serve(&'static Pool<Beam>),
    /// Answer the waiters of a keyed pool that are due an answer, and reap its dead processes.
    ServeKeyed(&'static KeyedPool<Beam>),
    /// Clear an unnamed pool: its handle is gone, so no caller can reach it.
    Clear(Clearing),
    /// Drop what a dead server left in its mailbox.
    Discard(Discarded<Beam>),
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

/// Registers the janitor. From now on, the janitor gets `:serve` for each job that is queued.
/// This function sends `:serve` for each job that is in the queue already.
pub(crate) fn register_janitor(env: Env, pid: Pid) {
    // Another thread may queue a job at the same time. The lock of the queue orders the two
    // calls: either that thread finds this janitor, or this call finds the job. Both may happen,
    // and the janitor then gets `:serve` once too often, which does no harm.
    JANITOR.register(pid);
    let queued = QUEUE.lock().len();
    for _ in 0..queued {
        env.send(pid, atoms::serve());
    }
}

/// Queues a pool that has waiters whose answer is due, unless the pool is queued already.
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

/// The number of messages that one turn of the janitor drops. A small one takes some 200 ns, and a
/// large one as long as its memory takes to free.
const DISCARDED_PER_TURN: usize = 32;
/// The work of one of them, in entries of some 20 ns.
const DISCARD: usize = 10;

/// Drops what a dead server left in its mailbox. Leaves most of it to the janitor.
pub(crate) fn discard(beam: &Beam, mut left: Discarded<Beam>) {
    beam.worked(left.len().min(DISCARDED_PER_TURN) * DISCARD);
    left.drop_some(DISCARDED_PER_TURN);
    if !left.is_empty() {
        queue(beam.env, Job::Discard(left));
    }
}

fn queue(env: Env, job: Job) {
    QUEUE.lock().push_back(job);
    // If no janitor is alive to receive this, no job is lost: the next janitor gets `:serve` for
    // each job in the queue when it registers.
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
            // Removes the mark before it serves the pool. If waiters remain, or new ones become
            // due meanwhile, `defer` must be able to queue the pool again.
            pool.data.deferral.end();
            pool.serve(beam);
        }
        Some(Job::ServeKeyed(pool)) => {
            // Removes the mark first, for the same reason.
            pool.data.deferral.end();
            pool.serve(beam);
        }
        Some(Job::Clear(clearing)) => clear(beam, clearing, CLEARED_PER_TURN),
        Some(Job::Discard(left)) => discard(beam, left),
        None => {}
    }
}
