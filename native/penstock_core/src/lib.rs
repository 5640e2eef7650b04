//! The native core of Penstock: pools of permits that stay exact whatever is killed whenever.
//!
//! It knows nothing of the BEAM. What it needs from a runtime is [`Host`]; what it offers is [`Pool`], a
//! [`Registry`] of named ones, and [`Deadlines`] of processes. Every method that may have to wake, watch or look at a process takes the host as its
//! first argument, and none of them blocks.

mod ban;
mod clock;
mod counter;
mod deadlines;
mod host;
mod pool;
mod rate;
mod registry;
mod sync;

pub use ban::{Ban, BanSettings, Banned, BansInfo, FOREVER, Failure, Listed};
pub use clock::NS_PER_MS;
pub use counter::Counter;
pub use deadlines::{Deadlines, Ending, Todo};
pub use host::{Answer, Host, Pid};
pub use pool::{
    AS_LIMIT, Adoption, Cancelled, Census, Changes, Drain, Expiry, Holding, Info, Kind, NotHeld, Offer, Opening,
    Parked, Pool, Position, Refusal, Restart, SHARD_COUNT, Settings, Status, Step, TransferError, UNLIMITED, WaiterId,
};
pub use rate::{
    All, CENTURY, Changed, Charge, Hit, Key, LATEST, Limiter, LimiterInfo, LimiterSettings, Limits, OutOfBounds,
    OutOfMemory, Progress, Rate, Reserved, hit_all, whole_ms,
};
pub use registry::{Incarnation, InstanceId, Lend, Named, Names, Registry, Started, UnnamedId};
