//! What the configuration decides about checks.

use std::{path::PathBuf, time::Duration};

/// What the configuration decides about checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of output kept of a run where a check does not say otherwise (`check_output_max_size`).
    pub output_max_size: usize,
    /// Output that changes without the status reaches the catalog at most this often (`check_update_interval`); 0: at once.
    pub update_interval: Duration,
    /// Whether output is thrown away (`discard_check_output`).
    pub discard_output: bool,
    /// The least `deregister_critical_service_after` (`check_deregister_interval_min`); never below a second.
    pub deregister_min: Duration,
    /// Certificates for checks over TLS.
    pub tls: Tls,
}

/// Certificates for checks over TLS. Where no authority is named, the system's count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// A file of authorities in PEM (`ca_file`), used with `enable_agent_tls_for_checks`.
    pub ca_file: Option<PathBuf>,
    /// A folder of such files (`ca_path`), used with `enable_agent_tls_for_checks`.
    pub ca_path: Option<PathBuf>,
    /// The agent's own certificate and key in PEM (`cert_file`, `key_file`), used with `enable_agent_tls_for_checks`.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name servers must have a certificate for where a check does not say (`server_name`), used with
    /// `enable_agent_tls_for_checks`; empty for the host that is asked.
    pub server_name: String,
}

impl Tls {
    /// Whether all of them can be used. The error names the file that cannot, and says why. Blocks.
    pub fn check(&self) -> Result<(), String> {
        if *self == Self::default() {
            return Ok(());
        }
        super::probe::tls::readable(self).map_err(|error| error.to_string())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            output_max_size: 4096,
            update_interval: Duration::from_secs(300),
            discard_output: false,
            deregister_min: Duration::from_secs(1),
            tls: Tls::default(),
        }
    }
}
