//! The keys of limiters, bans and keyed pools: a hash of any term.
//!
//! Terms that are `===` have the same hash. So have `0.0` and `-0.0`, also on the versions of the
//! VM where these two are not `===`. The hash is SipHash under a random secret of this VM.
//! Because of the secret, an attacker cannot find keys that collide. Limiters and bans use 64 bits
//! of the hash: the probability that two of `n` keys collide by chance is less than `n² / 2^65`.
//! Keyed pools use 128 bits.
//!
//! The VM's API does not let this library look into a few kinds of terms. For such a term, two
//! hashes by the VM enter the hash. Each of the two has only 32 bits before OTP 26. The salts of
//! the two are secret, too.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use once_cell::sync::Lazy;
use penstock_core::{Generation, Host, KeyTag, ShowKey};

use crate::atoms;
use crate::host::Beam;
use crate::term::{Env, Term};

/// The size of the largest key, in bytes in the external term format.
pub(crate) const LARGEST: u32 = 1024;

/// The bytes that the external term format adds to a binary: 1 for the version of the format, 1
/// for the kind of term and 4 for the size.
const BINARY: u32 = 6;

static SECRET: Lazy<RandomState> = Lazy::new(RandomState::new);

/// The salts of the two hashes by the VM. They have 32 bits, because some versions of the VM use
/// no more.
static SALTS: Lazy<[u64; 2]> = Lazy::new(|| [0_u8, 1].map(|nth| SECRET.hash_one(nth) >> 32));

/// The hash of a key.
#[derive(Clone)]
pub(crate) struct KeyHash(DefaultHasher);

impl KeyHash {
    /// Returns the tag of the key in a generation of a limiter or ban: never 0, which marks a place
    /// without a key. Tags of different generations differ.
    #[inline]
    pub(crate) fn tag(&self, generation: Generation) -> u64 {
        // The multiplication spreads the generation over the word; the factor is odd, so two
        // generations never cancel out.
        (self.0.finish() ^ u64::from(generation).wrapping_mul(0x9E37_79B9_7F4A_7C15)).max(1)
    }

    /// Returns the tag of the key in keyed pools.
    #[inline]
    pub(crate) fn wide_tag(&self) -> KeyTag {
        let first = self.0.finish();
        let mut longer = self.0.clone();
        // SipHash has 256 bits of state. So the second word of the tag says more about the key
        // than the first word alone.
        longer.write_u8(1);
        KeyTag(first, longer.finish())
    }
}

/// Returns the tag of a key in a generation of a limiter or ban. The error is the answer to the
/// caller; `measured` is as in [`hash_key`].
#[inline]
pub(crate) fn tag_of_key(beam: &Beam, generation: Generation, key: Term, measured: bool) -> Result<u64, Term> {
    hash_key(beam, key, measured).map(|hash| hash.tag(generation))
}

/// Hashes a key. The error is the answer to the caller.
///
/// `measured` is `true` if Elixir has measured the key. Then a walk through all of the key is
/// short. Otherwise the walk looks into no binary, large integer or fun inside the key. If it
/// cannot tell then whether the key is too large, the error is `measure`: Elixir must measure the
/// key and call again.
#[inline]
pub(crate) fn hash_key(beam: &Beam, key: Term, measured: bool) -> Result<KeyHash, Term> {
    hash_with_bytes(beam, key, measured).map(|(hash, _)| hash)
}

/// Hashes a key as [`hash_key`] does. Also returns the bytes of the key if it is a binary.
#[inline]
pub(crate) fn hash_with_bytes<'a>(beam: &Beam, key: Term, measured: bool) -> Result<(KeyHash, Option<&'a [u8]>), Term> {
    // Most keys are binaries. A binary needs no walk, because its bytes enter the hash at once.
    // If the binary is a slice of a larger one, the VM may copy the slice here. The copy is
    // short, because Elixir passes no binary above 1 KiB.
    if let Some(bytes) = beam.env.binary(key) {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if size > LARGEST - BINARY {
            return Err(atoms::too_large());
        }
        let mut hasher = SECRET.build_hasher();
        hasher.write_u64(u64::from(size) << 8 | TermKind::Binary as u64);
        hasher.write(bytes);
        return Ok((KeyHash(hasher), Some(bytes)));
    }
    if key == atoms::nil() {
        return Err(atoms::nil_key());
    }
    Ok((walk(beam, key, measured)?, None))
}

