//! Entry point that returns the bounds and sizes that both languages need: they are stated here,
//! or where this crate applies them.

use penstock_core::{CENTURY, NS_PER_MS};

use crate::atoms;
use crate::decode::MAX_NUMBER;
use crate::entry::entries;
use crate::host::Beam;
use crate::key::LARGEST;
use crate::term::Term;

use super::{ban, rate};

entries! {
    bounds/0 => bounds,
}

/// The quickest rate that the core takes: a million hits per second.
const HITS_PER_MS: u64 = 1_000;

/// Bytes that are reserved for each of a limiter's `max_keys`: at most two places of 16 bytes.
const LIMITER_KEY_MEMORY: u64 = 32;
/// Bytes that are reserved for each of a ban's `max_keys`: two places of 80 bytes.
const BAN_KEY_MEMORY: u64 = 160;
/// Bytes that are reserved for each of a ban's `max_bans`.
const BAN_MEMORY: u64 = 64;

fn bounds(beam: &Beam, []: [Term; 0]) -> Term {
    let number = |n: u64| beam.env.make_u64(n);
    beam.env.map([
        (atoms::max_number(), number(MAX_NUMBER.into())),
        (atoms::key_bytes(), number(LARGEST.into())),
        (atoms::reason_bytes(), number(ban::LARGEST_KEPT as u64)),
        (atoms::hits(), number(rate::MAX_HITS as u64)),
        (atoms::hits_per_ms(), number(HITS_PER_MS)),
        (atoms::century_ms(), number(CENTURY / NS_PER_MS)),
        (atoms::limiter_key_memory(), number(LIMITER_KEY_MEMORY)),
        (atoms::ban_key_memory(), number(BAN_KEY_MEMORY)),
        (atoms::ban_memory(), number(BAN_MEMORY)),
    ])
}
