//! What is written of an array's or a row's text is valid JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pg2etcd::fuzz::text(input));
