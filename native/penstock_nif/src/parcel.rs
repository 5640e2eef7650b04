//! Parcels: messages to servers that wait for room, or that the library keeps for a server.

use penstock_core::Pid;

use crate::own_env::OwnEnv;
use crate::term::{Env, Term};

/// A message, in an environment of its own.
pub(crate) struct Parcel {
    env: OwnEnv,
    message: Term,
}

// SAFETY: the environment is `Send`, and its term moves with it.
unsafe impl Send for Parcel {}

impl Parcel {
    /// Copies `message`, which must be a term of the current call.
    pub(crate) fn new(message: Term) -> Self {
        let env = OwnEnv::new();
        let message = env.copy(message);
        Self { env, message }
    }

    /// Sends the message.
    pub(crate) fn send(self, env: Env, to: Pid) {
        self.env.send(env, to, self.message);
    }

    /// Returns a copy of the message for the caller of the current call.
    pub(crate) fn open(&self, env: Env) -> Term {
        env.copy(self.message)
    }
}
