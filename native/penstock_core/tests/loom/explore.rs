//! Runs a model in each of its interleavings, within a bound on preemptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering};

/// Runs a model in each interleaving that needs at most `LOOM_MAX_PREEMPTIONS` preemptions. If
/// that variable is not set, the bound is 3.
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_at_least(0, model);
}

/// Runs a model as `explore` does, but raises the bound to `preemptions` if it is lower. With
/// fewer preemptions, the model would not reach its race.
pub(crate) fn explore_at_least(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(3).max(preemptions));
    builder.max_branches = 20_000;
    let schedules = Arc::new(PlainU64::new(0));
    let count = Arc::clone(&schedules);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {} schedules", schedules.load(Ordering::Relaxed));
}
