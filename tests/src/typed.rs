//! A section of a document, typed into a shell as it stands, and what it promises compared with what is seen.
//!
//! ```text
//!   document ─► section ─► steps (a command, the lines promised) ─► Terminal ─► what was printed ─► alike?
//! ```
//!
//! Lines with four blanks are a terminal's: `$ ` begins a command, which goes on until the shell finds it whole; what
//! follows is promised to be printed, a line that ends in `…` as far as it goes, a line of `…` for all that follows.
//! Nothing promised, nothing compared, but for `dig +short`. `cat FILE` of a file that is not there shows what the reader is
//! to write into it. What does not end (an agent, a watch) has a terminal of its own; the next agent takes the place of
//! the one before. Commands that only look are repeated until the promise holds: what was done before may take its time.
//!
//! So that sections run side by side, four-digit ports from 8000 on stand for free ones, in commands and in what is printed.

use std::{
    collections::{BTreeMap, BTreeSet},
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

/// Stands at the end of what a command prints.
const END: &str = "=== typed ===";
/// Ports an agent has that documents need not name.
const PORTS: [(&str, u16); 5] =
    [("dns", 8600), ("http", 8500), ("serf_lan", 8301), ("serf_wan", 8302), ("server", 8300)];

static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[89]\d{3}\b").expect("it is a pattern"));
static FREE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[23]\d{4}\b").expect("it is a pattern"));
/// What the shell says of its own about commands in the background.
static OF_THE_SHELL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^bash: line \d+: \d+ (Terminated|Killed)\b").expect("it is a pattern"));
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
    // Behind a paragraph lines are a file's, say, until the next command.
    let mut prints = false;
    while let Some(line) = lines.next() {
        let Some(text) = line.strip_prefix("    ") else {
            prints &= line.is_empty();
            continue;
        };
        let Some(command) = text.strip_prefix("$ ") else {
            if let Some(step) = steps.last_mut().filter(|_| prints) {
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
        prints = true;
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

/// The programs these steps run that this machine does not have.
pub fn missing(steps: &[Step]) -> BTreeSet<String> {
    let first = |step: &Step| step.command.split_whitespace().next().unwrap_or_default().to_owned();
    let programs = steps.iter().map(first).filter(|program| program != "usher");
    let found = |program: &String| {
        let look = Command::new("bash").args(["-c", "type \"$1\"", "bash", program]).output();
        look.is_ok_and(|look| look.status.success())
    };
    programs.filter(|program| !found(program)).collect()
}

/// A reader at work.
#[derive(Debug)]
pub struct Terminal {
    shell: Child,
    input: ChildStdin,
    /// The agent in the foreground of another terminal.
    agent: Option<Process>,
    /// What else does not end.
    watching: Vec<Process>,
    terminals: usize,
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
        Self { shell, input, agent: None, watching: Vec::new(), terminals: 1, ports, folder }
    }

    /// Types every step and compares what is printed with the promise.
    pub fn type_all(&mut self, steps: &[Step]) {
        for step in steps {
            self.type_in(step);
        }
    }

    /// Types one step and compares what is printed with the promise.
    pub fn type_in(&mut self, step: &Step) {
        let command = self.real(&step.command);
        let promised: Vec<String> = step.promised.iter().map(|line| plain(line)).filter(|it| !it.is_empty()).collect();
        let waits = !command.trim_end().ends_with('&');
        if command.starts_with("usher agent") && waits {
            self.agent = None; // the one before was ended
            return self.agent = Some(self.another_terminal(&command, &promised));
        }
        if command.starts_with("usher watch") && waits {
            let watch = self.another_terminal(&command, &promised);
            return self.watching.push(watch);
        }
        if let Some(name) = command.strip_prefix("cat ") {
            let file = self.folder.path().join(name);
            if !file.exists() {
                return fs::write(file, step.promised.join("\n") + "\n").expect("a file can be written");
            }
        }
        let silent = promised.is_empty() && !command.contains("+short");
        let sorted = command.starts_with("dig"); // instances come in any order
        let mut start = self.enter(&command);
        let seen = within(PATIENCE, || {
            let seen = self.printed_since(start).ok_or_else(|| vec!["it has not ended".to_owned()])?;
            if silent || alike(&seen, &promised, sorted) {
                return Ok(());
            }
            if only_looks(&command) {
                start = self.enter(&command);
            }
            Err(seen)
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

    /// Types a command into the shell, and gives where its output begins.
    fn enter(&mut self, command: &str) -> usize {
        let start = self.output().len();
        // As a prompt would, `jobs` takes those that have ended off the list: their numbers are free again.
        writeln!(self.input, "{command}\njobs > /dev/null; printf '\\n%s\\n' '{END}'").expect("the shell reads");
        start
    }

    /// What was printed since then, once the command has ended; one in the background may go on printing.
    fn printed_since(&self, start: usize) -> Option<Vec<String>> {
        let output = self.output();
        let text = String::from_utf8_lossy(output.get(start..).unwrap_or_default());
        if !text.lines().any(|line| line == END) {
            return None;
        }
        let text = self.documented(&text);
        let is_output = |line: &String| !line.is_empty() && line != END && !OF_THE_SHELL.is_match(line);
        Some(text.lines().map(plain).filter(is_output).collect())
    }

    fn output(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("output")).unwrap_or_default()
    }

    /// Runs a command that does not end; what it is promised to print it prints in time.
    fn another_terminal(&mut self, command: &str, promised: &[String]) -> Process {
        self.terminals += 1;
        let mut shell = Command::new("bash");
        self.surround(&mut shell);
        shell.args(["--norc", "--noprofile", "-c", &format!("exec {command}")]);
        let output = self.folder.path().join(format!("output{}", self.terminals));
        let process = Process::spawn(&mut shell, &output).expect("bash can be run");
        let agent = command.starts_with("usher agent");
        eventually(&format!("{command} prints {promised:?}"), || {
            let printed: Vec<String> = self.documented(&process.output()).lines().map(plain).collect();
            match promised.iter().find(|line| !printed.contains(line)) {
                Some(line) => Err(format!("not {line:?} in {printed:?}")),
                None if !agent || printed.iter().any(|line| line.contains("agent running!")) => Ok(()),
                None => Err("it does not run yet".to_owned()),
            }
        });
        process
    }

    fn surround(&self, command: &mut Command) {
        environment(command, self.folder.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()));
        command.env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", self.ports[&8500]));
    }

    fn real(&mut self, text: &str) -> String {
        let text = text.replace("/var/lib/", &format!("{}/var-", self.folder.path().display()));
        let real = PORT.replace_all(&text, |found: &regex::Captures<'_>| {
            let port: u16 = found[0].parse().expect("four digits");
            self.ports.entry(port).or_insert_with(free_port).to_string()
        });
        real.into_owned()
    }

    fn documented(&self, text: &str) -> String {
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

/// Whether what was printed is what was promised.
fn alike(seen: &[String], promised: &[String], sorted: bool) -> bool {
    let (mut seen, mut promised) = (seen.to_vec(), promised.to_vec());
    if sorted {
        seen.sort();
        promised.sort();
    }
    let alike = |(seen, promised): (&String, &String)| match promised.strip_suffix('…') {
        Some(beginning) => seen.starts_with(beginning),
        None => seen == promised,
    };
    if promised.last().is_some_and(|last| last == "…") {
        promised.pop();
        seen.truncate(promised.len());
    }
    seen.len() == promised.len() && seen.iter().zip(&promised).all(alike)
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
                        echo $i\n      done\n    1\n\n    2\n\nOr:\n\n    x = 1\n## C\n    $ no\n";
        let steps = section(document, "## B");
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[0].command.as_str(), &steps[0].promised), ("echo a \\\nb", &vec!["a b".to_owned()]));
        assert_eq!(steps[1].promised, ["1", "2"]);
        Terminal::open().type_all(&steps);
    }

    #[test]
    fn a_promise_is_kept_or_not() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let table = [
            ("a\nb", "a\nb", false, true),
            ("b\na", "a\nb", false, false),
            ("b\na", "a\nb", true, true),
            ("abc", "ab…", false, true),
            ("abc", "b…", false, false),
            ("a\nb\nc", "a\n…", false, true),
            ("a\nb\nc", "b\n…", false, false),
            ("a", "", false, false),
            ("", "a", false, false),
            ("a\nb", "a", false, false),
        ];
        for (seen, promised, sorted, expected) in table {
            assert_eq!(alike(&lines(seen), &lines(promised), sorted), expected, "{seen:?} {promised:?}");
        }
    }

    #[test]
    fn a_shell_that_does_other_things_meanwhile() {
        let step = |command: &str, promised: &[&str]| Step {
            command: command.to_owned(),
            promised: promised.iter().map(|line| (*line).to_owned()).collect(),
        };
        let steps = [
            step("cat file", &["first", "second 8500"]),
            step("wc -l < file", &["2"]),
            step("(sleep 0.2; echo late) &", &["late"]),
            step("sleep 1000 &", &[]),
            step("kill $!", &[]),
            step("wait; echo 8500 9999", &["8500 9999"]),
        ];
        Terminal::open().type_all(&steps);
        assert_eq!(Vec::from_iter(missing(&[step("no-such-program -x", &[])])), ["no-such-program"]);
    }
}
