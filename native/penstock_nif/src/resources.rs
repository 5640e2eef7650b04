//! What the VM holds of ours: handles of unnamed pools, and the resources that watch holders.
//!
//! ```text
//! term %Pool{ref} -> handle -> pool -> anchor -> watches (one reference each)
//!                                ^                  |
//!                                +------------------+
//! ```
//!
//! No pool is ever freed, and no watch that monitors a process is ever destroyed: OTP 25 to 29 abort when
//! `process_info(Pid, monitored_by)` makes a reference to a monitoring resource that is being destroyed, since the VM
//! destroys that resource twice then. A handle monitors no process, so the VM may destroy it at any time. Its destructor
//! closes the pool and has it cleared; the next handle that is made takes over the pool with its watches.

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use once_cell::sync::Lazy;
use parking_lot::Mutex;
use penstock_core::{Pid, Pool, Settings, UnnamedId, SHARD_COUNT};
use rustler::sys::{
    self, ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceFlags, ErlNifResourceType, ErlNifResourceTypeInit,
};

use crate::beam::Beam;
use crate::deferred;
use crate::gates::REGISTRY;
use crate::meter;
use crate::term::{callback_pid, raw_pid, Env, Term};

/// Every pool of the VM lives as long as the VM.
pub(crate) fn lasting(pool: &Pool<Beam>) -> &'static Pool<Beam> {
    // SAFETY: a pool of this crate is one of `REGISTRY`, or `PINNED`: statics, which drop no
    // pool.
    unsafe { &*ptr::from_ref(pool) }
}

/// What is kept beside each pool.
pub(crate) struct Anchor {
    /// Many monitors on one resource share one lock of the VM, so there are as many as there are shards.
    watches: [AtomicPtr<c_void>; SHARD_COUNT],
    deferred: AtomicBool,
}

impl Default for Anchor {
    fn default() -> Self {
        Self { watches: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())), deferred: AtomicBool::new(false) }
    }
}

impl Anchor {
    /// False if the pool is in the janitor's queue already.
    pub(crate) fn begin_deferral(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `end_deferral`: a true that is read here is of a pool still queued,
        // whose settling will see what was done before this.
        !self.deferred.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_deferral(&self) {
        // ORDERING: AcqRel pairs with itself in `begin_deferral`; the settling comes after.
        self.deferred.swap(false, Ordering::AcqRel);
    }
}

static HANDLE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());
static WATCH: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

/// What a handle holds: an unnamed pool, which no other handle has.
struct Handle {
    pool: &'static Pool<Beam>,
    id: UnnamedId,
}

type Watch = &'static Pool<Beam>;

pub(crate) fn init(env: Env) -> bool {
    let handle = open_type(env, c"penstock_pool", handle_dtor, None);
    let watch = open_type(env, c"penstock_watch", watch_dtor, Some(watch_down));
    if handle.is_null() || watch.is_null() {
        return false;
    }
    // ORDERING: Release pairs with the Acquire in `resource_type`.
    HANDLE.store(handle.cast_mut(), Ordering::Release);
    // ORDERING: as above.
    WATCH.store(watch.cast_mut(), Ordering::Release);
    pin(handle);
    true
}

#[inline]
fn resource_type(which: &AtomicPtr<ErlNifResourceType>) -> *const ErlNifResourceType {
    // ORDERING: Acquire pairs with the Release in `init`.
    which.load(Ordering::Acquire)
}

type Dtor = unsafe extern "C" fn(*mut ErlNifEnv, *mut c_void);
type Down = unsafe extern "C" fn(*mut ErlNifEnv, *mut c_void, *const ErlNifPid, *const ErlNifMonitor);

pub(crate) fn open_type(env: Env, name: &std::ffi::CStr, dtor: Dtor, down: Option<Down>) -> *const ErlNifResourceType {
    let init = ErlNifResourceTypeInit {
        dtor: dtor as *const _,
        stop: ptr::null(),
        down: down.map_or(ptr::null(), |down| down as *const _),
        members: 3,
        dyncall: ptr::null(),
    };
    let mut tried = ErlNifResourceFlags::ERL_NIF_RT_CREATE;
    // SAFETY: called from `load`, as the VM demands; name and callbacks are static. A type of an earlier load of
    // this module is gone by name; its resources live on with their callbacks, which are these same functions.
    unsafe { sys::enif_init_resource_type(env.raw(), name.as_ptr(), &init, tried, &mut tried) }
}

/// The types of handles that each load of the module opened: a handle stays of the type that it was made of.
static HANDLES: Mutex<Vec<HandleType>> = Mutex::new(Vec::new());

struct HandleType(*const ErlNifResourceType);

// SAFETY: compared by the VM, never written; `pin` keeps what it points to.
unsafe impl Send for HandleType {}

/// The pool of handles that are made for [`pin`] alone.
static PINNED: Lazy<Pool<Beam>> = Lazy::new(Pool::new);

/// The VM unmaps the library of a purged module once no resource needs it, and forgets its types; our statics must
/// outlive that, and handles too. One resource that is never released keeps both.
fn pin(handle: *const ErlNifResourceType) {
    let pinned = Handle { pool: &PINNED, id: 0 };
    // SAFETY: the type is open; the reference that allocation gives is never released.
    unsafe { alloc(handle, pinned) };
    HANDLES.lock().push(HandleType(handle));
}

