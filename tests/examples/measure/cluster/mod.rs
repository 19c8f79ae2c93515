//! Measures clusters side by side in one run:
//!
//!     cargo run --release -p usher-tests --example measure -- cluster target/release/usher [OTHER-BINARY ...]
//!
//! Settings are the defaults of each binary. What counts packets needs network namespaces (root, `ip`, `nft`) and is
//! left out where there are none. `MEASURE=part,part` measures these parts alone.

mod membership;
mod writes;

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use usher_tests::cluster::Cluster;

use crate::figures::{self, Measure};

/// The word before the binaries.
pub(crate) const PART: &str = "cluster";

const PARTS: [(&str, Measure); 7] = [
    ("leader", writes::leader_killed),
    ("host", membership::host_killed),
    ("alarms", membership::false_alarms),
    ("idle", membership::idle),
    ("registrations", writes::registrations),
    ("catch-up", writes::catch_up),
    ("change", writes::change_until_seen),
];

/// Measures every binary, part by part, and prints each figure with its ratio to the last binary's.
pub(crate) fn compare(binaries: &[String]) -> Result<()> {
    figures::compare(PART, &PARTS, binaries)
}

/// A cluster with default settings that runs this binary.
pub(crate) fn plain(cluster: Cluster, binary: &Path) -> Cluster {
    cluster.of(binary).with(json!({
        "log_level": "err", "performance": null, "retry_interval": null, "limits": {"http_max_conns_per_client": 1000},
    }))
}
