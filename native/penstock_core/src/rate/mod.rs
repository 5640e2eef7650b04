//! Rate limits: [GCRA](gcra) on one [word](stamp), for all hits together or [for each key](table).

mod all;
mod gcra;
mod limiter;
mod pauses;
mod settings;
mod stamp;
mod table;

pub use all::{All, Charge, hit_all};
pub(crate) use gcra::END;
pub use gcra::{CENTURY, LATEST, OutOfBounds, Rate};
pub use limiter::{Changed, Hit, Key, Limiter, LimiterInfo, LimiterSettings, Limits, Progress, Reserved, whole_ms};
pub(crate) use stamp::{Era, View};
pub use table::OutOfMemory;
pub(crate) use table::{Found, Table, scale};
