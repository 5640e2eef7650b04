//! Penstock for the BEAM: `penstock_core` behind the functions of `Penstock.Native`.
//!
//! An entry point decodes its arguments, calls the core and encodes the answer. Decisions about
//! permits, rates and bans are the core's. This crate has only the parts that need the VM:
//!
//! - which pool, limiter or list of bans a term means, and whether it is still the name's when
//!   the answer is made ([`resolve`]);
//! - the hash and the size of a key, by a walk through its term ([`key`]);
//! - the resources, monitors and messages of the VM ([`resource`], [`monitor`], [`ticket`]);
//! - the queue of work that one call may not finish, and the processes that continue with it
//!   ([`node`]).
//!
//! Every loop has a bound that keeps a call short; a longer walk is done in parts, from a
//! position that the caller passes.
//!
//! Entry points are raw. `#[rustler::nif]` collects the arguments of every call into a
//! heap-allocated `Vec`, which alone would double the price of an acquire.

mod ask;
mod atoms;
mod clock;
mod decode;
mod entries;
mod entry;
mod handle;
mod host;
mod key;
mod large;
mod meter;
mod monitor;
mod node;
mod resolve;
mod resource;
mod term;
mod ticket;

use rustler::{Env, Term};

/// Tells the version of a library that is not loaded: `native/compile.exs` looks for these bytes in
/// the file.
#[no_mangle]
pub static PENSTOCK_NIF: [u8; MARKER.len()] = *MARKER.as_bytes().first_chunk().unwrap();

const MARKER: &str = concat!("penstock_nif ", env!("CARGO_PKG_VERSION"), "\0");

/// Tells which sources a library was built of, as [`PENSTOCK_NIF`] tells its version.
#[no_mangle]
pub static PENSTOCK_SOURCES: [u8; SOURCES.len()] = *SOURCES.as_bytes().first_chunk().unwrap();

const SOURCES: &str = match option_env!("PENSTOCK_SOURCES") {
    Some(fingerprint) => fingerprint,
    None => "",
};

/// Prepares the library. Runs again when the module is purged and loaded a second time; statics,
/// and so all pools, survive that.
fn load(env: Env<'_>, info: Term<'_>) -> bool {
    let Ok((version, loader)) = info.decode::<(&str, Term<'_>)>() else { return false };
    if version != env!("CARGO_PKG_VERSION") {
        return false;
    }
    let env = term::Env::of(env.as_c_arg());
    env.learn_pid_tag(term::Term::of(loader.as_c_arg()));
    atoms::init(env);
    handle::init(env) && monitor::init(env) && ask::init(env)
}

rustler::init!("Elixir.Penstock.Native", load = load);