#[inline(never)]
fn walk(beam: &Beam, key: Term, measured: bool) -> Result<KeyHash, Term> {
    // The external term format begins with 1 byte for its version.
    let mut walk = Walk { env: beam.env, measured, least: 1, most: 1, terms: 0 };
    let mut hasher = SECRET.build_hasher();
    let walked = walk.term(&mut hasher, key);
    // The walk takes some 40 ns for each term, which is two units of work.
    beam.worked(2 * walk.terms);
    if !walked {
        return Err(atoms::too_large());
    }
    if walk.most > LARGEST {
        if !measured {
            return Err(atoms::measure());
        }
        // The key may be too large: only its encoding tells. The encoding takes a short time,
        // because the key is measured.
        beam.worked(walk.terms);
        if beam.env.external(key).is_none_or(|bytes| bytes.len() > LARGEST as usize) {
            return Err(atoms::too_large());
        }
    }
    Ok(KeyHash(hasher))
}

/// The size of the largest key that people are shown, in bytes in the external term format. A hash
/// stands for a larger key.
pub(crate) const LARGEST_SHOWN: usize = 256;

/// A key as a keyed pool keeps it for people: in the external term format.
pub(crate) struct Shown {
    env: Env,
    key: Term,
    /// The encoding of a short binary, which needs no call of the VM.
    buffer: [u8; BINARY as usize + Self::SHORT],
    /// The length of that encoding; 0 if the key is no short binary.
    len: usize,
}

impl Shown {
    const SHORT: usize = 58;

    /// `bytes` are those of the key if it is a binary.
    #[inline]
    pub(crate) fn of(beam: &Beam, key: Term, bytes: Option<&[u8]>) -> Self {
        let mut shown = Self { env: beam.env, key, buffer: [0; BINARY as usize + Self::SHORT], len: 0 };
        if let Some(bytes) = bytes.filter(|bytes| bytes.len() <= Self::SHORT) {
            let head = BINARY as usize;
            // The version of the format, the kind of a binary, and its length in four bytes.
            shown.buffer[..head].copy_from_slice(&[131, 109, 0, 0, 0, bytes.len() as u8]);
            shown.buffer[head..head + bytes.len()].copy_from_slice(bytes);
            shown.len = head + bytes.len();
        }
        shown
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("len", &self.len).finish_non_exhaustive()
    }
}

impl ShowKey for Shown {
    fn at_hand(&self) -> Option<&[u8]> {
        (self.len > 0).then(|| &self.buffer[..self.len])
    }

    fn make(&self) -> Box<[u8]> {
        // The key has a hash by now, so it is short, and so is its encoding.
        let bytes = self.env.external(self.key).filter(|bytes| bytes.len() <= LARGEST_SHOWN);
        bytes.map(Vec::into_boxed_slice).unwrap_or_default()
    }
}

struct Walk {
    env: Env,
    measured: bool,
    /// The least number of bytes that the terms so far can have in the external term format.
    least: u32,
    /// The largest number of bytes that the terms so far can have in that format.
    most: u32,
    /// The number of terms that the walk has looked at.
    terms: usize,
}

/// Kinds of terms. The kind enters the hash, because terms of different kinds may have the same
/// content.
#[derive(Clone, Copy)]
enum TermKind {
    Binary,
    Atom,
    Integer,
    Float,
    Tuple,
    List,
    ImproperTail,
    EmptyList,
    Map,
    Other,
}

