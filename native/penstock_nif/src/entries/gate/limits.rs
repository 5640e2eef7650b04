//! The limits that one call asks: those of a gate of several limits, or a limiter, a ban or a keyed
//! pool alone.

use std::cell::Cell;

use penstock_core::{
    whole_ms, BanMember, Charge, Held, Hit, Key, KeyTag, KeyedMember, Kind, LimiterMember, Member, No, Pid, PoolKey,
    PoolMember, Rank,
};
use smallvec::SmallVec;

use crate::atoms;
use crate::clock;
use crate::entries::keyed::Keyed;
use crate::host::Beam;
use crate::key::{HashedKey, Shown};
use crate::resolve::{named, Gate};
use crate::term::Term;

/// What a caller asks of a gate.
pub(super) struct Request {
    me: Pid,
    /// The key for each limit that `keys` does not name, unless the request has none.
    key: Option<Term>,
    /// A map of the names of limits to keys.
    keys: Option<Term>,
    /// Whether Elixir has measured the keys.
    measured: bool,
    permits: u32,
    cost: u32,
    /// The time in ns at which the call first read the clock.
    now: Cell<Option<u64>>,
}

impl Request {
    #[inline(always)]
    pub(super) fn of(beam: &Beam, [key, keys, permits, cost, measured]: [Term; 5]) -> Option<Self> {
        Some(Self {
            me: beam.env.me()?,
            key: (measured != atoms::no_key()).then_some(key),
            keys: beam.env.filled_map(keys),
            measured: measured == atoms::measured(),
            permits: beam.env.positive_i31(permits)?,
            cost: beam.env.positive_i31(cost)?,
            now: Cell::new(None),
        })
    }

    /// Returns the time in ns. All limits of one call without a manual clock see the same time, and
    /// the clock is read at most once.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.now.get().unwrap_or_else(|| {
            let now = clock::now_ns();
            self.now.set(Some(now));
            now
        })
    }
}

/// One limit, and the part of the request that concerns it.
pub(super) struct Limit<'a> {
    pub(super) name: Term,
    me: Pid,
    permits: u32,
    kind: LimitKind<'a>,
}

/// The limits of a gate. Most gates have at most four.
pub(super) type Limits<'a> = SmallVec<[Limit<'a>; 4]>;

enum LimitKind<'a> {
    /// `true`: this call has asked the ban already.
    Ban(BanMember<'a>, bool),
    Limiter(LimiterMember<'a>),
    Keyed(Keyed<'a>, KeyTag, Shown<'a>),
    Pool(Gate<'a>),
    /// No limit has the name any more.
    Gone,
}

/// Why a call decodes the limits of a gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The caller asks to be admitted. A ban that refuses it ends the call at once.
    Admission,
    /// The call looks at each limit.
    Report,
    /// The caller releases permits. Limits without permits are left out.
    GiveBack,
}

/// Why the limits were not all decoded.
pub(super) enum Undecoded {
    /// The request is wrong, and this is the answer.
    Wrong(Term),
    /// A ban has refused the request.
    Refused(No),
}

impl From<Term> for Undecoded {
    fn from(answer: Term) -> Self {
        Self::Wrong(answer)
    }
}

/// Decodes the limits of these names into `limits`.
#[inline]
pub(super) fn decode(
    beam: &Beam,
    names: &[u64],
    request: &Request,
    purpose: Purpose,
    limits: &mut Limits<'_>,
) -> Result<(), Undecoded> {
    // Most requests have one key for all limits, so its hash is kept.
    let mut last = None;
    for name in names.iter().map(|&name| Term(name as usize)) {
        decode_one(beam, name, request, purpose, &mut last, limits)?;
    }
    Ok(())
}

#[inline(always)]
fn decode_one<'a>(
    beam: &Beam,
    name: Term,
    request: &Request,
    purpose: Purpose,
    last: &mut Option<HashedKey<'a>>,
    limits: &mut Limits<'a>,
) -> Result<(), Undecoded> {
    let mut push = |kind| limits.push(Limit { name, me: request.me, permits: request.permits, kind });
    let Some(named) = named(name) else {
        push(LimitKind::Gone);
        return Ok(());
    };
    if let Some(pool) = Gate::of(named) {
        push(LimitKind::Pool(pool));
        return Ok(());
    }
    let key = request.keys.and_then(|keys| beam.env.get(keys, name)).or(request.key);
    if let Some(keyed) = Keyed::of(named) {
        let key = hashed(beam, name, key, request, last)?;
        push(LimitKind::Keyed(keyed, key.wide_tag, key.shown(beam)));
    } else if let Some((ban, generation)) = named.bans() {
        let key = key.ok_or_else(|| no_key(beam, name))?;
        if purpose == Purpose::GiveBack {
            return Ok(());
        }
        let tag = hashed(beam, name, Some(key), request, last)?.tag(generation);
        let ban = BanMember { ban, generation, tag, now: ban.now(|| request.now()) };
        // Bans are asked before all other kinds, in the order of the names. So no later limit could
        // give another reason. A key that a later limit lacks is not an error then.
        if purpose == Purpose::Admission {
            ban.look(beam, false).map_err(Undecoded::Refused)?;
        }
        push(LimitKind::Ban(ban, purpose == Purpose::Admission));
    } else if let Some((limiter, generation)) = named.limiter() {
        if purpose == Purpose::GiveBack {
            return Ok(());
        }
        let key = match key {
            Some(key) if key != atoms::global() => {
                Key::Tag(generation, hashed(beam, name, Some(key), request, last)?.tag(generation))
            }
            _ => Key::Global(generation),
        };
        let now = limiter.now(|| request.now());
        push(LimitKind::Limiter(LimiterMember { limiter, key, cost: request.cost, now }));
    } else {
        push(LimitKind::Gone);
    }
    Ok(())
}

