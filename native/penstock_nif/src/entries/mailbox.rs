//! Entry points of mailboxes. To take room and to send is one call, in which no process is killed.

use penstock_core::{Cancelled, MailOpened, MailParked, MailboxSettings, NoRoom, Open, Overflow, Pid};

use crate::atoms;
use crate::entry::entries;
use crate::host::Beam;
use crate::node::MAILBOXES;
use crate::parcel::Parcel;
use crate::term::Term;
use crate::ticket::Ticket;

entries! {
    mailbox_open/2 => open,
    mailbox_send/3 => send,
    mailbox_ask/3 => ask,
    mailbox_room/1 => room,
    mailbox_park/3 => park,
    mailbox_cancel/2 => cancel,
    mailbox_taken/1 => taken,
    mailbox_taken_call/1 => taken_call,
    mailbox_serve/0 => serve,
    mailbox_next/0 => next,
    mailbox_release/1 => release,
    mailbox_info/1 => info,
}

/// Calls `body` with the mailbox of a local pid.
#[inline(always)]
fn with_mailbox(beam: &Beam, server: Term, body: impl FnOnce(Open<'_, Beam>, Pid) -> Term) -> Term {
    let Some(pid) = beam.env.pid(server) else { return atoms::badarg() };
    match MAILBOXES.find(pid) {
        Some(open) => body(open, pid),
        None => without_mailbox(beam, pid),
    }
}

#[cold]
fn without_mailbox(beam: &Beam, pid: Pid) -> Term {
    if beam.env.is_alive(pid) {
        atoms::no_mailbox()
    } else {
        atoms::noproc()
    }
}

/// Returns the answer to a message that has no room.
#[inline]
fn refuse(beam: &Beam, open: &Open<'_, Beam>, pid: Pid, no: NoRoom) -> Term {
    // The mailbox of a dead server is full until its monitor has run.
    if no == NoRoom::Gone || !beam.env.is_alive(pid) {
        return atoms::noproc();
    }
    open.count_rejected();
    atoms::full()
}

fn settings(beam: &Beam, map: Term) -> Option<MailboxSettings> {
    let get = |key| beam.env.get(map, key);
    let overflow = match get(atoms::overflow())? {
        refuse if refuse == atoms::refuse() => Overflow::Refuse,
        drop if drop == atoms::drop_oldest() => Overflow::DropOldest,
        _ => return None,
    };
    let manual = match get(atoms::release())? {
        taken if taken == atoms::taken() => false,
        manual if manual == atoms::manual() => true,
        _ => return None,
    };
    Some(MailboxSettings {
        limit: beam.env.positive_i31(get(atoms::limit())?)?,
        max_waiting: beam.env.i31(get(atoms::max_waiting())?)?,
        overflow,
        manual,
    })
}

fn open(beam: &Beam, [server, map]: [Term; 2]) -> Term {
    let (Some(pid), Some(settings)) = (beam.env.pid(server), settings(beam, map)) else { return atoms::badarg() };
    match MAILBOXES.open(beam, pid, settings) {
        MailOpened::Yes => atoms::again(),
        MailOpened::Dead => atoms::noproc(),
        MailOpened::NoPlace => atoms::no_place(),
    }
}

/// Sends a message, inside of a tuple with `tag` unless that is `info`. The tuples are made here, so
/// that a refusal leaves the caller no garbage.
fn send(beam: &Beam, [server, message, tag]: [Term; 3]) -> Term {
    let counted = || {
        let counted = beam.env.tuple(&[atoms::penstock_mailbox(), message]);
        if tag == atoms::info() {
            counted
        } else {
            beam.env.tuple(&[tag, counted])
        }
    };
    with_mailbox(beam, server, |open, pid| {
        let sent =
            if open.drops_oldest() { keep(beam, &open, pid, counted()) } else { admit(beam, &open, pid, counted) };
        sent.unwrap_or_else(|no| refuse(beam, &open, pid, no))
    })
}

/// Sends a message whose sender waits if there is no room, or a request, whose sender waits for the
/// reply. A request is never kept, and so never dropped.
fn ask(beam: &Beam, [server, message, how]: [Term; 3]) -> Term {
    with_mailbox(beam, server, |open, pid| {
        let drops = open.drops_oldest();
        let keeps = drops && how == atoms::cast();
        if drops && !keeps && !open.is_told() {
            return atoms::again();
        }
        let sent = if keeps { keep(beam, &open, pid, message) } else { admit(beam, &open, pid, || message) };
        match sent {
            Ok(answer) => answer,
            Err(NoRoom::Full) if how != atoms::call_now() => atoms::busy(),
            Err(no) => refuse(beam, &open, pid, no),
        }
    })
}

#[inline(always)]
fn admit(beam: &Beam, open: &Open<'_, Beam>, pid: Pid, message: impl FnOnce() -> Term) -> Result<Term, NoRoom> {
    open.admit()?;
    if beam.env.send(pid, message()) {
        Ok(atoms::ok())
    } else {
        open.withdraw();
        Ok(atoms::noproc())
    }
}

fn keep(beam: &Beam, open: &Open<'_, Beam>, pid: Pid, message: Term) -> Result<Term, NoRoom> {
    if open.keep(Parcel::new(message))? {
        // If the server is dead, what is kept goes with its mailbox.
        beam.env.send(pid, atoms::penstock_mailbox());
        open.told();
    }
    Ok(atoms::ok())
}

/// Refuses a newcomer if there is no room.
fn room(beam: &Beam, [server]: [Term; 1]) -> Term {
    with_mailbox(
        beam,
        server,
        |open, pid| {
            if open.was_full() {
                refuse(beam, &open, pid, NoRoom::Full)
            } else {
                atoms::ok()
            }
        },
    )
}

fn park(beam: &Beam, [server, message, reference]: [Term; 3]) -> Term {
    if !beam.env.is_ref(reference) {
        return atoms::badarg();
    }
    let Some(me) = beam.env.me() else { return atoms::badarg() };
    with_mailbox(beam, server, |open, pid| match open.park(beam, me, Ticket::new(reference), Parcel::new(message)) {
        MailParked::Sent => atoms::sent(),
        MailParked::Waiting(token) => beam.env.make_u64(token),
        MailParked::Full => refuse(beam, &open, pid, NoRoom::Full),
        MailParked::Gone => atoms::noproc(),
    })
}

fn cancel(beam: &Beam, [server, token]: [Term; 2]) -> Term {
    let (Some(pid), Some(token), Some(me)) = (beam.env.pid(server), beam.env.u64(token), beam.env.me()) else {
        return atoms::badarg();
    };
    match MAILBOXES.find(pid).map(|open| open.cancel(me, token)) {
        Some(Cancelled::Yes) => atoms::cancelled(),
        Some(Cancelled::TooLate) | None => atoms::too_late(),
    }
}

/// Returns `again` if the caller must call `mailbox_serve`.
#[inline(always)]
fn again_if(more: bool) -> Term {
    if more {
        atoms::again()
    } else {
        atoms::ok()
    }
}

#[inline(always)]
fn take_up(beam: &Beam, me: Term, holds: bool) -> Term {
    match beam.env.caller(me).and_then(|me| MAILBOXES.find(me)) {
        Some(open) => again_if(open.taken(holds)),
        None => atoms::no_mailbox(),
    }
}

fn taken(beam: &Beam, [me]: [Term; 1]) -> Term {
    take_up(beam, me, true)
}

fn taken_call(beam: &Beam, [me]: [Term; 1]) -> Term {
    take_up(beam, me, false)
}

fn serve(beam: &Beam, []: [Term; 0]) -> Term {
    match beam.env.me().and_then(|me| MAILBOXES.find(me)) {
        Some(open) => again_if(open.serve(beam)),
        None => atoms::ok(),
    }
}

fn next(beam: &Beam, []: [Term; 0]) -> Term {
    let open = beam.env.me().and_then(|me| MAILBOXES.find(me));
    match open.and_then(|open| open.next()) {
        Some((parcel, more)) => beam.env.tuple(&[again_if(more), parcel.open(beam.env)]),
        None => atoms::none(),
    }
}

fn release(beam: &Beam, [n]: [Term; 1]) -> Term {
    let (Some(n), Some(me)) = (beam.env.positive_i31(n), beam.env.me()) else { return atoms::badarg() };
    match MAILBOXES.find(me).map(|open| open.release(n)) {
        Some(Some(more)) => again_if(more),
        Some(None) => atoms::not_held(),
        None => atoms::no_mailbox(),
    }
}

fn info(beam: &Beam, [server]: [Term; 1]) -> Term {
    with_mailbox(beam, server, |open, _pid| {
        let info = open.info();
        let number = |value: u64| beam.env.make_u64(value);
        let overflow = match info.settings.overflow {
            Overflow::Refuse => atoms::refuse(),
            Overflow::DropOldest => atoms::drop_oldest(),
        };
        beam.env.map([
            (atoms::limit(), number(info.settings.limit.into())),
            (atoms::max_waiting(), number(info.settings.max_waiting.into())),
            (atoms::overflow(), overflow),
            (atoms::release(), if info.settings.manual { atoms::manual() } else { atoms::taken() }),
            (atoms::in_use(), number(info.in_use.into())),
            (atoms::waiting(), number(info.waiting as u64)),
            (atoms::held(), number(info.held.into())),
            (atoms::admitted(), number(info.admitted)),
            (atoms::rejected(), number(info.rejected)),
            (atoms::timed_out(), number(info.timed_out)),
            (atoms::dropped(), number(info.dropped)),
        ])
    })
}
