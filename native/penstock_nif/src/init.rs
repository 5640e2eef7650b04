//! The entry of the library: what the VM calls when it loads `Penstock.Native`, or loads it again.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use rustler::codegen_runtime::{inventory, ErlNifEntry};
use rustler::sys::ErlNifResourceFlags::{self, ERL_NIF_RT_CREATE, ERL_NIF_RT_TAKEOVER};
use rustler::sys::{ErlNifEnv, ErlNifFunc, ErlNifTerm};
use rustler::{Nif, Term};

use crate::{ask, atoms, handle, monitor, term};

/// Tells this library from another build of it, which the VM may have mapped too.
static MARK: u8 = 0;

const LOADED: c_int = 0;
/// The version of the library is not that of the module, or the VM refused a resource type.
const REFUSED: c_int = 1;
/// The module runs with another build of the library. The counts are in the statics of that one.
const OTHER_LIBRARY: c_int = 2;

struct Entry(ErlNifEntry);

// SAFETY: the entry has pointers to statics and to memory that is never freed. No thread writes it.
unsafe impl Send for Entry {}
// SAFETY: as for `Send`.
unsafe impl Sync for Entry {}

/// Returns the entry.
///
/// The VM asks for it at each load of the module, also if the library is mapped already and other threads
/// call the VM through it. So `write_symbols` runs only the first time.
fn entry(write_symbols: impl FnOnce()) -> *const ErlNifEntry {
    static ENTRY: OnceLock<Entry> = OnceLock::new();
    let entry = ENTRY.get_or_init(|| {
        write_symbols();
        let functions: Vec<ErlNifFunc> = inventory::iter::<Nif>().map(Nif::get_def).collect();
        // The VM reads them for as long as the library is loaded.
        let mut entry = ErlNifEntry::new(c"Elixir.Penstock.Native", functions.leak(), load);
        entry.upgrade = Some(upgrade);
        Entry(entry)
    });
    ptr::from_ref(&entry.0)
}

/// The VM calls this by its name.
#[cfg(not(windows))]
#[no_mangle]
extern "C" fn nif_init() -> *const ErlNifEntry {
    // SAFETY: no thread may call the VM through this library meanwhile. None does, since this closure runs
    // before the VM has the entry for the first time.
    entry(|| unsafe { rustler::codegen_runtime::internal_write_symbols() })
}

/// The VM calls this by its name.
///
/// # Safety
///
/// `callbacks` must have the functions of the VM.
#[cfg(windows)]
#[no_mangle]
unsafe extern "C" fn nif_init(callbacks: *mut rustler::codegen_runtime::DynNifCallbacks) -> *const ErlNifEntry {
    // SAFETY: `callbacks` has the functions of the VM. No thread may call the VM through this library
    // meanwhile. None does, since this closure runs before the VM has the entry for the first time.
    entry(|| unsafe { rustler::codegen_runtime::internal_set_symbols(callbacks) })
}

/// Called for a module without a library. The module may have had one, and lost it by a purge: the
/// statics survive that, and so do all pools.
unsafe extern "C" fn load(env: *mut ErlNifEnv, own: *mut *mut c_void, info: ErlNifTerm) -> c_int {
    // SAFETY: the VM passes a place for a pointer.
    unsafe { *own = mark() };
    prepare(env, info, ERL_NIF_RT_CREATE)
}

/// Called for a module that replaces one with a library, such as a recompiled one. `theirs` has the mark
/// of that library.
unsafe extern "C" fn upgrade(
    env: *mut ErlNifEnv,
    own: *mut *mut c_void,
    theirs: *mut *mut c_void,
    info: ErlNifTerm,
) -> c_int {
    // SAFETY: the VM passes the place of the pointer that `load` or `upgrade` of that library has set.
    if unsafe { *theirs } != mark() {
        return OTHER_LIBRARY;
    }
    // SAFETY: the VM passes a place for a pointer.
    unsafe { *own = mark() };
    prepare(env, info, ERL_NIF_RT_TAKEOVER)
}

fn mark() -> *mut c_void {
    ptr::from_ref(&MARK).cast_mut().cast()
}

/// Prepares the library for the module whose `info` is its version and the pid of its loader. `how` is
/// the way to open resource types.
fn prepare(env: *mut ErlNifEnv, info: ErlNifTerm, how: ErlNifResourceFlags) -> c_int {
    let lifetime = ();
    // SAFETY: the VM passes its environment and a term of it, for the time of this call.
    let info = unsafe { Term::new(rustler::Env::new_init_env(&lifetime, env), info) };
    let Ok((version, loader)) = info.decode::<(&str, Term<'_>)>() else { return REFUSED };
    if version != env!("CARGO_PKG_VERSION") {
        return REFUSED;
    }
    let env = term::Env::of(env);
    env.learn_pid_tag(term::Term::of(loader.as_c_arg()));
    atoms::init(env);
    if handle::init(env, how) && monitor::init(env, how) && ask::init(env, how) {
        LOADED
    } else {
        REFUSED
    }
}
