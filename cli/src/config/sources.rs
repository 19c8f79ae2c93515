//! Where configuration comes from, and in which order it is laid one over the other.
//!
//! ```text
//!   defaults ◄ dev defaults ◄ lists by flags ◄ files, folders ◄ values by flags ◄ -hcl
//! ```
//!
//! Each source is parsed and checked alone, so that an error names its file, and then merged. A single `service` or
//! `check` of a source joins the list of all.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use usher_cluster::local::{LocalError, declared_check, declared_service, definition::ServiceDefinition};

use super::{
    ConfigError, Warning,
    flags::AgentFlags,
    hcl,
    keys::AGENT,
    schema::{Effect, SchemaError, Strictness, Unused, normalise},
};
use crate::definition::{check_from_normalised, service_from_normalised};

/// The largest configuration file that is read.
const MAX_FILE: u64 = 64 << 20;
/// Files of one folder that are read; more are an error.
const MAX_FILES: usize = 10_000;

/// The languages of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Hcl,
}

impl Format {
    fn by_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "hcl" => Some(Self::Hcl),
            _ => None,
        }
    }
}

/// Everything merged: canonical names, right types.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// The configuration.
    pub(super) value: Map<String, Value>,
    /// What is worth telling.
    pub(super) warnings: Vec<Warning>,
    /// Services and checks that cannot be registered: where they stand, and why.
    pub(super) refused: Vec<String>,
}

/// Reads and merges everything `flags` name.
pub(super) fn merge(flags: &AgentFlags) -> Result<Merged, ConfigError> {
    let format = match flags.config_format.as_deref() {
        None | Some("") => None,
        Some(name) => Some(Format::by_name(name).ok_or(ConfigError::Format)?),
    };
    let mut merged = Merged::default();
    merged.lay("the defaults", &defaults())?;
    if flags.dev {
        merged.lay("the defaults of -dev", &dev_defaults())?;
    }
    merged.lay("flags", &Value::Object(flags.lists.clone()))?;
    for path in &flags.config_files {
        merged.read(path, format)?;
    }
    merged.lay("flags", &Value::Object(flags.values.clone()))?;
    for (number, text) in flags.hcl.iter().enumerate() {
        merged.parse(&format!("-hcl number {}", number + 1), text, Format::Hcl)?;
    }
    Ok(merged)
}

/// The services that files and folders declare, in order. Whatever else stands there is checked and passed over;
/// `to_register` says whether the services must be such as an agent takes.
pub fn services(paths: &[PathBuf], to_register: bool) -> Result<(Vec<ServiceDefinition>, Vec<Warning>), ConfigError> {
    let mut merged = Merged::default();
    for path in paths {
        merged.read(path, None)?;
    }
    if to_register && !merged.refused.is_empty() {
        return Err(ConfigError::Refused(merged.refused));
    }
    let Some(Value::Array(items)) = merged.value.remove("services") else { return Ok((Vec::new(), merged.warnings)) };
    let services = items.into_iter().filter_map(|item| match item {
        Value::Object(object) => Some(service_from_normalised(object, Strictness::File)),
        _ => None,
    });
    Ok((services.collect(), merged.warnings))
}

/// Consul's defaults.
fn defaults() -> Value {
    json!({
        "autopilot": {
            "cleanup_dead_servers": true,
            "last_contact_threshold": "200ms",
            "max_trailing_logs": 250,
            "min_quorum": 0,
            "server_stabilization_time": "10s",
        },
        "bind_addr": "0.0.0.0",
        "check_deregister_interval_min": "1s",
        "check_output_max_size": 4096,
        "check_update_interval": "5m",
        "client_addr": "127.0.0.1",
        "datacenter": "dc1",
        "default_query_time": "300s",
        "dns_config": {
            "enable_additional_node_meta_txt": true,
            "recursor_timeout": "2s",
            "soa": { "expire": 86_400, "min_ttl": 0, "refresh": 3_600, "retry": 600 },
            "udp_answer_limit": 3,
        },
        "domain": "consul.",
        "limits": { "http_max_conns_per_client": 200 },
        "log_level": "INFO",
        "max_query_time": "600s",
        "performance": { "leave_drain_time": "5s", "raft_multiplier": 5, "rpc_hold_timeout": "7s" },
        "ports": {
            "dns": 8600, "dns_https": -1, "dns_quic": -1, "dns_tls": -1, "grpc": -1, "http": 8500, "https": -1,
            "serf_lan": 8301, "serf_wan": 8302, "server": 8300,
        },
        "raft_snapshot_threshold": 16_384,
        "raft_trailing_logs": 10_240,
    })
}

fn dev_defaults() -> Value {
    json!({
        "bind_addr": "127.0.0.1",
        "enable_debug": true,
        "log_level": "DEBUG",
        "performance": { "raft_multiplier": 1 },
        "server": true,
    })
}

