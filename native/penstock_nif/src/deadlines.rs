//! Processes that are to be killed if they run too long, and the process that kills them.
//!
//! Beside the pools and not in them: a pool that is closed, or whose handle is gone, forgets its holders, but who was given
//! so much time has no more for that.

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use once_cell::sync::Lazy;
use penstock_core::{Deadlines, Ending, Host, Opening, Pid, Pool};
use rustler::sys::{self, ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceType};

use crate::atoms;
use crate::beam::Beam;
use crate::clock;
use crate::entry::entries;
use crate::gates::resolve_instance;
use crate::meter;
use crate::resources::{alloc, lasting, open_type};
use crate::term::{callback_pid, raw_pid, Env, Term};
use crate::work::resolve_offer;

static DEADLINES: Lazy<Deadlines<Admission>> = Lazy::new(Deadlines::new);
static REAPER: AtomicU64 = AtomicU64::new(0);

/// The pool that admitted a process, as it was opened then: another caller may have the pool when
/// the process is overdue.
struct Admission {
    pool: &'static Pool<Beam>,
    opening: Opening,
}

impl Admission {
    fn by(pool: &Pool<Beam>) -> Self {
        Self { pool: lasting(pool), opening: pool.opening() }
    }
}

/// How many a call says are due: some 20 µs, and as long at most is a lock of the table held.
const MOST: usize = 64;

/// Many monitors on one resource share one lock of the VM, so there are several. Once made they stay for as long as the VM
/// runs.
const WATCHES: usize = 32;
static WATCH: [AtomicPtr<c_void>; WATCHES] = [const { AtomicPtr::new(ptr::null_mut()) }; WATCHES];
static WATCH_TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

entries! {
    deadline_set/3 => set,
    deadline_give/4 => give,
    deadline_end/0 => end,
    deadline_due/0 => due,
    deadline_rest/0 => rest,
    reaper_register/0 => register,
}

pub(crate) fn init(env: Env) -> bool {
    let type_ = open_type(env, c"penstock_deadline", watch_dtor, Some(watch_down));
    // ORDERING: Release pairs with the Acquire in `watch_of`.
    WATCH_TYPE.store(type_.cast_mut(), Ordering::Release);
    !type_.is_null()
}

/// Made when it is needed first: while the library is being loaded, the VM does not know yet that the type has a `down`.
fn watch_of(pid: Pid) -> *mut c_void {
    // The low bits of a pid's word say that it is a pid.
    let place = &WATCH[pid.word() as usize / 16 % WATCHES];
    // ORDERING: Acquire pairs with the Release below: the object is written.
    let there = place.load(Ordering::Acquire);
    if !there.is_null() {
        return there;
    }
    // ORDERING: Acquire pairs with the Release in `init`.
    let type_ = WATCH_TYPE.load(Ordering::Acquire);
    // SAFETY: the type is open, and its destructor looks at nothing. Whoever loses the race releases its own; the winner's
    // reference is never released.
    unsafe {
        let object = alloc(type_, 0_u64);
        // ORDERING: Release publishes the object; Acquire is for the loser, who uses the winner's.
        match place.compare_exchange(ptr::null_mut(), object, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => object,
            Err(winner) => {
                sys::enif_release_resource(object);
                winner
            }
        }
    }
}

/// Has the table told of the death of a process; false if it is dead.
fn watch(env: Env, pid: Pid) -> bool {
    // SAFETY: an object of ours, which is never released.
    unsafe { sys::enif_monitor_process(env.raw(), watch_of(pid), &raw_pid(pid), ptr::null_mut()) == 0 }
}

unsafe extern "C" fn watch_dtor(_env: *mut ErlNifEnv, _object: *mut c_void) {}

/// A process with a deadline is gone. On older OTP the VM holds its main lock here: only our own lock is taken.
unsafe extern "C" fn watch_down(
    _env: *mut ErlNifEnv,
    _object: *mut c_void,
    pid: *const ErlNifPid,
    _monitor: *const ErlNifMonitor,
) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the VM hands over a pid.
        if let Some(pid) = unsafe { callback_pid(pid) } {
            meter::measure("deadline_down", || DEADLINES.remove(pid));
        }
    }));
}

/// For the calling process, which has adopted the offer.
fn set(beam: &Beam, [gate, offer, ms]: [Term; 3]) -> Term {
    let pool = resolve_offer(beam, gate, offer).map(|(pool, _)| Admission::by(pool));
    set_for(beam, beam.env.me(), pool, ms)
}

/// For a process that the caller has created.
fn give(beam: &Beam, [gate, instance, pid, ms]: [Term; 4]) -> Term {
    let pool = resolve_instance(beam, gate, instance).map(Admission::by);
    set_for(beam, beam.env.local_pid(pid), pool, ms)
}

fn set_for(beam: &Beam, pid: Option<Pid>, pool: Option<Admission>, ms: Term) -> Term {
    let (Some(pid), Some(pool), Some(ms)) = (pid, pool, beam.env.permits(ms)) else { return atoms::badarg() };
    // One more, for the part of a ms that the clock does not say: none is to be early.
    let todo = DEADLINES.set(pid, clock::exact_ms() + u64::from(ms) + 1, pool);
    if todo.watch && !watch(beam.env, pid) {
        DEADLINES.remove(pid);
    }
    if todo.wake {
        wake(beam.env);
    }
    atoms::ok()
}

fn wake(env: Env) {
    // Nobody to wake is no loss: whoever registers next looks at once.
    if let Some(reaper) = Pid::new(REAPER.load(Ordering::Relaxed)) {
        env.send(reaper, atoms::due());
    }
}

/// A pool has waits that the reaper ends.
pub(crate) fn begin_waits(env: Env) {
    if DEADLINES.begin_other() {
        wake(env);
    }
}

/// It has none any more.
pub(crate) fn end_waits() {
    DEADLINES.end_other();
}

fn end(beam: &Beam, []: [Term; 0]) -> Term {
    match beam.env.me().map(|me| DEADLINES.end_work(me)) {
        Some(Ending::Overdue) => atoms::overdue(),
        _ => atoms::ok(),
    }
}

fn due(beam: &Beam, []: [Term; 0]) -> Term {
    let due = DEADLINES.due(clock::exact_ms(), MOST, |pid, by| by.pool.count_killed(by.opening, pid));
    beam.worked(due.len() * 4);
    let pids: Vec<Term> = due.into_iter().map(Term::pid).collect();
    beam.env.list(&pids)
}

fn rest(_beam: &Beam, []: [Term; 0]) -> Term {
    if DEADLINES.rest() {
        atoms::ok()
    } else {
        atoms::again()
    }
}

fn register(beam: &Beam, []: [Term; 0]) -> Term {
    let Some(me) = beam.env.me() else { return atoms::badarg() };
    REAPER.store(me.word(), Ordering::Relaxed);
    DEADLINES.tell_again();
    atoms::ok()
}
