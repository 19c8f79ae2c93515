//! A case file as it stands on disk: what is started, and the steps.
//!
//! A field that this module does not know is an error, so that no part of a recording is passed over in silence.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One recorded file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// dns, http, cli, kv, ...
    pub area: String,
    /// `core` or `wide`.
    pub tier: String,
    /// Settings laid over the base configuration.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Further flags of the agent.
    #[serde(default)]
    pub agent_args: Vec<String>,
    /// Files in the agent's folder: name to text.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The node's name.
    #[serde(default = "Case::node")]
    pub node: String,
    /// Base settings that are left out.
    #[serde(default)]
    pub omit_base: Vec<String>,
    /// Whether an agent is started.
    #[serde(default = "yes")]
    pub agent: bool,
    /// Whether that agent will know a leader.
    #[serde(default = "yes")]
    pub leader: bool,
    /// What stands around the agent.
    #[serde(default)]
    pub fixtures: Fixtures,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// Small servers that a case's agent may ask.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixtures {
    /// An HTTP server for health checks, on `${target}`.
    #[serde(default)]
    pub http_target: bool,
    /// A DNS server on `${upstream}`: `name TYPE` to record data.
    pub dns_upstream: Option<BTreeMap<String, Vec<String>>>,
}

/// One step. Exactly one of the first nine fields is there and says what is done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    http: Option<String>,
    dns: Option<String>,
    raw: Option<String>,
    cli: Option<Vec<Value>>,
    exit: Option<String>,
    setup: Option<String>,
    wait: Option<Box<Step>>,
    sleep: Option<f64>,
    // In a step `config` is an action; the file's own `config` is what the agent starts with.
    config: Option<Value>,

    /// The behaviour in words.
    #[serde(default)]
    pub note: String,
    /// What the reference answered.
    pub expect: Option<Map<String, Value>>,
    /// For `wait`: what the answer must look like.
    #[serde(default)]
    pub until: Map<String, Value>,
    /// For `wait`: seconds between two looks.
    pub every: Option<f64>,
    /// Seconds the peer may be silent.
    pub timeout: Option<f64>,

    /// The request's body: JSON, or text sent as it is.
    #[serde(default, deserialize_with = "present")]
    pub body: Option<Value>,
    /// The body as bytes.
    pub body_hex: Option<String>,
    /// The body as a text repeated to a length.
    pub body_repeat: Option<(String, usize)>,
    /// The body as it was saved.
    pub body_from: Option<String>,
    /// The body is sent in chunks.
    #[serde(default)]
    pub chunked: bool,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Response headers compared besides the usual ones.
    #[serde(default)]
    pub want_headers: Vec<String>,
    /// For `setup`: so many times, `${i}` counting up.
    pub times: Option<u32>,
    /// Requests sent while this one waits.
    #[serde(default)]
    pub during: Vec<During>,

    /// What a DNS question carries.
    #[serde(default)]
    pub opts: Opts,
    /// Ask the DNS question so many times.
    pub repeat: Option<u32>,
    /// The records are some of many.
    pub pick: Option<Value>,
    /// The most bytes a DNS answer may have.
    pub max_size: Option<usize>,

    /// For `raw`: over TCP.
    #[serde(default)]
    pub tcp: bool,
    /// For `raw`: the packet so many times on one connection.
    pub pipeline: Option<u16>,
    /// For `raw`: byte by byte.
    #[serde(default)]
    pub split: bool,

    /// For a command: its standard input.
    #[serde(default)]
    pub stdin: String,
    /// For a command: files written before (`null` removes one).
    #[serde(default)]
    pub files: BTreeMap<String, Value>,
    /// For a command: its environment (`null` removes a variable).
    #[serde(default)]
    pub env: BTreeMap<String, Option<String>>,
    /// For a command: interrupted after so many seconds.
    pub signal_after: Option<f64>,

    /// Values kept for later steps.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    /// Seconds the step may take, least and most.
    pub elapsed: Option<(f64, f64)>,
    /// X-Consul-Index against a saved one: `> i`.
    pub index: Option<String>,
    /// Lists are compared in order.
    pub ordered: Option<bool>,
    /// No further keys at the top of the body.
    #[serde(default)]
    pub exact: bool,
    /// Output lines in any order.
    #[serde(default)]
    pub unordered: bool,
    /// Only these parts are compared.
    pub only: Option<Vec<String>>,
    /// How the body is looked at: `json`, `exact` or `bytes`.
    #[serde(rename = "as")]
    pub view: Option<View>,
    /// Whether a read that differs is looked at again after a change.
    pub retry: Option<bool>,

    // For the recorder only.
    #[serde(rename = "mask")]
    _mask: Option<Value>,
    #[serde(rename = "drop")]
    _drop: Option<Value>,
    #[serde(rename = "has")]
    _has: Option<Value>,
}

/// How a body or an output is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Length and hash.
    Bytes,
    /// As it stands, blanks and all.
    Exact,
    /// A command's output as JSON.
    Json,
}

/// A request sent while a step waits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct During {
    /// Seconds after the step's start.
    #[serde(default = "During::after")]
    pub after: f64,
    /// Method and path.
    pub http: String,
    /// Its body.
    #[serde(default, deserialize_with = "present")]
    pub body: Option<Value>,
}

/// What a DNS question carries.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opts {
    /// The size of EDNS.
    pub edns: Option<u16>,
    /// Over TCP.
    #[serde(default)]
    pub tcp: bool,
    /// DO.
    #[serde(default)]
    pub dnssec: bool,
    /// Client subnet.
    pub ecs: Option<String>,
    /// RD, set unless told otherwise.
    pub rd: Option<bool>,
    /// CD.
    #[serde(default)]
    pub cd: bool,
    /// AD.
    #[serde(default)]
    pub ad: bool,
}

