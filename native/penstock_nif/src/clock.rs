//! Monotonic clocks. The coarse clock shows the time of the kernel's last tick. To read it costs
//! a fraction of what an exact clock costs.

/// Returns the time of the coarse clock in ms, at most 10 ms behind. It wraps after 49 days.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn now_ms() -> u32 {
    read(libc::CLOCK_MONOTONIC_COARSE) as u32
}

/// Returns the time in ms, exact to 1 ms. It does not wrap.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn exact_ms() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Returns the time in ns. Reads the processor's time-stamp counter if the kernel uses it for its
/// own clock.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[inline]
pub(crate) fn now_ns() -> u64 {
    if tsc::is_trusted() {
        tsc::CLOCK.now(tsc::read, exact_ns)
    } else {
        exact_ns()
    }
}

/// Returns the time in ns.
#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
#[inline]
pub(crate) fn now_ns() -> u64 {
    exact_ns()
}

#[cfg(target_os = "linux")]
#[inline]
fn exact_ns() -> u64 {
    let (s, ns) = get(libc::CLOCK_MONOTONIC);
    s * 1_000_000_000 + ns
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tsc {
    use std::sync::atomic::{AtomicU8, Ordering};

    use penstock_core::TickClock;

    pub(super) static CLOCK: TickClock = TickClock::new();

    const UNKNOWN: u8 = 0;
    const TRUSTED: u8 = 1;
    const DISTRUSTED: u8 = 2;

    /// Whether the counter is trusted. The first call of [`is_trusted`] determines it. If several
    /// threads do so at the same time, they get the same result.
    static TRUST: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[inline(always)]
    pub(super) fn read() -> u64 {
        // SAFETY: the processor must have the instruction, and the kernel must not forbid it to
        // programs. Every x86-64 processor has the instruction. `now_ns` calls this only if
        // `is_trusted`: a kernel that reads its clock by this instruction in user space does not
        // forbid the instruction.
        unsafe { std::arch::x86_64::_rdtsc() }
    }

    #[inline(always)]
    pub(super) fn is_trusted() -> bool {
        match TRUST.load(Ordering::Relaxed) {
            UNKNOWN => find_out(),
            trust => trust == TRUSTED,
        }
    }

    /// Returns whether the kernel trusts the counter, and records it. The kernel uses the counter
    /// as its clock only if the counter is steady and the same on all processors. When the kernel
    /// finds otherwise, it stops using the counter.
    #[cold]
    fn find_out() -> bool {
        let source = std::fs::read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
        let trusted = source.is_ok_and(|name| name.trim_ascii() == b"tsc") && is_invariant();
        TRUST.store(if trusted { TRUSTED } else { DISTRUSTED }, Ordering::Relaxed);
        trusted
    }

    /// Returns `true` if neither load nor sleep changes the pace of the counter.
    fn is_invariant() -> bool {
        use std::arch::x86_64::__cpuid;
        const LAST_EXTENDED: u32 = 0x8000_0000;
        const POWER: u32 = 0x8000_0007;
        const INVARIANT: u32 = 1 << 8;
        // SAFETY: the processor must have the instruction, and every x86-64 processor has it. The
        // result for a leaf above the highest one is undefined. So the highest leaf is compared
        // before `POWER` is read.
        #[allow(unused_unsafe)]
        unsafe {
            __cpuid(LAST_EXTENDED).eax >= POWER && __cpuid(POWER).edx & INVARIANT != 0
        }
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn read(clock: libc::clockid_t) -> u64 {
    let (s, ns) = get(clock);
    s * 1_000 + ns / 1_000_000
}

#[cfg(target_os = "linux")]
#[inline]
fn get(clock: libc::clockid_t) -> (u64, u64) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, to a local variable of that type.
    unsafe { libc::clock_gettime(clock, &mut now) };
    (now.tv_sec as u64, now.tv_nsec as u64)
}

/// Returns the time in ms. It wraps after 49 days.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now_ms() -> u32 {
    exact_ms() as u32
}

/// Returns the time in ms. It does not wrap.
#[cfg(not(target_os = "linux"))]
pub(crate) fn exact_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Returns the time in ns.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now_ns() -> u64 {
    static START: once_cell::sync::Lazy<std::time::Instant> = once_cell::sync::Lazy::new(std::time::Instant::now);
    START.elapsed().as_nanos() as u64
}
