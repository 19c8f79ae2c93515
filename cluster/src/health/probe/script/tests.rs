//! Scripts that end as told, print floods, fork and hang.

use std::path::Path;

use super::*;
use crate::health::probe::{
    Options,
    testing::{AMPLE, SHORT, probe, run},
    validate,
};

fn spec(args: &[&str]) -> CheckSpec {
    CheckSpec { args: args.iter().map(ToString::to_string).collect(), ..CheckSpec::default() }
}

fn shell(command: &str) -> CheckSpec {
    spec(&["/bin/sh", "-c", command])
}

#[tokio::test]
async fn the_exit_code_decides_and_the_output_is_told() {
    let cases = [
        ("echo a; echo b >&2", passing("a\nb\n".to_owned())),
        ("echo careful; exit 1", warning("careful\n".to_owned())),
        ("echo dead; exit 2", critical("dead\n".to_owned())),
        ("echo dying; kill -9 $$", critical("dying\n".to_owned())),
        ("exec >/dev/null 2>&1; exit 1", warning(String::new())),
        ("cat; printf 'x\\377y'", passing("x\u{fffd}y".to_owned())),
    ];
    for (command, expected) in cases {
        assert_eq!(run(shell(command)).await, expected, "{command}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_critical() {
    let cases = [
        ("/no/such/file", "fork/exec /no/such/file: no such file or directory"),
        ("/etc/passwd", "fork/exec /etc/passwd: permission denied"),
        ("no-such-program", "exec: \"no-such-program\": executable file not found in $PATH"),
    ];
    for (program, text) in cases {
        assert_eq!(run(spec(&[program])).await, critical(text.to_owned()));
    }
}

#[tokio::test]
async fn the_last_of_much_output_is_kept() {
    let outcome = run(CheckSpec { output_max_size: Some(11), ..shell("seq 1 10000") }).await;
    assert_eq!(outcome, passing("Captured 11 of 48894 bytes\n...\n9999\n10000\n".to_owned()));
}

/// Whether a process lives: a dead one that nobody reaped does not.
fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("status"));
    status.is_ok_and(|status| !status.lines().any(|line| line.starts_with("State:\tZ")))
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(AMPLE, wait).await.expect("in time");
}

#[tokio::test]
async fn at_the_timeout_the_whole_group_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let pids = folder.path().join("pids");
    let command =
        format!("echo begun; sleep 1000 & echo $! >{0}.new; echo $$ >>{0}.new; mv {0}.new {0}; wait", pids.display());
    let limit = CheckSpec { timeout: Some(Duration::from_millis(2_500)), ..shell(&command) };
    let outcome = run(limit).await;
    assert_eq!(outcome, critical("Timed out (2.5s) running check\n\nbegun\n".to_owned()));
    let pids = std::fs::read_to_string(pids).expect("it began");
    assert_eq!(pids.lines().count(), 2);
    until(|| !pids.lines().any(is_alive)).await;
}

#[tokio::test]
async fn a_dropped_run_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let command = format!("echo $$ >{0}.new; mv {0}.new {0}; sleep 1000", pid.display());
    tokio::select! {
        outcome = run(shell(&command)) => panic!("{outcome:?}"),
        () = until(|| pid.exists()) => {}
    }
    let pid = std::fs::read_to_string(pid).expect("it began");
    until(|| !is_alive(&pid)).await;
}

#[tokio::test]
async fn who_holds_the_output_of_an_ended_program_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let command = format!("sleep 1000 & echo $! >{}; echo parent", pid.display());
    assert_eq!(run(shell(&command)).await, passing("parent\n".to_owned()));
    let pid = std::fs::read_to_string(pid).expect("it began");
    until(|| !is_alive(&pid)).await;
}

#[tokio::test]
async fn who_left_the_group_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let inner = format!("echo $$ >{0}.new; mv {0}.new {0}; sleep 1000", pid.display());
    let command = format!("setsid sh -c '{inner}' & until test -e {}; do sleep 0.01; done; echo parent", pid.display());
    assert_eq!(run(shell(&command)).await, passing("parent\n".to_owned()));
    let escaped = std::fs::read_to_string(pid).expect("it began");
    assert!(is_alive(&escaped));
    let escaped = escaped.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
    kill_process_group(escaped, Signal::KILL).expect("it leads its own group");
}

#[tokio::test]
async fn a_flood_is_read_slowly_and_ends_in_time() {
    let outcome =
        run(CheckSpec { timeout: Some(Duration::from_secs(1)), output_max_size: Some(4), ..spec(&["yes"]) }).await;
    let text = outcome.output;
    let total: u64 = text
        .strip_prefix("Timed out (1s) running check\n\nCaptured 4 of ")
        .and_then(|rest| rest.split_once(' '))
        .and_then(|(total, _)| total.parse().ok())
        .unwrap_or_else(|| panic!("{text}"));
    // Unpaced, a second brings gigabytes.
    assert!(total < 64 * 1024 * 1024, "{total}");
}

#[tokio::test]
async fn a_probe_runs_again_and_again() {
    let probe = probe(CheckSpec { timeout: Some(SHORT), ..shell("sleep 1000") }, &Options::default());
    for _ in 0..2 {
        assert_eq!(probe.run().await, critical("Timed out (200ms) running check".to_owned()));
    }
}

#[test]
fn what_cannot_be_started_is_refused() {
    assert!(validate(&spec(&[""])).is_err());
    assert!(validate(&spec(&["a", "b\0"])).is_err());
    assert!(validate(&spec(&["a", ""])).is_ok());
}
