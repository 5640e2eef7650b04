//! Keys of limits: any term, as the 64 bits that it is known by.
//!
//! Terms that are `===` have the same bits, and so have `0.0` and `-0.0`, on each version of the VM. The hash is SipHash under a
//! secret that the node chose as it started, so nobody finds keys that collide; that two of `n` keys do by chance is less
//! probable than `n² / 2^65`. The VM's own hash has 32 bits before OTP 26; of the few kinds of terms that the API does not let look
//! into, it is taken twice, under two salts that are as secret.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use once_cell::sync::Lazy;
use penstock_core::{Host, Incarnation};

use crate::atoms;
use crate::host::Beam;
use crate::term::{Env, Term};

/// Bytes in the external term format that a key may have.
const LARGEST: u32 = 1024;

/// Bytes that one has beside those of a binary: for the version, the kind and the size.
const BINARY: u32 = 6;

static SECRET: Lazy<RandomState> = Lazy::new(RandomState::new);

/// Of 32 bits, as the VM takes no more everywhere.
static SALTS: Lazy<[u64; 2]> = Lazy::new(|| [0_u8, 1].map(|which| SECRET.hash_one(which) >> 32));

/// The tag of a key in a limit's incarnation. `measured`: the caller knows that a walk through
/// all of the key is short; without that no binary, integer or fun inside it is looked into. The
/// error is the answer to the caller.
#[inline]
pub(crate) fn digest(beam: &Beam, incarnation: Incarnation, key: Term, measured: bool) -> Result<u64, Term> {
    // Most keys are binaries: those in whole words of the hash, and without a walk.
    if let Some(bytes) = beam.env.binary(key) {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if size > LARGEST - BINARY {
            return Err(atoms::too_large());
        }
        let mut hasher = SECRET.build_hasher();
        hasher.write_u64(u64::from(incarnation) << 32 | u64::from(size) << 8 | Of::Binary as u64);
        hasher.write(bytes);
        return Ok(tag(&hasher));
    }
    if key == atoms::nil() {
        return Err(atoms::nil_key());
    }
    walk(beam, incarnation, key, measured)
}

#[inline(never)]
fn walk(beam: &Beam, incarnation: Incarnation, key: Term, measured: bool) -> Result<u64, Term> {
    // One for the version.
    let mut walk = Walk { env: beam.env, measured, least: 1, most: 1, terms: 0 };
    let mut hasher = SECRET.build_hasher();
    hasher.write_u32(incarnation);
    let walked = walk.term(&mut hasher, key);
    // Some 40 ns each, of which most keys have a few.
    beam.worked(2 * walk.terms);
    if !walked {
        return Err(atoms::too_large());
    }
    if walk.most > LARGEST {
        if !measured {
            return Err(atoms::measure());
        }
        // A walk through all of it is short, so the VM can say its size.
        beam.worked(walk.terms);
        if beam.env.external(key).is_none_or(|bytes| bytes.len() > LARGEST as usize) {
            return Err(atoms::too_large());
        }
    }
    Ok(tag(&hasher))
}

/// 0 is nobody's.
fn tag(hasher: &DefaultHasher) -> u64 {
    hasher.finish().max(1)
}

struct Walk {
    env: Env,
    measured: bool,
    /// Bytes that the term has at least, and at most.
    least: u32,
    most: u32,
    /// That were looked at.
    terms: usize,
}

/// Kinds that are told apart even if their content is the same.
#[derive(Clone, Copy)]
enum Of {
    Binary,
    Atom,
    Integer,
    Float,
    Tuple,
    List,
    Tail,
    Nothing,
    Map,
    Other,
}

