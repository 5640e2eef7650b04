//! Entry points that ask a gate that is no pool: a gate of several limits, or a limiter, a ban or a
//! keyed pool alone.

use penstock_core::{
    admit, finish, whole_ms, Gate, Generation, Held, Kind, Member, No, Outcome, Refused, MOST_MEMBERS,
};

use super::limits::{decode, Limit, Limits, Purpose, Request, Undecoded};
use crate::atoms;
use crate::entries::ban::banned;
use crate::entry::entries;
use crate::host::Beam;
use crate::node::vm_pressure;
use crate::resolve::named;
use crate::set;
use crate::term::Term;

entries! {
    gate_take/8 => take,
    gate_finish/7 => finish_wait,
    gate_explain/6 => explain,
    gate_release/5 => release,
    gate_quotas/5 => quotas,
}

/// A gate as one call found it.
struct Asked<'a> {
    /// The gate of several limits; `None` if the name stands for a limit alone.
    gate: Option<(&'a Gate, Generation)>,
    /// The limits, once they are decoded.
    limits: Limits<'a>,
}

/// Returns the gate of several limits that a name stands for; `None` for a limit alone. The error is
/// the answer to the caller: the name stands for no gate, or for a pool.
#[inline]
fn find<'a>(name: Term) -> Result<Option<(&'a Gate, Generation)>, Term> {
    let found = named(name).ok_or_else(atoms::no_pool)?;
    let gate = found.gate();
    if gate.is_none() && found.current().is_some() {
        return Err(atoms::no_pool());
    }
    Ok(gate)
}

/// Counts a request, unless the memory of its gate serves another one by now.
fn count(gate: &Gate, generation: Generation, outcome: Outcome) {
    if gate.is_current(generation) {
        gate.count(outcome);
    }
}

