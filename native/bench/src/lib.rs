//! Two NIFs that do nothing: the VM calls `nop` through rustler's wrapper, and `raw` without it.
//! They show the least cost of a call from Elixir into Rust.

use std::ffi::c_int;

use rustler::Atom;
use rustler::sys::{ErlNifEnv, ErlNifTerm};

/// Does nothing.
#[rustler::nif]
fn nop() -> Atom {
    rustler::types::atom::ok()
}

/// Returns its first argument, and does nothing else. So the time of a call is the VM's own part.
unsafe extern "C" fn raw(_env: *mut ErlNifEnv, _argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: `argv` must point to at least one term. The VM passes as many terms as the arity
    // that is declared below, which is 2.
    unsafe { *argv }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif { name: c"raw".as_ptr(), arity: 2, flags: 0, raw_func: raw });

rustler::init!("Elixir.Penstock.Bench.Noop");
