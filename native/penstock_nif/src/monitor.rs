//! Watches: the resources through which the VM tells this library of the deaths of processes.
//!
//! A watch that monitors a process is never destroyed. OTP 25 to 29 abort when
//! `process_info(Pid, monitored_by)` makes a reference to a monitoring resource that is being
//! destroyed, since the VM then destroys that resource twice. So a watch is made once and kept
//! for as long as the VM runs. The watches of a pool stay with the pool: a pool is cleared and
//! reused, but never freed.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use penstock_core::{KeyedPool, Pid, Pool};
use rustler::sys;

use crate::host::Beam;
use crate::meter;
use crate::node::DEADLINES;
use crate::resource::{Resource, ResourceType};
use crate::term::{raw_pid, Env};

static WATCH: ResourceType<Watch> = ResourceType::new();

pub(crate) fn init(env: Env) -> bool {
    WATCH.open(env)
}

/// The receiver that a watch tells of a death: a pool, a keyed pool, or the table of deadlines.
#[derive(Clone, Copy)]
pub(crate) enum Watch {
    Pool(&'static Pool<Beam>),
    Keyed(&'static KeyedPool<Beam>),
    Deadlines,
}

impl Resource for Watch {
    const NAME: &'static std::ffi::CStr = c"penstock_watch";
    const MONITORS: bool = true;

    fn down(&self, env: Env, pid: Pid) {
        match self {
            Self::Pool(pool) => meter::measure("watch_down", || pool.down(&Beam::in_callback(env), pid)),
            Self::Keyed(pool) => meter::measure("keyed_down", || pool.down(&Beam::in_callback(env), pid)),
            Self::Deadlines => meter::measure("deadline_down", || DEADLINES.remove(pid)),
        }
    }
}

/// The watches of one pool, of one keyed pool, or of the table of deadlines. All monitors of one resource share one
/// lock of the VM. So there are `N` watches, and each process is monitored by one of them.
pub(crate) struct Watches<const N: usize>([AtomicPtr<c_void>; N]);

impl<const N: usize> Default for Watches<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Watches<N> {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicPtr::new(ptr::null_mut()) }; N])
    }

    /// Monitors a process by the watch at the index `at`. Returns `false` if the process is dead.
    pub(crate) fn monitor(&self, env: Env, at: usize, table: Watch, pid: Pid) -> bool {
        let object = self.get_or_make(at, table);
        // SAFETY: the object must be a live resource with a `down`. The reference that
        // `get_or_make` made it with is never released. `env` is valid as `Env` guarantees.
        unsafe { sys::enif_monitor_process(env.raw(), object, &raw_pid(pid), ptr::null_mut()) == 0 }
    }

    /// Returns the watch at the index `at`. Makes it at its first use: while the VM loads the
    /// library, the VM does not know yet that the type has a `down`.
    fn get_or_make(&self, at: usize, table: Watch) -> *mut c_void {
        let place = &self.0[at];
        // ORDERING: Acquire pairs with the Release of the exchange below, which publishes the
        // object.
        let there = place.load(Ordering::Acquire);
        if !there.is_null() {
            return there;
        }
        let object = WATCH.alloc(table);
        // ORDERING: Release publishes the object. Acquire is for a thread that loses the race to
        // make the watch: it uses the object that the winner published.
        match place.compare_exchange(ptr::null_mut(), object, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => object,
            Err(winner) => {
                // SAFETY: the reference must be released only once, and nothing may use the
                // object afterwards. `alloc` gave the reference to this call alone. The object
                // monitors no process, so no answer of `monitored_by` refers to it.
                unsafe { sys::enif_release_resource(object) };
                winner
            }
        }
    }
}
