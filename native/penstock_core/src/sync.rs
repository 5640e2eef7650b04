//! The only door to atomics and locks, so that loom and shuttle can take their place.

#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("a model does not panic inside a lock")
    }
}

#[cfg(all(shuttle, not(loom)))]
mod imp {
    pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("a model does not panic inside a lock")
    }
}

pub(crate) use imp::*;

/// A full fence for a place that follows a read-modify-write of the same thread.
///
/// On x86-64 that instruction carried the `lock` prefix and was a full barrier already, so only the
/// compiler has to be held back; elsewhere, and in the models, it is a fence.
#[inline]
pub(crate) fn fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle))))]
    // ORDERING: completes the pair argued at each caller; see above for why the compiler's fence is enough.
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, shuttle)))))]
    // ORDERING: completes the pair argued at each caller.
    fence(Ordering::SeqCst);
}
