//! The thin layer between the BEAM and `penstock_core`: decode, call, encode. No logic lives here, and no loop but
//! the one that looks through a key.
//!
//! Entry points are raw: `#[rustler::nif]` collects the arguments of every call into a heap-allocated `Vec`, which alone would
//! double the price of an acquire.

mod asks;
mod atoms;
mod ban;
mod beam;
mod clock;
mod deadlines;
mod deferred;
mod entry;
mod free;
mod gates;
mod key;
mod large;
mod life;
mod meter;
mod rate;
mod resources;
mod term;
mod work;

use rustler::{Env, Term};

/// Tells the version of a library that is not loaded: `native/compile.exs` looks for these bytes in the file.
#[no_mangle]
pub static PENSTOCK_NIF: [u8; MARKER.len()] = *MARKER.as_bytes().first_chunk().unwrap();

const MARKER: &str = concat!("penstock_nif ", env!("CARGO_PKG_VERSION"), "\0");

/// Runs again when the module is purged and loaded anew; statics, and so all pools, survive that.
fn load(env: Env<'_>, info: Term<'_>) -> bool {
    let Ok((version, loader)) = info.decode::<(&str, Term<'_>)>() else { return false };
    if version != env!("CARGO_PKG_VERSION") {
        return false;
    }
    let env = term::Env::of(env.as_c_arg());
    env.learn_pid_tag(term::Term::of(loader.as_c_arg()));
    atoms::init(env);
    resources::init(env) && deadlines::init(env) && asks::init(env)
}

rustler::init!("Elixir.Penstock.Native", load = load);
