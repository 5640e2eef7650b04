//! The entry points. `Penstock.Native.run_end` stands in `run.rs`: each function in the file, or
//! the folder, of the prefix of its name. The contracts are the specs of `Penstock.Native`.

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
