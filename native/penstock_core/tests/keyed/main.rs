//! The keyed pool: its calls one at a time, on one thread.
#![cfg(not(any(loom, shuttle)))]

mod basics;
mod stage;
#[path = "../support/mod.rs"]
mod support;
