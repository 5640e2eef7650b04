//! Draws calls from the bytes of a fuzzer, by the strategies of the tests.
//!
//! Each value is drawn by a generator of random numbers of its own, whose seed is a few bytes of
//! the input. So if the fuzzer changes, removes or repeats these bytes, it does so with one call,
//! and the calls after it stay as they are.
//!
//! A number that must hit one of very many values is read from the bytes themselves.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// The number of bytes that one call is drawn from. Two would allow 65,536 calls, and an instant
/// of a few ns would be in none of them.
const CALL: usize = 4;
/// The number of bytes that settings are drawn from.
const SETTINGS: usize = 4;

/// The input of one run.
#[derive(Debug)]
pub struct Input<'a> {
    data: &'a [u8],
    runner: TestRunner,
}

impl<'a> Input<'a> {
    /// Begins at the first byte.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, runner: TestRunner::deterministic() }
    }

    /// Draws the settings, or another value that the whole run depends on.
    pub fn settings<S: Strategy>(&mut self, strategy: S) -> S::Value {
        self.draw(SETTINGS, &strategy)
    }

    /// Draws calls until the input ends.
    pub fn calls<S: Strategy>(&mut self, strategy: S) -> Vec<S::Value> {
        self.calls_by(|input| input.call(&strategy))
    }

    /// Makes calls until the input ends.
    pub fn calls_by<T>(&mut self, call: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut calls = Vec::with_capacity(self.data.len() / CALL);
        while self.data.len() >= CALL {
            calls.push(call(self));
        }
        calls
    }

    /// Draws one call.
    pub fn call<S: Strategy>(&mut self, strategy: &S) -> S::Value {
        self.draw(CALL, strategy)
    }

    /// Reads a number of at most `bits` bits as it is in the input. A byte before it tells how
    /// many of the bits count, so numbers of all magnitudes are as likely. So the fuzzer can
    /// change the number by 1, or to one that the core compares it with.
    pub fn number(&mut self, bits: u32) -> u64 {
        let counted = u32::from(self.take(1)[0]) % (bits + 1);
        let number =
            self.take(bits.div_ceil(8) as usize).iter().rfold(0, |number, &byte| number << 8 | u64::from(byte));
        number & ((1 << counted) - 1)
    }

    /// Takes bytes off the input, which ends with zeros.
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let (head, rest) = self.data.split_at(bytes.min(self.data.len()));
        self.data = rest;
        let mut taken = head.to_vec();
        taken.resize(bytes, 0);
        taken
    }

    fn draw<S: Strategy>(&mut self, bytes: usize, strategy: &S) -> S::Value {
        let seed = seed(&self.take(bytes));
        *self.runner.rng() = TestRng::from_seed(RngAlgorithm::XorShift, &seed);
        strategy.new_tree(&mut self.runner).expect("the strategies filter little").current()
    }
}

/// Returns a seed whose bits all depend on all bits of `bytes`. The first numbers of a generator
/// by XorShift depend on few bits of its seed, so from similar seeds it would draw the same
/// calls.
fn seed(bytes: &[u8]) -> [u8; 16] {
    let number = bytes.iter().fold(1_u64, |number, &byte| number << 8 | u64::from(byte));
    let halves = [1, 2].map(|nth| mix(number.wrapping_add(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(nth))));
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&halves[0].to_le_bytes());
    seed[8..].copy_from_slice(&halves[1].to_le_bytes());
    seed
}

/// Mixes the bits of a number, by the last steps of SplitMix64.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
