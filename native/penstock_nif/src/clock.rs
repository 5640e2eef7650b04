//! A coarse monotonic clock: the kernel's last tick, at a fraction of what an exact clock costs.

/// In ms, 10 behind at most; wraps after 49 days.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn now_ms() -> u32 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// The same clock, exact to 1 ms.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn exact_ms() -> u32 {
    read(libc::CLOCK_MONOTONIC)
}

#[cfg(target_os = "linux")]
#[inline]
fn read(clock: libc::clockid_t) -> u32 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes one timespec.
    unsafe { libc::clock_gettime(clock, &mut now) };
    (now.tv_sec as u32).wrapping_mul(1_000).wrapping_add(now.tv_nsec as u32 / 1_000_000)
}

/// In ms; wraps after 49 days.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now_ms() -> u32 {
    static START: once_cell::sync::Lazy<std::time::Instant> = once_cell::sync::Lazy::new(std::time::Instant::now);
    START.elapsed().as_millis() as u32
}

/// The same clock.
#[cfg(not(target_os = "linux"))]
pub(crate) fn exact_ms() -> u32 {
    now_ms()
}