impl Merged {
    /// A file, or the files of a folder in order of their names.
    fn read(&mut self, path: &Path, format: Option<Format>) -> Result<(), ConfigError> {
        let io = |source| ConfigError::Io { path: path.to_owned(), source };
        if !fs::metadata(path).map_err(io)?.is_dir() {
            return self.read_file(path, format);
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(path).map_err(io)? {
            files.push(entry.map_err(io)?.path());
        }
        if files.len() > MAX_FILES {
            return Err(ConfigError::TooManyFiles { path: path.to_owned(), limit: MAX_FILES });
        }
        files.sort();
        for file in files {
            // Folders within, and links to them, are passed over.
            if fs::metadata(&file).map_err(|source| ConfigError::Io { path: file.clone(), source })?.is_file() {
                self.read_file(&file, format)?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, format: Option<Format>) -> Result<(), ConfigError> {
        let by_name = path.extension().and_then(|extension| extension.to_str()).and_then(Format::by_name);
        let Some(format) = format.or(by_name) else {
            self.warnings.push(Warning(format!(
                "skipping file {}, extension must be .hcl or .json, or config format must be set",
                path.display()
            )));
            return Ok(());
        };
        let io = |source| ConfigError::Io { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(ConfigError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
        }
        let name = path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotUtf8 { source_name: name.clone() })?;
        self.parse(&name, &text, format)
    }

    fn parse(&mut self, name: &str, text: &str, format: Format) -> Result<(), ConfigError> {
        let failed = |place: Option<hcl::Position>, problem: String| {
            let place = place.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
            ConfigError::Parse { place: format!("{name}{place}"), problem }
        };
        if format == Format::Hcl {
            let parsed = hcl::parse(text).map_err(|error| failed(Some(error.at), error.problem))?;
            return self.check_and_lay(name, &Value::Object(parsed.value)).map_err(|error| {
                let place = first_path(&error).and_then(|path| parsed.positions.get(path)).copied();
                failed(place, error.to_string())
            });
        }
        // A file that says nothing is one, as in HCL.
        if text.trim().is_empty() {
            return Ok(());
        }
        let value = serde_json::from_str(text).map_err(|error| {
            let (at, problem) = hcl::json_error(&error);
            failed(Some(at), problem)
        })?;
        self.check_and_lay(name, &value).map_err(|error| failed(None, error.to_string()))
    }

    fn lay(&mut self, name: &str, value: &Value) -> Result<(), ConfigError> {
        let failed = |error: SchemaError| ConfigError::Parse { place: name.to_owned(), problem: error.to_string() };
        self.check_and_lay(name, value).map_err(failed)
    }

    fn check_and_lay(&mut self, name: &str, value: &Value) -> Result<(), SchemaError> {
        // A file that says `null` says nothing.
        if value.is_null() {
            return Ok(());
        }
        let mut normalised = normalise(value, &AGENT, Strictness::File)?;
        for (single, list) in [("service", "services"), ("check", "checks")] {
            let Some(one) = normalised.value.remove(single) else { continue };
            if let Value::Array(items) = normalised.value.entry(list).or_insert_with(|| Value::Array(Vec::new())) {
                items.push(one);
            }
        }
        self.judge(name, &normalised.value);
        AGENT.merge(&mut self.value, normalised.value);
        self.warnings.extend(normalised.unused.iter().map(|unused| Warning::unused(name, unused)));
        Ok(())
    }
}

impl Merged {
    /// Notes which definitions of a source cannot be registered. Whether scripts may run is not known before the end.
    fn judge(&mut self, source: &str, value: &Map<String, Value>) {
        for (number, item) in items(value, "services").enumerate() {
            let service = service_from_normalised(item.clone(), Strictness::File);
            if let Err(error) = declared_service(&service, true) {
                self.refused.push(refusal(source, "service", &service.name, number, &error));
            }
        }
        for (number, item) in items(value, "checks").enumerate() {
            let check = check_from_normalised(item.clone());
            if let Err(error) = declared_check(&check, true) {
                self.refused.push(refusal(source, "check", &check.name, number, &error));
            }
        }
    }
}

fn items<'a>(value: &'a Map<String, Value>, list: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
    value.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

/// Which definition, of several in a source by its place if it has no name, and why.
fn refusal(source: &str, what: &str, name: &str, number: usize, error: &LocalError) -> String {
    match name {
        "" => format!("{source}: {what} number {}: {error}", number + 1),
        name => format!("{source}: {what} \"{name}\": {error}"),
    }
}

/// The path of the first key an error names, without list positions, as the parser knows it.
fn first_path(error: &SchemaError) -> Option<&str> {
    let path = match error {
        SchemaError::UnknownKeys(paths) => paths.first()?,
        SchemaError::WrongType { path, .. } | SchemaError::Duration { path, .. } => path,
    };
    Some(path.split('[').next().unwrap_or(path))
}

impl Warning {
    fn unused(source: &str, unused: &Unused) -> Self {
        if unused.effect == Effect::ChecksOnly {
            return Self(format!(
                "{source}: {} has no effect but on checks, with enable_agent_tls_for_checks: TLS for the API and \
                 between agents is not built yet",
                unused.path
            ));
        }
        if unused.effect == Effect::Certificate {
            return Self(format!(
                "{source}: {} has no effect but on encrypted DNS and, with enable_agent_tls_for_checks, on checks: TLS \
                 for the API and between agents is not built yet",
                unused.path
            ));
        }
        let why = match unused.effect {
            Effect::Mesh => "belongs to the service mesh, which is not part of this product",
            Effect::Enterprise => "belongs to Consul Enterprise",
            Effect::NotBuilt | Effect::ChecksOnly | Effect::Certificate | Effect::Used | Effect::Moot => {
                "is not built yet"
            }
        };
        Self(format!("{source}: {} has no effect: it {why}", unused.path))
    }
}
