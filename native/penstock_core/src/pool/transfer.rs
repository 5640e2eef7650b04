//! Makes permits of one process those of another.

use crate::holders::Kind;
use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::{NotHeld, Pool, PoolHost};

/// Why a transfer was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// The process holds fewer permits; nothing changed.
    NotHeld,
    /// The receiver is dead; the permits are free again.
    Gone,
}

impl<H: PoolHost> Pool<H> {
    /// Makes `n` free permits of the calling process those of `to`.
    pub fn transfer(&self, host: &H, me: Pid, to: Pid, n: u32) -> Result<(), TransferError> {
        self.transfer_as(host, me, to, n, Kind::Manual)
    }

    /// Makes `n` bound permits of the calling process those of a process that it has created,
    /// which does the work now.
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
        // Between here and the credit the permits are in no entry, which is no race. A process is
        // not killed inside a call, so no reaper has to find them.
        let placed = if host.alive(to) {
            self.credit_other(host, to, n, kind)
        } else {
            if self.state.give(u64::from(n)).flagged() {
                self.serve(host);
            }
            false
        };
        // ORDERING: pairs with the fence in `ManyHolders::propose`: the giver may hold nothing
        // now.
        fence(Ordering::SeqCst);
        self.clear_hint_if_empty(entry);
        if placed { Ok(()) } else { Err(TransferError::Gone) }
    }

    /// Credits permits to the entry of another process. Returns `false` if it was dead, and the
    /// permits are free again.
    fn credit_other(&self, host: &H, to: Pid, n: u32, kind: Kind) -> bool {
        let now = host.now_ms();
        let made = {
            let _locked = self.table.lock(to);
            let (receiver, slot, made) = self.table.get_or_insert(to);
            self.table.credit(receiver, slot, kind, u64::from(n), now);
            made
        };
        // An entry that was found is watched already: if its process is dying, its death takes
        // these permits along.
        if made && !host.watch(self, to) {
            self.down(host, to);
            return false;
        }
        true
    }
}
