//! The keyed pool: its calls one at a time, on one thread.
#![cfg(not(any(loom, shuttle)))]

mod basics;
mod bounds;
mod handoffs;
mod hooks;
mod lifecycle;
mod model;
mod outside_locks;
mod people;
mod permits;
mod plain;
mod reports;
mod restarts;
mod scans;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod waits;
