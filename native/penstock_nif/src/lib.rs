//! Penstock for the BEAM: `penstock_core` behind the functions of `Penstock.Native`.
//!
//! An entry point in [`entries`] decodes its arguments, calls the core and encodes the answer.
//! The core decides about permits, rates and bans. This crate has the parts that need the VM or
//! the operating system:
//!
//! - which gate (pool, limiter or ban) a term means, and whether the name still stands for that
//!   gate at the answer ([`resolve`], [`handle`]);
//! - the hash and the size of a key, by a walk through its term ([`key`]);
//! - the resources, monitors and messages of the VM ([`resource`], [`monitor`], [`ticket`],
//!   [`ask`]);
//! - the queue of work that exceeds one call, and the processes that continue with it ([`node`]);
//! - clocks, and huge pages for large tables ([`clock`], [`large`]).
//!
//! Every call on an ordinary scheduler is short, because this crate and the core bound their
//! loops. A longer walk takes several calls: the caller passes the cursor where the next call
//! continues. Four loops are exceptions:
//!
//! - the start of a limiter or ban clears its whole table, so it runs on a dirty scheduler;
//! - the registration of a janitor sends one message for each queued job;
//! - `rate_hit_all` reads its whole list, whose length Elixir checks;
//! - a look-up of a name walks through one bucket of the registry, some 1 in 4,000 of all names.
//!
//! The VM calls entry points without a wrapper of rustler. `#[rustler::nif]` would collect the
//! arguments of every call into a heap-allocated `Vec`. That alone would double the price of an
//! acquire.

mod ask;
mod atoms;
mod clock;
mod count;
mod decode;
mod entries;
mod entry;
mod handle;
mod host;
mod init;
mod key;
mod large;
mod meter;
mod monitor;
mod node;
mod own_env;
mod parcel;
mod resolve;
mod resource;
mod set;
mod term;
mod ticket;

/// The name and the version of the library. `native/compile.exs` looks for these bytes in the
/// file, because it must check a library before a VM loads it.
#[no_mangle]
pub static PENSTOCK_NIF: [u8; MARKER.len()] = *MARKER.as_bytes().first_chunk().unwrap();

const MARKER: &str = concat!("penstock_nif ", env!("CARGO_PKG_VERSION"), "\0");

/// The fingerprint of the sources of the library. `native/compile.exs` looks for it in the file,
/// to find out whether cargo built the library from these sources.
#[no_mangle]
pub static PENSTOCK_SOURCES: [u8; SOURCES.len()] = *SOURCES.as_bytes().first_chunk().unwrap();

const SOURCES: &str = match option_env!("PENSTOCK_SOURCES") {
    Some(fingerprint) => fingerprint,
    None => "",
};
