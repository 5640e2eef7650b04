//! Rate limits: [GCRA](gcra) on one [word](crate::keyed), for all hits together or for each key.

mod all;
mod gcra;
mod limiter;
mod pauses;
mod settings;

pub use all::{All, Charge, hit_all};
pub use gcra::{OutOfBounds, Rate};
pub use limiter::{Changed, Hit, Key, Limiter, LimiterInfo, LimiterSettings, Limits, Progress, Reserved};
