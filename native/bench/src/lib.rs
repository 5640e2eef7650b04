//! What a call from Elixir into Rust costs at least, by rustler's own entry point and by a raw one.

use std::ffi::c_int;

use rustler::Atom;
use rustler::sys::{ErlNifEnv, ErlNifTerm};

/// Does nothing.
#[rustler::nif]
fn nop() -> Atom {
    rustler::types::atom::ok()
}

/// Returns its first argument, with nothing in between: what the VM itself takes for a call.
unsafe extern "C" fn raw(_env: *mut ErlNifEnv, _argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: the VM calls with as many terms as the arity below says.
    unsafe { *argv }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"raw".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: raw,
});

rustler::init!("Elixir.Penstock.Bench.Noop");
