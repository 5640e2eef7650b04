//! Races of a clock by a counter of the processor.

use std::sync::Arc;

use loom::thread;
use penstock_core::TickClock;

use crate::explore::explore;
use crate::limiter::MS;

/// A caller reads by one base while another caller writes the next two. No reading mixes two
/// bases.
#[test]
fn reading_of_a_base_against_the_next() {
    explore(|| {
        const SPAN: u64 = 100 * MS;
        let counter = Arc::new(TickClock::default());
        // The counter makes two ticks in a ns, from 1,000 on.
        let at = |counter: &TickClock, ns: u64| counter.now(|| 1_000 + 2 * ns, || ns);
        at(&counter, 1);
        at(&counter, 1 + SPAN);
        let other = {
            let counter = Arc::clone(&counter);
            thread::spawn(move || [2 * SPAN, 2 * SPAN + 1_000].map(|ns| (ns, at(&counter, ns))))
        };
        let mut readings = [SPAN + 2 * MS, 3 * SPAN].map(|ns| (ns, at(&counter, ns))).to_vec();
        readings.extend(other.join().unwrap());
        for (ns, told) in readings {
            assert!(told <= ns && told + 1_000 >= ns, "{told} at {ns}");
        }
    });
}
