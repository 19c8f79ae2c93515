//! A program that is run for somebody: started, sent signals, waited for.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind, signal},
};

/// The exit codes by which shells tell that a program was not found, and that it could not be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;
/// What shells add to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}: {source}")]
pub(super) struct StartError {
    program: String,
    source: io::Error,
}

impl StartError {
    /// As a shell would end.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(if self.source.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN })
    }
}

/// A running program.
pub(super) struct Program {
    child: Child,
}

impl Program {
    /// Starts it with this process's input, outputs and environment.
    pub(super) fn start(words: &[String]) -> Result<Self, StartError> {
        let (program, arguments) = words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
        let child = Command::new(program).args(arguments).spawn();
        child.map(|child| Self { child }).map_err(|source| StartError { program: program.to_owned(), source })
    }

    /// Waits for its end and gives its exit code. May be given up and called again.
    pub(super) async fn ended(&mut self) -> io::Result<ExitCode> {
        self.child.wait().await.map(code)
    }

    /// Hands a signal on. A terminal sends its own to all that it sees in front, the program among them: a second one
    /// would be more than was meant.
    pub(super) fn signal(&self, signal: Signal) {
        if matches!(signal, Signal::INT | Signal::QUIT) && stands_before_a_terminal() {
            return;
        }
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended in this moment; then there is nobody to tell.
            let _ = kill_process(id, signal);
        }
    }
}

/// Whether this process is in the group of processes that a terminal's keys speak to (proc(5), fields 5 and 8 of `stat`).
fn stands_before_a_terminal() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, which may hold blanks, ends with a bracket; behind it the fields are numbered from 3.
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    let group = fields.nth(2);
    let in_front = fields.nth(2);
    group.is_some() && group == in_front
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// The exit code of what a signal ended.
pub(super) fn ended_by(signal: Signal) -> ExitCode {
    ExitCode::from(u8::try_from(SIGNALLED + signal.as_raw()).unwrap_or(u8::MAX))
}

/// Listens for the signals that are handed on.
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
}

impl Signals {
    /// Starts listening; from now on these signals do not end this process by themselves.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.user1.recv() => Signal::USR1,
            _ = self.user2.recv() => Signal::USR2,
        }
    }
}
