//! The only door to atomics and locks, so that loom and shuttle can take their place.

#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    /// Two words that change together.
    #[derive(Debug)]
    pub(crate) struct AtomicPair(portable_atomic::AtomicU128);

    impl AtomicPair {
        pub(crate) fn new(a: u64, b: u64) -> Self {
            Self(portable_atomic::AtomicU128::new(join(a, b)))
        }
        #[inline]
        pub(crate) fn load(&self) -> (u64, u64) {
            // ORDERING: SeqCst here and below, for whoever writes to one pair and then looks at another; see `keyed::table`.
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

/// In a model, which knows no atomic of two words: each step under a lock of its own is as atomic, and in one order for all.
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

/// A small number of the calling thread, its own for as long as there are few: to spread what threads share, or to tell them apart.
///
/// Not a model's: it is one thread in truth, and what it is given is not what is tried.
pub(crate) fn thread_number() -> usize {
    static THREADS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

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
