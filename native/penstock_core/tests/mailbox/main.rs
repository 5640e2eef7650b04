//! Mailboxes: what they admit, keep and drop, call by call, and against a plain model.
#![cfg(not(any(loom, shuttle)))]

mod basics;
mod model;
mod stage;
#[path = "../support/mod.rs"]
mod support;
