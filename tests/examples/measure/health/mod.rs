//! Measures checks side by side in one run:
//!
//!     cargo run --release -p usher-tests --example measure -- health target/release/usher [OTHER-BINARY ...]
//!
//! Backends and clients are part of this program, whose processor time is not counted. `MEASURE=part,part` measures these
//! parts alone.

mod checks;
mod death;
mod load;

use anyhow::Result;

use crate::figures::{self, Measure};

/// The word before the binaries.
pub(crate) const PART: &str = "health";

const PARTS: [(&str, Measure); 4] = [
    ("checks", checks::durable),
    ("checks-dev", checks::in_memory),
    ("death", death::backends),
    ("report", death::reports),
];

/// Measures every binary, part by part, and prints each figure with its ratio to the last binary's.
pub(crate) fn compare(binaries: &[String]) -> Result<()> {
    figures::compare(PART, &PARTS, binaries)
}
