//! From pgoutput's messages to documents.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pg2etcd::fuzz::pgoutput(input));