/// A new resource that owns `value`, with one reference.
///
/// # Safety
/// The destructor of the type drops a `T`.
pub(crate) unsafe fn alloc<T>(type_: *const ErlNifResourceType, value: T) -> *mut c_void {
    const { assert!(align_of::<T>() <= align_of::<u64>()) };
    // SAFETY: the VM returns memory of that size, aligned for a word.
    unsafe {
        let object = sys::enif_alloc_resource(type_, size_of::<T>());
        object.cast::<T>().write(value);
        object
    }
}

/// Opens a pool without a name, and makes a handle of it.
pub(crate) fn make_handle(beam: &Beam, settings: Settings) -> Term {
    // A caller that makes pools faster than the janitor clears them has to do one of its turns.
    let spare = REGISTRY.reuse_unnamed(settings).or_else(|| {
        deferred::settle_one(beam);
        REGISTRY.reuse_unnamed(settings)
    });
    let (id, pool) = spare.unwrap_or_else(|| REGISTRY.make_unnamed(settings));
    // SAFETY: the type's destructor reads a `Handle`; the term has its own reference, so ours is
    // released.
    unsafe {
        let object = alloc(resource_type(&HANDLE), Handle { pool, id });
        let term = Term::of(sys::enif_make_resource(beam.env.raw(), object));
        sys::enif_release_resource(object);
        term
    }
}

/// The pool of a handle. For the length of the call, whose argument the term must be.
#[inline]
pub(crate) fn handle<'a>(env: Env, term: Term) -> Option<&'a Pool<Beam>> {
    handle_of(env, term, resource_type(&HANDLE)).or_else(|| older_handle(env, term))
}

#[inline]
fn handle_of<'a>(env: Env, term: Term, type_: *const ErlNifResourceType) -> Option<&'a Pool<Beam>> {
    let mut object = ptr::null();
    // SAFETY: the VM checks that the term is a live resource of this type, which holds a `Handle`; the term is an
    // argument of the current call, so the resource outlives it.
    unsafe {
        if sys::enif_get_resource(env.raw(), term.raw(), type_, &mut object) == 0 {
            return None;
        }
        Some((*object.cast::<Handle>()).pool)
    }
}

#[cold]
fn older_handle<'a>(env: Env, term: Term) -> Option<&'a Pool<Beam>> {
    if !env.is_ref(term) {
        return None;
    }
    HANDLES.lock().iter().find_map(|older| handle_of(env, term, older.0))
}

/// Monitors a process for a pool; false if it is dead.
pub(crate) fn watch(env: Env, pool: &Pool<Beam>, pid: Pid) -> bool {
    let object = watch_of(pool, pid);
    // SAFETY: the anchor's reference keeps the object, and is never given up.
    unsafe { sys::enif_monitor_process(env.raw(), object, &raw_pid(pid), ptr::null_mut()) == 0 }
}

fn watch_of(pool: &Pool<Beam>, pid: Pid) -> *mut c_void {
    let place = &pool.anchor.watches[Pool::<Beam>::shard_of(pid)];
    // ORDERING: Acquire pairs with the Release below: the object is written.
    let there = place.load(Ordering::Acquire);
    if !there.is_null() {
        return there;
    }
    let made: Watch = lasting(pool);
    // SAFETY: the type's destructor looks at nothing. The loser of the race releases its own
    // object, which monitors no process and so is in no answer of `monitored_by`; the winner's
    // reference is never released.
    unsafe {
        let object = alloc(resource_type(&WATCH), made);
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

/// No caller can reach the pool any more: every call had the handle as an argument, and has
/// returned.
unsafe extern "C" fn handle_dtor(env: *mut ErlNifEnv, object: *mut c_void) {
    let end = || {
        // SAFETY: a resource of this type holds a `Handle`, and this is its end.
        let Handle { pool, id } = unsafe { object.cast::<Handle>().read() };
        let beam = Beam::in_callback(Env::of(env));
        pool.close(&beam);
        deferred::begin_clear(&beam, pool, id);
    };
    let _ = catch_unwind(AssertUnwindSafe(|| meter::measure("handle_dtor", end)));
}

/// Runs for the loser of a race in `watch_of` alone.
unsafe extern "C" fn watch_dtor(_env: *mut ErlNifEnv, _object: *mut c_void) {}

/// A watched process is gone. On older OTP the VM holds its main lock here: only atomics, our own locks and sends.
unsafe extern "C" fn watch_down(
    env: *mut ErlNifEnv,
    object: *mut c_void,
    pid: *const ErlNifPid,
    _monitor: *const ErlNifMonitor,
) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a resource of this type holds a `Watch`, and the VM holds a reference for the length of the call.
        let watch: Watch = unsafe { *object.cast::<Watch>() };
        // SAFETY: the VM hands over a pid.
        if let Some(pid) = unsafe { callback_pid(pid) } {
            meter::measure("watch_down", || watch.down(&Beam::in_callback(Env::of(env)), pid));
        }
    }));
}
