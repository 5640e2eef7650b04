//! Tickets: the messages that wake waiters.

use penstock_core::Answer;

use crate::ask::Ask;
use crate::atoms;
use crate::own_env::OwnEnv;
use crate::term::Term;

/// The reference that a waiter waits for, in an environment that belongs to the ticket.
pub(crate) struct Ticket {
    env: OwnEnv,
    reference: Term,
    /// The ask that the reference refers to, if the waiter does not block while it waits.
    /// Otherwise null.
    ask: *const Ask,
}

// SAFETY: the environment is `Send`, and its term moves with it. Any thread may use an `Ask`,
// which is `Sync`.
unsafe impl Send for Ticket {}

impl Ticket {
    /// Makes a ticket of `reference`, which must be a term of the current call.
    pub(crate) fn new(reference: Term) -> Self {
        let env = OwnEnv::new();
        let reference = env.copy(reference);
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
        let env = self.env.env();
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