/// Returns the answer to a caller that gave no key for a limit which needs one.
#[cold]
fn no_key(beam: &Beam, name: Term) -> Term {
    beam.env.tuple(&[atoms::no_key(), name])
}

/// Hashes the key of a limit, unless it is the last one that was hashed.
#[inline]
fn hashed<'a>(
    beam: &Beam,
    name: Term,
    key: Option<Term>,
    request: &Request,
    last: &mut Option<HashedKey<'a>>,
) -> Result<HashedKey<'a>, Term> {
    let key = key.ok_or_else(|| no_key(beam, name))?;
    match last {
        Some(hashed) if hashed.key == key => Ok(*hashed),
        _ => Ok(*last.insert(HashedKey::of(beam, key, request.measured)?)),
    }
}

impl Limit<'_> {
    /// Calls `body` with the limit as the core knows it.
    #[inline(always)]
    fn with<T>(&self, body: impl FnOnce(&dyn Member<Beam>) -> T) -> T {
        let (me, n) = (self.me, self.permits);
        match &self.kind {
            LimitKind::Ban(ban, _) => body(ban),
            LimitKind::Limiter(limiter) => body(limiter),
            LimitKind::Keyed(keyed, tag, show) => {
                let key = PoolKey { generation: keyed.generation, tag: *tag, show };
                body(&KeyedMember { pool: keyed.pool, key, me, n })
            }
            LimitKind::Pool(gate) => body(&PoolMember { pool: gate.pool, still: &|| gate.stands(), me, n }),
            LimitKind::Gone => body(&Gone),
        }
    }

    /// Returns the word for the kind of the limit.
    pub(super) fn kind_term(&self) -> Term {
        match self.kind {
            LimitKind::Ban(..) => atoms::ban(),
            LimitKind::Limiter(..) => atoms::limiter(),
            LimitKind::Keyed(..) => atoms::keyed_pool(),
            LimitKind::Pool(_) => atoms::pool(),
            LimitKind::Gone => atoms::none(),
        }
    }

    /// Returns the place of the limit in the order in which all callers of the VM wait: keyed pools
    /// before pools, each by the words of their names.
    pub(super) fn order(&self) -> (Rank, u64) {
        (self.kind_rank(), self.name.word())
    }

    fn kind_rank(&self) -> Rank {
        match self.kind {
            LimitKind::Ban(..) | LimitKind::Gone => Rank::Ban,
            LimitKind::Limiter(..) => Rank::Limiter,
            LimitKind::Keyed(..) => Rank::Keyed,
            LimitKind::Pool(_) => Rank::Pool,
        }
    }

    /// Returns the part of a permit set for what the caller holds of this limit.
    pub(super) fn part(&self, beam: &Beam, held: Held) -> Option<Term> {
        match (&self.kind, held) {
            (LimitKind::Keyed(keyed, ..), Held::Keyed(lease)) => Some(keyed.part(beam, lease, self.permits)),
            (LimitKind::Pool(gate), Held::Pool) => {
                let instance = crate::resolve::instance_term(beam, gate.instance());
                Some(beam.env.tuple(&[self.name, instance, beam.env.make_u64(self.permits.into())]))
            }
            _ => None,
        }
    }

    /// Returns what is left of a rate limiter, the wait until it allows the request, and its rate.
    /// Returns `None` for limits of other kinds.
    pub(super) fn quota(&self, beam: &Beam) -> Option<Term> {
        let LimitKind::Limiter(LimiterMember { limiter, key, cost, now }) = self.kind else { return None };
        let rate = limiter.limits(key.generation())?;
        let next = limiter.peek(key, now, 1);
        let left = match next {
            Hit::Allow(more) => u64::from(more) + 1,
            Hit::Deny(_) | Hit::Never => 0,
            Hit::Gone => return None,
        };
        let wait = match if cost == 1 { next } else { limiter.peek(key, now, cost) } {
            Hit::Allow(_) => beam.env.make_u64(0),
            Hit::Deny(wait) => beam.env.make_u64(whole_ms(wait).max(1)),
            Hit::Never => atoms::infinity(),
            Hit::Gone => return None,
        };
        let [left, limit, per] = [left, rate.limit.into(), rate.per_ms].map(|number| beam.env.make_u64(number));
        Some(beam.env.tuple(&[self.name, left, wait, limit, per]))
    }

    /// Returns `true` if no limit has the name any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.kind, LimitKind::Gone)
    }

    /// Returns `true` if the limit has permits.
    pub(super) fn has_permits(&self) -> bool {
        self.kind_rank().has_permits()
    }

    /// Returns `true` if the caller holds the manual permits of the request.
    pub(super) fn is_held(&self) -> bool {
        match &self.kind {
            LimitKind::Keyed(keyed, tag, _) => keyed.pool.holds(self.me, *tag, self.permits),
            LimitKind::Pool(gate) => gate.pool.holds(self.me, self.permits, Kind::Manual),
            _ => true,
        }
    }

    /// Releases the manual permits of the request. Returns `false`, and releases none, if the
    /// caller holds fewer.
    pub(super) fn release(&self, beam: &Beam) -> bool {
        match &self.kind {
            LimitKind::Keyed(keyed, tag, _) => keyed.pool.release(beam, self.me, *tag, self.permits).is_ok(),
            LimitKind::Pool(gate) => gate.pool.release(beam, self.me, self.permits, Kind::Manual).is_ok(),
            _ => true,
        }
    }
}

