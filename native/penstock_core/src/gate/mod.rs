//! Gates of several limits: one decision that asks all of them.
//!
//! A caller passes a gate only if all its limits admit it. The decision takes three steps:
//!
//! 1. *Look*: each limit tells whether it would refuse. The first that would, in the order of
//!    [`Rank`], gives the reason, and nothing was taken. The first limit with permits is looked at
//!    only if a later one seems to refuse: otherwise its take comes next, and tells.
//! 2. *Take*: the limits with permits give them to the caller, one after the other. If one
//!    refuses, those before it get their permits back.
//! 3. *Charge*: the rate limiters are charged, all or none. If one denies, all permits go back.
//!
//! Another caller can take permits or hits between these steps. Then a later step refuses, and
//! the earlier ones are undone. A permit that is taken in step 2 and given back counts meanwhile,
//! so another caller may be refused because of it. No limit is ever exceeded: each step is exact
//! by itself, as it is for a caller that asks one limit alone.
//!
//! The caller cannot be killed inside a decision: a process is not killed inside a call. After the
//! call, each limit has the permits in its own entry or lease of the caller, and the caller's
//! death gives each back.
//!
//! A new kind of limit is one implementation of [`Member`].

mod members;
mod settings;

use crate::holders::Kind;
use crate::host::Host;
use crate::rate::{All, Charge, hit_all};

pub use members::{BanMember, KeyedMember, LimiterMember, PoolMember};
pub use settings::{Gate, GateCounts, GateSettings, Outcome};

/// The largest number of limits of a gate. In models it is 3, since each name is a word that a
/// stale reader can see in two states.
pub const MOST_MEMBERS: usize = if cfg!(any(loom, shuttle)) { 3 } else { 16 };

/// The order in which the kinds of limits are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Ban lists.
    Ban,
    /// Rate limiters.
    Limiter,
    /// Keyed pools.
    Keyed,
    /// Pools.
    Pool,
}

impl Rank {
    /// Returns `true` for a kind of limit that gives permits.
    #[inline]
    pub fn has_permits(self) -> bool {
        self >= Self::Keyed
    }
}

/// Why a limit refused the caller of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// The key is banned for this many ns.
    Banned(u64),
    /// The rate allows the hit after this many ns; `None` for never.
    RateLimited(Option<u64>),
    /// Too few permits of the key are free.
    KeyFull,
    /// The key is new, and every place for a key is in use.
    TableFull,
    /// Too few permits of the pool are free.
    Full,
    /// The limit is closed or draining, or its name stands for another one by now.
    Closed,
    /// One call could not finish its work. The caller must ask again.
    Again,
}

/// The permits that one limit has given to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The limit has no permits.
    Nothing,
    /// Permits of a pool.
    Pool,
    /// Permits of a key, in this lease.
    Keyed(crate::keyed_pool::LeaseId),
}

/// One limit of a gate, as one caller asks it: the key, the cost and the number of permits are
/// those of the caller.
pub trait Member<H: Host> {
    /// Returns the kind of the limit, by which the limits are ordered.
    fn rank(&self) -> Rank;

    /// Returns why the limit would refuse the caller now. Takes nothing, and counts nothing. If the
    /// caller `waits`, the answers `Full` and `KeyFull` need no scan for dead holders.
    fn look(&self, host: &H, waits: bool) -> Result<(), No>;

    /// Counts a refusal by [`Member::look`] in the totals of the limit.
    fn count_refusal(&self, _no: No) {}

    /// Takes the permits for the caller. Counts a refusal in the totals of the limit, unless the
    /// caller `waits`: then it asks the limit again.
    fn take(&self, _host: &H, _kind: Kind, _waits: bool) -> Result<Held, No> {
        Ok(Held::Nothing)
    }

    /// Gives the permits back that [`Member::take`] has taken.
    fn give_back(&self, _host: &H, _kind: Kind, _held: Held) {}

    /// Returns the charge of a rate limiter.
    fn charge(&self) -> Option<Charge<'_>> {
        None
    }
}

impl<H: Host, M: Member<H> + ?Sized> Member<H> for &M {
    fn rank(&self) -> Rank {
        (**self).rank()
    }

    fn look(&self, host: &H, waits: bool) -> Result<(), No> {
        (**self).look(host, waits)
    }

    fn count_refusal(&self, no: No) {
        (**self).count_refusal(no);
    }

    fn take(&self, host: &H, kind: Kind, waits: bool) -> Result<Held, No> {
        (**self).take(host, kind, waits)
    }

    fn give_back(&self, host: &H, kind: Kind, held: Held) {
        (**self).give_back(host, kind, held);
    }

    fn charge(&self) -> Option<Charge<'_>> {
        (**self).charge()
    }
}

/// A refusal: the index of the limit, and the reason.
pub type Refused = (usize, No);

/// The indices of members in the order of asking: by rank, and within a rank as given.
struct Order {
    places: [u8; MOST_MEMBERS],
    /// The number of members without permits, which come first.
    bare: usize,
    count: usize,
}

impl Order {
    #[inline]
    fn of<H: Host, M: Member<H>>(members: &[M]) -> Self {
        debug_assert!(members.len() <= MOST_MEMBERS);
        let (mut places, mut bare) = ([0; MOST_MEMBERS], 0);
        for (at, member) in members.iter().enumerate() {
            let rank = member.rank();
            bare += usize::from(!rank.has_permits());
            let mut place = at;
            while place > 0 && members[usize::from(places[place - 1])].rank() > rank {
                places[place] = places[place - 1];
                place -= 1;
            }
            places[place] = at as u8;
        }
        Self { places, bare, count: members.len() }
    }

