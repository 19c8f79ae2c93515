//! An agent started by a test: free ports, a folder of its own, ended when dropped, its log shown when the test fails.

use std::fmt;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use hickory_proto::op::Message;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{self, Ended, Plan};
use crate::http::{Http, Request, Response};
use crate::poll::{PATIENCE, eventually, within};
use crate::ports::Ports;
use crate::process::Process;
use crate::{binary, dns};

/// How often an agent whose ports were taken in between gets others.
const TRIES: usize = 3;
/// The name of its configuration file.
const CONFIG: &str = "agent.json";
/// How much of the log a failed test shows.
const LOG_LINES: usize = 60;

/// How an agent is to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    flags: Vec<String>,
    config: Value,
    ports: Option<Ports>,
    environment: Vec<(String, String)>,
    open_files: Option<u64>,
}

impl Builder {
    /// `agent -dev`: in memory, one node.
    pub fn dev() -> Self {
        Self::with_flags(&["-dev"])
    }

    /// A server of its own that keeps everything in a folder. Its elections are quick.
    pub fn server(data: &Path) -> Self {
        Self::with_flags(&["-server", "-bootstrap-expect=1"])
            .flag(&format!("-data-dir={}", data.display()))
            .config(json!({"performance": {"raft_multiplier": 1}}))
    }

    fn with_flags(flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self {
            flags,
            config: json!({"bind_addr": "127.0.0.1"}),
            ports: None,
            environment: Vec::new(),
            open_files: None,
        }
    }

    /// One more flag.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Further settings in the configuration file; `null` takes one away.
    #[must_use]
    pub fn config(mut self, more: Value) -> Self {
        merge(&mut self.config, more);
        self
    }

    /// These ports instead of any free ones.
    #[must_use]
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = Some(ports);
        self
    }

    /// A variable in the agent's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many files it may have open as long as it does not ask for more.
    #[must_use]
    pub fn open_files(mut self, limit: u64) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Starts the agent and does not wait for anything.
    pub fn spawn(&self) -> Agent {
        let (mut command, folder, ports) = self.command();
        let process = Process::spawn(&mut command, &folder.path().join("output"));
        let process = process.unwrap_or_else(|error| panic!("cannot run the agent: {error}"));
        Agent { process, ports, config: folder.path().join(CONFIG), folder }
    }

    fn command(&self) -> (Command, TempDir, Ports) {
        let folder = tempfile::Builder::new().prefix("usher-agent-").tempdir().expect("a folder can be made");
        let ports = self.ports.unwrap_or_else(Ports::free);
        let mut config = json!({"ports": {
            "dns": ports.dns, "http": ports.http, "serf_lan": ports.serf_lan, "serf_wan": ports.serf_wan,
            "server": ports.server, "grpc": -1,
        }});
        merge(&mut config, self.config.clone());
        let path = folder.path().join(CONFIG);
        fs::write(&path, config.to_string()).expect("a file can be written");
        let mut command = match self.open_files {
            None => Command::new(binary::usher()),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -Sn \"$0\" && exec \"$@\"", &limit.to_string()]).arg(binary::usher());
                shell
            }
        };
        command.arg("agent").args(&self.flags).arg(format!("-config-file={}", path.display()));
        environment(&mut command, folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        (command, folder, ports)
    }

    /// Starts the agent and waits until it leads and is in its own catalog.
    pub fn start(&self) -> Agent {
        for left in (0..TRIES).rev() {
            let mut agent = self.spawn();
            match within(PATIENCE, || agent.ready()) {
                Ok(()) => return agent,
                Err(NotReady::Ended(_)) if left > 0 && self.ports.is_none() && agent.lost_a_port() => {}
                Err(reason) => panic!("the agent did not become ready: {reason}"),
            }
        }
        unreachable!("the last try returns or panics")
    }

    /// Starts an agent that is expected to refuse, and gives how it ended.
    pub fn refused(&self) -> Ended {
        let (mut command, _folder, _ports) = self.command();
        let plan = Plan { timeout: Some(PATIENCE), ..Plan::default() };
        let ended = command::run(&mut command, &plan);
        let ended = ended.unwrap_or_else(|error| panic!("an agent that should have refused to start: {error}"));
        assert_ne!(ended.code, 0, "an agent that could not start says so by its exit code\n{}", ended.err());
        ended
    }
}

