//! Tickets: the messages that wake waiters.

use parking_lot::Mutex;
use penstock_core::Answer;
use rustler::sys::{self, ErlNifEnv};

use crate::ask::Ask;
use crate::atoms;
use crate::term::{Env, Term};

/// The reference that a waiter waits for, in an environment that belongs to the ticket.
pub(crate) struct Ticket {
    env: *mut ErlNifEnv,
    reference: Term,
    /// The ask that the reference refers to, if the waiter does not block while it waits.
    /// Otherwise null.
    ask: *const Ask,
}

// SAFETY: a process-independent environment may move to another thread if only one uses it at a
// time. The ticket owns its environment, and a ticket is not `Sync`. Any thread may use an `Ask`,
// which is `Sync`.
unsafe impl Send for Ticket {}

/// At most [`MAX_SPARE`] environments for reuse, because a new environment takes a kilobyte.
static SPARE: Mutex<Vec<SpareEnv>> = Mutex::new(Vec::new());
const MAX_SPARE: usize = 256;

struct SpareEnv(*mut ErlNifEnv);

// SAFETY: a spare environment belongs to no ticket. It may move to another thread, because only
// one thread takes it out of the list.
unsafe impl Send for SpareEnv {}

impl Ticket {
    /// Makes a ticket of `reference`, which must be a term of the current call.
    pub(crate) fn new(reference: Term) -> Self {
        let spare = SPARE.lock().pop();
        let env = match spare {
            Some(SpareEnv(env)) => env,
            // SAFETY: the call has no precondition. Only `drop` frees the environment.
            None => unsafe { sys::enif_alloc_env() },
        };
        // SAFETY: the target environment must be used by no other thread: it belongs to this
        // ticket alone. The caller guarantees that `reference` is a term of the current call.
        let reference = Term::of(unsafe { sys::enif_make_copy(env, reference.raw()) });
        Self { env, reference, ask: std::ptr::null() }
    }

    /// Makes a ticket for a process that does not block while it waits. `reference` must refer to
    /// `ask`.
    pub(crate) fn of_ask(reference: Term, ask: &Ask) -> Self {
        let mut ticket = Self::new(reference);
        ticket.ask = ask;
        ticket
    }

    /// Records in the ask, if there is one, that the message has been sent.
    pub(crate) fn set_told(&self) {
        // SAFETY: the pointer must be null or to a live ask. `of_ask` sets it to the target of
        // the reference, and this ticket's copy of the reference keeps the target.
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
        // SAFETY: no thread may use the environment or a term of it after this call. The
        // environment belongs to this ticket, which is being dropped. If `wake` has sent a
        // message of it, the mailbox has a copy.
        unsafe { sys::enif_clear_env(self.env) };
        let mut spare = SPARE.lock();
        if spare.len() < MAX_SPARE {
            spare.push(SpareEnv(self.env));
        } else {
            drop(spare);
            // SAFETY: the environment belongs to this ticket, which is being dropped, and is not
            // in the list of spare ones.
            unsafe { sys::enif_free_env(self.env) };
        }
    }
}
