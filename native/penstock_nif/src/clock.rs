//! A coarse monotonic clock: the kernel's last tick, at a fraction of what an exact clock costs.

/// In ms, 10 behind at most; wraps after 49 days.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn now_ms() -> u32 {
    read(libc::CLOCK_MONOTONIC_COARSE) as u32
}

/// The same clock, exact to 1 ms, and without wrapping.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn exact_ms() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// The same clock, in ns.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn now_ns() -> u64 {
    let (s, ns) = get(libc::CLOCK_MONOTONIC);
    s * 1_000_000_000 + ns
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
    // SAFETY: the clock writes one timespec.
    unsafe { libc::clock_gettime(clock, &mut now) };
    (now.tv_sec as u64, now.tv_nsec as u64)
}

/// In ms; wraps after 49 days.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now_ms() -> u32 {
    exact_ms() as u32
}

/// The same clock, without wrapping.
#[cfg(not(target_os = "linux"))]
pub(crate) fn exact_ms() -> u64 {
    now_ns() / 1_000_000
}

/// The same clock, in ns.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now_ns() -> u64 {
    static START: once_cell::sync::Lazy<std::time::Instant> = once_cell::sync::Lazy::new(std::time::Instant::now);
    START.elapsed().as_nanos() as u64
}