impl Walk {
    /// False if it is too large. Each step down has a byte, so it goes no deeper than a key has.
    fn term(&mut self, hasher: &mut DefaultHasher, term: Term) -> bool {
        self.terms += 1;
        if let Some(integer) = self.env.i64(term) {
            if !self.size(2, 11) {
                return false;
            }
            hasher.write_u8(Of::Integer as u8);
            hasher.write_i64(integer);
        } else if self.env.is_atom(term) {
            // As UTF-8 or as Latin-1, with one or two bytes of length.
            let (least, most) = self.env.latin1_length(term).map_or((1, 4 * 255), |length| (length, 2 * length));
            if !self.size(least + 2, most + 3) {
                return false;
            }
            hasher.write_u8(Of::Atom as u8);
            hasher.write_u64(term.word());
        } else if self.env.is_binary(term) {
            return self.binary(hasher, term);
        } else if let Some(elements) = self.env.elements(term) {
            if !self.size(2, 5) {
                return false;
            }
            hasher.write_u8(Of::Tuple as u8);
            hasher.write_usize(elements.len());
            return elements.iter().all(|&element| self.term(hasher, element));
        } else if let Some(cell) = self.env.cell(term) {
            return self.list(hasher, cell);
        } else if self.env.is_empty_list(term) {
            if !self.size(1, 1) {
                return false;
            }
            hasher.write_u8(Of::Nothing as u8);
        } else if let Some(pairs) = self.env.pairs(term) {
            if !self.size(5, 5) {
                return false;
            }
            // In whatever order the VM has them.
            let (mut sum, mut count) = (0_u64, 0_u64);
            for (key, value) in pairs {
                let mut pair = SECRET.build_hasher();
                if !self.term(&mut pair, key) || !self.term(&mut pair, value) {
                    return false;
                }
                (sum, count) = (sum.wrapping_add(pair.finish()), count + 1);
            }
            hasher.write_u8(Of::Map as u8);
            hasher.write_u64(count);
            hasher.write_u64(sum);
        } else if let Some(float) = self.env.f64(term) {
            if !self.size(9, 9) {
                return false;
            }
            hasher.write_u8(Of::Float as u8);
            hasher.write_u64(if float == 0.0 { 0 } else { float.to_bits() });
        } else {
            // A bitstring, a large integer, a pid, a port, a reference, a function.
            if !self.size(2, LARGEST) {
                return false;
            }
            if self.measured {
                hasher.write_u8(Of::Other as u8);
                SALTS.iter().for_each(|&salt| hasher.write_u64(self.env.hash(term, salt)));
            }
        }
        true
    }

    /// A slice of another binary may be copied to be looked at, whatever its size: so not before that is known.
    fn binary(&mut self, hasher: &mut DefaultHasher, term: Term) -> bool {
        if !self.measured {
            return self.size(5, LARGEST);
        }
        let Some(bytes) = self.env.binary(term) else { return false };
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(BINARY - 1);
        if !self.size(size, size) {
            return false;
        }
        hasher.write_u64((bytes.len() as u64) << 8 | Of::Binary as u64);
        hasher.write(bytes);
        true
    }

    fn list(&mut self, hasher: &mut DefaultHasher, first: (Term, Term)) -> bool {
        // Of bytes alone it may be a string, which has one byte for each and three more. Any other has more: and so a key in which
        // lists are nested is not walked deeper than a few hundred.
        let mut is_string = true;
        if !self.size(0, 5) {
            return false;
        }
        hasher.write_u8(Of::List as u8);
        let (mut cell, mut rest) = (Some(first), first.1);
        while let Some((head, tail)) = cell {
            let is_byte = self.env.i64(head).is_some_and(|byte| (0..=255).contains(&byte));
            if is_string && !is_byte {
                is_string = false;
                if !self.size(5, 0) {
                    return false;
                }
            }
            if !self.term(hasher, head) {
                return false;
            }
            self.least -= u32::from(is_string);
            (cell, rest) = (self.env.cell(tail), tail);
        }
        // Who has another tail than `[]` is told apart by this, from whoever ends with that.
        let proper = self.env.is_empty_list(rest);
        hasher.write_u8(if proper { Of::Nothing } else { Of::Tail } as u8);
        if proper {
            self.size(1, 1)
        } else {
            self.term(hasher, rest)
        }
    }

    fn size(&mut self, least: u32, most: u32) -> bool {
        self.least = self.least.saturating_add(least);
        self.most = self.most.saturating_add(most);
        self.least <= LARGEST
    }
}
