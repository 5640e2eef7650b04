//! Memory that serves one user after the other: what a limiter or a ban list offers to the slab of
//! the registry.

/// The allocator has no memory for a table of the requested size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Which opening of what is lent. It is part of all that is remembered of a key, so what somebody slow does to an opening that is over
/// means nothing to the next.
pub type Incarnation = u32;

/// What a name may be lent.
pub trait Lend: Sized {
    /// What it is started with.
    type Given: Copy;

    /// One that is closed.
    fn make(given: Self::Given) -> Result<Self, OutOfMemory>;
    /// Whether its memory is of the size that is asked for.
    fn fits(&self, given: Self::Given) -> bool;
    /// Opens it anew, with nothing counted. For whoever has it alone, but for who is slow.
    fn open(&self, given: Self::Given, now: u64) -> Incarnation;
    /// Whether what was started as `old` may go on as `new`, with what it remembers.
    fn may_go_on(old: Self::Given, new: Self::Given) -> bool;
    /// Goes on so: what was given anew wins, what was only updated since stays. As long as `still`, which is asked in between: whoever asked for it
    /// may be dead, and another may have taken over.
    fn go_on(
        &self,
        incarnation: Incarnation,
        old: Self::Given,
        new: Self::Given,
        clock: fn() -> u64,
        still: &dyn Fn() -> bool,
    );
}
