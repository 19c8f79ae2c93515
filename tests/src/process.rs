//! A process started by a test: in a process group of its own, its output in a file, ended at the latest when dropped.
//!
//! Nothing started here outlives the test: dropping kills the group, and should the test itself be killed, the kernel
//! kills the process (it goes with the thread that started it, so start what is to last from the test's own thread).

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, set_parent_process_death_signal};

use crate::poll::within;

/// A running process and where its output goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command with stdout and stderr written to `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> io::Result<Self> {
        let out = File::create(log)?;
        let err = out.try_clone()?;
        let child = isolate(command).stdin(Stdio::null()).stdout(out).stderr(err).spawn()?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process; one that has ended already is left alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            send(&self.child, signal);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the end, at most so long.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        within(limit, || self.ended().ok_or(())).ok()
    }

    /// Ends it at once, as a crash would, with everything it started.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            kill_group(&self.child);
            self.child.wait().expect("a child can be waited for");
        }
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group is killed even when the process itself has ended: it may have left children.
        kill_group(&self.child);
        let _ = self.child.wait();
    }
}

/// Gives the command a process group of its own and ties its life to this thread's.
pub fn isolate(command: &mut Command) -> &mut Command {
    command.process_group(0);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; this is the one system call prctl.
    unsafe {
        command.pre_exec(|| set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from));
    }
    command
}

/// Sends a signal to a child that has not been waited for.
pub fn send(child: &Child, signal: Signal) {
    let _ = kill_process(pid(child), signal);
}

/// Kills a child and all of its group.
pub fn kill_group(child: &Child) {
    let _ = kill_process_group(pid(child), Signal::KILL);
}

/// The exit code; a process ended by a signal has the signal's number below zero.
pub fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(i32::MIN)
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}
