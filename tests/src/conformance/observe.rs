//! Makes one step and notes what came back, in the words that expectations are written in.

mod cli;
mod dns;
mod http;
mod raw;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::case::{Action, Step, View};
use super::world::World;
use crate::process::code;

/// What came back from a step.
#[derive(Debug, Default)]
pub struct Observation {
    /// The parts that an expectation may name.
    pub view: Map<String, Value>,
    /// All response headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// The body as it came.
    pub raw: Vec<u8>,
    /// How long it took.
    pub elapsed: Duration,
    /// The size of a DNS answer.
    pub size: usize,
}

impl Observation {
    /// Nothing but a failure.
    fn error(text: impl Into<String>) -> Self {
        let mut seen = Self::default();
        seen.set("error", text.into());
        seen
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.view.insert(key.to_owned(), value.into());
    }

    /// A response header, its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_lowercase()).map(String::as_str)
    }
}

/// Makes a step that talks to the agent. The others (`wait`, `sleep`, `config`) are the runner's.
pub fn observe(world: &mut World, step: &Step) -> anyhow::Result<Observation> {
    match step.action() {
        Action::Http(line) | Action::Setup(line) => http::observe(world, step, line),
        Action::Dns(question) => dns::observe(world, step, question),
        Action::Raw(hex) => raw::observe(world, step, hex),
        Action::Cli(words) => cli::observe(world, step, words),
        Action::Exit(signal) => exit(world, step, signal),
        Action::Wait(_) | Action::Sleep(_) | Action::Config(_) => anyhow::bail!("nothing to observe: {}", step.label()),
    }
}

fn exit(world: &mut World, step: &Step, signal: &str) -> anyhow::Result<Observation> {
    let process = world.process.as_mut().ok_or_else(|| anyhow::anyhow!("no agent to end"))?;
    match signal {
        "" => {}
        "INT" => process.signal(rustix::process::Signal::INT),
        "TERM" => process.signal(rustix::process::Signal::TERM),
        other => anyhow::bail!("no such signal: {other}"),
    }
    let ended = process.wait(Duration::from_secs_f64(step.timeout.unwrap_or(8.0)));
    let mut seen = Observation::default();
    seen.set("ended", ended.is_some());
    if let Some(status) = ended {
        seen.set("code", code(status));
    }
    Ok(seen)
}

/// Left out on both sides, at any depth of a JSON body: the service mesh, enterprise features, access control, and the
/// internals of one implementation.
const DROPPED_KEYS: [&str; 31] = [
    "Proxy",
    "Connect",
    "ServiceProxy",
    "ServiceConnect",
    "RawConnect",
    "Kind",
    "ServiceKind",
    "ExposedPort",
    "Expose",
    "xDS",
    "consul-virtual",
    "virtual",
    "Namespace",
    "SourceNamespace",
    "Partition",
    "PeerName",
    "EnterpriseMeta",
    "Segment",
    "segment",
    "consul-network-segment",
    "nonvoter",
    "read_replica",
    "ft_fs",
    "ft_ns",
    "RedundancyZoneTag",
    "DisableUpgradeMigration",
    "UpgradeVersionTag",
    "Token",
    "acls",
    "DebugConfig",
    "Stats",
];

fn drop_keys(value: Value) -> Value {
    match value {
        // The metadata that servers give themselves.
        Value::Object(map) if map.contains_key("raft_version") && map.contains_key("serf_protocol_current") => {
            Value::Object(Map::new())
        }
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, _)| !DROPPED_KEYS.contains(&key.as_str()))
            .map(|(key, value)| (key, drop_keys(value)))
            .collect(),
        Value::Array(list) => list.into_iter().map(drop_keys).collect(),
        other => other,
    }
}

/// The longest text that is compared as such; a longer body is compared by its hash.
const MAX_TEXT: usize = 3_000;
/// The most bytes that are compared as hex.
const MAX_HEX: usize = 512;

/// A body in the form in which it is compared.
fn body_view(seen: &mut Observation, body: &[u8], kind: &str, view: Option<View>) {
    if view == Some(View::Bytes) {
        return digest(seen, body);
    }
    if kind.contains("json")
        && view != Some(View::Exact)
        && let Ok(json) = serde_json::from_slice(body)
    {
        return seen.set("json", drop_keys(json));
    }
    match std::str::from_utf8(body) {
        Ok(text) if text.chars().count() <= MAX_TEXT && !text.contains('\0') => {
            let exact = view == Some(View::Exact);
            seen.set("text", if exact { text } else { text.trim_matches('\n') });
        }
        Err(_) if body.len() <= MAX_HEX => seen.set("hex", hex(body)),
        _ => digest(seen, body),
    }
}

fn digest(seen: &mut Observation, body: &[u8]) {
    seen.set("bytes", body.len());
    seen.set("sha256", hex(&Sha256::digest(body)));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
    anyhow::ensure!(digits.len().is_multiple_of(2), "half a byte in {text}");
    let byte = |pair: &[char]| Ok(u8::from_str_radix(&pair.iter().collect::<String>(), 16)?);
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_seen_as_json_text_hex_or_hash() {
        let form = |body: &[u8], kind: &str, view| {
            let mut seen = Observation::default();
            body_view(&mut seen, body, kind, view);
            let mut keys: Vec<String> = seen.view.keys().cloned().collect();
            keys.sort();
            keys.join(" ")
        };
        assert_eq!(form(b"[]", "application/json", None), "json");
        assert_eq!(form(b"[]", "application/json", Some(View::Exact)), "text");
        assert_eq!(form(b"[]", "application/json", Some(View::Bytes)), "bytes sha256");
        assert_eq!(form(b"[", "application/json", None), "text");
        assert_eq!(form(b"\xff", "text/plain", None), "hex");
        assert_eq!(form(&[0xff; 600], "text/plain", None), "bytes sha256");
        assert_eq!(form(&[b'a'; 4000], "text/plain", None), "bytes sha256");
    }

    #[test]
    fn what_is_not_compared_is_dropped_at_any_depth() {
        let value = json!([{"ID": "a", "Proxy": {}, "Inner": {"Namespace": "x", "b": 1}},
            {"Meta": {"raft_version": "3", "serf_protocol_current": "2"}}]);
        assert_eq!(drop_keys(value), json!([{"ID": "a", "Inner": {"b": 1}}, {"Meta": {}}]));
    }
}
