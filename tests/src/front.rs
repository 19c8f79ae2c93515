//! A program that stands before Usher's DNS (a resolver, a forwarder, a balancer): found on this machine, started in the
//! foreground with its configuration in a folder of its own, waited for, ended with the test.
//!
//! Where a program is not installed, [`program`] says so and its tests pass without it; [`USHER_NEED_RESOLVERS`] makes
//! that a failure, as CI does. Knows no program by name: what each wants to read is the suites' business.

use std::{
    env,
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    thread,
    time::Duration,
};

use hickory_proto::op::Message;
use rand::RngExt as _;
use tempfile::TempDir;

use crate::{
    agent::environment,
    dns::{self, Options},
    poll::{PATIENCE, within},
    ports::free_port,
    process::Process,
};

/// The variable under which a program that is missing is a failure.
pub const USHER_NEED_RESOLVERS: &str = "USHER_NEED_RESOLVERS";

/// Where servers are installed, though not everybody looks for programs there.
const SERVERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/lib/systemd"];
/// How often a program whose port was taken in between gets another.
const TRIES: usize = 3;
/// How much of its output a failed test shows.
const OUTPUT_LINES: usize = 60;
/// How long one look at whether it answers may take.
const LOOK: Duration = Duration::from_millis(500);
/// A question that any DNS server answers somehow, without asking another.
const ANY_QUESTION: &str = "version.bind TXT CH";

/// Where the program of that name is, or `None`, after saying so, where it is not installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SERVERS.map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        missing(&format!("{name} is not installed"));
    }
    found
}

/// Says that a test is left out, or fails where none may be.
pub fn missing(reason: &str) {
    assert!(env::var_os(USHER_NEED_RESOLVERS).is_none(), "{USHER_NEED_RESOLVERS} is set, but {reason}");
    eprintln!("skipped: {reason}");
}

/// An address of loopback beside 127.0.0.1 where that port can be listened on; or `None`, after saying so, where it
/// cannot be on any. A delegation names addresses alone: all servers below it have the same port, most often 53.
pub fn address_with(port: u16) -> Option<Ipv4Addr> {
    let mut reason = String::new();
    for _ in 0..TRIES * 10 {
        let address = Ipv4Addr::new(127, rand::rng().random_range(64..250), rand::rng().random_range(1..250), 1);
        match UdpSocket::bind((address, port)).and_then(|_| TcpListener::bind((address, port))) {
            Ok(_) => return Some(address),
            Err(error) => reason = error.to_string(),
        }
    }
    missing(&format!("port {port} cannot be listened on, on any address of loopback that was tried: {reason}"));
    None
}

/// What a program gets to arrange itself in.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// A folder for its files.
    pub folder: &'p Path,
    /// Where it is to listen.
    pub address: SocketAddr,
}

impl Place<'_> {
    /// The port to listen on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The path of a file in the folder, as its configuration names it.
    pub fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    /// Writes a file into the folder and gives its path.
    pub fn write(&self, file: &str, text: &str) -> String {
        std::fs::write(self.folder.join(file), text).expect("a file can be written");
        self.path(file)
    }
}

/// Whether a DNS server answers there, whatever it says.
pub fn answers(place: &Place<'_>) -> bool {
    dns::ask_at(place.address, ANY_QUESTION, &Options::default(), LOOK).is_ok()
}

/// A running program.
#[derive(Debug)]
pub struct Front {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    name: String,
}

impl Front {
    /// Starts a DNS server on a free port of 127.0.0.1 and waits until it answers. `arrange` writes its files and gives
    /// its arguments.
    pub fn start(program: &Path, arrange: impl Fn(&Place<'_>) -> Vec<String>) -> Self {
        Self::start_until(program, arrange, answers)
    }

    /// Starts any program on a free port of 127.0.0.1 and waits until it is `ready`.
    pub fn start_until(
        program: &Path,
        arrange: impl Fn(&Place<'_>) -> Vec<String>,
        ready: impl Fn(&Place<'_>) -> bool,
    ) -> Self {
        for left in (0..TRIES).rev() {
            let address = (Ipv4Addr::LOCALHOST, free_port()).into();
            match Self::try_start(program, address, &arrange, &ready) {
                Ok(front) => return front,
                Err(_) if left > 0 && taken(address) => {}
                Err(reason) => panic!("{reason}"),
            }
        }
        unreachable!("the last try returns or panics")
    }

    fn try_start(
        program: &Path,
        address: SocketAddr,
        arrange: &impl Fn(&Place<'_>) -> Vec<String>,
        ready: &impl Fn(&Place<'_>) -> bool,
    ) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("usher-front-").tempdir().expect("a folder can be made");
        let name = program.file_name().map_or_else(OsString::new, OsString::from).to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.args(arrange(&Place { folder: folder.path(), address }));
        environment(&mut command, folder.path());
        let process = Process::spawn(&mut command, &folder.path().join("output"));
        let process = process.map_err(|error| format!("cannot run {name}: {error}"))?;
        let mut front = Self { process, address, folder, name };
        let waited = within(PATIENCE, || match front.ended() {
            Some(status) => Ok(Err(format!("{} ended: {status}", front.name))),
            None if ready(&front.place()) => Ok(Ok(())),
            None => Err(()),
        });
        match waited {
            Ok(Ok(())) => Ok(front),
            Ok(Err(reason)) => Err(format!("{reason}\n{}", front.tail())),
            Err(()) => Err(format!("{} is not ready within {PATIENCE:?}\n{}", front.name, front.tail())),
        }
    }

    /// Its folder and address.
    pub fn place(&self) -> Place<'_> {
        Place { folder: self.folder.path(), address: self.address }
    }

    /// Asks it `NAME TYPE`; panics when nothing answers.
    pub fn ask(&self, question: &str) -> Message {
        self.ask_with(question, &Options::default())
    }

    /// Asks it with options; panics when nothing answers.
    pub fn ask_with(&self, question: &str, options: &Options) -> Message {
        let answer = dns::ask_at(self.address, question, options, PATIENCE);
        answer.unwrap_or_else(|error| panic!("{} does not answer {question}: {error:#}", self.name))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    fn tail(&self) -> String {
        let output = self.process.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the end of the output of {}:\n{}", self.name, self.tail());
        }
    }
}

/// Whether somebody listens there.
fn taken(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_err() || TcpListener::bind(address).is_err()
}
