//! Draws calls from the bytes of a fuzzer, by the strategies of the tests.
//!
//! Each value is drawn by a generator of random numbers of its own, whose seed is a few bytes of
//! the input. So if the fuzzer changes, removes or repeats these bytes, it does so with one call,
//! and the calls after it stay as they are.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The number of bytes that one call is drawn from: 65,536 seeds are more than there are calls.
const CALL: usize = 2;
/// The number of bytes that settings are drawn from.
const SETTINGS: usize = 4;
const SEED: usize = 16;

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
        let mut calls = Vec::with_capacity(self.data.len() / CALL);
        while self.data.len() >= CALL {
            calls.push(self.draw(CALL, &strategy));
        }
        calls
    }

    fn draw<S: Strategy>(&mut self, bytes: usize, strategy: &S) -> S::Value {
        let (head, rest) = self.data.split_at(bytes.min(self.data.len()));
        self.data = rest;
        let mut seed = [1; SEED];
        seed[..head.len()].copy_from_slice(head);
        *self.runner.rng() = TestRng::from_seed(RngAlgorithm::XorShift, &seed);
        strategy.new_tree(&mut self.runner).expect("the strategies filter little").current()
    }
}
