//! The kinds of limits that a gate can have.

use crate::ban::{Ban, Banned};
use crate::holders::Kind;
use crate::host::Pid;
use crate::keyed_pool::{KeyRefusal, KeyedHost, KeyedPool, PoolKey};
use crate::pool::{Pool, PoolHost, Refusal};
use crate::rate::{Charge, Hit, Key, Limiter};
use crate::reuse::Generation;

use super::{Held, Member, No, Rank};

/// A ban list, asked about a key. It holds nothing and is not charged.
#[derive(Debug)]
pub struct BanMember<'a> {
    /// The list.
    pub ban: &'a Ban,
    /// The generation that the caller means.
    pub generation: Generation,
    /// The tag of the key in that generation.
    pub tag: u64,
    /// The time in ns.
    pub now: u64,
}

impl<H: PoolHost> Member<H> for BanMember<'_> {
    fn rank(&self) -> Rank {
        Rank::Ban
    }

    fn look(&self, _host: &H, _waits: bool) -> Result<(), No> {
        let banned = self.ban.check(self.tag, self.now);
        if !self.ban.is_current(self.generation) {
            return Err(No::Closed);
        }
        match banned {
            Banned::No => Ok(()),
            Banned::For(left) => Err(No::Banned(left)),
        }
    }
}

/// A rate limiter, asked for a hit.
#[derive(Debug)]
pub struct LimiterMember<'a> {
    /// The limiter.
    pub limiter: &'a Limiter,
    /// The key.
    pub key: Key,
    /// The cost.
    pub cost: u32,
    /// The time in ns.
    pub now: u64,
}

impl<H: PoolHost> Member<H> for LimiterMember<'_> {
    fn rank(&self) -> Rank {
        Rank::Limiter
    }

    fn look(&self, _host: &H, _waits: bool) -> Result<(), No> {
        no_of_hit(self.limiter.peek(self.key, self.now, self.cost)).map_or(Ok(()), Err)
    }

    fn count_refusal(&self, no: No) {
        if let No::RateLimited(_) = no {
            self.limiter.count(crate::rate::DENIED);
        }
    }

    fn charge(&self) -> Option<Charge<'_>> {
        Some(Charge { limiter: self.limiter, key: self.key, cost: Some(self.cost) })
    }
}

/// Returns why a limiter refuses; `None` if it does not.
pub(super) fn no_of_hit(hit: Hit) -> Option<No> {
    match hit {
        Hit::Allow(_) => None,
        Hit::Deny(wait) => Some(No::RateLimited(Some(wait))),
        Hit::Never => Some(No::RateLimited(None)),
        Hit::Gone => Some(No::Closed),
    }
}

/// A keyed pool, asked for `n` permits of a key.
pub struct KeyedMember<'a, H: KeyedHost> {
    /// The pool.
    pub pool: &'a KeyedPool<H>,
    /// The key.
    pub key: PoolKey<'a>,
    /// The caller.
    pub me: Pid,
    /// The number of permits.
    pub n: u32,
}

impl<H: KeyedHost> std::fmt::Debug for KeyedMember<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedMember").field("key", &self.key.tag).field("n", &self.n).finish_non_exhaustive()
    }
}

impl<H: PoolHost + KeyedHost> Member<H> for KeyedMember<'_, H> {
    fn rank(&self) -> Rank {
        Rank::Keyed
    }

    fn look(&self, host: &H, waits: bool) -> Result<(), No> {
        self.pool.look(host, self.key, self.n, waits).map_err(no_of_key)
    }

    fn count_refusal(&self, no: No) {
        self.pool.count_refusal(
            self.key,
            match no {
                No::Closed => KeyRefusal::Closed,
                No::TableFull => KeyRefusal::TableFull,
                _ => KeyRefusal::KeyFull,
            },
        );
    }

    fn take(&self, host: &H, kind: Kind, waits: bool) -> Result<Held, No> {
        let taken = if waits {
            self.pool.take(host, self.me, self.key, self.n, kind)
        } else {
            self.pool.try_acquire(host, self.me, self.key, self.n, kind)
        };
        taken.map(Held::Keyed).map_err(no_of_key)
    }

    fn give_back(&self, host: &H, kind: Kind, held: Held) {
        if let Held::Keyed(lease) = held {
            // The caller holds the permits: only a call by the caller could have released them.
            let _released = self.pool.release_of(host, self.me, lease, self.n, kind);
        }
    }
}

fn no_of_key(refusal: KeyRefusal) -> No {
    match refusal {
        KeyRefusal::KeyFull => No::KeyFull,
        KeyRefusal::TableFull => No::TableFull,
        KeyRefusal::Closed => No::Closed,
        KeyRefusal::Again => No::Again,
    }
}

/// A pool, asked for `n` permits. `still` tells whether the caller still means this pool: its name
/// may stand for another one by now.
pub struct PoolMember<'a, H: PoolHost> {
    /// The pool.
    pub pool: &'a Pool<H>,
    /// Whether the name of the pool still stands for it.
    pub still: &'a dyn Fn() -> bool,
    /// The caller.
    pub me: Pid,
    /// The number of permits.
    pub n: u32,
}

impl<H: PoolHost> std::fmt::Debug for PoolMember<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolMember").field("pool", &self.pool).field("n", &self.n).finish_non_exhaustive()
    }
}

impl<H: PoolHost> Member<H> for PoolMember<'_, H> {
    fn rank(&self) -> Rank {
        Rank::Pool
    }

    fn look(&self, host: &H, waits: bool) -> Result<(), No> {
        let looked = self.pool.look(host, self.n, waits).map_err(no_of_pool);
        if (self.still)() { looked } else { Err(No::Closed) }
    }

    fn count_refusal(&self, no: No) {
        let refusal = if no == No::Closed { Refusal::Closed } else { Refusal::Full };
        if (self.still)() {
            self.pool.count_refusal(self.me, refusal);
        }
    }

    fn take(&self, host: &H, kind: Kind, waits: bool) -> Result<Held, No> {
        // A pool of another name must not count a refusal of this caller. The name can still pass
        // to another pool during the take, so this call asks again after it.
        if !(self.still)() {
            return Err(No::Closed);
        }
        let taken = if waits {
            if self.pool.take(host, self.me, self.n, kind) { Ok(()) } else { Err(No::Full) }
        } else {
            self.pool.try_acquire(host, self.me, self.n, kind).map_err(no_of_pool)
        };
        if (self.still)() {
            return taken.map(|()| Held::Pool);
        }
        if taken.is_ok() {
            <Self as Member<H>>::give_back(self, host, kind, Held::Pool);
        }
        Err(No::Closed)
    }

    fn give_back(&self, host: &H, kind: Kind, _held: Held) {
        // The caller holds the permits: only a call by the caller could have released them.
        let _released = self.pool.release(host, self.me, self.n, kind);
    }
}

fn no_of_pool(refusal: Refusal) -> No {
    match refusal {
        Refusal::Full => No::Full,
        Refusal::Closed => No::Closed,
        Refusal::Again => No::Again,
    }
}
