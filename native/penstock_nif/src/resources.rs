//! What the VM holds of ours: handles of unnamed pools, and the resources that watch holders.
//!
//! ```text
//! term %Pool{ref} -> handle -> Arc -> pool -> anchor -> watches (one reference each)
//!                                ^                         |
//!                                +-------------------------+
//! ```
//!
//! A handle that is collected closes its pool and lets go of the watches; the VM takes down their monitors, and with the
//! last watch the pool goes. Pools of names have no handle and are never freed.
//!
//! OTP 25 and 27 abort when `process_info(Pid, monitored_by)` makes a reference to a resource that is being destroyed: then
//! it is destroyed twice. That holds for whatever resource monitors a process; here, while a handle is being collected.

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Weak};

use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use penstock_core::{Pid, Pool, SHARD_COUNT};
use rustler::sys::{
    self, ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceFlags, ErlNifResourceType, ErlNifResourceTypeInit,
};

use crate::beam::Beam;
use crate::meter;
use crate::term::{callback_pid, raw_pid, Env, Term};

/// A pool that stays for as long as this does.
pub(crate) enum PoolRef {
    Named(&'static Pool<Beam>),
    Unnamed(Arc<Pool<Beam>>),
}

impl PoolRef {
    /// `None` for an unnamed pool whose handle is gone.
    pub(crate) fn of(pool: &Pool<Beam>) -> Option<Self> {
        match pool.anchor.unnamed.get() {
            Some(weak) => weak.upgrade().map(Self::Unnamed),
            // SAFETY: a pool without that mark is one of the registry's, which is a static and drops none. An unnamed one has
            // its mark before any call can reach it.
            None => Some(Self::Named(unsafe { &*ptr::from_ref(pool) })),
        }
    }

    pub(crate) fn get(&self) -> &Pool<Beam> {
        match self {
            Self::Named(pool) => pool,
            Self::Unnamed(pool) => pool,
        }
    }
}

/// What is kept beside each pool.
pub(crate) struct Anchor {
    unnamed: OnceCell<Weak<Pool<Beam>>>,
    /// Many monitors on one resource share one lock of the VM, so there are as many as there are shards.
    watches: [AtomicPtr<c_void>; SHARD_COUNT],
    deferred: AtomicBool,
}

impl Default for Anchor {
    fn default() -> Self {
        Self {
            unnamed: OnceCell::new(),
            watches: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            deferred: AtomicBool::new(false),
        }
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

type Handle = Arc<Pool<Beam>>;
type Watch = PoolRef;

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

/// The VM unmaps the library of a purged module once no resource needs it, and forgets its types; our statics must
/// outlive that, and handles too. One resource that is never released keeps both.
fn pin(handle: *const ErlNifResourceType) {
    let pinned: Handle = Arc::new(Pool::new());
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

/// A pool without a name; it lives for as long as somebody has the term.
pub(crate) fn make_handle(env: Env, pool: Pool<Beam>) -> Term {
    let pool: Handle = Arc::new(pool);
    let _ = pool.anchor.unnamed.set(Arc::downgrade(&pool));
    // SAFETY: the type's destructor drops a `Handle`; the term has its own reference, so ours is released.
    unsafe {
        let object = alloc(resource_type(&HANDLE), pool);
        let term = Term::of(sys::enif_make_resource(env.raw(), object));
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
        Some(&*Arc::as_ptr(&*object.cast::<Handle>()))
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
    let Some(object) = watch_of(pool, pid) else { return false };
    // SAFETY: the anchor's reference keeps the object: it is given up when nobody can call for this pool any more.
    unsafe { sys::enif_monitor_process(env.raw(), object, &raw_pid(pid), ptr::null_mut()) == 0 }
}

fn watch_of(pool: &Pool<Beam>, pid: Pid) -> Option<*mut c_void> {
    let place = &pool.anchor.watches[Pool::<Beam>::shard_of(pid)];
    // ORDERING: Acquire pairs with the Release below: the object is written.
    let there = place.load(Ordering::Acquire);
    if !there.is_null() {
        return Some(there);
    }
    let made: Watch = PoolRef::of(pool)?;
    // SAFETY: the type's destructor drops a `Watch`. Whoever loses the race releases its own.
    unsafe {
        let object = alloc(resource_type(&WATCH), made);
        // ORDERING: Release publishes the object; Acquire is for the loser, who uses the winner's.
        match place.compare_exchange(ptr::null_mut(), object, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(object),
            Err(winner) => {
                sys::enif_release_resource(object);
                Some(winner)
            }
        }
    }
}

/// Nobody can ask the pool any more.
unsafe extern "C" fn handle_dtor(env: *mut ErlNifEnv, object: *mut c_void) {
    let end = || {
        // SAFETY: a resource of this type holds a `Handle`, and this is its end.
        let pool = unsafe { object.cast::<Handle>().read() };
        pool.close(&Beam::in_callback(Env::of(env)));
        for place in &pool.anchor.watches {
            // ORDERING: Acquire pairs with the Release in `watch_of`.
            let watch = place.swap(ptr::null_mut(), Ordering::AcqRel);
            if !watch.is_null() {
                // SAFETY: the anchor's reference, given up once.
                unsafe { sys::enif_release_resource(watch) };
            }
        }
    };
    let _ = catch_unwind(AssertUnwindSafe(|| meter::measure("handle_dtor", end)));
}

unsafe extern "C" fn watch_dtor(_env: *mut ErlNifEnv, object: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a resource of this type holds a `Watch`, and this is its end.
        let watch = unsafe { object.cast::<Watch>().read() };
        meter::measure("watch_dtor", || drop(watch));
    }));
}

/// A watched process is gone. On older OTP the VM holds its main lock here: only atomics, our own locks and sends.
unsafe extern "C" fn watch_down(
    env: *mut ErlNifEnv,
    object: *mut c_void,
    pid: *const ErlNifPid,
    _monitor: *const ErlNifMonitor,
) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a resource of this type holds a `Watch`, and the VM holds a reference for the length of the call.
        let watch = unsafe { &*object.cast::<Watch>() };
        // SAFETY: the VM hands over a pid.
        if let Some(pid) = unsafe { callback_pid(pid) } {
            meter::measure("watch_down", || watch.get().down(&Beam::in_callback(Env::of(env)), pid));
        }
    }));
}
