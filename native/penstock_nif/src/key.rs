//! The keys of limiters, bans and keyed pools: a hash of any term.
//!
//! Terms that are `===` have the same hash. So have `0.0` and `-0.0`, also on the versions of the
//! VM where these two are not `===`. The hash is SipHash-1-3 with 128 bits, under random secrets of
//! this VM: one for keys that are binaries, and one for all others. Because of the secrets, an
//! attacker cannot find keys that collide. Limiters and bans use 64 bits of the hash: the
//! probability that two of `n` keys collide by chance is less than `n² / 2^65`. Keyed pools use all
//! 128 bits.
//!
//! The VM's API does not let this library look into a few kinds of terms. For such a term, two
//! hashes by the VM enter the hash. Each of the two has only 32 bits before OTP 26. The salts of
//! the two are secret, too.

use std::hash::{BuildHasher, Hasher, RandomState};

use once_cell::sync::Lazy;
use penstock_core::{Generation, Host, KeyTag, ShowKey};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::atoms;
use crate::host::Beam;
use crate::term::{Env, Term};

/// The size of the largest key, in bytes in the external term format.
pub(crate) const LARGEST: u32 = 1024;

/// The bytes that the external term format adds to a binary: 1 for the version of the format, 1
/// for the kind of term and 4 for the size.
const BINARY: u32 = 6;

static SECRETS: Lazy<Secrets> = Lazy::new(Secrets::new);

struct Secrets {
    /// The hasher of keys that are binaries.
    binary: SipHasher13,
    /// The hasher of other keys.
    other: SipHasher13,
    /// The salts of the two hashes by the VM. They have 32 bits, because some versions of the VM
    /// use no more.
    salts: [u64; 2],
}

impl Secrets {
    fn new() -> Self {
        let random = RandomState::new();
        let hasher = |nth: u8| SipHasher13::new_with_keys(random.hash_one(nth), random.hash_one(nth + 1));
        Self { binary: hasher(0), other: hasher(2), salts: [4_u8, 5].map(|nth| random.hash_one(nth) >> 32) }
    }
}

/// Returns the tag of a key in a generation of a limiter or ban. The error is the answer to the
/// caller; `measured` is as in [`HashedKey::of`].
#[inline]
pub(crate) fn tag_of_key(beam: &Beam, generation: Generation, key: Term, measured: bool) -> Result<u64, Term> {
    HashedKey::of(beam, key, measured).map(|key| key.tag(generation))
}

/// A key and its hash.
#[derive(Clone, Copy)]
pub(crate) struct HashedKey<'a> {
    pub(crate) key: Term,
    /// The tag of the key in keyed pools.
    pub(crate) wide_tag: KeyTag,
    /// The bytes of the key if it is a binary.
    bytes: Option<&'a [u8]>,
}

impl<'a> HashedKey<'a> {
    /// Hashes a key. The error is the answer to the caller.
    ///
    /// `measured` is `true` if Elixir has measured the key. Then a walk through all of the key is
    /// short. Otherwise the walk looks into no binary, large integer or fun inside the key. If it
    /// cannot tell then whether the key is too large, the error is `measure`: Elixir must measure
    /// the key and call again.
    #[inline]
    pub(crate) fn of(beam: &Beam, key: Term, measured: bool) -> Result<Self, Term> {
        // Most keys are binaries. A binary needs no walk, because its bytes enter the hash at
        // once. If the binary is a slice of a larger one, the VM may copy the slice here. The copy
        // is short, because Elixir passes no binary above 1 KiB.
        let bytes = beam.env.binary(key);
        let hash = match bytes {
            Some(bytes) if bytes.len() > (LARGEST - BINARY) as usize => return Err(atoms::too_large()),
            Some(bytes) => SECRETS.binary.hash(bytes),
            None if key == atoms::nil() => return Err(atoms::nil_key()),
            None => walk(beam, key, measured)?.finish128(),
        };
        Ok(Self { key, wide_tag: KeyTag(hash.h1, hash.h2), bytes })
    }

    /// Returns the tag of the key in a generation of a limiter or ban: never 0, which marks a place
    /// without a key. Tags of different generations differ.
    #[inline]
    pub(crate) fn tag(&self, generation: Generation) -> u64 {
        // The multiplication spreads the generation over the word; the factor is odd, so two
        // generations never cancel out.
        (self.wide_tag.0 ^ u64::from(generation).wrapping_mul(0x9E37_79B9_7F4A_7C15)).max(1)
    }

    /// Returns how people are shown the key.
    #[inline]
    pub(crate) fn shown(&self, beam: &Beam) -> Shown<'a> {
        Shown { env: beam.env, key: self.key, bytes: self.bytes }
    }
}

/// Hashes a key that is no binary. The hasher is not finished.
#[inline(never)]
fn walk(beam: &Beam, key: Term, measured: bool) -> Result<SipHasher13, Term> {
    // The external term format begins with 1 byte for its version.
    let mut walk = Walk { env: beam.env, measured, least: 1, most: 1, terms: 0 };
    let mut hasher = SECRETS.other;
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
    Ok(hasher)
}

/// The size of the largest key that people are shown, in bytes in the external term format. A hash
/// stands for a larger key.
pub(crate) const LARGEST_SHOWN: usize = 256;

/// A key as a keyed pool keeps it for people: in the external term format.
pub(crate) struct Shown<'a> {
    env: Env,
    key: Term,
    /// The bytes of the key if it is a binary.
    bytes: Option<&'a [u8]>,
}

impl Shown<'_> {
    /// The most bytes of a binary that is encoded without a call of the VM. Its length fits into
    /// the last of the four bytes for the length.
    const SHORT: usize = LARGEST_SHOWN - BINARY as usize;
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl ShowKey for Shown<'_> {
    #[inline]
    fn make_at_once(&self) -> Option<Box<[u8]>> {
        let bytes = self.bytes.filter(|bytes| bytes.len() <= Self::SHORT)?;
        let mut text = Vec::with_capacity(BINARY as usize + bytes.len());
        // The version of the format, the kind of a binary, and its length in four bytes.
        text.extend_from_slice(&[131, 109, 0, 0, 0, bytes.len() as u8]);
        text.extend_from_slice(bytes);
        Some(text.into_boxed_slice())
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
    fn term(&mut self, hasher: &mut SipHasher13, term: Term) -> bool {
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
            let (mut sums, mut count) = ([0_u64; 2], 0_u64);
            for (key, value) in pairs {
                let mut pair = SECRETS.other;
                if !self.term(&mut pair, key) || !self.term(&mut pair, value) {
                    return false;
                }
                let hash = pair.finish128();
                sums = [sums[0].wrapping_add(hash.h1), sums[1].wrapping_add(hash.h2)];
                count += 1;
            }
            hasher.write_u8(TermKind::Map as u8);
            hasher.write_u64(count);
            sums.iter().for_each(|&sum| hasher.write_u64(sum));
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
                SECRETS.salts.iter().for_each(|&salt| hasher.write_u64(self.env.hash(term, salt)));
            }
        }
        true
    }

    /// Hashes a binary inside a key, if the key is measured. Otherwise skips the binary, and
    /// counts any size for it. Even to read the size of a slice, the VM may have to copy the
    /// slice.
    fn binary(&mut self, hasher: &mut SipHasher13, term: Term) -> bool {
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

    fn list(&mut self, hasher: &mut SipHasher13, first: (Term, Term)) -> bool {
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
