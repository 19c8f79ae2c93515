//! A fresh agent for one case file, and what stands around it: ports, a folder, saved values, fixtures.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::bindings::Bindings;
use super::case::Case;
use super::fixture::dns_upstream::DnsUpstream;
use super::fixture::http_target::HttpTarget;
use crate::binary::is_ours;
use crate::http::{Http, Request};
use crate::poll::within;
use crate::ports::free_port;
use crate::process::Process;

/// The names of the ports that a case may use.
const PORTS: [&str; 8] = ["dns", "http", "serf_lan", "serf_wan", "server", "target", "upstream", "closed"];

/// How long an agent may take to become ready; the cases are many, so a binary that never does is given less in the
/// end.
const START: Duration = Duration::from_secs(30);
const START_AFTER_FAILURES: Duration = Duration::from_secs(4);
const MANY_FAILURES: usize = 3;
static FAILURES_TO_START: AtomicUsize = AtomicUsize::new(0);

/// How much of the log is told when an agent cannot be talked to.
const LOG_LINES: usize = 15;

/// How long the agent's own registration may follow the leader's.
const OWN_REGISTRATION: Duration = Duration::from_millis(2500);

/// Waiting in vain shortens further waits of the same file by this factor, down to the least.
const LESS_PATIENCE: f64 = 0.75;
const LEAST_PATIENCE: f64 = 0.12;

/// Why there is no agent to talk to.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It ended by itself: its exit code, and the end of what it printed.
    #[error("the agent ended at its start with {0}:\n{1}")]
    Ended(i32, String),
    /// It runs, but never became ready.
    #[error("the agent is not ready after {0:?}:\n{1}")]
    NotReady(Duration, String),
    /// What should stand around it could not be set up.
    #[error(transparent)]
    Surroundings(#[from] anyhow::Error),
}

/// An agent under test and what stands around it.
#[derive(Debug)]
pub struct World {
    /// What the names in the case mean.
    pub bindings: Bindings,
    /// The agent, if the case has one.
    pub process: Option<Process>,
    binary: PathBuf,
    base: Map<String, Value>,
    patience: f64,
    // Dropped after the process: fixtures first would make the agent's last requests fail, which nobody sees.
    _http_target: Option<HttpTarget>,
    _dns_upstream: Option<DnsUpstream>,
    folder: TempDir,
}

impl World {
    /// Sets up what the case wants and starts its agent.
    pub fn start(binary: &Path, case: &Case) -> Result<Self, StartError> {
        let mut world = Self::set_up(binary, case)?;
        if case.agent {
            world.launch(case)?;
            world.ready(case)?;
        }
        Ok(world)
    }

