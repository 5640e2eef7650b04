//! Compares rate limiters with plain models in exact arithmetic. Also tests cases that random
//! hits do not reach.
#![cfg(not(any(loom, shuttle)))]

mod bucket;
mod edges;
mod keys;
mod several;
mod stage;

use stage::{MS, charge, key, keys, limits, open, update};
