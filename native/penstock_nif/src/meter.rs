//! Measures how long calls and callbacks take, by the CPU time of their threads, in a build with
//! the feature `meter`. In other builds it does nothing.
//!
//! Interrupts, and the host of a virtual machine, take time that the clock counts as the
//! thread's. So *controls* run between the calls, on the same threads and for twice the time of
//! all calls. A control only reads the same clock, for a fixed time. A control that takes longer
//! shows a delay that the machine caused, and could cause in a call as well.

#[cfg(feature = "meter")]
pub(crate) use on::{figures, measure, Tally};

#[cfg(not(feature = "meter"))]
#[inline(always)]
pub(crate) fn measure<T>(_name: &'static str, body: impl FnOnce() -> T) -> T {
    body()
}

#[cfg(feature = "meter")]
mod on {
    use parking_lot::Mutex;

    /// The time in ns above which a call counts as long: 1 ms.
    const LONG: u64 = 1_000_000;
    /// The length of one control in ns: 0.1 ms. A call adds at most [`CONTROLS`] times this
    /// length to the time that controls still have to run for.
    const CONTROL: u64 = 100_000;
    /// The time of all controls, as a multiple of the time of all calls.
    const CONTROLS: u64 = 2;

    #[derive(Clone, Copy)]
    pub(crate) struct Tally {
        /// Calls, or controls.
        pub(crate) count: u64,
        /// Calls, or controls, of more than 1 ms.
        pub(crate) long: u64,
        /// The longest call, or control, in ns.
        pub(crate) longest: u64,
    }

    impl Tally {
        const NONE: Self = Self { count: 0, long: 0, longest: 0 };

        fn add(&mut self, took: u64) {
            self.count += 1;
            self.long += u64::from(took > LONG);
            self.longest = self.longest.max(took);
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Figures {
        /// The entry or callback of the longest call.
        pub(crate) name: &'static str,
        pub(crate) calls: Tally,
        pub(crate) controls: Tally,
        /// The time in ns that controls still have to run for.
        debt: u64,
    }

    static FIGURES: Mutex<Figures> =
        Mutex::new(Figures { name: "none", calls: Tally::NONE, controls: Tally::NONE, debt: 0 });

    pub(crate) fn measure<T>(name: &'static str, body: impl FnOnce() -> T) -> T {
        let started = cpu_ns();
        let result = body();
        let took = cpu_ns() - started;
        let due = {
            let mut figures = FIGURES.lock();
            if took > figures.calls.longest {
                figures.name = name;
            }
            figures.calls.add(took);
            // A call that took longer than one control may have been interrupted. So the part of
            // its time beyond the length of one control adds no controls.
            figures.debt += CONTROLS * took.min(CONTROL);
            let due = figures.debt >= CONTROL;
            figures.debt -= if due { CONTROL } else { 0 };
            due
        };
        if due {
            let control = spin(CONTROL);
            FIGURES.lock().controls.add(control);
        }
        result
    }

    pub(crate) fn figures() -> Figures {
        *FIGURES.lock()
    }

    /// Reads the clock for `ns`, and returns how long it really took.
    fn spin(ns: u64) -> u64 {
        let started = cpu_ns();
        loop {
            let took = cpu_ns() - started;
            if took >= ns {
                return took;
            }
        }
    }

    fn cpu_ns() -> u64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one timespec, to a local variable of that type.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }
}
