//! A key gives back what its template was given.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pg2etcd::fuzz::template(input));
