//! Processes that send messages to servers by their mailboxes, as the BEAM does.

use std::sync::Arc;

use penstock_core::{
    Cancelled, MailOpened, MailParked, MailboxInfo, MailboxSettings, Mailboxes, NoRoom, Overflow, Pid, Token,
};

use crate::support::Fake;

/// The message that tells a server to take one that is kept.
pub(crate) const NEXT: u32 = 0;

pub(crate) fn pid(number: u64) -> Pid {
    Pid::new(number).unwrap()
}

/// Returns the settings of a mailbox that refuses at `limit`.
pub(crate) fn refuse(limit: u32) -> MailboxSettings {
    MailboxSettings { limit, max_waiting: 10, overflow: Overflow::Refuse, manual: false }
}

/// The mailboxes of a runtime.
pub(crate) struct Stage {
    pub(crate) host: Fake,
    pub(crate) boxes: Mailboxes<Fake>,
}

/// The result of [`Stage::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    Full,
    /// The server has no mailbox, or is dead.
    No,
}

impl Stage {
    pub(crate) fn new(processes: usize) -> Arc<Self> {
        Arc::new(Self { host: Fake::new(processes), boxes: Mailboxes::new() })
    }

    pub(crate) fn open(&self, server: Pid, settings: MailboxSettings) -> MailOpened {
        let opened = self.boxes.open(&self.host, server, settings);
        self.serve(server);
        opened
    }

    pub(crate) fn send(&self, server: Pid, message: u32) -> Sent {
        let Some(open) = self.boxes.find(server) else { return Sent::No };
        let sent = if open.drops_oldest() {
            open.keep(message).map(|tell| {
                let sent = !tell || self.host.send(server, NEXT);
                if tell {
                    open.told();
                }
                sent
            })
        } else {
            open.admit().map(|()| {
                let sent = self.host.send(server, message);
                if !sent {
                    open.withdraw();
                }
                sent
            })
        };
        match sent {
            Ok(true) => Sent::Yes,
            Ok(false) | Err(NoRoom::Gone) => Sent::No,
            Err(NoRoom::Full) => {
                open.count_rejected();
                Sent::Full
            }
        }
    }

    pub(crate) fn park(&self, server: Pid, waiter: Pid, message: u32) -> Option<MailParked> {
        let open = self.boxes.find(server)?;
        let may_park = open.may_park(&self.host);
        let parked = open.park(&self.host, waiter, self.host.ticket(), message);
        assert!(may_park || parked == MailParked::Full, "a sender that may not park is not parked");
        Some(parked)
    }

    pub(crate) fn cancel(&self, server: Pid, waiter: Pid, token: Token) -> Cancelled {
        self.boxes.find(server).map_or(Cancelled::TooLate, |open| open.cancel(waiter, token))
    }

    /// The server receives a message, and takes it up.
    pub(crate) fn take(&self, server: Pid) -> Option<u32> {
        let message = self.host.receive_message(server)?;
        let open = self.boxes.find(server).expect("a living server has its mailbox");
        let (message, more) = if message == NEXT {
            let (message, more) = open.next()?;
            (message, more)
        } else {
            (message, open.taken(true))
        };
        if more {
            self.serve(server);
        }
        Some(message)
    }

    pub(crate) fn info(&self, server: Pid) -> Option<MailboxInfo> {
        self.boxes.find(server).map(|open| open.info())
    }

    pub(crate) fn kill(&self, pid: Pid) {
        self.host.begin_exit(pid);
        self.host.finish_exit(pid, &[&self.boxes]);
    }

    /// Serves the waiters of a server, as it does itself.
    pub(crate) fn serve(&self, server: Pid) {
        while self.boxes.find(server).is_some_and(|open| open.serve(&self.host)) {}
    }

    /// Asserts what is true of a living server at rest: each message that has room is in its queue,
    /// and nobody waits while there is room.
    #[track_caller]
    pub(crate) fn at_rest(&self, server: Pid) {
        let info = self.info(server).expect("the mailbox is open");
        let queued = self.host.messages(server).len();
        assert_eq!(info.in_use as usize, queued + info.held as usize, "{info:?}");
        assert!(info.waiting == 0 || info.in_use >= info.settings.limit, "a waiter where there is room: {info:?}");
        assert!(info.in_use <= info.settings.limit, "{info:?}");
        // The mark of waiters may not stay, since it keeps newcomers out.
        let full = self.boxes.find(server).expect("open").was_full();
        assert_eq!(full, info.in_use >= info.settings.limit, "{info:?}");
    }
}
