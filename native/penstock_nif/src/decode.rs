//! Decodes terms into the numbers and settings that the core takes. Each function returns `None`
//! for a term that has another type or is out of bounds.

use penstock_core::{BanSettings, KeyedSettings, LimiterSettings, Limits, Rate, Settings, AS_LIMIT, UNLIMITED};

use crate::atoms;
use crate::term::{Env, Term};

/// The largest number of permits, waiters, milliseconds and the like: 2^31-1.
pub(crate) const MAX_NUMBER: u32 = 0x7FFF_FFFF;

impl Env {
    /// Decodes a number of 1 to [`MAX_NUMBER`].
    #[inline]
    pub(crate) fn positive_i31(self, term: Term) -> Option<u32> {
        self.uint(term).filter(|value| (1..=MAX_NUMBER).contains(value))
    }

    /// Decodes a number of 0 to [`MAX_NUMBER`].
    pub(crate) fn i31(self, term: Term) -> Option<u32> {
        self.uint(term).filter(|&value| value <= MAX_NUMBER)
    }
}

/// Decodes the limit of a pool: a number of 0 to [`MAX_NUMBER`], or `infinity`.
pub(crate) fn limit(env: Env, term: Term) -> Option<u64> {
    if term == atoms::infinity() {
        Some(UNLIMITED)
    } else {
        env.i31(term).map(u64::from)
    }
}

/// Decodes the new value of a setting, or `keep`, which keeps the old value. Returns `Some(None)`
/// for `keep`.
pub(crate) fn changed<T>(term: Term, decode: impl FnOnce(Term) -> Option<T>) -> Option<Option<T>> {
    if term == atoms::keep() {
        Some(None)
    } else {
        decode(term).map(Some)
    }
}

/// Decodes the settings of a pool from a map.
pub(crate) fn pool_settings(env: Env, settings: Term) -> Option<Settings> {
    let get = |key| env.get(settings, key);
    let overdraft = get(atoms::max_overdraft())?;
    Some(Settings {
        limit: limit(env, get(atoms::limit())?)?,
        max_waiting: env.i31(get(atoms::max_waiting())?)?,
        max_overdraft: if overdraft == atoms::limit() { AS_LIMIT } else { limit(env, overdraft)? },
        held_longer_than: env.i31(get(atoms::held_longer_than())?)?,
    })
}

/// Decodes the settings of a keyed pool from a map.
pub(crate) fn keyed_settings(env: Env, settings: Term) -> Option<KeyedSettings> {
    let get = |key| env.get(settings, key);
    let overdraft = get(atoms::max_overdraft())?;
    Some(KeyedSettings {
        limit: env.positive_i31(get(atoms::limit())?)?,
        max_keys: env.positive_i31(get(atoms::max_keys())?)?,
        max_waiting: env.i31(get(atoms::max_waiting())?)?,
        max_overdraft: if overdraft == atoms::limit() { AS_LIMIT } else { limit(env, overdraft)? },
    })
}

/// Decodes the rate of a limiter: `limit` hits in `per` ms, and at most `burst` of them at once.
pub(crate) fn rate(env: Env, [limit, per, burst]: [Term; 3]) -> Option<Limits> {
    let (limit, per_ms) = (env.positive_i31(limit)?, env.u64(per)?);
    let rate = Rate::new(limit, per_ms, env.positive_i31(burst)?).ok()?;
    Some(Limits { limit, per_ms, rate })
}

pub(crate) fn limiter_settings(env: Env, settings: Term) -> Option<LimiterSettings> {
    let get = |key| env.get(settings, key);
    Some(LimiterSettings {
        limits: rate(env, [get(atoms::limit())?, get(atoms::per())?, get(atoms::burst())?])?,
        max_keys: env.positive_i31(get(atoms::max_keys())?)?,
        manual: is_manual(get(atoms::clock())?)?,
    })
}

pub(crate) fn ban_settings(env: Env, settings: Term) -> Option<BanSettings> {
    let get = |key| env.get(settings, key);
    let number = |key| env.positive_i31(get(key)?);
    Some(BanSettings {
        failures: number(atoms::failures())?,
        within_ms: number(atoms::within())?,
        ban_ms: ban_ms(env, get(atoms::ban_for())?)?,
        escalate: number(atoms::escalate())?,
        max_ban_ms: number(atoms::max_ban())?,
        forget_ms: number(atoms::forget_after())?,
        max_keys: number(atoms::max_keys())?,
        max_bans: number(atoms::max_bans())?,
        manual: is_manual(get(atoms::clock())?)?,
    })
}

/// Decodes the duration of a ban in ms. Returns 0 for `infinity`, because the core takes 0 for a
/// ban without end.
pub(crate) fn ban_ms(env: Env, term: Term) -> Option<u32> {
    if term == atoms::infinity() {
        Some(0)
    } else {
        env.positive_i31(term)
    }
}

fn is_manual(clock: Term) -> Option<bool> {
    if clock == atoms::manual() {
        Some(true)
    } else {
        (clock == atoms::monotonic()).then_some(false)
    }
}
