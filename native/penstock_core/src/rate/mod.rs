//! Rate limits: [GCRA](gcra) on one [word](crate::keyed), for all hits together or for each key.

mod adjust;
mod all;
mod config;
mod gcra;
mod limiter;
mod migrate;
mod pauses;

pub use all::{All, Charge, hit_all};
pub use gcra::{OutOfBounds, Rate};
pub use limiter::{Hit, Key, Limiter, LimiterInfo, LimiterSettings, Limits, Reserved};
pub use migrate::{Changed, Progress};