    fn set_up(binary: &Path, case: &Case) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("usher-case-").tempdir()?;
        let ports: HashMap<&'static str, u16> = PORTS.iter().map(|name| (*name, free_port())).collect();
        let fixtures = &case.fixtures;
        let http_target = if fixtures.http_target { Some(HttpTarget::start(ports["target"])?) } else { None };
        let dns_upstream =
            fixtures.dns_upstream.as_ref().map(|zone| DnsUpstream::start(ports["upstream"], zone)).transpose()?;
        let world = Self {
            base: base_config(&ports, &case.omit_base),
            bindings: Bindings { ports, vars: HashMap::new(), folder: folder.path().to_path_buf() },
            process: None,
            binary: binary.to_path_buf(),
            patience: 1.0,
            _http_target: http_target,
            _dns_upstream: dns_upstream,
            folder,
        };
        for (name, text) in &case.files {
            fs::write(world.folder().join(name), world.bindings.text(text))?;
        }
        world.write_config(&case.config)?;
        Ok(world)
    }

    fn launch(&mut self, case: &Case) -> anyhow::Result<()> {
        let mut command = Command::new(&self.binary);
        command.args(["agent", "-dev"]).arg(format!("-config-file={}", self.config_path().display()));
        if case.fixtures.dns_upstream.is_some() && is_ours() {
            // The recorded TTLs are the recursor's own: kept answers have them counted down, however little.
            command.args(["-hcl", "dns_config { recursor_cache_size = 0 }"]);
        }
        command.args(case.agent_args.iter().map(|flag| self.bindings.text(flag)));
        command.current_dir(self.folder()).env_clear().envs(self.environment()).env_remove(ADDR);
        let process = Process::spawn(&mut command, &self.folder().join("agent.log"));
        self.process = Some(process.with_context(|| format!("cannot run {}", self.binary.display()))?);
        Ok(())
    }

    /// Waits until the agent knows a leader and its own node is in the catalog, healthy and with its addresses.
    fn ready(&mut self, case: &Case) -> Result<(), StartError> {
        let many = FAILURES_TO_START.load(Ordering::Relaxed) >= MANY_FAILURES;
        let limit = if many { START_AFTER_FAILURES } else { START };
        let mut healthy_since = None;
        let ready = within(limit, || {
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                return Ok(Some(status));
            }
            if self.knows_leader(case.leader).unwrap_or(false) {
                if !case.leader {
                    return Ok(None);
                }
                if self.is_healthy(&case.node).unwrap_or(false) {
                    let since = *healthy_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > OWN_REGISTRATION || self.is_registered(&case.node).unwrap_or(false) {
                        return Ok(None);
                    }
                }
            }
            Err(())
        });
        let ready = match ready {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(StartError::Ended(crate::process::code(status), self.log_tail(LOG_LINES))),
            Err(()) => Err(StartError::NotReady(limit, self.log_tail(LOG_LINES))),
        };
        match &ready {
            Ok(()) => FAILURES_TO_START.store(0, Ordering::Relaxed),
            Err(_) => _ = FAILURES_TO_START.fetch_add(1, Ordering::Relaxed),
        }
        ready
    }

    fn knows_leader(&self, wanted: bool) -> Option<bool> {
        let response = self.get("/v1/status/leader")?;
        Some(response != Value::Null && (!wanted || response != ""))
    }

    fn is_healthy(&self, node: &str) -> Option<bool> {
        let checks = self.get(&format!("/v1/health/node/{node}"))?;
        let alive = |check: &Value| check["CheckID"] == "serfHealth" && check["Status"] == "passing";
        Some(checks.as_array()?.iter().any(alive))
    }

    fn is_registered(&self, node: &str) -> Option<bool> {
        let entry = self.get(&format!("/v1/catalog/node/{node}"))?;
        Some(entry["Node"]["TaggedAddresses"].as_object().is_some_and(|map| !map.is_empty()))
    }

    fn get(&self, target: &str) -> Option<Value> {
        let request = Request::new("GET", target).timeout(Duration::from_secs(2));
        let response = self.http().send(&request).ok()?;
        (response.status == 200).then(|| response.json())
    }

    /// Writes the configuration file: the base, and over it what is given.
    pub fn write_config(&self, extra: &Map<String, Value>) -> anyhow::Result<()> {
        let mut config = self.base.clone();
        merge(&mut config, self.bindings.map(extra));
        let path = self.config_path();
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&config)?)?;
        fs::rename(new, path)?;
        Ok(())
    }

    /// The agent's HTTP API.
    pub fn http(&self) -> Http {
        Http::local(self.port("http"))
    }

    /// A port by its name.
    pub fn port(&self, name: &str) -> u16 {
        self.bindings.ports.get(name).copied().unwrap_or_default()
    }

    /// The binary under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The folder of the agent and of the commands.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a command finds in its environment, and nothing else.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", self.folder().display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
            (ADDR, format!("127.0.0.1:{}", self.port("http"))),
        ]
    }

    /// The share of its usual waits that this file still gets.
    pub fn patience(&self) -> f64 {
        self.patience
    }

    /// Notes that a wait was in vain.
    pub fn in_vain(&mut self) {
        self.patience = (self.patience * LESS_PATIENCE).max(LEAST_PATIENCE);
    }

    /// Whether the agent (if there is one) still runs.
    pub fn alive(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.ended().is_none())
    }

    /// The last lines of the agent's log.
    pub fn log_tail(&self, lines: usize) -> String {
        let output = self.process.as_ref().map(Process::output).unwrap_or_default();
        let all: Vec<&str> = output.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn config_path(&self) -> PathBuf {
        self.folder().join("agent.json")
    }
}

/// The variable that tells commands where the agent is.
const ADDR: &str = "CONSUL_HTTP_ADDR";

fn base_config(ports: &HashMap<&'static str, u16>, omit: &[String]) -> Map<String, Value> {
    let mut listeners = json!({
        "dns": ports["dns"], "http": ports["http"], "serf_lan": ports["serf_lan"], "serf_wan": ports["serf_wan"],
        "server": ports["server"], "grpc": -1, "https": -1,
    });
    let mut config = Map::new();
    for (key, value) in [("node_name", "n1"), ("bind_addr", "127.0.0.1"), ("client_addr", "127.0.0.1")] {
        config.insert(key.to_owned(), value.into());
    }
    if let Some(listeners) = listeners.as_object_mut() {
        listeners.retain(|key, _| !omit.contains(key));
        if !listeners.is_empty() {
            config.insert("ports".to_owned(), Value::Object(std::mem::take(listeners)));
        }
    }
    config.retain(|key, _| !omit.contains(key));
    config
}

/// Lays one object over another: objects key by key, anything else replaced.
fn merge(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => _ = base.insert(key, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_lays_its_settings_over_the_base() {
        let ports = PORTS.iter().map(|name| (*name, 1)).collect();
        let mut config = base_config(&ports, &["client_addr".to_owned(), "grpc".to_owned()]);
        merge(&mut config, json!({"ports": {"dns": -1}, "domain": "d."}).as_object().unwrap().clone());
        let wanted = json!({
            "node_name": "n1", "bind_addr": "127.0.0.1", "domain": "d.",
            "ports": {"dns": -1, "http": 1, "serf_lan": 1, "serf_wan": 1, "server": 1, "https": -1},
        });
        assert_eq!(Value::Object(config), wanted);
    }
}
