//! Tickets: how a waiter is woken.

use parking_lot::Mutex;
use penstock_core::Answer;
use rustler::sys::{self, ErlNifEnv};

use crate::ask::Ask;
use crate::atoms;
use crate::term::{Env, Term};

/// The reference that a waiter waits for, in an environment of its own.
pub(crate) struct Ticket {
    env: *mut ErlNifEnv,
    reference: Term,
    /// The target of the reference if the waiter does not block; otherwise null.
    ask: *const Ask,
}

// SAFETY: the owner of a ticket owns its process-independent environment, and only one thread has
// the ticket at a time. Any thread may use an `Ask`.
unsafe impl Send for Ticket {}

/// Environments to reuse: making one costs an allocation of a kilobyte.
static SPARE: Mutex<Vec<SpareEnv>> = Mutex::new(Vec::new());
const MAX_SPARE: usize = 256;

struct SpareEnv(*mut ErlNifEnv);

// SAFETY: as for `Ticket`.
unsafe impl Send for SpareEnv {}

impl Ticket {
    /// Makes a ticket of a reference in the environment of the current call.
    pub(crate) fn new(reference: Term) -> Self {
        let spare = SPARE.lock().pop();
        let env = match spare {
            Some(SpareEnv(env)) => env,
            // SAFETY: only `drop` frees the environment, or keeps it as a spare.
            None => unsafe { sys::enif_alloc_env() },
        };
        // SAFETY: `env` is process independent and belongs to this ticket.
        let reference = Term::of(unsafe { sys::enif_make_copy(env, reference.raw()) });
        Self { env, reference, ask: std::ptr::null() }
    }

    /// Makes a ticket for a process that does not block while it waits: `reference` refers to
    /// `ask`.
    pub(crate) fn of_ask(reference: Term, ask: &Ask) -> Self {
        let mut ticket = Self::new(reference);
        ticket.ask = ask;
        ticket
    }

    /// Notes in the ask, if there is one, that the message has been sent.
    pub(crate) fn set_told(&self) {
        // SAFETY: null, or the target of this ticket's copy of the reference, which keeps it.
        if let Some(ask) = unsafe { self.ask.as_ref() } {
            ask.set_told();
        }
    }

    /// Returns the message that wakes the waiter.
    pub(crate) fn message(&self, answer: Answer) -> Term {
        let env = Env::of(self.env);
        if !self.ask.is_null() {
            let answer = match answer {
                Answer::Granted => atoms::ok(),
                no => env.tuple(&[atoms::error(), reason(no)]),
            };
            return env.tuple(&[self.reference, answer]);
        }
        let answer = match answer {
            Answer::Undrained(in_use) => env.tuple(&[atoms::undrained(), env.make_u64(in_use)]),
            other => reason(other),
        };
        env.tuple(&[self.reference, answer])
    }
}

fn reason(answer: Answer) -> Term {
    match answer {
        Answer::Granted => atoms::granted(),
        Answer::Full => atoms::full(),
        Answer::Closed => atoms::closed(),
        Answer::TimedOut => atoms::timeout(),
        Answer::Drained => atoms::drained(),
        Answer::Undrained(_) => atoms::undrained(),
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // SAFETY: the environment belongs to this ticket, and no term of it is used after this.
        unsafe { sys::enif_clear_env(self.env) };
        let mut spare = SPARE.lock();
        if spare.len() < MAX_SPARE {
            spare.push(SpareEnv(self.env));
        } else {
            drop(spare);
            // SAFETY: as above.
            unsafe { sys::enif_free_env(self.env) };
        }
    }
}
