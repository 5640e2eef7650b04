//! A value for each thread, so that threads that count write no word of each other, and need no locked
//! instruction.

use once_cell::race::OnceBox;

use crate::sync::{AtomicU64, Ordering, thread_number};

/// The number of threads that have values of their own. A VM has as many threads that run processes
/// as it has schedulers. In models there is none, since a model's threads have one number.
const SLOTS: usize = if cfg!(any(loom, shuttle)) { 0 } else { 64 };

/// Values of the first threads, each made when its thread first needs it, and one of all others.
#[derive(Debug)]
pub(crate) struct PerThread<T> {
    own: [OnceBox<T>; SLOTS],
    shared: T,
}

/// The value for the calling thread.
pub(crate) enum Slot<'a, T> {
    /// No other thread writes it.
    Own(&'a T),
    /// Other threads write it too.
    Shared(&'a T),
}

impl<T: Default> PerThread<T> {
    pub(crate) fn new() -> Self {
        Self { own: [const { OnceBox::new() }; SLOTS], shared: T::default() }
    }

    /// Returns the calling thread's own value, if it is made.
    #[inline(always)]
    pub(crate) fn made(&self) -> Option<&T> {
        self.own.get(thread_number()).and_then(OnceBox::get)
    }

    /// Returns the value for the calling thread.
    #[cold]
    pub(crate) fn get(&self) -> Slot<'_, T> {
        match self.own.get(thread_number()) {
            Some(own) => Slot::Own(own.get_or_init(Box::default)),
            None => Slot::Shared(&self.shared),
        }
    }

    /// Returns all values.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.own.iter().filter_map(OnceBox::get).chain([&self.shared])
    }
}

/// Adds to a word that only the calling thread writes.
#[inline(always)]
pub(crate) fn add_alone(word: &AtomicU64, n: u64) {
    // No thread adds between the load and the store: only the thread of the word adds to it, and
    // nothing that it calls meanwhile adds.
    word.store(word.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
