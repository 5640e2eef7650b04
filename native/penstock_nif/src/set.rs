//! Permit sets: the permits of one piece of work behind a gate that is no plain pool.
//!
//! A set is a list of parts, one for each limit that the work holds permits of: none for a limiter
//! or a ban, one for a keyed pool, several for a gate of several limits. Elixir treats a set as it
//! treats the instance or the offer of a pool, and passes it to the same functions of
//! `Penstock.Native`. A part is a tuple of three:
//!
//! | part | of a pool | of a keyed pool |
//! |---|---|---|
//! | held | `{gate, instance, permits}` | `{number, lease, permits}` |
//! | offered | `{gate, offer, permits}` | `{number, offer, permits}` |
//!
//! The permits of a part are exact by themselves, as those of a single pool are. So a kill between
//! two parts leaves no permit behind: each part comes back by the death of its own holder. A child
//! runs only if it has got all parts.

use penstock_core::{
    Adoption, Host, KeyedOffer, KeyedPool, Kind, LeaseId, NotHeld, Pid, Pool, TransferError, MOST_MEMBERS,
};

use crate::atoms;
use crate::entries::spawn::{instance_of_offer, offer_term, resolve_offer};
use crate::host::Beam;
use crate::node::{Admission, REGISTRY};
use crate::resolve::{instance_id, resolve_instance};
use crate::term::Term;

/// The largest number of parts: those of the limits of a gate, and the permit of the unlimited pool
/// that a task of a stream holds besides.
pub(crate) const MOST_PARTS: usize = MOST_MEMBERS + 1;

