//! Transfers permits from one process to another.

use crate::holders::Kind;
use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::{NotHeld, Pool, PoolHost};

/// Why a transfer was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// The giver holds fewer permits of that kind than the call names, so nothing changed.
    NotHeld,
    /// The receiver is dead; the permits went back to the pool.
    Gone,
}

impl<H: PoolHost> Pool<H> {
    /// Transfers `n` manual permits of the calling process to `to`.
    pub fn transfer(&self, host: &H, me: Pid, to: Pid, n: u32) -> Result<(), TransferError> {
        self.transfer_as(host, me, to, n, Kind::Manual)
    }

    /// Transfers `n` bound permits of the calling process to `to`, a process that it has started
    /// to do the work. If that process is dead, the permits count as released by its exit.
    pub fn entrust(&self, host: &H, me: Pid, to: Pid, n: u32) -> Result<(), TransferError> {
        self.transfer_as(host, me, to, n, Kind::Bound)
    }

    fn transfer_as(&self, host: &H, me: Pid, to: Pid, n: u32, kind: Kind) -> Result<(), TransferError> {
        let entry = self.entry_of(me).ok_or(TransferError::NotHeld)?;
        self.debit(me, entry, n, kind).map_err(|NotHeld| TransferError::NotHeld)?;
        if to == me {
            entry.set_own(kind, entry.own(kind) + u64::from(n));
            return Ok(());
        }
        // Entrusted permits are for work that begins in the child, so no hold ends here.
        if kind == Kind::Manual {
            self.note_end_of_hold(host, entry, kind);
        }
        // Until the credit, the permits are in no entry. They cannot be lost, because no process
        // is killed inside a call.
        //
        // A child gets entrusted permits even if it is dead already. Its reap frees them, and counts
        // a hold and an exit. So these counts do not depend on when the child died, as for a child
        // that the spawner hands permits over to.
        let placed = if kind == Kind::Bound || host.alive(to) {
            self.credit_other(host, to, n, kind)
        } else {
            if self.state.give(u64::from(n)).flagged() {
                self.serve(host);
            }
            false
        };
        // ORDERING: pairs with the fence in `ManyHolders::propose`. A scan may have counted the
        // giver as a holder. So if the giver holds nothing now, it clears the hint.
        fence(Ordering::SeqCst);
        self.clear_hint_if_empty(entry);
        if placed { Ok(()) } else { Err(TransferError::Gone) }
    }

    /// Credits permits to the entry of another process. Returns `false` if the host finds that
    /// process dead: the permits went back to the pool.
    fn credit_other(&self, host: &H, to: Pid, n: u32, kind: Kind) -> bool {
        let now = host.now_ms();
        let made = {
            let _locked = self.table.lock(to);
            let (receiver, slot, made) = self.table.get_or_insert(to);
            self.table.credit(receiver, slot, kind, u64::from(n), now);
            made
        };
        // If the entry existed before, its process has a monitor, or the call that inserted the
        // entry is about to set one. If the process is dying, its reap frees these permits with
        // all others in the entry.
        if made && !host.watch(self, to) {
            self.down(host, to);
            return false;
        }
        true
    }
}
