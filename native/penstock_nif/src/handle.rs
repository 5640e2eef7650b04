//! Handles: the resources of the VM to which the references of unnamed pools refer.
//!
//! ```text
//! term %Pool{ref} -> handle -> pool -> PoolData -> watches (one reference each)
//!                               ^                    |
//!                               +--------------------+
//! ```
//!
//! The arrows are pointers. A *watch* is the resource by which a pool learns of deaths.
//! `PoolData` owns one reference of the VM to each watch of its pool.
//!
//! No pool is ever freed, and no watch that monitors a process is ever destroyed; see
//! [`monitor`](crate::monitor). A handle monitors no process, so the VM can destroy it at any
//! time. The destructor of a handle closes and clears the pool. A later handle reuses the pool
//! together with the watches of the pool.

use std::ffi::CStr;

use penstock_core::{Pool, Settings, UnnamedId};
use rustler::sys::ErlNifResourceFlags;

use crate::host::Beam;
use crate::meter;
use crate::node::{self, CLOSED_POOL, REGISTRY};
use crate::resource::{Resource, ResourceType};
use crate::term::{Env, Term};

/// The target of the reference of an unnamed pool. No other handle has the same pool.
struct Handle {
    pool: &'static Pool<Beam>,
    id: UnnamedId,
}

static HANDLE: ResourceType<Handle> = ResourceType::new();

impl Resource for Handle {
    const NAME: &'static CStr = c"penstock_pool";

    /// Closes the pool and begins to clear it. No call uses the pool any more: such a call would
    /// have the reference as an argument, which would keep the handle until the call returns.
    fn end(self, env: Env) {
        meter::measure("handle_dtor", || {
            let beam = Beam::in_callback(env);
            self.pool.close(&beam);
            node::begin_clear(&beam, self.pool, self.id);
        });
    }
}

pub(crate) fn init(env: Env, how: ErlNifResourceFlags) -> bool {
    HANDLE.open(env, how)
}

/// Keeps the type of handles, see [`ResourceType::pin`].
pub(crate) fn pin() {
    HANDLE.pin(|| Handle { pool: &CLOSED_POOL, id: 0 });
}

/// Opens an unnamed pool, and returns the reference of its new handle.
pub(crate) fn make(beam: &Beam, settings: Settings) -> Term {
    // A caller that makes pools faster than the janitor clears them finds no pool to reuse. So
    // the caller does one turn of the janitor's work: that slows the caller down, and may free a
    // pool.
    let spare = REGISTRY.reuse_unnamed(settings).or_else(|| {
        node::do_one_job(beam);
        REGISTRY.reuse_unnamed(settings)
    });
    let (id, pool) = spare.unwrap_or_else(|| REGISTRY.make_unnamed(settings));
    HANDLE.make(beam.env, Handle { pool, id }).0
}

/// Returns the pool that a term stands for, if the term is the reference of a handle. The term
/// must be an argument of the current call. The caller can use the pool until that call returns.
#[inline]
pub(crate) fn pool<'a>(env: Env, term: Term) -> Option<&'a Pool<Beam>> {
    HANDLE.get(env, term).map(|handle: &Handle| handle.pool)
}
