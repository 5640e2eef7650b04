//! The entry points: one file or folder for each prefix of the functions of `Penstock.Native`.
//! For example, the entry point of `run_end` is in `run.rs`. The specs and comments of
//! `Penstock.Native` are the contracts of the entry points.

mod allocated;
pub(crate) mod ban;
mod bounds;
mod deadline;
mod gate;
mod janitor;
pub(crate) mod keyed;
mod library;
mod mailbox;
mod meter;
mod metered;
mod pool;
mod pools;
mod rate;
mod reaper;
mod restart;
mod run;
mod set;
pub(crate) mod spawn;
mod start;
mod vm;
mod waits;
mod work;
