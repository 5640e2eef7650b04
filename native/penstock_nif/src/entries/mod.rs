//! The entry points: one file or folder for each prefix of the functions of `Penstock.Native`, so
//! that of `run_end` is in `run.rs`. Their contracts are the specs and comments of that module.

mod ban;
mod bounds;
mod deadline;
mod gate;
mod janitor;
mod metered;
mod pool;
mod pools;
mod rate;
mod reaper;
mod restart;
mod run;
mod spawn;
mod start;
mod waits;
mod work;
