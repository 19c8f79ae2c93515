//! A section of a document, typed into a shell as it stands, and what it promises compared with what is seen.
//!
//! ```text
//!   document ─► section ─► steps (a command, the lines promised) ─► Terminal ─► what was printed ─► alike?
//! ```
//!
//! Lines with four blanks are a terminal's: `$ ` begins a command, which goes on until the shell finds it whole; what
//! follows is promised to be printed. Nothing promised, nothing compared. `cat FILE` of a file that is not there shows
//! what the reader is to write into it. An agent in the foreground has a terminal of its own, and the next one takes its
//! place. Commands that only look are repeated until the promise holds: what was done before may take its time.
//!
//! So that sections run side by side, four-digit ports from 8000 on stand for free ones, in commands and in what is printed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    agent::environment,
    binary,
    poll::{PATIENCE, eventually, within},
    ports::free_port,
    process::{Process, isolate, kill_group},
};

/// What every section may use.
const PROGRAMS: [&str; 3] = ["bash", "curl", "dig"];
/// Stands at the end of what a command prints.
const END: &str = "=== typed ===";
/// Ports an agent has that documents need not name.
const PORTS: [(&str, u16); 5] =
    [("dns", 8600), ("http", 8500), ("serf_lan", 8301), ("serf_wan", 8302), ("server", 8300)];

static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[89]\d{3}\b").expect("it is a pattern"));
static FREE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[23]\d{4}\b").expect("it is a pattern"));
static CHANGING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("it is a pattern"));

/// One command and what it is promised to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The command, of one or several lines.
    pub command: String,
    /// The lines it prints.
    pub promised: Vec<String>,
}

/// The steps of the section under this heading.
pub fn section(document: &str, heading: &str) -> Vec<Step> {
    let mut lines =
        document.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let mut steps: Vec<Step> = Vec::new();
    while let Some(line) = lines.next() {
        let Some(text) = line.strip_prefix("    ") else { continue };
        let Some(command) = text.strip_prefix("$ ") else {
            if let Some(step) = steps.last_mut() {
                step.promised.push(text.to_owned());
            }
            continue;
        };
        let mut command = command.to_owned();
        while !is_whole(&command) {
            let next = lines.next().unwrap_or_else(|| panic!("this command never ends: {command}"));
            command = format!("{command}\n{}", next.trim_start());
        }
        steps.push(Step { command, promised: Vec::new() });
    }
    assert!(!steps.is_empty(), "there is a section {heading} with commands");
    steps
}

/// Whether the shell would wait for more.
fn is_whole(command: &str) -> bool {
    if command.trim_end().ends_with('\\') {
        return false;
    }
    let judged = Command::new("bash").args(["-n", "-c", command]).output().expect("bash can be run");
    !String::from_utf8_lossy(&judged.stderr).contains("unexpected end of file")
}

/// What this machine lacks to type anything.
pub fn missing() -> Vec<&'static str> {
    let lacks = |program: &&str| Command::new(program).arg("--version").output().is_err();
    // dig knows no such flag, but says so.
    PROGRAMS.into_iter().filter(lacks).collect()
}

/// A reader at work.
#[derive(Debug)]
pub struct Terminal {
    shell: Child,
    input: ChildStdin,
    /// The agent in the foreground of another terminal.
    agent: Option<Process>,
    agents: usize,
    /// Ports of the document and those that stand for them.
    ports: BTreeMap<u16, u16>,
    folder: TempDir,
}

