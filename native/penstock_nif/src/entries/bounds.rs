//! Entry point that returns the bounds and sizes that both Rust and Elixir need. Each of them is
//! defined in the module, of the core or of this crate, that applies it.

use penstock_core::{Ban, KeyedPool, Limiter, Rate, CENTURY, NS_PER_MS};

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

fn bounds(beam: &Beam, []: [Term; 0]) -> Term {
    let number = |n: u64| beam.env.make_u64(n);
    beam.env.map([
        (atoms::max_number(), number(MAX_NUMBER.into())),
        (atoms::key_bytes(), number(LARGEST.into())),
        (atoms::reason_bytes(), number(ban::LARGEST_KEPT as u64)),
        (atoms::hits(), number(rate::MAX_HITS as u64)),
        (atoms::hits_per_ms(), number(Rate::MAX_HITS_PER_MS)),
        (atoms::century_ms(), number(CENTURY / NS_PER_MS)),
        (atoms::limiter_key_memory(), number(Limiter::KEY_MEMORY as u64)),
        (atoms::keyed_key_memory(), number(KeyedPool::<Beam>::KEY_MEMORY as u64)),
        (atoms::ban_key_memory(), number(Ban::KEY_MEMORY as u64)),
        (atoms::ban_memory(), number(Ban::BAN_MEMORY as u64)),
    ])
}
