//! What etcd's gateway answers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pg2etcd::fuzz::reply(input));
