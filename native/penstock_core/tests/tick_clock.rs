//! Compares the tick clock with the exact clock. The tick clock reads the tick counter of the
//! processor, and must keep in step with the exact clock.
#![cfg(not(any(loom, shuttle)))]

use std::cell::Cell;

use penstock_core::TickClock;
use proptest::prelude::*;

/// The tick counter and the exact clock. Both show the time `ns`.
struct World {
    /// The time in ns. Each reading moves it on.
    ns: Cell<u64>,
    /// Ticks of the counter in 1,000 ns.
    per_us: u64,
    /// What the counter shows at 0 ns.
    offset: Cell<u64>,
    /// The ns that a reading of either clock takes.
    reading: u64,
}

impl World {
    fn ticks(&self) -> u64 {
        let ticks = u128::from(self.ns.get()) * u128::from(self.per_us) / 1_000;
        self.ns.set(self.ns.get() + self.reading);
        (ticks as u64).wrapping_add(self.offset.get())
    }

    fn exact(&self) -> u64 {
        let now = self.ns.get();
        self.ns.set(now + self.reading);
        now
    }

    fn now(&self, clock: &TickClock) -> u64 {
        clock.now(|| self.ticks(), || self.exact())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_clock_is_never_ahead_of_the_exact_clock_and_hardly_behind(
        per_us in 1_000_u64..6_000,
        offset: u64,
        begin in 1_u64..1 << 60,
        reading in 1_u64..100,
        gaps in prop::collection::vec(prop_oneof![8 => 0..2_000_u64, 4 => 0..200_000_u64, 4 => 0..50_000_000_u64, 1 => 0..20_000_000_000_u64], 1..500),
    ) {
        let world = World { ns: Cell::new(begin), per_us, offset: Cell::new(offset), reading };
        let clock = TickClock::default();
        for gap in gaps {
            world.ns.set(world.ns.get() + gap);
            let before = world.ns.get();
            let now = world.now(&clock);
            prop_assert!(now <= world.ns.get(), "{now} is ahead of {}", world.ns.get());
            // A base lags by about 400 ns at most, plus the time of the readings that it was made
            // from.
            prop_assert!(now + 500 + 2 * reading >= before, "{now} is behind {before}");
        }
    }

    // A counter jumps if the machine was suspended, if a virtual machine moved to another host,
    // or if the counter is no clock at all.
    #[test]
    fn a_counter_that_jumps_is_not_trusted(
        per_us in 1_000_u64..6_000,
        jumps in prop::collection::vec((0..300_000_000_u64, any::<u64>()), 1..50),
    ) {
        let world = World { ns: Cell::new(1), per_us, offset: Cell::new(0), reading: 20 };
        let clock = TickClock::default();
        for (gap, jump) in jumps {
            for _ in 0..200 {
                world.ns.set(world.ns.get() + 1_000_000);
                world.now(&clock);
            }
            // The counter jumps by at least 100,000,000 ticks in either direction: more than a
            // window of 4 ms.
            world.offset.set(world.offset.get().wrapping_add(jump % (u64::MAX - 200_000_000) + 100_000_000));
            world.ns.set(world.ns.get() + gap);
            let before = world.ns.get();
            let now = world.now(&clock);
            prop_assert!(now <= world.ns.get() && now + 100 >= before);
        }
    }
}

#[test]
fn the_exact_clock_is_read_once_in_a_window() {
    let world = World { ns: Cell::new(1), per_us: 2_500, offset: Cell::new(0), reading: 20 };
    let clock = TickClock::default();
    let exact = Cell::new(0);
    let read = || {
        exact.set(exact.get() + 1);
        world.exact()
    };
    let run = |ms: u64| {
        exact.set(0);
        for _ in 0..ms * 1_000 {
            world.ns.set(world.ns.get() + 1_000);
            clock.now(|| world.ticks(), read);
        }
        exact.get()
    };
    // The exact clock is read each time until the pace of the counter is known, and then once in
    // 4 ms.
    run(200);
    let reads = run(1_000);
    assert!((240..=260).contains(&reads), "{reads}");
}

#[test]
fn a_counter_whose_pace_changes_is_not_trusted() {
    let mut world = World { ns: Cell::new(1), per_us: 2_000, offset: Cell::new(0), reading: 20 };
    let clock = TickClock::default();
    for _ in 0..1_000 {
        world.ns.set(world.ns.get() + 500_000);
        world.now(&clock);
    }
    // From this tick on, the counter is faster by a half.
    let (ticks, ns) = (world.ticks(), world.ns.get());
    world.per_us = 3_000;
    world.offset.set(ticks.wrapping_sub((u128::from(ns) * 3) as u64));
    let mut ahead = 0;
    for _ in 0..2_000 {
        world.ns.set(world.ns.get() + 500_000);
        ahead = u64::max(ahead, world.now(&clock).saturating_sub(world.ns.get()));
    }
    // A base serves for 4 ms of the old pace. The counter is faster by a half now, so until the
    // next base the clock runs ahead by at most 2 ms.
    assert!(ahead <= 2_100_000, "{ahead}");
    for _ in 0..2_000 {
        world.ns.set(world.ns.get() + 500_000);
        assert!(world.now(&clock) <= world.ns.get());
    }
}