/// The permits of one limit, and their number.
enum Part<'a> {
    Pool { gate: Term, pool: &'a Pool<Beam>, held: Term, n: u32 },
    Keyed { number: Term, pool: &'a KeyedPool<Beam>, held: u64, n: u32 },
}

/// Returns `true` if a term is a set, not the instance or offer of a pool.
#[inline]
pub(crate) fn is_set(beam: &Beam, held: Term) -> bool {
    beam.env.is_empty_list(held) || beam.env.cell(held).is_some()
}

/// Decodes a set. `offered` tells whether its parts are offers.
fn parts<'a>(beam: &Beam, set: Term, offered: bool) -> Option<Vec<Part<'a>>> {
    let mut parts = Vec::with_capacity(MOST_PARTS);
    let mut rest = set;
    while let Some((part, tail)) = beam.env.cell(rest) {
        let &[of, held, n] = beam.env.elements(part)? else { return None };
        let n = beam.env.positive_i31(n)?;
        let part = match beam.env.uint(of) {
            Some(id) => Part::Keyed { number: of, pool: REGISTRY.keyed_pool(id)?, held: beam.env.u64(held)?, n },
            None => {
                let pool = if offered { resolve_offer(beam, of, held)?.0 } else { resolve_instance(beam, of, held)? };
                Part::Pool { gate: of, pool, held, n }
            }
        };
        if parts.len() == MOST_PARTS {
            return None;
        }
        parts.push(part);
        rest = tail;
    }
    beam.worked(4 * parts.len());
    beam.env.is_empty_list(rest).then_some(parts)
}

/// Returns the term of a part.
fn part_term(beam: &Beam, of: Term, held: Term, n: u32) -> Term {
    beam.env.tuple(&[of, held, beam.env.make_u64(n.into())])
}

/// Releases all bound permits of a set that the caller holds.
pub(crate) fn end(beam: &Beam, set: Term) -> Term {
    let (Some(parts), Some(me)) = (parts(beam, set, false), beam.env.me()) else { return atoms::badarg() };
    release(beam, &parts, me)
}

fn release(beam: &Beam, parts: &[Part<'_>], me: Pid) -> Term {
    let mut answer = atoms::ok();
    for part in parts {
        let released = match *part {
            Part::Pool { pool, n, .. } => pool.release(beam, me, n, Kind::Bound),
            Part::Keyed { pool, held, n, .. } => pool.release_of(beam, me, LeaseId::from_bits(held), n, Kind::Bound),
        };
        if released == Err(NotHeld) {
            answer = atoms::not_held();
        }
    }
    answer
}

/// Offers the permits of a set to a child. Releases all of them, and returns `not_held`, if one
/// part cannot be offered.
pub(crate) fn offer(beam: &Beam, set: Term) -> Term {
    let (Some(parts), Some(me)) = (parts(beam, set, false), beam.env.me()) else { return atoms::badarg() };
    let mut offers = Vec::with_capacity(parts.len());
    for part in &parts {
        let offered = match *part {
            Part::Pool { gate, pool, held, n } => pool
                .offer(me, n)
                .zip(instance_id(beam, held))
                .map(|(offer, id)| part_term(beam, gate, offer_term(beam, id, offer), n)),
            Part::Keyed { number, pool, held, n } => pool
                .offer(me, LeaseId::from_bits(held), n)
                .map(|offer| part_term(beam, number, beam.env.make_u64(offer.to_bits()), n)),
        };
        match offered {
            Some(offered) => offers.push(offered),
            None => {
                let set = beam.env.list(&offers);
                retract(beam, set);
                release(beam, &parts[offers.len()..], me);
                return atoms::not_held();
            }
        }
    }
    beam.env.list(&offers)
}

pub(crate) fn hand_over(beam: &Beam, set: Term, child: Pid) -> Term {
    let Some(parts) = parts(beam, set, true) else { return atoms::badarg() };
    for part in parts {
        match part {
            Part::Pool { gate, held, .. } => {
                if let Some((pool, offer)) = resolve_offer(beam, gate, held) {
                    pool.hand_over(beam, offer, child);
                }
            }
            Part::Keyed { pool, held, .. } => pool.hand_over(beam, KeyedOffer::from_bits(held), child),
        }
    }
    atoms::ok()
}

/// Adopts all offers of a set. The child must not run unless it has adopted all; if it ends, its
/// death gives back those that it has adopted.
pub(crate) fn adopt(beam: &Beam, set: Term) -> Term {
    let (Some(parts), Some(me)) = (parts(beam, set, true), beam.env.me()) else { return atoms::badarg() };
    let mut answer = atoms::ok();
    for part in parts {
        let adoption = match part {
            Part::Pool { gate, held, .. } => match resolve_offer(beam, gate, held) {
                Some((pool, offer)) => pool.adopt(beam, me, offer),
                None => Adoption::Revoked,
            },
            Part::Keyed { pool, held, .. } => pool.adopt(beam, me, KeyedOffer::from_bits(held)),
        };
        if adoption == Adoption::Revoked {
            answer = atoms::revoked();
        }
    }
    answer
}

pub(crate) fn retract(beam: &Beam, set: Term) -> Term {
    let Some(parts) = parts(beam, set, true) else { return atoms::badarg() };
    for part in parts {
        match part {
            Part::Pool { gate, held, .. } => {
                if let Some((pool, offer)) = resolve_offer(beam, gate, held) {
                    pool.retract(beam, offer);
                }
            }
            Part::Keyed { pool, held, .. } => pool.retract(beam, KeyedOffer::from_bits(held)),
        }
    }
    atoms::ok()
}

/// Releases the bound permits that the caller holds of each limit of the set. The caller is a
/// process that was created for the work.
pub(crate) fn end_work(beam: &Beam, set: Term) -> Term {
    let (Some(parts), Some(me)) = (parts(beam, set, true), beam.env.me()) else { return atoms::badarg() };
    let mut answer = atoms::ok();
    for part in parts {
        let ended = match part {
            Part::Pool { pool, .. } => pool.end_work(beam, me),
            Part::Keyed { pool, .. } => pool.end_work(beam, me),
        };
        if ended == Err(NotHeld) {
            answer = atoms::not_held();
        }
    }
    answer
}

/// Takes over all permits that `spawner` offered by the set. If one part is revoked, releases the
/// others: the spawner is dead, or has retracted the set.
pub(crate) fn claim(beam: &Beam, set: Term, spawner: Pid) -> Term {
    let (Some(offered), Some(me)) = (parts(beam, set, true), beam.env.me()) else { return atoms::badarg() };
    let mut claimed = Vec::with_capacity(offered.len());
    for part in &offered {
        let held = match *part {
            Part::Pool { gate, pool, held, n } => resolve_offer(beam, gate, held)
                .and_then(|(_, offer)| pool.claim(beam, me, spawner, offer))
                .map(|_| part_term(beam, gate, instance_of_offer(beam, gate, held), n)),
            Part::Keyed { number, pool, held, n } => pool
                .claim(beam, me, spawner, KeyedOffer::from_bits(held))
                .map(|lease| part_term(beam, number, beam.env.make_u64(lease.to_bits()), n)),
        };
        match held {
            Some(held) => claimed.push(held),
            None => {
                end(beam, beam.env.list(&claimed));
                return atoms::revoked();
            }
        }
    }
    beam.env.list(&claimed)
}

/// Passes all permits of a set to `child`.
pub(crate) fn entrust(beam: &Beam, set: Term, child: Pid) -> Term {
    let (Some(parts), Some(me)) = (parts(beam, set, false), beam.env.me()) else { return atoms::badarg() };
    let mut answer = atoms::ok();
    for part in parts {
        let passed = match part {
            Part::Pool { pool, n, .. } => pool.entrust(beam, me, child, n),
            Part::Keyed { pool, held, n, .. } => pool.entrust(beam, me, LeaseId::from_bits(held), child, n),
        };
        answer = match passed {
            Ok(()) => answer,
            Err(TransferError::NotHeld) => atoms::not_held(),
            Err(TransferError::Gone) => atoms::noproc(),
        };
    }
    answer
}

/// Returns the admissions by the pools of a set, each of which counts the kill of a process that runs
/// too long. `None` means that the term is no set.
pub(crate) fn admissions(beam: &Beam, set: Term, offered: bool) -> Option<Box<[Admission]>> {
    let admission = |part| match part {
        Part::Pool { pool, .. } => Admission::by(pool),
        Part::Keyed { pool, .. } => Admission::by_keyed(pool),
    };
    Some(parts(beam, set, offered)?.into_iter().map(admission).collect())
}