    fn indices(&self, from: usize, to: usize) -> impl Iterator<Item = usize> + Clone + '_ {
        self.places[from..to].iter().map(|&at| at.into())
    }

    fn all(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        self.indices(0, self.count)
    }

    fn without_permits(&self) -> impl Iterator<Item = usize> + '_ {
        self.indices(0, self.bare)
    }

    fn with_permits(&self) -> impl Iterator<Item = usize> + '_ {
        self.indices(self.bare, self.count)
    }
}

/// Asks all limits, takes their permits as `kind`, and charges the rate limiters. Returns what the
/// caller holds of each limit; after a refusal it holds nothing.
///
/// `waits`: the caller is willing to wait for permits. Then a limit that is full stops the
/// decision in the second step, not in the first, so that a reason which waiting cannot change
/// comes first. A refusal of the second step is then `Full`, and no limit counts it: the caller
/// waits for one limit after the other, and each of them gives the exact answer. Only the first
/// limit with permits can give another reason, because no look came before its take.
pub fn admit<H: Host, M: Member<H>>(
    host: &H,
    members: &[M],
    kind: Kind,
    waits: bool,
    clock: impl Fn() -> u64,
) -> Result<[Held; MOST_MEMBERS], Refused> {
    let order = Order::of::<H, M>(members);
    for at in order.without_permits() {
        look(host, members, at, false)?;
    }
    let first = order.with_permits().next();
    for at in order.with_permits().skip(1) {
        // This look scans for no dead holders. The scans come in the order of the reasons, and only
        // if a caller would be refused.
        let seems = members[at].look(host, true);
        if !(seems.is_ok() || waits && matches!(seems, Err(No::Full | No::KeyFull))) {
            // The reason of the first limit comes before that of this one.
            first.map_or(Ok(()), |first| look(host, members, first, waits))?;
            look(host, members, at, waits)?;
        }
    }
    let mut held = [Held::Nothing; MOST_MEMBERS];
    for at in order.with_permits() {
        match members[at].take(host, kind, waits) {
            Ok(taken) => held[at] = taken,
            Err(_) if waits && Some(at) == first => match members[at].look(host, waits) {
                // The look has reaped dead holders.
                Ok(()) => held[at] = members[at].take(host, kind, waits).map_err(|_| (at, No::Full))?,
                Err(No::Full | No::KeyFull) => return Err((at, No::Full)),
                Err(no) => return Err(refused(&members[at], at, no)),
            },
            Err(_) if waits => {
                give_back(host, members, kind, &held);
                return Err((at, No::Full));
            }
            Err(no) => {
                give_back(host, members, kind, &held);
                return Err((at, no));
            }
        }
    }
    if let Err(refused) = charge(members, &order, clock) {
        give_back(host, members, kind, &held);
        return Err(refused);
    }
    Ok(held)
}

/// Looks at a limit, and counts its refusal. If the caller waits, a full limit does not refuse it
/// yet.
fn look<H: Host, M: Member<H>>(host: &H, members: &[M], at: usize, waits: bool) -> Result<(), Refused> {
    match members[at].look(host, waits) {
        Ok(()) => Ok(()),
        Err(No::Full | No::KeyFull) if waits => Ok(()),
        Err(no) => Err(refused(&members[at], at, no)),
    }
}

/// Counts the refusal of a limit that was looked at, and adds the index of the limit.
fn refused<H: Host, M: Member<H>>(member: &M, at: usize, no: No) -> Refused {
    if no != No::Again {
        member.count_refusal(no);
    }
    (at, no)
}

/// Gives back all permits that a decision has taken.
fn give_back<H: Host, M: Member<H>>(host: &H, members: &[M], kind: Kind, held: &[Held; MOST_MEMBERS]) {
    for (member, &held) in members.iter().zip(held) {
        if held != Held::Nothing {
            member.give_back(host, kind, held);
        }
    }
}

/// Looks at the limits without permits, and charges the rate limiters: the last step for a caller
/// that has waited for its permits.
pub fn finish<H: Host, M: Member<H>>(host: &H, members: &[M], clock: impl Fn() -> u64) -> Result<(), Refused> {
    let order = Order::of::<H, M>(members);
    for at in order.without_permits() {
        look(host, members, at, false)?;
    }
    charge(members, &order, clock)
}

/// Charges all rate limiters, or none.
fn charge<H: Host, M: Member<H>>(members: &[M], order: &Order, clock: impl Fn() -> u64) -> Result<(), Refused> {
    let mut limiters = order.all().filter_map(|at| Some((at, members[at].charge()?)));
    let Some((at, only)) = limiters.next() else { return Ok(()) };
    let Some(second) = limiters.next() else {
        // One limiter needs no tentative charge.
        let Some(cost) = only.cost else { return Err((at, No::RateLimited(None))) };
        let hit = only.limiter.hit(only.key, only.limiter.now(clock), cost);
        return members::no_of_hit(hit).map_or(Ok(()), |no| Err((at, no)));
    };
    let (mut places, mut charges, mut count) = ([at; MOST_MEMBERS], [only; MOST_MEMBERS], 1);
    for (at, charge) in std::iter::once(second).chain(limiters) {
        (places[count], charges[count]) = (at, charge);
        count += 1;
    }
    match hit_all(&charges[..count], clock) {
        All::Allowed => Ok(()),
        All::Denied(at, wait) => Err((places[at], No::RateLimited(wait))),
        All::Gone(at) => Err((places[at], No::Closed)),
    }
}
