//! One agent of a cluster: started, killed, held and started again with what it kept.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use hickory_proto::op::Message;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    agent::{environment, merge},
    binary,
    command::{self, Ended, Plan},
    dns,
    http::{Http, Request, Response},
    poll::{PATIENCE, eventually},
    process::Process,
};

const HTTP: u16 = 8500;
const DNS: u16 = 8600;

/// What an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A server; `founders` is its `-bootstrap-expect`, 0 for one that is to be taken in.
    Server {
        /// How many servers found the cluster.
        founders: usize,
    },
    /// A client agent.
    Client,
}

/// An agent that runs or may be started.
#[derive(Debug)]
pub struct Host {
    /// Its node name.
    pub name: String,
    /// Where it is.
    pub address: Ipv4Addr,
    role: Role,
    settings: Value,
    namespace: Option<String>,
    binary: Option<PathBuf>,
    folder: PathBuf,
    process: Option<Process>,
    /// What it printed in earlier lives.
    before: String,
    starts: usize,
}

impl Host {
    pub(super) fn new(name: &str, address: Ipv4Addr, role: Role, settings: Value, folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder can be made");
        Self {
            name: name.to_owned(),
            address,
            role,
            settings,
            namespace: None,
            binary: None,
            folder: folder.to_path_buf(),
            process: None,
            before: String::new(),
            starts: 0,
        }
    }

    /// Runs it in a network namespace.
    pub(super) fn run_in(&mut self, namespace: Option<String>) {
        self.namespace = namespace;
    }

    /// Runs this binary instead of the one under test.
    pub(super) fn run_binary(&mut self, binary: Option<PathBuf>) {
        self.binary = binary;
    }

    /// Starts it; nothing is waited for.
    pub fn start(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        self.keep_output();
        self.starts += 1;
        let output = self.folder.join(format!("output{}", self.starts));
        let mut command = self.command();
        let process = Process::spawn(&mut command, &output);
        self.process = Some(process.unwrap_or_else(|error| panic!("cannot run {}: {error}", self.name)));
    }

    fn command(&self) -> Command {
        let mut config = json!({
            "node_name": self.name, "bind_addr": self.address.to_string(), "client_addr": self.address.to_string(),
            "data_dir": self.data(),
        });
        if let Role::Server { founders } = self.role {
            merge(&mut config, json!({"server": true}));
            if founders > 0 {
                merge(&mut config, json!({ "bootstrap_expect": founders }));
            }
        }
        merge(&mut config, self.settings.clone());
        let path = self.folder.join("agent.json");
        fs::write(&path, config.to_string()).expect("a file can be written");
        let mut command = self.outside();
        command.arg("agent").arg("-config-file").arg(path);
        environment(&mut command, &self.folder);
        command
    }

