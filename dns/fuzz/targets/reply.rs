//! Any bytes as a packet to the DNS server.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/fuzzing/mod.rs"]
mod fuzzing;

use fuzzing::{memory::Counting, reply};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|bytes: &[u8]| reply::run(bytes));