/// Why an agent is not ready.
#[derive(Debug)]
pub enum NotReady {
    /// It is no longer running.
    Ended(ExitStatus),
    /// Not yet.
    Waiting(&'static str),
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(status) => write!(f, "it ended: {status}"),
            Self::Waiting(what) => write!(f, "no {what}"),
        }
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    /// Where it listens.
    pub ports: Ports,
    /// Its configuration file.
    pub config: PathBuf,
    folder: TempDir,
}

impl Agent {
    /// Its HTTP API.
    pub fn http(&self) -> Http {
        Http::local(self.ports.http)
    }

    /// GET; panics when nothing answers.
    pub fn get(&self, target: &str) -> Response {
        self.http().get(target).unwrap_or_else(|error| panic!("GET {target}: {error}"))
    }

    /// PUT of JSON; panics when nothing answers.
    pub fn put(&self, target: &str, body: &Value) -> Response {
        self.http().put(target, body).unwrap_or_else(|error| panic!("PUT {target}: {error}"))
    }

    /// PUT of JSON that must succeed.
    pub fn put_ok(&self, target: &str, body: &Value) {
        let response = self.put(target, body);
        assert_eq!(response.status, 200, "PUT {target}: {}", response.text());
    }

    /// Asks its DNS server `NAME TYPE`; panics when nothing answers.
    pub fn dns(&self, question: &str) -> Message {
        dns::ask(self.ports.dns, question).unwrap_or_else(|error| panic!("{question}: {error:#}"))
    }

    /// The answer section as lines.
    pub fn answer(&self, question: &str) -> Vec<String> {
        dns::lines(&self.dns(question).answers)
    }

    /// Runs a command that talks to this agent.
    pub fn cli(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(binary::usher());
        environment(&mut command, self.folder.path());
        command.args(words).env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", self.ports.http));
        command::run(&mut command, &Plan::default()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// A folder that goes with the agent: commands run in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The node's id.
    pub fn node_id(&self) -> String {
        let agent = self.get("/v1/agent/self").json();
        agent["Config"]["NodeID"].as_str().unwrap_or_else(|| panic!("an agent has an id: {agent}")).to_owned()
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or_else(|| panic!("{path} tells the resident memory")) * 1024
    }

    /// All it has printed.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Waits until it has printed something, and gives the line.
    pub fn printed(&self, what: &str) -> String {
        eventually(what, || {
            self.output().lines().find(|line| line.contains(what)).map(str::to_owned).ok_or("not printed")
        })
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait(PATIENCE).unwrap_or_else(|| panic!("the agent still runs after {PATIENCE:?}"))
    }

    /// Ends it as a crash would (kill -9).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Whether it leads and is in its own catalog.
    pub fn ready(&mut self) -> Result<(), NotReady> {
        if let Some(status) = self.ended() {
            return Err(NotReady::Ended(status));
        }
        let get = |target: &str| {
            let request = Request::new("GET", target).timeout(Duration::from_secs(2));
            self.http().send(&request).ok().filter(|response| response.status == 200)
        };
        let leader = get("/v1/status/leader").ok_or(NotReady::Waiting("answer"))?.json();
        if leader.as_str().is_none_or(str::is_empty) {
            return Err(NotReady::Waiting("leader"));
        }
        let nodes = get("/v1/catalog/nodes").ok_or(NotReady::Waiting("answer"))?.json();
        let address = |node: &Value| node["TaggedAddresses"]["lan"].is_string();
        if nodes.as_array().is_some_and(|nodes| nodes.iter().any(address)) {
            return Ok(());
        }
        Err(NotReady::Waiting("node in its own catalog"))
    }

    /// Whether a port it was given has been taken by somebody else.
    fn lost_a_port(&self) -> bool {
        let ports = &self.ports;
        [ports.dns, ports.http, ports.serf_lan, ports.serf_wan, ports.server].iter().any(|&port| {
            UdpSocket::bind(("127.0.0.1", port)).is_err() || std::net::TcpListener::bind(("127.0.0.1", port)).is_err()
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            eprintln!("the end of the output of agent {}:\n{tail}", self.id());
        }
    }
}

/// Nothing of the tester's own settings reaches what is tested.
pub(crate) fn environment(command: &mut Command, folder: &Path) {
    command.current_dir(folder).env_clear().env("HOME", folder).env("LANG", "C.UTF-8");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
}

/// Lays one value over another; `null` takes a key away.
pub(crate) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over,
    }
}
