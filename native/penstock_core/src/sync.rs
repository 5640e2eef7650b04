//! The only source of atomics and locks, so that loom and shuttle can replace them.

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
            // ORDERING: SeqCst here and below, for a caller that writes one pair and then loads
            // another; see `keyed::table`.
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

/// Two words that change together, in a model, which has no atomic of two words. Each step takes
/// a lock, so it is as atomic, and all steps are in one order.
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

/// Returns a small number of the calling thread, unique while there are few threads: to spread
/// what threads share, or to tell them apart.
///
/// Not for what a model checks: a model runs on one thread.
pub(crate) fn thread_number() -> usize {
    static THREADS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

/// A full fence that follows a read-modify-write of the same thread.
///
/// On x86-64 that instruction carried the `lock` prefix and was a full barrier already, so only
/// the compiler must be restrained. Elsewhere, and in the models, this is a fence.
#[inline]
pub(crate) fn fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle))))]
    // ORDERING: completes the pair argued at each caller; see above for why the compiler's fence
    // is enough.
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, shuttle)))))]
    // ORDERING: completes the pair argued at each caller.
    fence(Ordering::SeqCst);
}
