//! The code that the test programs share: a fake runtime, and a stage on which its processes use
//! one pool.

#![allow(dead_code, unused_imports, unreachable_pub)] // Each test program uses a part of this module.

mod process;
mod runtime;
mod stage;
mod times;

pub use process::{Acquired, Process};
pub use runtime::{Fake, Ticket};
pub use stage::{Stage, limit};
pub use times::Times;