impl Walk {
    /// Hashes a term. Returns `false` if the key is too large. The recursion is no deeper than
    /// [`LARGEST`], because each level of nesting adds at least a byte to the size of the key.
    fn term(&mut self, hasher: &mut DefaultHasher, term: Term) -> bool {
        self.terms += 1;
        if let Some(integer) = self.env.i64(term) {
            if !self.size(2, 11) {
                return false;
            }
            hasher.write_u8(TermKind::Integer as u8);
            hasher.write_i64(integer);
        } else if self.env.is_atom(term) {
            // The external format encodes the kind of an atom as one byte, its length as one or
            // two, and its characters as UTF-8 or Latin-1. An atom has at most 255 characters of
            // at most 4 bytes each.
            let (least, most) = self.env.latin1_length(term).map_or((1, 4 * 255), |length| (length, 2 * length));
            if !self.size(least + 2, most + 3) {
                return false;
            }
            hasher.write_u8(TermKind::Atom as u8);
            hasher.write_u64(term.word());
        } else if self.env.is_binary(term) {
            return self.binary(hasher, term);
        } else if let Some(elements) = self.env.elements(term) {
            if !self.size(2, 5) {
                return false;
            }
            hasher.write_u8(TermKind::Tuple as u8);
            hasher.write_usize(elements.len());
            return elements.iter().all(|&element| self.term(hasher, element));
        } else if let Some(cell) = self.env.cell(term) {
            return self.list(hasher, cell);
        } else if self.env.is_empty_list(term) {
            if !self.size(1, 1) {
                return false;
            }
            hasher.write_u8(TermKind::EmptyList as u8);
        } else if let Some(pairs) = self.env.pairs(term) {
            if !self.size(5, 5) {
                return false;
            }
            // Equal maps may list their pairs in different orders. The hashes of the pairs are
            // added, because a sum does not depend on the order.
            let (mut sum, mut count) = (0_u64, 0_u64);
            for (key, value) in pairs {
                let mut pair = SECRET.build_hasher();
                if !self.term(&mut pair, key) || !self.term(&mut pair, value) {
                    return false;
                }
                (sum, count) = (sum.wrapping_add(pair.finish()), count + 1);
            }
            hasher.write_u8(TermKind::Map as u8);
            hasher.write_u64(count);
            hasher.write_u64(sum);
        } else if let Some(float) = self.env.f64(term) {
            if !self.size(9, 9) {
                return false;
            }
            hasher.write_u8(TermKind::Float as u8);
            hasher.write_u64(if float == 0.0 { 0 } else { float.to_bits() });
        } else {
            // A bitstring, a large integer, a pid, a port, a reference, a function.
            if !self.size(2, LARGEST) {
                return false;
            }
            if self.measured {
                hasher.write_u8(TermKind::Other as u8);
                SALTS.iter().for_each(|&salt| hasher.write_u64(self.env.hash(term, salt)));
            }
        }
        true
    }

    /// Hashes a binary inside a key, if the key is measured. Otherwise skips the binary, and
    /// counts any size for it. Even to read the size of a slice, the VM may have to copy the
    /// slice.
    fn binary(&mut self, hasher: &mut DefaultHasher, term: Term) -> bool {
        if !self.measured {
            return self.size(5, LARGEST);
        }
        let Some(bytes) = self.env.binary(term) else { return false };
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(BINARY - 1);
        if !self.size(size, size) {
            return false;
        }
        hasher.write_u64((bytes.len() as u64) << 8 | TermKind::Binary as u64);
        hasher.write(bytes);
        true
    }

    fn list(&mut self, hasher: &mut DefaultHasher, first: (Term, Term)) -> bool {
        // The external format may encode a list that contains only bytes as a string: one byte
        // for each element, and three for the string. Any other list has five bytes in addition
        // to its elements. So a key contains at most some 200 nested lists.
        let mut is_string = true;
        if !self.size(0, 5) {
            return false;
        }
        hasher.write_u8(TermKind::List as u8);
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
        // The kind of the end enters the hash, so that `[1 | 2]` and `[1, 2]` differ.
        let proper = self.env.is_empty_list(rest);
        hasher.write_u8(if proper { TermKind::EmptyList } else { TermKind::ImproperTail } as u8);
        if proper {
            self.size(1, 1)
        } else {
            self.term(hasher, rest)
        }
    }

    /// Adds the size of a term. Returns `false` if the key is too large for certain.
    fn size(&mut self, least: u32, most: u32) -> bool {
        self.least = self.least.saturating_add(least);
        self.most = self.most.saturating_add(most);
        self.least <= LARGEST
    }
}