impl Terminal {
    /// A shell in a folder of its own, with `usher` in its path.
    pub fn open() -> Self {
        let folder = tempfile::Builder::new().prefix("usher-typed-").tempdir().expect("a folder can be made");
        let ports: BTreeMap<u16, u16> = PORTS.iter().map(|(_, port)| (*port, free_port())).collect();
        let settings: serde_json::Map<String, serde_json::Value> =
            PORTS.iter().map(|(name, port)| ((*name).to_owned(), json!(ports[port]))).collect();
        let config = folder.path().join("ports.json");
        fs::write(&config, json!({"node_name": "vm", "ports": settings}).to_string()).expect("a file can be written");
        // curl waits no longer than a test would.
        fs::write(folder.path().join(".curlrc"), "max-time = 20\n").expect("a file can be written");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a folder can be made");
        write_wrapper(&bin.join("usher"), &config);
        let output = File::create(folder.path().join("output")).expect("a file can be made");
        let mut command = Command::new("bash");
        environment(&mut command, folder.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", bin.display()));
        command.env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", ports[&8500]));
        let errors = output.try_clone().expect("a file can be shared");
        command.args(["--norc", "--noprofile"]).stdin(Stdio::piped()).stdout(output).stderr(errors);
        let mut shell = isolate(&mut command).spawn().expect("bash can be run");
        let input = shell.stdin.take().expect("its input is a pipe");
        Self { shell, input, agent: None, agents: 0, ports, folder }
    }

    /// Types every step and compares what is printed with the promise.
    pub fn type_all(&mut self, steps: &[Step]) {
        for step in steps {
            self.type_in(step);
        }
    }

    fn type_in(&mut self, step: &Step) {
        let command = self.to_real(&step.command);
        let promised: Vec<String> = step.promised.iter().map(|line| plain(line)).filter(|it| !it.is_empty()).collect();
        if command.starts_with("usher agent") && !command.trim_end().ends_with('&') {
            return self.foreground(&command, &promised);
        }
        if let Some(name) = command.strip_prefix("cat ") {
            let file = self.folder.path().join(name);
            if !file.exists() {
                return fs::write(file, step.promised.join("\n") + "\n").expect("a file can be written");
            }
        }
        let looks = only_looks(&command);
        let patience = if looks { PATIENCE } else { std::time::Duration::ZERO };
        let seen = within(patience, || {
            let mut seen: Vec<String> = self.run(&command).lines().map(plain).filter(|it| !it.is_empty()).collect();
            let mut promised = promised.clone();
            if command.starts_with("dig") {
                // Instances come in any order.
                seen.sort();
                promised.sort();
            }
            if promised.is_empty() || seen == promised { Ok(()) } else { Err(seen) }
        });
        if let Err(seen) = seen {
            panic!(
                "$ {}\nis promised to print\n{}\nbut printed\n{}",
                step.command,
                promised.join("\n"),
                seen.join("\n")
            );
        }
    }

    /// Runs a command in the shell, and gives what it printed.
    fn run(&mut self, command: &str) -> String {
        let path = self.folder.path().join("output");
        let before = fs::metadata(&path).map_or(0, |file| file.len());
        writeln!(self.input, "{command}\nprintf '\\n%s\\n' '{END}'").expect("the shell reads");
        let text = eventually(command, || {
            let all = fs::read(&path).unwrap_or_default();
            let printed = all.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
            let printed = String::from_utf8_lossy(printed).into_owned();
            printed.strip_suffix(&format!("\n{END}\n")).map(str::to_owned).ok_or(printed)
        });
        self.to_documented(&text)
    }

    /// An agent in a terminal of its own: what it is promised to print it prints in time.
    fn foreground(&mut self, command: &str, promised: &[String]) {
        self.agent = None; // the one before was ended
        self.agents += 1;
        let mut shell = Command::new("bash");
        environment(&mut shell, self.folder.path());
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()));
        shell.args(["--norc", "--noprofile", "-c", &format!("exec {command}")]);
        let output = self.folder.path().join(format!("agent{}", self.agents));
        let process = Process::spawn(&mut shell, &output).expect("an agent can be started");
        eventually(&format!("{command} prints {promised:?}"), || {
            let printed = self.to_documented(&process.output());
            let printed: Vec<String> = printed.lines().map(plain).collect();
            let lacks = promised.iter().find(|line| !printed.contains(line));
            match lacks {
                Some(line) => Err(format!("not {line:?} in {printed:?}")),
                None if printed.iter().any(|line| line.contains("agent running!")) => Ok(()),
                None => Err("it does not run yet".to_owned()),
            }
        });
        self.agent = Some(process);
    }

    fn to_real(&mut self, text: &str) -> String {
        let text = text.replace("/var/lib/", &format!("{}/var-", self.folder.path().display()));
        let real = PORT.replace_all(&text, |found: &regex::Captures<'_>| {
            let port: u16 = found[0].parse().expect("four digits");
            self.ports.entry(port).or_insert_with(free_port).to_string()
        });
        real.into_owned()
    }

    fn to_documented(&self, text: &str) -> String {
        let documented = FREE.replace_all(text, |found: &regex::Captures<'_>| {
            let port: u16 = found[0].parse().unwrap_or(0);
            let known = self.ports.iter().find(|(_, real)| **real == port);
            known.map_or_else(|| found[0].to_owned(), |(port, _)| port.to_string())
        });
        documented.into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        kill_group(&self.shell);
        let _ = self.shell.wait();
    }
}

/// The binary under test; its agents get ports that are free.
fn write_wrapper(path: &Path, config: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let binary: PathBuf = binary::usher().to_path_buf();
    let (binary, config) = (binary.display(), config.display());
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = agent ]; then\n  exec '{binary}' \"$@\" -config-file='{config}'\nfi\nexec '{binary}' \"$@\"\n"
    );
    fs::write(path, text).expect("a file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a file can be made a program");
}

/// Whether a command changes nothing and may be repeated.
fn only_looks(command: &str) -> bool {
    let changing_curl = command.contains("-X ") || command.contains("--request") || command.contains(" -d ");
    let looking = ["dig ", "usher members", "usher catalog", "usher operator raft list-peers", "usher maint"];
    (command.starts_with("curl ") && !changing_curl)
        || (looking.iter().any(|start| command.starts_with(start))
            && !command.contains("-enable")
            && !command.contains("-disable"))
}

/// A line without what is different each time, blanks in a row as one.
fn plain(line: &str) -> String {
    let line = CHANGING.replace_all(line, "<id>");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_its_steps_and_no_other() {
        let document = "## A\n\n    $ no\n\n## B\n\nWords.\n\n    $ echo a \\\n           b\n    a b\n\nMore:\n\n    $ for i in 1 2; do\n        \
                        echo $i\n      done\n    1\n    2\n## C\n    $ no\n";
        let steps = section(document, "## B");
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[0].command.as_str(), &steps[0].promised), ("echo a \\\nb", &vec!["a b".to_owned()]));
        assert_eq!(steps[1].promised, ["1", "2"]);
        if missing().is_empty() {
            Terminal::open().type_all(&steps);
        }
    }

    #[test]
    fn a_broken_promise_is_told() {
        if !missing().is_empty() {
            return;
        }
        let step = Step { command: "echo 8500".to_owned(), promised: vec!["8500".to_owned()] };
        Terminal::open().type_in(&step);
        let step = Step { command: "echo one".to_owned(), promised: vec!["two".to_owned()] };
        let told = std::panic::catch_unwind(|| Terminal::open().type_in(&step));
        assert!(told.is_err());
    }
}
