//! Black-box suites that drive the built binary: this library is what they share.
//!
//! It may know the binary's outside only: its flags, ports, files, HTTP API and DNS answers. It links none of the
//! product's crates, so that nothing can pass here which a user could not see.
//!
//! The way of a test: [`binary::usher`] builds the binary once, [`agent::Builder`] starts it on free ports in a
//! folder of its own, [`http::Http`] and [`dns`] talk to it, [`poll::eventually`] waits for what is to become true,
//! and dropping the [`agent::Agent`] ends it. [`conformance`] replays the recorded cases. [`cluster`] starts many agents,
//! each on an address of its own.
//!
//! Helpers panic when the surroundings fail them (no free port, no temporary folder): here a panic is a failed test.

pub mod agent;
pub mod backends;
pub mod binary;
pub mod cluster;
pub mod command;
pub mod conformance;
pub mod dns;
pub mod front;
pub mod http;
pub mod poll;
pub mod ports;
pub mod process;
pub mod seed;
pub mod tree;
pub mod typed;

use std::path::{Path, PathBuf};

/// The folder of the workspace, where `Cargo.toml`, `testdata` and the documents are.
pub fn workspace() -> PathBuf {
    // What cargo says now comes first: a build folder that is shared or moved holds tests that were built elsewhere.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().expect("this crate lies in the workspace").to_path_buf()
}
