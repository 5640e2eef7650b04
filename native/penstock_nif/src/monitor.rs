//! Watches: the resources through which the VM tells this library of the deaths of processes.
//!
//! The VM must never destroy a watch that monitors a process, because OTP 25 to 29 have a bug.
//! While the VM destroys such a watch, `process_info(Pid, monitored_by)` can make a new reference
//! to the watch. The VM then destroys the watch twice, and aborts.
//!
//! So a watch is made once, and kept for as long as the VM runs. The watches of a pool stay with
//! the pool, because a pool is cleared and reused, but never freed.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use penstock_core::{KeyedPool, Pid, Pool};
use rustler::sys::{self, ErlNifResourceFlags};

use crate::host::Beam;
use crate::meter;
use crate::node::{DEADLINES, MAILBOXES};
use crate::resource::{Resource, ResourceType};
use crate::term::{raw_pid, Env};

static WATCH: ResourceType<Watch> = ResourceType::new();

pub(crate) fn init(env: Env, how: ErlNifResourceFlags) -> bool {
    WATCH.open(env, how)
}

/// The receiver that a watch tells of a death: a pool, a keyed pool, or the table of deadlines or of
/// mailboxes.
#[derive(Clone, Copy)]
pub(crate) enum Watch {
    Pool(&'static Pool<Beam>),
    Keyed(&'static KeyedPool<Beam>),
    Deadlines,
    Mailboxes,
}

impl Resource for Watch {
    const NAME: &'static std::ffi::CStr = c"penstock_watch";
    const MONITORS: bool = true;

    fn down(&self, env: Env, pid: Pid) {
        match self {
            Self::Pool(pool) => meter::measure("watch_down", || pool.down(&Beam::in_callback(env), pid)),
            Self::Keyed(pool) => meter::measure("keyed_down", || pool.down(&Beam::in_callback(env), pid)),
            Self::Deadlines => meter::measure("deadline_down", || DEADLINES.remove(pid)),
            Self::Mailboxes => meter::measure("mailbox_down", || MAILBOXES.down(&Beam::in_callback(env), pid)),
        }
    }
}

/// The watches of one pool, of one keyed pool, or of one of the tables. There are `N`, because
/// all monitors of one watch share a lock of the VM. One of the watches monitors each process.
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
        // SAFETY: the object must be a live resource with a `down`. The object is live, because
        // nothing releases the first reference to a watch that `get_or_make` has returned. `env`
        // is valid as `Env` guarantees.
        unsafe { sys::enif_monitor_process(env.raw(), object, &raw_pid(pid), ptr::null_mut()) == 0 }
    }

    /// Returns the watch at the index `at`. Makes the watch at its first use, because `load`
    /// cannot make it: during `load` the VM does not know yet that the type has a `down`.
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