impl<'a> Asked<'a> {
    #[inline(always)]
    fn of(gate: Option<(&'a Gate, Generation)>) -> Self {
        Self { gate, limits: Limits::new() }
    }

    /// Puts the names of the limits of the gate, or the name of the limit alone, into `names`. Returns
    /// their number; `None` if the gate is gone.
    #[inline]
    fn names(&self, name: Term, names: &mut [u64; MOST_MEMBERS]) -> Option<usize> {
        match self.gate {
            Some((gate, generation)) => gate.names(generation, names),
            None => {
                names[0] = name.word();
                Some(1)
            }
        }
    }

    /// Returns `true` if one of the limits is a rate limiter.
    fn has_limiter(&self, name: Term) -> bool {
        let mut names = [0; MOST_MEMBERS];
        let count = self.names(name, &mut names).unwrap_or(0);
        names[..count].iter().any(|&name| named(Term(name as usize)).is_some_and(|named| named.limiter().is_some()))
    }

    /// Decodes the limits of the gate, or the limit `name` alone. The error is the answer to the
    /// caller.
    #[inline]
    fn decode(&mut self, beam: &Beam, name: Term, request: &Request, purpose: Purpose) -> Result<(), Term> {
        let mut names = [0; MOST_MEMBERS];
        let count = self.names(name, &mut names).ok_or_else(atoms::no_pool)?;
        match decode(beam, &names[..count], request, purpose, &mut self.limits) {
            Ok(()) if self.gate.is_none() && self.limits.first().is_none_or(Limit::is_gone) => Err(atoms::no_pool()),
            Ok(()) => Ok(()),
            Err(Undecoded::Wrong(answer)) => Err(answer),
            Err(Undecoded::Refused(no)) => Err(self.refused_by(beam, no, false)),
        }
    }

    fn count(&self, outcome: Outcome) {
        if let Some((gate, generation)) = self.gate {
            count(gate, generation, outcome);
        }
    }

    /// Returns the term of a refusal, and counts it.
    fn refused(&self, beam: &Beam, (at, no): Refused) -> Term {
        self.refused_by(beam, no, self.limits[at].has_permits())
    }

    /// Returns the term of a refusal by a limit that has permits, or none, and counts it.
    fn refused_by(&self, beam: &Beam, no: No, has_permits: bool) -> Term {
        if let Some(outcome) = outcome(no) {
            self.count(outcome);
        }
        // A limit alone that is closed is a gate that is not there.
        if no == No::Closed && self.gate.is_none() && !has_permits {
            return atoms::no_pool();
        }
        no_term(beam, no)
    }
}

fn outcome(no: No) -> Option<Outcome> {
    Some(match no {
        No::Banned(_) => Outcome::Banned,
        No::RateLimited(_) => Outcome::RateLimited,
        No::KeyFull => Outcome::KeyFull,
        No::TableFull => Outcome::TableFull,
        No::Full => Outcome::Full,
        No::Closed => Outcome::Closed,
        No::Again => return None,
    })
}

fn no_term(beam: &Beam, no: No) -> Term {
    match no {
        No::Banned(left) => banned(beam, left),
        No::RateLimited(None) => beam.env.tuple(&[atoms::rate_limited(), atoms::infinity()]),
        No::RateLimited(Some(wait)) => {
            beam.env.tuple(&[atoms::rate_limited(), beam.env.make_u64(whole_ms(wait).max(1))])
        }
        No::KeyFull => atoms::key_full(),
        No::TableFull => atoms::table_full(),
        No::Full => atoms::full(),
        No::Closed => atoms::closed(),
        No::Again => atoms::again(),
    }
}

/// Asks a gate to admit the caller, which does not wait during this call.
///
/// Returns the permit set that the caller holds from then on: for `way` `run`, the permits are
/// bound to the caller; for `spawn`, they are offered to a child. For `manual`, the answer is `ok`,
/// and the caller must release the permits. A limit alone answers `no_pool` to `manual`. The answer
/// is `busy` if only permits lack, and the caller would wait for them (`waits`).
fn take(beam: &Beam, [name, way, key, keys, permits, cost, measured, waits]: [Term; 8]) -> Term {
    // The pressure comes first, so that a refusal costs next to nothing when it matters most. It also
    // comes before an error in the request, such as a missing key.
    if sheds(name) {
        return atoms::overloaded();
    }
    let Some(request) = Request::of(beam, [key, keys, permits, cost, measured]) else { return atoms::badarg() };
    let gate = match find(name) {
        Ok(gate) => gate,
        Err(answer) => return answer,
    };
    let mut asked = Asked::of(gate);
    let manual = way == atoms::manual();
    if manual && gate.is_none() {
        return atoms::no_pool();
    }
    if let Err(answer) = asked.decode(beam, name, &request, Purpose::Admission) {
        return answer;
    }
    let kind = if manual { Kind::Manual } else { Kind::Bound };
    let waits = waits == atoms::waits();
    match admit(beam, &asked.limits, kind, waits, || request.now()) {
        Ok(held) => admitted(beam, &asked, &held, way),
        Err((_, No::Full | No::KeyFull)) if waits => atoms::busy(),
        Err(refused) => asked.refused(beam, refused),
    }
}

/// Returns `true` if the name stands for a gate that sheds at the present pressure of the VM. Then
/// counts the refusal.
#[inline]
fn sheds(name: Term) -> bool {
    let pressure = vm_pressure();
    if pressure == 0 {
        return false;
    }
    let Some((gate, generation)) = named(name).and_then(penstock_core::Named::gate) else { return false };
    let sheds = gate.sheds(generation, pressure);
    if sheds {
        gate.count(Outcome::Overloaded);
    }
    sheds
}

fn admitted(beam: &Beam, asked: &Asked<'_>, held: &[Held; MOST_MEMBERS], way: Term) -> Term {
    asked.count(Outcome::Admitted);
    if way == atoms::manual() {
        return atoms::ok();
    }
    let (mut parts, mut count) = ([atoms::nil(); MOST_MEMBERS], 0);
    for part in asked.limits.iter().zip(held).filter_map(|(limit, &held)| limit.part(beam, held)) {
        parts[count] = part;
        count += 1;
    }
    let set = beam.env.list(&parts[..count]);
    if way == atoms::spawn() && count > 0 {
        set::offer(beam, set)
    } else {
        set
    }
}

/// The last step for a caller that has waited for the permits of the limits `waited`: looks at the
/// limits without permits once more, and charges the rate limiters.
fn finish_wait(beam: &Beam, [name, waited, key, keys, permits, cost, measured]: [Term; 7]) -> Term {
    let Some(request) = Request::of(beam, [key, keys, permits, cost, measured]) else { return atoms::badarg() };
    if sheds(name) {
        return atoms::overloaded();
    }
    let gate = match find(name) {
        Ok(gate) => gate,
        Err(answer) => return answer,
    };
    let mut asked = Asked::of(gate);
    if let Err(answer) = asked.decode(beam, name, &request, Purpose::Report) {
        return answer;
    }
    // The gate may have been started again since the caller began to wait, with other limits. The
    // caller may lack a permit of one of them, so nothing may be charged for it.
    if !are_all(beam, waited, &asked.limits) {
        asked.count(Outcome::Closed);
        return atoms::closed();
    }
    match finish(beam, &asked.limits, || request.now()) {
        Ok(()) => {
            asked.count(Outcome::Admitted);
            atoms::ok()
        }
        Err(refused) => asked.refused(beam, refused),
    }
}

/// Returns `true` if the list has exactly the limits with permits, in the order of waiting.
fn are_all(beam: &Beam, waited: Term, limits: &[Limit<'_>]) -> bool {
    let mut expected: Vec<_> = limits.iter().filter(|limit| limit.has_permits()).collect();
    expected.sort_unstable_by_key(|limit| limit.order());
    let mut rest = waited;
    for limit in expected {
        let Some((first, tail)) = beam.env.cell(rest) else { return false };
        if beam.env.pair(first) != Some([limit.kind_term(), limit.name]) {
            return false;
        }
        rest = tail;
    }
    beam.env.is_empty_list(rest)
}

/// Returns what each limit would answer now. Consumes and counts nothing.
fn explain(beam: &Beam, [name, key, keys, permits, cost, measured]: [Term; 6]) -> Term {
    let Some(request) = Request::of(beam, [key, keys, permits, cost, measured]) else { return atoms::badarg() };
    let gate = match find(name) {
        Ok(gate) => gate,
        Err(answer) => return answer,
    };
    let mut asked = Asked::of(gate);
    let mut answers = Vec::with_capacity(MOST_MEMBERS + 1);
    if let Some((gate, generation)) = asked.gate {
        if gate.shed_at(generation) > 0 {
            let answer = if gate.sheds(generation, vm_pressure()) { atoms::overloaded() } else { atoms::ok() };
            answers.push(beam.env.tuple(&[atoms::vm(), atoms::vm(), answer]));
        }
    }
    if let Err(answer) = asked.decode(beam, name, &request, Purpose::Report) {
        return answer;
    }
    let mut limits: Vec<&Limit<'_>> = asked.limits.iter().collect();
    limits.sort_by_key(|limit| limit.rank());
    for limit in limits {
        let answer = match limit.look(beam, false) {
            Ok(()) => atoms::ok(),
            Err(no) => no_term(beam, no),
        };
        answers.push(beam.env.tuple(&[limit.name, limit.kind_term(), answer]));
    }
    beam.env.list(&answers)
}

/// Returns what is left of each rate limiter of a gate for the key, and its rate. Consumes nothing.
fn quotas(beam: &Beam, [name, key, keys, cost, measured]: [Term; 5]) -> Term {
    let one = beam.env.make_u64(1);
    let Some(request) = Request::of(beam, [key, keys, one, cost, measured]) else { return atoms::badarg() };
    let gate = match find(name) {
        Ok(gate) => gate,
        Err(answer) => return answer,
    };
    let mut asked = Asked::of(gate);
    // Most gates have no limiter. Their keys need not be hashed.
    if !asked.has_limiter(name) {
        return beam.env.list(&[]);
    }
    if let Err(answer) = asked.decode(beam, name, &request, Purpose::Report) {
        return answer;
    }
    let quotas: Vec<Term> = asked.limits.iter().filter_map(|limit| limit.quota(beam)).collect();
    beam.env.list(&quotas)
}

/// Releases the manual permits of all limits of a gate, or of none.
fn release(beam: &Beam, [name, key, keys, permits, measured]: [Term; 5]) -> Term {
    let one = beam.env.make_u64(1);
    let Some(request) = Request::of(beam, [key, keys, permits, one, measured]) else { return atoms::badarg() };
    let gate = match find(name) {
        Ok(gate) => gate,
        Err(answer) => return answer,
    };
    let mut asked = Asked::of(gate);
    if let Err(answer) = asked.decode(beam, name, &request, Purpose::GiveBack) {
        return answer;
    }
    let mut with_permits = asked.limits.iter().filter(|limit| limit.has_permits());
    let Some(first) = with_permits.next() else { return atoms::not_held() };
    // Only the caller itself lowers the manual permits that it holds. So what it holds now of the
    // later limits, it holds until this call releases it. The first limit needs no such look: its
    // release comes first, and tells.
    if !with_permits.clone().all(Limit::is_held) || !first.release(beam) {
        return atoms::not_held();
    }
    for limit in with_permits {
        let released = limit.release(beam);
        debug_assert!(released, "the caller holds them");
    }
    atoms::ok()
}
