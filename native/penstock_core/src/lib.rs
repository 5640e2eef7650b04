//! The native core of Penstock: pools of permits, rate limiters, ban lists and deadlines. They
//! stay exact, no matter which process is killed or when.
//!
//! The core knows nothing of the BEAM. A runtime implements [`Host`], and [`PoolHost`] for pools.
//! The core offers [`Pool`], [`Limiter`] and [`Ban`], a [`Registry`] of named gates, and
//! [`Deadlines`] of processes. A method that may wake, watch or look at a process takes the host
//! as its first argument. Methods take short locks, and never wait for a process.

mod ban;
mod batch;
mod deadlines;
mod gate;
mod holders;
mod host;
mod keyed;
mod keyed_pool;
mod mailbox;
mod meters;
mod per_thread;
mod pool;
mod rate;
mod registry;
mod reuse;
mod sync;
mod tick_clock;
mod time;

pub use ban::{Ban, BanSettings, Banned, BansInfo, FOREVER, Failure, Listed};
pub use deadlines::{Deadlines, Ending, Todo};
pub use gate::{
    BanMember, Gate, GateCounts, GateSettings, Held, KeyedMember, LimiterMember, MOST_MEMBERS, Member, No, Outcome,
    PoolMember, Rank, Refused, admit, finish,
};
pub use holders::{Cursor, HolderInfo, Kind, Refusals, Report};
pub use host::{Answer, Host, Pid};
pub use keyed_pool::{
    GROUP_COUNT, KeyInfo, KeyParked, KeyRefusal, KeyRefusals, KeyRestart, KeyTag, KeyedChanges, KeyedDrain, KeyedHost,
    KeyedInfo, KeyedMeters, KeyedOffer, KeyedPool, KeyedSettings, LeaseId, PoolKey, ShowKey, TopKey,
};
pub use mailbox::{
    Discarded, MailHost, MailOpened, MailParked, MailboxInfo, MailboxSettings, Mailboxes, NoRoom, Open, Overflow, Token,
};
pub use meters::{Histogram, METER_BUCKETS, METER_EDGES_MS};
pub use pool::{
    AS_LIMIT, Adoption, Cancelled, Changes, Drain, Expiry, Info, NotHeld, Offer, Opening, Parked, Pool, PoolHost,
    PoolMeters, Refusal, Restart, SHARD_COUNT, Settings, Status, Step, TransferError, UNLIMITED, WaiterId,
};
#[cfg(feature = "sharded_credit")]
pub use pool::{Credit, OneWord, Seen, Spread};
pub use rate::{
    All, Changed, Charge, Hit, Key, Limiter, LimiterInfo, LimiterSettings, Limits, OutOfBounds, Progress, Rate,
    Reserved, hit_all,
};
pub use registry::{GateHost, InstanceId, KeyedId, Named, Names, Registry, Started, UnnamedId};
pub use reuse::{Generation, OutOfMemory, Reusable};
pub use tick_clock::TickClock;
pub use time::{CENTURY, LATEST, NS_PER_MS, whole_ms};

/// Makes cargo build the crate again when the contents of the sources have changed. cargo itself
/// compares only the modification times of files. So `native/compile.exs` sets this variable to a
/// fingerprint of the contents, and cargo builds again when the variable changes.
const _: Option<&str> = option_env!("PENSTOCK_SOURCES");
