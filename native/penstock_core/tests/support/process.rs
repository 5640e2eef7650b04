//! A process that uses the pool of a [`Stage`]. Tests make the calls of the pool through it.

use std::sync::Arc;

use penstock_core::{
    Adoption, Answer, Cancelled, Drain, Host, Kind, NotHeld, Offer, Parked, Pid, Pool, Refusal, Restart, Step,
    TransferError, WaiterId,
};

use super::{Fake, Stage};

/// A process that uses the pool of `stage`. Most methods make the call of `Pool` of the same
/// name.
#[derive(Clone)]
pub struct Process {
    pub stage: Arc<Stage>,
    pub pid: Pid,
}

/// The result of [`Process::acquire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    Yes,
    No(Parked),
    Waiting(WaiterId),
}

impl Process {
    fn pool(&self) -> &Pool<Fake> {
        &self.stage.pool
    }

    fn host(&self) -> &Fake {
        &self.stage.host
    }

    pub fn take(&self, n: u32) -> bool {
        self.pool().take(self.host(), self.pid, n, Kind::Manual)
    }

    pub fn try_acquire(&self, n: u32) -> Result<(), Refusal> {
        self.pool().try_acquire(self.host(), self.pid, n, Kind::Manual)
    }

    pub fn try_bound(&self, n: u32) -> Result<(), Refusal> {
        self.pool().try_acquire(self.host(), self.pid, n, Kind::Bound)
    }

    /// Acquires `n` permits that must be free.
    #[track_caller]
    pub fn hold(&self, n: u32) -> &Self {
        assert_eq!(self.try_acquire(n), Ok(()));
        self
    }

    pub fn park(&self, n: u32) -> Parked {
        self.park_with_ticket(n, Kind::Manual).0
    }

    /// Parks. Returns the result, and the number of the ticket. An answer to the wait comes with
    /// that number.
    pub fn park_with_ticket(&self, n: u32, kind: Kind) -> (Parked, u32) {
        let ticket = self.host().ticket();
        let number = ticket.0;
        (self.pool().park(self.host(), self.pid, n, kind, ticket), number)
    }

    /// Parks for permits that must not be free. Returns the wait.
    #[track_caller]
    pub fn wait(&self, n: u32) -> WaiterId {
        match self.park(n) {
            Parked::Waiting(id) => id,
            other => panic!("not parked but {other:?}"),
        }
    }

    /// Acquires as a caller that is willing to wait: takes free permits, or parks.
    pub fn acquire(&self, n: u32) -> Acquired {
        if self.take(n) {
            return Acquired::Yes;
        }
        match self.park(n) {
            Parked::Granted => Acquired::Yes,
            Parked::Waiting(id) => Acquired::Waiting(id),
            no => Acquired::No(no),
        }
    }

    pub fn cancel(&self, id: WaiterId) -> Cancelled {
        self.pool().cancel(self.host(), self.pid, id)
    }

    pub fn release(&self, n: u32) -> Result<(), NotHeld> {
        self.pool().release(self.host(), self.pid, n, Kind::Manual)
    }

    pub fn release_bound(&self, n: u32) -> Result<(), NotHeld> {
        self.pool().release(self.host(), self.pid, n, Kind::Bound)
    }

    pub fn end_work(&self) -> Result<(), NotHeld> {
        self.pool().end_work(self.host(), self.pid)
    }

    /// Tells the pool that `child` has ended. A spawner that saw its child end makes this call.
    pub fn report_end_of(&self, child: &Self) {
        self.pool().ended(self.host(), child.pid);
    }

    pub fn withdraw(&self, id: WaiterId) -> Cancelled {
        self.pool().withdraw(self.host(), self.pid, id)
    }

    pub fn transfer(&self, to: &Self, n: u32) -> Result<(), TransferError> {
        self.pool().transfer(self.host(), self.pid, to.pid, n)
    }

    pub fn entrust(&self, to: &Self, n: u32) -> Result<(), TransferError> {
        self.pool().entrust(self.host(), self.pid, to.pid, n)
    }

    pub fn claim(&self, spawner: &Self, offer: Offer) -> Option<u64> {
        self.pool().claim(self.host(), self.pid, spawner.pid, offer)
    }

    /// Asks for a restart, and repeats the call until the pool admits or refuses it.
    pub fn restart(&self, n: u32) -> Restart {
        let mut step = Step::default();
        loop {
            match self.pool().take_for_restart(self.host(), self.pid, n, step) {
                Restart::More(next) | Restart::Pause(next) | Restart::Wait(next) => step = next,
                answer => return answer,
            }
        }
    }

    pub fn offer(&self, n: u32) -> Option<Offer> {
        self.pool().offer(self.pid, n)
    }

    /// Acquires `n` bound permits that must be free, and offers them to a child.
    #[track_caller]
    pub fn acquire_and_offer(&self, n: u32) -> Offer {
        assert_eq!(self.try_bound(n), Ok(()));
        self.offer(n).expect("the process has just acquired them")
    }

    pub fn hand_over(&self, offer: Offer, child: &Self) {
        self.pool().hand_over(self.host(), offer, child.pid);
    }

    pub fn adopt(&self, offer: Offer) -> Adoption {
        self.pool().adopt(self.host(), self.pid, offer)
    }

    pub fn retract(&self, offer: Offer) {
        self.pool().retract(self.host(), offer);
    }

    pub fn drain(&self) -> Drain {
        self.drain_with_ticket().0
    }

    /// Drains. Returns the result, and the number of the ticket. An answer to the drain comes
    /// with that number.
    pub fn drain_with_ticket(&self) -> (Drain, u32) {
        let ticket = self.host().ticket();
        let number = ticket.0;
        (self.pool().drain(self.host(), self.pid, ticket), number)
    }

    pub fn alive(&self) -> bool {
        self.host().alive(self.pid)
    }

    /// Makes this process dead. The pool is not told yet.
    pub fn begin_exit(&self) {
        self.host().begin_exit(self.pid);
    }

    /// Tells the pool that this process is dead.
    pub fn finish_exit(&self) {
        self.host().finish_exit(self.pid, &[self.pool()]);
    }

    /// Makes this process dead, and tells the pool.
    pub fn die(&self) {
        self.begin_exit();
        self.finish_exit();
    }

    /// Returns all answers that the process got.
    pub fn answers(&self) -> Vec<Answer> {
        self.host().mailbox(self.pid).into_iter().map(|(_, answer)| answer).collect()
    }

    /// Returns `true` if the process got a grant, and `false` if it got no answer. Panics at any
    /// other answer.
    #[track_caller]
    pub fn was_granted(&self) -> bool {
        match self.answers().as_slice() {
            [] => false,
            [Answer::Granted] => true,
            other => panic!("answered {other:?}"),
        }
    }
}
