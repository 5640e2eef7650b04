//! The only source of atomics and locks, so that loom and shuttle can replace them.

#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    /// Locks a mutex unless it is locked.
    #[cfg(feature = "sharded_credit")]
    pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock()
    }

    /// A pair of words that is loaded and stored as one.
    #[derive(Debug)]
    pub(crate) struct AtomicPair(portable_atomic::AtomicU128);

    impl AtomicPair {
        pub(crate) fn new(a: u64, b: u64) -> Self {
            Self(portable_atomic::AtomicU128::new(join(a, b)))
        }
        #[inline]
        pub(crate) fn load(&self) -> (u64, u64) {
            // ORDERING: SeqCst in all methods. A caller of `keyed::table` writes one pair and
            // then loads others. All such writes and loads must be in one total order.
            let both = self.0.load(Ordering::SeqCst);
            (both as u64, (both >> 64) as u64)
        }
        pub(crate) fn store(&self, a: u64, b: u64) {
            self.0.store(join(a, b), Ordering::SeqCst);
        }
        #[inline]
        pub(crate) fn compare_exchange(&self, (a, b): (u64, u64), (c, d): (u64, u64)) -> bool {
            self.0.compare_exchange(join(a, b), join(c, d), Ordering::SeqCst, Ordering::SeqCst).is_ok()
        }
    }

    fn join(a: u64, b: u64) -> u128 {
        u128::from(b) << 64 | u128::from(a)
    }
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("no model panics inside a lock")
    }

    /// Locks a mutex unless it is locked.
    #[cfg(feature = "sharded_credit")]
    pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock().ok()
    }
}

#[cfg(all(shuttle, not(loom)))]
mod imp {
    pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("no model panics inside a lock")
    }

    /// Locks a mutex unless it is locked.
    #[cfg(feature = "sharded_credit")]
    pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock().ok()
    }
}

pub(crate) use imp::*;

/// A pair of words that is loaded and stored as one. The model checkers have no atomic of two
/// words, so each method takes a lock. So each is atomic, and all calls are in one order.
#[cfg(any(loom, shuttle))]
#[derive(Debug)]
pub(crate) struct AtomicPair(Mutex<(u64, u64)>);

#[cfg(any(loom, shuttle))]
impl AtomicPair {
    pub(crate) fn new(a: u64, b: u64) -> Self {
        Self(Mutex::new((a, b)))
    }
    pub(crate) fn load(&self) -> (u64, u64) {
        *lock(&self.0)
    }
    pub(crate) fn store(&self, a: u64, b: u64) {
        *lock(&self.0) = (a, b);
    }
    pub(crate) fn compare_exchange(&self, from: (u64, u64), to: (u64, u64)) -> bool {
        let mut pair = lock(&self.0);
        let equal = *pair == from;
        if equal {
            *pair = to;
        }
        equal
    }
}

/// Returns the number of the calling thread. Threads are counted from 0, in the order in which
/// they first call this. The number picks one of several counters for a thread, or tells threads
/// apart.
///
/// A model of loom or shuttle runs all its threads on one thread of the system, which has one
/// number. So no model can check code that depends on this number.
pub(crate) fn thread_number() -> usize {
    static THREADS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

/// A full fence that follows a read-modify-write of the same thread.
///
/// On x86-64 the read-modify-write carries the `lock` prefix and is a full barrier by itself, so
/// only the compiler must be restrained. Elsewhere, and in the models, this is a fence.
#[inline]
pub(crate) fn fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle))))]
    // ORDERING: the comment at each call says which fence this one pairs with. A fence of the
    // compiler is enough here, as the doc above says.
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, shuttle)))))]
    // ORDERING: the comment at each call says which fence this one pairs with.
    fence(Ordering::SeqCst);
}
