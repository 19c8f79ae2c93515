//! Leases: a service is answered while its program shows signs of life, of itself or by `-exec`.

use std::{fs, os::unix::process::ExitStatusExt as _, path::PathBuf, process::Command};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use usher_tests::{
    agent::{Agent, Builder},
    backends::script::is_running,
    binary::{is_ours, usher},
    poll::{PATIENCE, eventually},
    ports::Ports,
    process::Process,
};

use crate::checks::{answered, is_gone, not_answered};

/// A shell's program that tells of the signals it gets and goes on, until it is told to end.
const TELLING: &str = r#"for s in HUP INT TERM USR1 USR2; do trap "echo got $s" $s; done
echo $$ > "$1/pid"
while [ ! -e "$1/end" ]; do sleep 0.05; done
exit 7"#;

/// `usher services register … -exec …`, running.
struct Exec {
    process: Process,
    folder: TempDir,
}

impl Exec {
    /// Runs this text of a shell for the service `web`; `$1` is a folder of its own.
    fn start(agent: &Agent, lease: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        let words = ["-name=web", "-port=80", &format!("-lease={lease}"), "-exec", "sh", "-c", text, "sh", &at];
        let process = Process::spawn(&mut register(agent, &words), &folder.path().join("output")).unwrap();
        Self { process, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The process id of the program.
    fn program(&self) -> u32 {
        eventually("the program runs", || {
            fs::read_to_string(self.file("pid")).ok().and_then(|id| id.trim().parse().ok()).ok_or("no process id")
        })
    }

    fn end(&mut self) {
        fs::write(self.file("end"), "").unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        self.process.wait(PATIENCE).unwrap_or_else(|| panic!("it runs on:\n{}", self.process.output())).code()
    }
}

/// The command with these words.
fn register(agent: &Agent, words: &[&str]) -> Command {
    let mut command = Command::new(usher());
    command.args(["services", "register"]).args(words);
    command.env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", agent.ports.http));
    command
}

#[test]
fn a_lease_lasts_as_long_as_it_is_renewed() {
    if !is_ours() {
        return;
    }
    let agent = Builder::dev().start();
    let registered = agent.cli(&["services", "register", "-name=web", "-port=80", "-lease=2s"]);
    assert_eq!((registered.code, registered.out().trim()), (0, "Registered service: web"), "{}", registered.err());
    // The same by the API; its program renews it.
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "db", "Port": 80, "Lease": "2s"}));
    answered(&agent, "web");
    answered(&agent, "db");
    let renewed_until = |service: &str, done: &dyn Fn() -> bool| {
        eventually(service, || {
            let answer = agent.put("/v1/agent/service/renew/db", &json!({}));
            assert_eq!(answer.status, 200, "{}", answer.text());
            if done() { Ok(()) } else { Err("not yet") }
        });
    };
    let answers = |service: &str| agent.answer(&format!("{service}.service.consul A")).len();
    renewed_until("web is not answered", &|| answers("web") == 0);
    assert_eq!(answers("db"), 1);
    let services = || agent.get("/v1/agent/services").json();
    renewed_until("web is removed", &|| services().get("web").is_none());
    answered(&agent, "db");
    is_gone(&agent, "db");
    assert_eq!(agent.put("/v1/agent/service/renew/db", &json!({})).status, 404);
}

#[test]
fn a_service_lives_as_long_as_its_program() {
    if !is_ours() {
        return;
    }
    let agent = Builder::dev().start();
    let mut exec = Exec::start(&agent, "2s", TELLING);
    answered(&agent, "web");
    let program = exec.program();
    // For several leases: the check of a second one that nobody renews tells the time.
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "clock", "Lease": "2s"}));
    is_gone(&agent, "clock");
    assert_eq!(agent.answer("web.service.consul A").len(), 1);
    exec.end();
    assert_eq!(exec.code(), Some(7));
    assert!(!is_running(program));
    assert_eq!(agent.get("/v1/agent/services").json(), json!({}), "gone before the command ends");
    is_gone(&agent, "web");
    assert_eq!(exec.process.output(), "Registered service: web\n");
}

#[test]
fn a_lease_that_others_removed_is_registered_again() {
    if !is_ours() {
        return;
    }
    let agent = Builder::dev().start();
    let mut exec = Exec::start(&agent, "1s", TELLING);
    exec.program();
    answered(&agent, "web");
    agent.put_ok("/v1/agent/check/deregister/lease:web", &json!({}));
    eventually("the lease is there again", || {
        let checks = agent.get("/v1/agent/checks").json();
        if checks["lease:web"]["Status"] == "passing" { Ok(()) } else { Err(checks) }
    });
    exec.end();
}

