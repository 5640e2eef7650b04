//! The limits that one call asks: those of a gate of several limits, or a limiter, a ban or a keyed
//! pool alone.

use penstock_core::{
    Ban, BanMember, Charge, Generation, Held, Key, KeyTag, KeyedMember, Kind, Limiter, LimiterMember, Member, No, Pid,
    PoolKey, PoolMember, Rank,
};

use crate::atoms;
use crate::clock;
use crate::entries::keyed::Keyed;
use crate::host::Beam;
use crate::key::{hash_with_bytes, KeyHash, Shown};
use crate::resolve::{named, Gate};
use crate::term::Term;

/// What a caller asks of a gate.
pub(super) struct Request {
    pub(super) me: Pid,
    /// The key for each limit that `keys` does not name.
    pub(super) key: Term,
    /// A map of the names of limits to keys.
    pub(super) keys: Term,
    /// Whether the request has no `key`.
    pub(super) keyless: bool,
    /// Whether Elixir has measured the keys.
    pub(super) measured: bool,
    pub(super) permits: u32,
    pub(super) cost: u32,
}

/// One limit, and the part of the request that concerns it.
pub(super) struct Limit<'a> {
    pub(super) name: Term,
    me: Pid,
    permits: u32,
    kind: LimitKind<'a>,
}

enum LimitKind<'a> {
    /// `true`: this call has asked the ban already.
    Ban(&'a Ban, Generation, u64, bool),
    Limiter(&'a Limiter, Key, u32),
    Keyed(Keyed<'a>, KeyTag, Shown),
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

/// Decodes the limits of these names.
pub(super) fn limits<'a>(
    beam: &Beam,
    names: &[u64],
    request: &Request,
    purpose: Purpose,
) -> Result<Vec<Limit<'a>>, Undecoded> {
    let mut limits = Vec::with_capacity(names.len());
    // Most requests have one key for all limits, so its hash is kept.
    let mut last: Option<(Term, KeyHash)> = None;
    for name in names.iter().map(|&name| Term(name as usize)) {
        if let Some(kind) = kind_of(beam, name, request, purpose, &mut last)? {
            limits.push(Limit { name, me: request.me, permits: request.permits, kind });
        }
        // Bans are asked before all other kinds, in the order of the names. So no later limit could
        // give another reason. A key that a later limit lacks is not an error then.
        if purpose == Purpose::Admission {
            if let Some(Limit { kind: LimitKind::Ban(ban, generation, tag, asked @ false), .. }) = limits.last_mut() {
                ask_ban(beam, ban, *generation, *tag).map_err(Undecoded::Refused)?;
                *asked = true;
            }
        }
    }
    Ok(limits)
}

fn ask_ban(beam: &Beam, ban: &Ban, generation: Generation, tag: u64) -> Result<(), No> {
    let now = ban.now(clock::now_ns);
    BanMember { ban, generation, tag, now }.look(beam, false)
}

/// Returns `None` for a limit without permits, if the call only releases them.
fn kind_of<'a>(
    beam: &Beam,
    name: Term,
    request: &Request,
    purpose: Purpose,
    last: &mut Option<(Term, KeyHash)>,
) -> Result<Option<LimitKind<'a>>, Term> {
    let Some(named) = named(name) else { return Ok(Some(LimitKind::Gone)) };
    if let Some(pool) = Gate::of(named) {
        return Ok(Some(LimitKind::Pool(pool)));
    }
    let key = beam.env.get(request.keys, name).or((!request.keyless).then_some(request.key));
    let mut hash = |key: Term| -> Result<KeyHash, Term> {
        match last {
            Some((hashed, hash)) if *hashed == key => Ok(hash.clone()),
            _ => {
                let (hash, _) = hash_with_bytes(beam, key, request.measured)?;
                *last = Some((key, hash.clone()));
                Ok(hash)
            }
        }
    };
    let no_key = || beam.env.tuple(&[atoms::no_key(), name]);
    if let Some(keyed) = Keyed::of(named) {
        let key = key.ok_or_else(no_key)?;
        let tag = hash(key)?.wide_tag();
        return Ok(Some(LimitKind::Keyed(keyed, tag, Shown::of(beam, key, beam.env.binary(key)))));
    }
    if let Some((ban, generation)) = named.bans() {
        let key = key.ok_or_else(no_key)?;
        if purpose == Purpose::GiveBack {
            return Ok(None);
        }
        return Ok(Some(LimitKind::Ban(ban, generation, hash(key)?.tag(generation), false)));
    }
    let Some((limiter, generation)) = named.limiter() else { return Ok(Some(LimitKind::Gone)) };
    if purpose == Purpose::GiveBack {
        return Ok(None);
    }
    let key = match key.filter(|&key| key != atoms::global()) {
        Some(key) => Key::Tag(generation, hash(key)?.tag(generation)),
        None => Key::Global(generation),
    };
    Ok(Some(LimitKind::Limiter(limiter, key, request.cost)))
}

impl Limit<'_> {
    /// Calls `body` with the limit as the core knows it.
    fn with<T>(&self, body: impl FnOnce(&dyn Member<Beam>) -> T) -> T {
        let (me, n) = (self.me, self.permits);
        match &self.kind {
            LimitKind::Ban(ban, generation, tag, _) => {
                body(&BanMember { ban, generation: *generation, tag: *tag, now: ban.now(clock::now_ns) })
            }
            LimitKind::Limiter(limiter, key, cost) => {
                body(&LimiterMember { limiter, key: *key, cost: *cost, now: limiter.now(clock::now_ns) })
            }
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

    /// Returns `true` if no limit has the name any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.kind, LimitKind::Gone)
    }

    /// Returns `true` if the limit has permits.
    pub(super) fn has_permits(&self) -> bool {
        matches!(self.kind, LimitKind::Keyed(..) | LimitKind::Pool(_))
    }

    /// Returns `true` if the caller holds the manual permits of the request.
    pub(super) fn is_held(&self) -> bool {
        match &self.kind {
            LimitKind::Keyed(keyed, tag, _) => keyed.pool.holds(self.me, *tag, self.permits),
            LimitKind::Pool(gate) => gate.pool.holds(self.me, self.permits, Kind::Manual),
            _ => true,
        }
    }

    /// Releases the manual permits of the request, which the caller holds.
    pub(super) fn release(&self, beam: &Beam) {
        match &self.kind {
            LimitKind::Keyed(keyed, tag, _) => {
                let _released = keyed.pool.release(beam, self.me, *tag, self.permits);
            }
            LimitKind::Pool(gate) => {
                let _released = gate.pool.release(beam, self.me, self.permits, Kind::Manual);
            }
            _ => {}
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
        match self.kind {
            LimitKind::Limiter(limiter, key, cost) => Some(Charge { limiter, key, cost: Some(cost) }),
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