/// What a step does.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// A command line.
    Cli(&'a [Value]),
    /// The configuration file is written anew.
    Config(&'a Value),
    /// A DNS question.
    Dns(&'a str),
    /// A signal to the agent (or none), and its end.
    Exit(&'a str),
    /// An HTTP request.
    Http(&'a str),
    /// A DNS packet in hex.
    Raw(&'a str),
    /// An HTTP request that only prepares.
    Setup(&'a str),
    /// Time passes.
    Sleep(f64),
    /// Another step, again and again until it answers as wanted.
    Wait(&'a Step),
}

impl Case {
    /// Reads the file of that name in the folder of cases.
    pub fn load(name: &str) -> anyhow::Result<Self> {
        let path = super::folder().join("cases").join(name).with_extension("json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let case: Self = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        for (number, step) in case.steps.iter().enumerate() {
            step.check().with_context(|| format!("{} step {number}", path.display()))?;
        }
        Ok(case)
    }

    /// Has the agent keep to Consul's letter, in this file's own settings and those it changes to.
    pub fn keep_to_consul(&mut self) {
        keep_to_consul(&mut self.config);
        for step in &mut self.steps {
            if let Some(Value::Object(config)) = &mut step.config {
                keep_to_consul(config);
            }
        }
    }

    fn node() -> String {
        "n1".to_owned()
    }
}

fn keep_to_consul(config: &mut Map<String, Value>) {
    let dns = config.entry("dns_config").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(dns) = dns {
        dns.insert("compat".to_owned(), "consul".into());
    }
}

impl During {
    fn after() -> f64 {
        0.4
    }
}

impl Step {
    /// What it does.
    pub fn action(&self) -> Action<'_> {
        self.actions().next().expect("a step that was loaded does something")
    }

    fn actions(&self) -> impl Iterator<Item = Action<'_>> {
        [
            self.http.as_deref().map(Action::Http),
            self.dns.as_deref().map(Action::Dns),
            self.raw.as_deref().map(Action::Raw),
            self.cli.as_deref().map(Action::Cli),
            self.exit.as_deref().map(Action::Exit),
            self.setup.as_deref().map(Action::Setup),
            self.wait.as_deref().map(Action::Wait),
            self.sleep.map(Action::Sleep),
            self.config.as_ref().map(Action::Config),
        ]
        .into_iter()
        .flatten()
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.actions().count() == 1, "a step does one thing");
        match self.action() {
            Action::Wait(inner) => inner.check(),
            _ => Ok(()),
        }
    }

    /// Whether it is one of those that pass or fail; the others prepare.
    pub fn counted(&self) -> bool {
        matches!(self.action(), Action::Http(_) | Action::Dns(_) | Action::Raw(_) | Action::Cli(_) | Action::Exit(_))
    }

    /// Its action in a few words.
    pub fn label(&self) -> String {
        match self.action() {
            Action::Http(line) => format!("HTTP {}", cut(line)),
            Action::Setup(line) => format!("SETUP {}", cut(line)),
            Action::Dns(question) => format!("DNS {}{}", cut(question), self.opts.label()),
            Action::Raw(hex) => format!("RAW {}", cut(hex)),
            Action::Cli(words) => format!("CLI {}", cut(&command_line(words))),
            Action::Exit(signal) => format!("EXIT {signal}"),
            Action::Wait(inner) => format!("WAIT {}", inner.label()),
            Action::Sleep(seconds) => format!("SLEEP {seconds}"),
            Action::Config(config) => format!("CONFIG {}", cut(&config.to_string())),
        }
    }

    /// Whether it only looks, so that looking again is harmless.
    pub fn is_read(&self) -> bool {
        if !self.during.is_empty() || self.elapsed.is_some() || self.retry == Some(false) {
            return false;
        }
        match self.action() {
            Action::Dns(_) => true,
            Action::Http(line) => (line.starts_with("GET ") || line.starts_with("HEAD ")) && !line.contains("index="),
            Action::Cli(words) => {
                let line = command_line(words);
                READING_COMMANDS.iter().any(|command| line.starts_with(command))
            }
            _ => false,
        }
    }

    /// Seconds that reads may lag behind it.
    pub fn lag(&self) -> f64 {
        match self.action() {
            Action::Http(line) | Action::Setup(line) => match line.split_once(' ') {
                Some(("PUT" | "POST" | "DELETE", path)) if path.starts_with("/v1/agent") => 4.0,
                Some(("PUT" | "POST" | "DELETE", _)) => 1.5,
                _ => 0.0,
            },
            Action::Cli(_) if !self.is_read() => 4.0,
            Action::Config(_) | Action::Sleep(_) | Action::Wait(_) => 2.0,
            _ => 0.0,
        }
    }
}

/// Commands that change nothing.
const READING_COMMANDS: [&str; 6] = ["members", "catalog", "info", "kv get", "version", "operator raft"];

impl Opts {
    fn label(&self) -> String {
        let mut words = String::new();
        if let Some(size) = self.edns {
            words.push_str(&format!(" edns {size}"));
        }
        for (set, word) in [(self.tcp, " tcp"), (self.dnssec, " dnssec"), (self.cd, " cd"), (self.ad, " ad")] {
            if set {
                words.push_str(word);
            }
        }
        if let Some(subnet) = &self.ecs {
            words.push_str(&format!(" ecs {subnet}"));
        }
        words
    }
}

/// The words of a command behind one another.
pub fn command_line(words: &[Value]) -> String {
    let words: Vec<String> = words.iter().map(super::text::plain).collect();
    words.join(" ")
}

fn cut(text: &str) -> String {
    super::text::shorten(text, 90)
}

fn yes() -> bool {
    true
}

/// Tells a field that is `null` from one that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