#[test]
fn signals_reach_the_program() {
    if !is_ours() {
        return;
    }
    let agent = Builder::dev().start();
    let mut exec = Exec::start(&agent, "10s", TELLING);
    exec.program();
    let all = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ];
    for (signal, name) in all {
        exec.process.signal(signal);
        let expected = format!("got {name}");
        eventually(&expected, || match exec.process.output() {
            output if output.lines().any(|line| line == expected) => Ok(()),
            output => Err(output),
        });
    }
    let got = exec.process.output().lines().filter(|line| line.starts_with("got")).count();
    assert_eq!(got, all.len(), "each once:\n{}", exec.process.output());
    answered(&agent, "web");
    exec.end();
    assert_eq!(exec.code(), Some(7));

    // One that does not care ends by the signal, as a shell would tell it.
    let mut exec = Exec::start(&agent, "10s", r#"echo $$ > "$1/pid"; exec sleep 1000"#);
    exec.program();
    answered(&agent, "web");
    exec.process.signal(Signal::TERM);
    assert_eq!(exec.code(), Some(128 + 15));
    is_gone(&agent, "web");
}

#[test]
fn a_program_that_cannot_be_started_leaves_nothing_behind() {
    if !is_ours() {
        return;
    }
    let agent = Builder::dev().start();
    let folder = agent.folder().to_path_buf();
    fs::write(folder.join("data"), "no program").unwrap();
    for (program, code, text) in [("/nowhere/at/all", 127, "No such file"), ("./data", 126, "Permission denied")] {
        let ended = agent.cli(&["services", "register", "-name=web", "-lease=10s", "--", program, "-x"]);
        assert_eq!(ended.code, code, "{}", ended.err());
        assert!(ended.err().contains(program) && ended.err().contains(text), "{}", ended.err());
        assert_eq!(agent.get("/v1/agent/services").json(), json!({}));
    }
    let table = [
        (&["-name=web", "-exec", "true"][..], "-lease"),
        (&["-name=web", "-lease=0s", "-exec", "true"][..], "-lease"),
        (&["-name=web", "-lease=10s", "-exec"][..], "flag needs an argument: -exec"),
    ];
    for (words, text) in table {
        let ended = agent.cli(&[&["services", "register"][..], words].concat());
        assert!(ended.code != 0 && ended.err().contains(text), "{words:?}: {} {}", ended.code, ended.err());
    }
    assert_eq!(agent.get("/v1/agent/services").json(), json!({}));
}

#[test]
fn when_the_command_is_killed_the_lease_runs_out() {
    if !is_ours() {
        return;
    }
    let agent = Builder::dev().start();
    let mut exec = Exec::start(&agent, "1s", TELLING);
    let program = exec.program();
    answered(&agent, "web");
    exec.process.signal(Signal::KILL);
    let status = exec.process.wait(PATIENCE).unwrap();
    assert_eq!(status.signal(), Some(9));
    not_answered(&agent, "web");
    is_gone(&agent, "web");
    assert!(is_running(program), "its program is nobody's business");
    exec.end();
    eventually("the program ends", || if is_running(program) { Err(()) } else { Ok(()) });
}

/// In memory an agent forgets everything; the command registers again as soon as one is back.
#[test]
fn an_agent_that_comes_back_is_told_again() {
    if !is_ours() {
        return;
    }
    let builder = Builder::dev().ports(Ports::free());
    let mut agent = builder.start();
    let mut exec = Exec::start(&agent, "3s", TELLING);
    let program = exec.program();
    answered(&agent, "web");
    agent.kill();
    eventually("it is told", || match exec.process.output() {
        output if output.contains("no agent answers") => Ok(()),
        output => Err(output),
    });
    let mut agent = builder.start();
    answered(&agent, "web");
    assert!(exec.process.output().contains("registering it again"), "{}", exec.process.output());
    assert!(is_running(program));
    // With the agent away for good the program's end is still the command's.
    agent.kill();
    exec.end();
    assert_eq!(exec.code(), Some(7));
    assert!(exec.process.output().contains("Error deregistering service \"web\""), "{}", exec.process.output());
}

/// What is kept on disk goes on after kill -9 of the agent, with the lease it had.
#[test]
fn a_lease_outlives_its_agent() {
    if !is_ours() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let builder = Builder::server(data.path());
    let mut agent = builder.start();
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "web", "Port": 80, "Lease": "10m"}));
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "short", "Port": 80, "Lease": "1s"}));
    answered(&agent, "web");
    agent.kill();
    let agent = builder.start();
    answered(&agent, "web");
    is_gone(&agent, "short");
}
