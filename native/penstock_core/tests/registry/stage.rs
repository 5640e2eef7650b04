//! A name, and the processes that use it.

use penstock_core::Pid;

pub(crate) const NAME: u64 = 0x40;

/// Returns the pids from 1 on.
pub(crate) fn pids<const N: usize>() -> [Pid; N] {
    std::array::from_fn(|at| Pid::new(at as u64 + 1).unwrap())
}
