//! The atoms that cross the boundary, made once.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::term::{Env, Term};

macro_rules! atoms {
    ($($name:ident),* $(,)?) => {
        // One word each, so that answering with one is one load.
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

        /// From `load`, which the VM orders before every other entry. An atom is the same word for as long as the VM
        /// runs, so a second load changes nothing.
        pub(crate) fn init(env: Env) {
            $(words::$name.store(env.atom(stringify!($name)).0, Ordering::Relaxed);)*
        }
    };
}

atoms! {
    adopted, again, allow, badarg, banned, bound, busy, cancelled, closed, coming, deadlock,
    deny, done, drained, draining, due, enomem, error, failures, free, fresh, full, global,
    granted, infinity, keep, known, limit, manual, measure, measured, monotonic,
    nif_panicked, nil, nil_key, no_ban, no_limiter, no_place, no_pool, noproc, not_held, ok,
    open, overdue, pause, queue_full, revoked, settle, timeout, told, too_large, too_late,
    undrained, unknown, wait, waiting, within,
}
