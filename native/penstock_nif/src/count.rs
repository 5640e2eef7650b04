//! Counts the bytes that the library has allocated and not freed, in a build with the feature
//! `count`. In other builds it does nothing.
//!
//! The count has no slack: `script/soak` finds in it a leak that the memory of the whole VM hides.

#[cfg(feature = "count")]
pub(crate) use on::{add, bytes, sub};

#[cfg(not(feature = "count"))]
#[inline(always)]
pub(crate) fn add(_bytes: usize) {}

#[cfg(not(feature = "count"))]
#[inline(always)]
pub(crate) fn sub(_bytes: usize) {}

#[cfg(feature = "count")]
mod on {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static BYTES: AtomicUsize = AtomicUsize::new(0);

    /// Also counts memory that the system then refuses, which a soak never asks for.
    pub(crate) fn add(bytes: usize) {
        // Relaxed: the count orders no other memory.
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(bytes: usize) {
        // Relaxed: the count orders no other memory.
        BYTES.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn bytes() -> u64 {
        // Relaxed: the reader has let all work end.
        BYTES.load(Ordering::Relaxed) as u64
    }
}
