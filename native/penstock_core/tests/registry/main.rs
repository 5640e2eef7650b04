//! Tests of names, and of the pools, limiters and bans that names stand for. They cover which
//! process can start, adopt or close a gate, and how its memory is reused. Also tests unnamed
//! pools.
#![cfg(not(any(loom, shuttle)))]

mod closed;
mod limiters;
mod model;
mod names;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod unnamed;

use penstock_core::{BanSettings, Kind, LimiterSettings, Limits, Named, Pid, Rate, Refusal, Registry};

use stage::{NAME, pids};
use support::Fake;

/// Acquires a permit in the open pool of a name.
fn take(host: &Fake, named: Named<'_, Fake>, caller: Pid) -> Result<(), Refusal> {
    named.pool().unwrap().0.try_acquire(host, caller, 1, Kind::Manual)
}

/// Returns all names that have an open gate, in order. Reads them in pieces, and asserts that the
/// work of each piece is bounded.
fn names(registry: &Registry<Fake>) -> Vec<u64> {
    let (mut all, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let piece = registry.names(from, 64);
        assert!(piece.visited < 64 + 32, "{} names in one piece", piece.visited);
        assert!(piece.next.is_none_or(|next| next > from));
        all.extend(piece.names);
        next = piece.next;
    }
    all.sort_unstable();
    all
}

/// Returns settings of `limit` hits in 100 ms.
fn limiter(limit: u32, max_keys: u32) -> LimiterSettings {
    LimiterSettings {
        limits: Limits { limit, per_ms: 100, rate: Rate::new(limit, 100, 1).unwrap() },
        max_keys,
        manual: false,
    }
}

const BANS: BanSettings = BanSettings {
    failures: 1,
    within_ms: 100,
    ban_ms: 50,
    escalate: 2,
    max_ban_ms: 1_000,
    forget_ms: 1_000,
    max_keys: 1,
    max_bans: 1,
    manual: false,
};
