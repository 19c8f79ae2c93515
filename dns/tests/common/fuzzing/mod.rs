//! What is done with bytes that were made up: by libFuzzer (`dns/fuzz`), and again with those kept in `testdata/fuzz` by
//! every `cargo test`.
//!
//! A target takes bytes, any, and panics if something that must always hold does not. Nothing here knows of libFuzzer.

#![allow(
    dead_code,
    unreachable_pub,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "for tests alone; an allocator that counts"
)]

pub mod catalog;
pub mod memory;
pub mod question;
pub mod reply;
