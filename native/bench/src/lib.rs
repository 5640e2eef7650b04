//! What a call from Elixir into Rust costs at least, by rustler's own entry point.

use rustler::Atom;

/// Does nothing.
#[rustler::nif]
fn nop() -> Atom {
    rustler::types::atom::ok()
}

rustler::init!("Elixir.Penstock.Bench.Noop");
