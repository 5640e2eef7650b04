//! Runs more processes than loom can explore, in random schedules. The processes make all calls
//! of a pool, and are killed at random between calls.
//!
//!     RUSTFLAGS="--cfg shuttle" \
//!       cargo test -p penstock_core --release --test shuttle -- --nocapture
//!
//! Each test prints its seed, and `SHUTTLE_SEED` repeats a run. A failure under the random
//! scheduler prints the seed of its own iteration. With that seed as `SHUTTLE_SEED`, and with
//! `PENSTOCK_SHUTTLE_ITERATIONS=1`, only that iteration runs. A failure under the PCT scheduler
//! prints no such seed, so only the whole run repeats it.
//!
//! | scenario | what it rules out |
//! |---|---|
//! | each wait is answered, each permit comes back | a lost wake-up, which ends as a deadlock |
//! | some processes live on and hold permits | a lost or doubled permit |
//! | processes work while the limit changes | work by more permits than the highest limit |
//! | waits and drains are cancelled at random | an answer to a cancelled wait |
//! | scans, hints and transfers race with one death | a refusal to a caller that saw the death |
#![cfg(shuttle)]

mod deaths;
mod lives;
mod scenario;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// Runs a scenario in `iterations` random schedules, or in the number that
/// `PENSTOCK_SHUTTLE_ITERATIONS` gives.
fn explore(name: &str, iterations: usize, scenario: impl Fn() + Copy + Send + Sync + 'static) {
    let given = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seed = given("SHUTTLE_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64);
    let iterations = given("PENSTOCK_SHUTTLE_ITERATIONS").map_or(iterations, |given| given as usize);
    let mut config = Config::new();
    // Silences the warning that shuttle treats each ordering as `SeqCst`. The warning does not
    // matter here, because the loom models cover the weaker orderings.
    config.silence_warnings = true;
    config.stack_size = 0x20000;
    let start = Instant::now();
    eprintln!("{name}: SHUTTLE_SEED={seed}, {iterations} schedules");
    // The first runner picks each next thread with equal probability. The second runner changes
    // threads at a few random points, so a thread runs long between two changes.
    let pct = iterations / 3;
    Runner::new(RandomScheduler::new_from_seed(seed, iterations - pct), config.clone()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, 5, pct), config).run(scenario);
    eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f32());
}
