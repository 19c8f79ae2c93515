//! The suite of `serving` once more, with plain system calls for UDP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "for tests alone")]

#[path = "serving.rs"]
mod serving;
