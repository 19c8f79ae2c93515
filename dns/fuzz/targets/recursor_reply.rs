//! Any bytes as the reply of a recursor.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| usher_dns::fuzzing::recursor_reply(bytes));
