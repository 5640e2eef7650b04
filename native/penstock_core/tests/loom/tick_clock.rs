//! Races of the clock that reads the tick counter of the processor.

use std::sync::Arc;

use loom::thread;
use penstock_core::TickClock;

use crate::explore::explore;
use crate::limiter::MS;

/// A *base* is one reading of the counter and one of the exact clock. The tick clock counts on
/// from it. A caller reads a base while another caller writes the next two (`TickClock::rebase`).
/// The reader must not mix words of two bases: the sequence lock prevents that.
#[test]
fn reading_of_a_base_against_the_next() {
    explore(|| {
        // The clock measures the pace of the counter over at least this time, in ns.
        const SPAN: u64 = 100 * MS;
        let clock = Arc::new(TickClock::default());
        // The counter ticks twice in a ns, and begins at 1,000.
        let at = |clock: &TickClock, ns: u64| clock.now(|| 1_000 + 2 * ns, || ns);
        at(&clock, 1);
        at(&clock, 1 + SPAN);
        let other = {
            let clock = Arc::clone(&clock);
            thread::spawn(move || [2 * SPAN, 2 * SPAN + 1_000].map(|ns| (ns, at(&clock, ns))))
        };
        let mut readings = [SPAN + 2 * MS, 3 * SPAN].map(|ns| (ns, at(&clock, ns))).to_vec();
        readings.extend(other.join().unwrap());
        for (exact, read) in readings {
            assert!(read <= exact && read + 1_000 >= exact, "{read} at {exact}");
        }
    });
}
