//! The frame of every entry point: reads the arguments, and turns a panic into an exception. In a
//! build with the feature `meter` it also measures each call, except on a dirty scheduler.

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::atoms;
use crate::host::Beam;
use crate::term::{Env, Term};

/// Runs the body of an entry; a panic becomes an exception.
#[inline(always)]
pub(crate) fn enter(env: Env, body: impl FnOnce(&Beam) -> Term) -> Term {
    let beam = Beam::new(env);
    // `AssertUnwindSafe`: a panic poisons no lock of the core, and the atomic words of the core
    // are consistent after each step. So later calls can use the values that the unwind left.
    match catch_unwind(AssertUnwindSafe(|| body(&beam))) {
        Ok(term) => term,
        Err(_) => env.raise(atoms::nif_panicked()),
    }
}

/// Declares entry points. Each declaration has the name and arity of the function in Elixir, and
/// the Rust function that takes the host and the arguments. `(dirty)` marks an entry that may
/// take long: the VM calls it on a dirty scheduler.
macro_rules! entries {
    (@flags) => { 0 };
    (@flags dirty) => { rustler::SchedulerFlags::DirtyCpu as _ };
    (@run $name:ident $call:expr) => { $crate::meter::measure(stringify!($name), || $call) };
    (@run $name:ident $call:expr, dirty) => { $call };
    ($($name:ident / $arity:literal => $body:ident $(($dirty:ident))?),* $(,)?) => {
        $(const _: () = {
            unsafe extern "C" fn raw(
                env: *mut rustler::sys::ErlNifEnv,
                _argc: std::ffi::c_int,
                argv: *const rustler::sys::ErlNifTerm,
            ) -> rustler::sys::ErlNifTerm {
                // SAFETY: `argv` must point to `$arity` terms. The VM guarantees that, because
                // this function is declared with that arity below. `Term` has the layout of
                // `ErlNifTerm`.
                let args = unsafe { *argv.cast::<[$crate::term::Term; $arity]>() };
                let run = || $crate::entry::enter($crate::term::Env::of(env), |beam| $body(beam, args));
                $crate::entry::entries!(@run $name run() $(, $dirty)?).raw()
            }

            rustler::codegen_runtime::inventory::submit!(rustler::Nif {
                name: concat!(stringify!($name), "\0").as_ptr().cast(),
                arity: $arity,
                flags: $crate::entry::entries!(@flags $($dirty)?),
                raw_func: raw,
            });
        };)*
    };
}
pub(crate) use entries;
