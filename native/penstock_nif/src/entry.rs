//! What every entry point does around its own work.

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::atoms;
use crate::beam::Beam;
use crate::term::{Env, Term};

/// Runs the body of an entry; a panic becomes an exception.
#[inline(always)]
pub(crate) fn enter(env: Env, name: &'static str, body: impl FnOnce(&Beam) -> Term) -> Term {
    #[cfg(feature = "meter")]
    let started = meter::cpu_ns();
    let beam = Beam::new(env);
    // The core's locks do not poison and its words are consistent between any two steps, so going on is safe.
    let result = catch_unwind(AssertUnwindSafe(|| body(&beam)));
    #[cfg(feature = "meter")]
    meter::record(name, started);
    #[cfg(not(feature = "meter"))]
    let _ = name;
    match result {
        Ok(term) => term,
        Err(_) => env.raise(atoms::nif_panicked()),
    }
}

/// Declares entry points: name and arity as Elixir knows them, and the function that is given the host and the arguments.
macro_rules! entries {
    ($($name:ident / $arity:literal => $body:path),* $(,)?) => {
        $(const _: () = {
            unsafe extern "C" fn raw(
                env: *mut rustler::sys::ErlNifEnv,
                _argc: std::ffi::c_int,
                argv: *const rustler::sys::ErlNifTerm,
            ) -> rustler::sys::ErlNifTerm {
                // SAFETY: the VM calls with as many terms as the arity below says, and `Term` is the same word.
                let args = unsafe { *argv.cast::<[$crate::term::Term; $arity]>() };
                $crate::entry::enter($crate::term::Env::of(env), stringify!($name), |beam| $body(beam, args)).raw()
            }

            rustler::codegen_runtime::inventory::submit!(rustler::Nif {
                name: concat!(stringify!($name), "\0").as_ptr().cast(),
                arity: $arity,
                flags: 0,
                raw_func: raw,
            });
        };)*
    };
}
pub(crate) use entries;

#[cfg(feature = "meter")]
pub(crate) mod meter {
    //! The longest call so far, by the CPU time of its thread: what the OS did meanwhile does not count.

    use parking_lot::Mutex;

    static LONGEST: Mutex<(u64, &str)> = Mutex::new((0, "none"));

    pub(crate) fn cpu_ns() -> u64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock writes one timespec.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    pub(crate) fn record(name: &'static str, started: u64) {
        let took = cpu_ns() - started;
        let mut longest = LONGEST.lock();
        if took > longest.0 {
            *longest = (took, name);
        }
    }

    /// How long a call that does next to nothing seems to take: what the machine takes from a thread counts as the
    /// thread's own time.
    pub(crate) fn control_ns() -> u64 {
        let started = cpu_ns();
        (0..10_000_u32).for_each(|n| {
            std::hint::black_box(n);
        });
        cpu_ns() - started
    }

    pub(crate) fn longest() -> (u64, &'static str) {
        *LONGEST.lock()
    }
}
