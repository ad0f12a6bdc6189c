//! What is written of a value's text is the value.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pg2etcd::fuzz::round_trip(input));
