//! Environments of this library's own, which outlive a call and keep terms.

use parking_lot::Mutex;
use penstock_core::Pid;
use rustler::sys::{self, ErlNifEnv};

use crate::term::{raw_pid, Env, Term};

/// An environment of the VM that belongs to its owner alone.
pub(crate) struct OwnEnv(*mut ErlNifEnv);

// SAFETY: a process-independent environment may move to another thread if only one uses it at a
// time. The owner has the only pointer, and is not `Sync`.
unsafe impl Send for OwnEnv {}

/// At most [`MAX_SPARE`] environments for reuse, because a new environment takes a kilobyte.
static SPARE: Mutex<Vec<OwnEnv>> = Mutex::new(Vec::new());
const MAX_SPARE: usize = 256;

impl OwnEnv {
    /// Returns an empty environment.
    pub(crate) fn new() -> Self {
        let spare = SPARE.lock().pop();
        // SAFETY: the call has no precondition. Only `drop` frees the environment.
        spare.unwrap_or_else(|| Self(unsafe { sys::enif_alloc_env() }))
    }

    pub(crate) fn env(&self) -> Env {
        Env::of(self.0)
    }

    /// Copies `term`, which must be a term of the current call.
    pub(crate) fn copy(&self, term: Term) -> Term {
        // SAFETY: no other thread may use the environment: it belongs to this owner alone. The
        // caller guarantees that `term` is a term of the current call.
        Term::of(unsafe { sys::enif_make_copy(self.0, term.raw()) })
    }

    /// Moves `message`, a term of this environment, to a process. `env` is that of the current call.
    pub(crate) fn send(self, env: Env, to: Pid, message: Term) {
        // SAFETY: the environment of the call is valid, and that of the message belongs to this
        // owner. The VM may take its terms: nothing uses them afterwards, and `drop` clears it.
        unsafe { sys::enif_send(env.raw(), &raw_pid(to), self.0, message.raw()) };
    }
}

impl Drop for OwnEnv {
    fn drop(&mut self) {
        // SAFETY: no thread may use the environment or a term of it after this call. The owner is
        // being dropped. If a message of it was sent, the mailbox has what it needs.
        unsafe { sys::enif_clear_env(self.0) };
        let mut spare = SPARE.lock();
        if spare.len() < MAX_SPARE {
            spare.push(Self(self.0));
        } else {
            drop(spare);
            // SAFETY: the environment belongs to the owner that is being dropped, and is not in the
            // list of spare ones.
            unsafe { sys::enif_free_env(self.0) };
        }
    }
}
