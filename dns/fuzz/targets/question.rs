//! Questions that are good, made from any bytes.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/fuzzing/mod.rs"]
mod fuzzing;

use fuzzing::{memory::Counting, question};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|bytes: &[u8]| question::run(bytes));
