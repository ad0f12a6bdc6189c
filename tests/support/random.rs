//! Random numbers that a failure can be repeated with.

use std::time::{SystemTime, UNIX_EPOCH};

/// Splitmix64.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Takes the seed from `PG2ETCD_TEST_SEED`, else from the clock, and prints it: a failed test shows it.
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("PG2ETCD_TEST_SEED") {
            Ok(seed) => seed.parse().expect("PG2ETCD_TEST_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64,
        };
        println!("PG2ETCD_TEST_SEED={seed}");
        Self(seed)
    }

    /// Another generator, for another thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
