//! Checks that sharded credit counts as one word does.
//!
//! | file | run by | what it checks |
//! |---|---|---|
//! | `model.rs` | `cargo test` | each answer of one thread, against plain numbers |
//! | `threads.rs` | `cargo test` | that real threads are not refused what is free |
//! | `races.rs` | loom | each race of two or three calls |
//! | `queue.rs` | shuttle | that no waiter sleeps while enough permits are free |
//!
//!     cargo test -p penstock_core --features sharded_credit --test credit
//!
//! `script/race` runs the models of loom and shuttle.
#![cfg(feature = "sharded_credit")]

// Its bound of other models is not used here.
#[cfg(loom)]
#[allow(dead_code)]
#[path = "../loom/explore.rs"]
mod explore;
#[cfg(not(any(loom, shuttle)))]
mod model;
#[cfg(all(shuttle, not(loom)))]
mod queue;
#[cfg(loom)]
mod races;
#[cfg(not(any(loom, shuttle)))]
mod threads;
