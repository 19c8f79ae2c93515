//! Runs a command to its end: input given, both outputs taken, a limit on its time.

use std::io::{self, Read, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::poll::within;
use crate::process::{code, isolate, kill_group, send};

/// How long a command may take unless told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// What is done to a running command.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Its standard input.
    pub stdin: Vec<u8>,
    /// Interrupt it (SIGINT) after this time.
    pub interrupt_after: Option<Duration>,
    /// End it after this time; [`TIMEOUT`] when not given.
    pub timeout: Option<Duration>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; below zero when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Ended {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs the command; an error of kind `TimedOut` when it had to be ended.
pub fn run(command: &mut Command, plan: &Plan) -> io::Result<Ended> {
    let start = Instant::now();
    let limit = plan.timeout.unwrap_or(TIMEOUT);
    let mut child = isolate(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(move || {
            // A command that does not read its input closes the pipe: nothing is wrong with that.
            let _ = stdin.map(|mut pipe| pipe.write_all(&plan.stdin));
        });
        let stdout = scope.spawn(move || drain(stdout));
        let stderr = scope.spawn(move || drain(stderr));
        let mut interrupted = false;
        let waited = within(limit, || {
            if !interrupted && plan.interrupt_after.is_some_and(|after| start.elapsed() >= after) {
                send(&child, Signal::INT);
                interrupted = true;
            }
            child.try_wait()?.ok_or_else(|| {
                io::Error::new(io::ErrorKind::TimedOut, format!("still running after {}s", limit.as_secs_f64()))
            })
        });
        // What it left behind in its group would hold the pipes open.
        kill_group(&child);
        let elapsed = start.elapsed();
        child.wait()?;
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        Ok(Ended { code: code(waited?), stdout, stderr, elapsed })
    })
}

fn drain(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}
