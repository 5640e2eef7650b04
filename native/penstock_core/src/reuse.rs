//! Memory that serves one owner after the other: what limiters and ban lists offer to the slab of
//! the registry.

/// The allocator has no memory for a table of the requested size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Counts the openings of a reusable thing.
///
/// It is part of every key that the thing remembers, so what a slow caller writes for an opening
/// that is over means nothing to the next opening.
pub type Generation = u32;

/// A limiter or a ban list, whose memory serves the next one of its size when it is closed.
pub trait Reusable: Sized {
    /// What it is started with.
    type Config: Copy;

    /// Makes one that is closed.
    fn make(config: Self::Config) -> Result<Self, OutOfMemory>;

    /// Returns `true` if its memory has the size that `config` asks for.
    fn fits(&self, config: Self::Config) -> bool;

    /// Resets and reopens it. The caller must own it exclusively; only stale callers of the
    /// previous generation may still access it.
    fn open(&self, config: Self::Config, now: u64) -> Generation;

    /// Returns `true` if one that was started as `old` can resume as `new`, with all it
    /// remembers.
    fn is_compatible(old: Self::Config, new: Self::Config) -> bool;

    /// Resumes as `new`: what differs from `old` is changed, and what was only updated since
    /// stays.
    ///
    /// Stops once `still` returns `false`, which it does when another owner has taken over: the
    /// owner that asked for this may be dead.
    fn resume(
        &self,
        generation: Generation,
        old: Self::Config,
        new: Self::Config,
        clock: fn() -> u64,
        still: &dyn Fn() -> bool,
    );
}
