//! The atoms that arguments and answers contain, each made once.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::term::{Env, Term};

macro_rules! atoms {
    ($($name:ident),* $(,)?) => {
        // There is one word for each atom, so each of these functions costs one load.
        $(
            #[inline(always)]
            pub(crate) fn $name() -> Term {
                Term(words::$name.load(Ordering::Relaxed))
            }
        )*

        #[allow(non_upper_case_globals)]
        mod words {
            use super::AtomicUsize;
            $(pub(super) static $name: AtomicUsize = AtomicUsize::new(0);)*
        }

        /// Makes the atoms. Only `load` calls this. The stores can be relaxed, because the VM
        /// orders `load` before every other entry. An atom is the same word for as long as the VM
        /// runs, so a second load changes nothing.
        pub(crate) fn init(env: Env) {
            $(words::$name.store(env.atom(stringify!($name)).0, Ordering::Relaxed);)*
        }
    };
}

atoms! {
    acquired, admitted, adopted, again, allow, allowed, badarg, ban, ban_for, ban_key_memory,
    ban_memory, banned, bound, burst, busy, call_now, cancelled, cast, century_ms, clock, closed, coming,
    deadlock, denied, deny, done, drained, draining, drop_oldest, dropped, due, enomem, error, escalate,
    failures, forget_after, fresh, full, gate, global, granted, held, held_longer_than, hits,
    hits_per_ms, hold, holders, in_use, infinity, info, instance, keep, key_bytes, key_full, keyed_key_memory,
    keyed_pool, keys, killed, known, limit,
    limiter, limiter_key_memory, manual, max_ban, max_bans, max_keys, max_number,
    max_overdraft, max_waiting, measure, measured, memory, monotonic, nif_panicked, nil,
    nil_key, no_ban, no_gate, no_key, no_limiter, no_mailbox, no_place, no_pool, none, noproc, not_held, ok, open, opening, overdrawn, overdue, overflow, overloaded,
    pause, peak, penstock_mailbox, per, pool, queue_full, rate_limited, reason_bytes, refuse, refused, rejected, release, released_by_exit, revoked, sent,
    serve, spawn, status, table_full, taken, timed_out, timeout, told, too_large, too_late, undrained, unknown, vm, wait,
    waiting, waits, within,
}