impl Member<Beam> for Limit<'_> {
    fn rank(&self) -> Rank {
        self.kind_rank()
    }

    fn look(&self, host: &Beam, waits: bool) -> Result<(), No> {
        if matches!(self.kind, LimitKind::Ban(.., true)) {
            return Ok(());
        }
        self.with(|limit| limit.look(host, waits))
    }

    fn count_refusal(&self, no: No) {
        self.with(|limit| limit.count_refusal(no));
    }

    fn take(&self, host: &Beam, kind: Kind, waits: bool) -> Result<Held, No> {
        self.with(|limit| limit.take(host, kind, waits))
    }

    fn give_back(&self, host: &Beam, kind: Kind, held: Held) {
        self.with(|limit| limit.give_back(host, kind, held));
    }

    fn charge(&self) -> Option<Charge<'_>> {
        match &self.kind {
            LimitKind::Limiter(limiter) => Member::<Beam>::charge(limiter),
            _ => None,
        }
    }
}

/// The limit of a name that stands for nothing any more: it is closed.
struct Gone;

impl Member<Beam> for Gone {
    fn rank(&self) -> Rank {
        Rank::Ban
    }

    fn look(&self, _host: &Beam, _waits: bool) -> Result<(), No> {
        Err(No::Closed)
    }
}