    /// The binary, run where this host is.
    fn outside(&self) -> Command {
        let program = self.binary.as_deref().unwrap_or_else(|| binary::usher());
        match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        }
    }

    /// Changes what it is started with the next time; `null` takes a setting away.
    pub fn set(&mut self, settings: Value) {
        merge(&mut self.settings, settings);
    }

    /// Runs it to its end, for hosts that are expected to refuse to start.
    pub fn refused(&mut self) -> Ended {
        let plan = Plan { timeout: Some(PATIENCE), ..Plan::default() };
        let ended = command::run(&mut self.command(), &plan);
        let ended = ended.unwrap_or_else(|error| panic!("{} should have refused to start: {error}", self.name));
        assert_ne!(ended.code, 0, "an agent that could not start says so by its exit code\n{}", ended.err());
        ended
    }

    /// Whether it is a server.
    pub fn is_server(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }

    /// Whether its process is there.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Where it keeps its state.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A folder of its own, beside its state.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The processor time it has used, all threads together.
    pub fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.id());
        let stat = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // The name may hold blanks; behind it the fields are numbered from 3.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        Duration::from_secs_f64((ticks(14) + ticks(15)) as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// Ends it as a crash would (kill -9).
    pub fn kill(&mut self) {
        self.running().kill();
        self.keep_output();
    }

    /// Holds it (SIGSTOP), as a machine that hangs would.
    pub fn freeze(&mut self) {
        self.running().signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        self.running().signal(Signal::CONT);
    }

    /// Asks it to end and waits for that.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.running().signal(signal);
        self.wait()
    }

    /// Waits until it has ended on its own.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let status = self.running().wait(PATIENCE).unwrap_or_else(|| panic!("{name} still runs after {PATIENCE:?}"));
        self.keep_output();
        status
    }

    /// How it ended, if it has on its own.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.running().ended()
    }

    /// Forgets everything it kept.
    pub fn wipe(&mut self) {
        assert!(!self.is_running(), "{} still runs", self.name);
        match fs::remove_dir_all(self.data()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", self.name),
            _ => {}
        }
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    fn keep_output(&mut self) {
        if let Some(process) = self.process.take() {
            self.before.push_str(&process.output());
        }
    }

    /// Everything it has printed, in all its lives.
    pub fn log(&self) -> String {
        let now = self.process.as_ref().map(Process::output).unwrap_or_default();
        format!("{}{now}", self.before)
    }

    /// Waits until it has printed something since it was last started, and gives the line.
    pub fn printed(&self, what: &str) -> String {
        eventually(what, || {
            let output = self.process.as_ref().map(Process::output).unwrap_or_default();
            output.lines().find(|line| line.contains(what)).map(str::to_owned).ok_or("not printed")
        })
    }

    /// Its HTTP API.
    pub fn http(&self) -> Http {
        Http::Tcp(SocketAddr::from((self.address, HTTP)))
    }

    /// Where its DNS is.
    pub fn dns_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, DNS))
    }

    /// GET; `Err` when nothing answers in time.
    pub fn try_get(&self, target: &str) -> Result<Response, String> {
        let request = Request::new("GET", target).timeout(Duration::from_secs(10));
        self.http().send(&request).map_err(|error| format!("{}: GET {target}: {error}", self.name))
    }

    /// GET that must be answered 200, as JSON; `Err` otherwise.
    pub fn try_json(&self, target: &str) -> Result<Value, String> {
        let response = self.try_get(target)?;
        match response.status {
            200 => Ok(response.json()),
            status => Err(format!("{}: GET {target}: {status} {}", self.name, response.text())),
        }
    }

    /// GET as JSON; panics when it is not answered 200.
    pub fn json(&self, target: &str) -> Value {
        self.try_json(target).unwrap_or_else(|error| panic!("{error}"))
    }

    /// PUT of JSON; `Err` when it is not answered 200.
    pub fn try_put(&self, target: &str, body: &Value) -> Result<(), String> {
        let request = Request::new("PUT", target).body(body.to_string()).timeout(Duration::from_secs(20));
        match self.http().send(&request) {
            Ok(response) if response.status == 200 => Ok(()),
            Ok(response) => Err(format!("{}: PUT {target}: {} {}", self.name, response.status, response.text())),
            Err(error) => Err(format!("{}: PUT {target}: {error}", self.name)),
        }
    }

    /// PUT of JSON that must succeed.
    pub fn put(&self, target: &str, body: &Value) {
        self.try_put(target, body).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Registers a service with this agent.
    pub fn register(&self, service: &str, port: u16) {
        self.put("/v1/agent/service/register", &json!({"Name": service, "Port": port}));
    }

    /// Registers a service on a node of its own in the catalog.
    pub fn try_register_elsewhere(&self, service: &str) -> Result<(), String> {
        let body = json!({"Node": format!("node-{service}"), "Address": "10.9.9.9", "Service": {"Service": service}});
        self.try_put("/v1/catalog/register", &body)
    }

    /// Asks its DNS server; `Err` when nothing comes back in time.
    pub fn try_dns(&self, question: &str) -> Result<Message, String> {
        dns::ask_at(self.dns_address(), question, &dns::Options::default(), Duration::from_secs(3))
            .map_err(|error| format!("{}: {question}: {error:#}", self.name))
    }

    /// The records its DNS server answers with, as lines.
    pub fn answers(&self, question: &str) -> Result<Vec<String>, String> {
        let mut lines = dns::lines(&self.try_dns(question)?.answers);
        lines.sort();
        Ok(lines)
    }

    /// Runs a command that talks to this agent.
    pub fn cli(&self, words: &[&str]) -> Ended {
        let mut command = self.outside();
        environment(&mut command, &self.folder);
        command.args(words).env("CONSUL_HTTP_ADDR", format!("{}:{HTTP}", self.address));
        command::run(&mut command, &Plan::default()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same; it must succeed, and its output is given.
    pub fn cli_ok(&self, words: &[&str]) -> String {
        let ended = self.cli(words);
        assert_eq!(ended.code, 0, "{words:?} at {}: {}{}", self.name, ended.out(), ended.err());
        ended.out()
    }
}
