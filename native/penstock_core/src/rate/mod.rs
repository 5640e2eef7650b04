//! Rate limiters: one [rate](gcra) for all hits without a key, and for each key.
//!
//! A [limiter] keeps the state of each key in one [word](crate::keyed). A hit is
//! [decided](decide) by that word and the [rate in force](config). A change of the rate
//! [migrates](migrate) all words.

mod adjust;
mod all;
mod config;
mod decide;
mod gcra;
mod limiter;
mod migrate;
mod pauses;

pub use all::{All, Charge, hit_all};
pub use gcra::{OutOfBounds, Rate};
pub(crate) use limiter::DENIED;
pub use limiter::{Hit, Key, Limiter, LimiterInfo, LimiterSettings, Limits, Reserved};
pub use migrate::{Changed, Progress};
