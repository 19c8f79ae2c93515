//! Any bytes as what comes over TCP, in any pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| usher_dns::fuzzing::frames(bytes));
