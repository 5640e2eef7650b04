//! Memory that serves one gate after another: the trait by which the registry's slab opens and
//! reopens limiters and ban lists.

/// The allocator has no memory for a table of the requested size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Counts the openings of a reusable limiter or ban list.
///
/// The generation is part of every tag that a caller hashes. So a stale caller of an earlier
/// generation charges or bans no key of the present generation.
pub type Generation = u32;

/// A limiter or a ban list. Once it is closed, its memory serves the next one of its size.
pub trait Reusable: Sized {
    /// The settings that its owner starts it with.
    type Config: Copy;

    /// Returns a closed limiter or ban list, of the size that `config` asks for.
    fn make(config: Self::Config) -> Result<Self, OutOfMemory>;

    /// Returns `true` if this one has the size that `config` asks for.
    fn fits(&self, config: Self::Config) -> bool;

    /// Resets and opens this one. The calling thread must own it exclusively; only stale callers
    /// of earlier generations may still access it.
    fn open(&self, config: Self::Config, now: u64) -> Generation;

    /// Closes this one, which was opened, but which no name got. No caller has used it.
    fn discard(&self, _generation: Generation) {}

    /// Returns `true` if a limiter or ban list that was started with `old` can resume with `new`,
    /// and keep the state of its keys.
    fn is_compatible(old: Self::Config, new: Self::Config) -> bool;

    /// Resumes with `new`, after a start with `old`. A setting that differs is changed. An equal
    /// one keeps the value that a later update gave it.
    ///
    /// The owner that resumes may die during this call, and another owner may take over. From
    /// then on, `is_owner` returns `false`, and this call changes nothing more.
    fn resume(
        &self,
        generation: Generation,
        old: Self::Config,
        new: Self::Config,
        clock: fn() -> u64,
        is_owner: &dyn Fn() -> bool,
    );
}
