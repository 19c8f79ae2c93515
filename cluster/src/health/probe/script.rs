//! `args`: runs a program. It passes when it ends with 0, warns with 1, and is critical with anything else, by a signal, or
//! when it takes longer than the timeout (30 s where the check does not say).
//!
//! The program is started directly, without a shell, as the user, in the folder and with the environment of the agent;
//! its standard input is empty, its output and errors are kept together. It leads a process group of its own, which is
//! killed whole at the timeout, when the check is removed in mid-run, and when it ended but somebody it started still
//! holds its output: such a one does not hold the result up.
//!
//! The last `output_max_size` bytes are kept. What prints without end is read ever more slowly, so that it costs the agent
//! next to nothing.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    process::{ExitStatus, Stdio},
    sync::{Arc, LazyLock},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe::Receiver,
    process::{Child, Command},
    sync::Semaphore,
    time::{sleep, timeout, timeout_at},
};

use super::{
    Limit, Outcome, ProbeError, critical, failed,
    output::{PACE, Pace, Tail},
    passing, text, warning,
};
use crate::{blocking, local::definition::CheckSpec};

/// How long a killed program may take to be gone; the kernel may hold it longer (a disk that does not answer).
pub(super) const REAPED_WITHIN: Duration = Duration::from_secs(1);
/// Read at once.
const CHUNK: usize = 8 * 1024;
/// Programs that are being started in all checks. One on a file system that does not answer holds its thread, and the disk
/// needs threads of the same pool. At it runs wait for their turn, which counts towards their timeout.
const STARTS_MAX: usize = 32;
/// Read of what a program left in the pipe when it ended: the most a pipe holds without privileges.
const LEFT_MAX: u64 = 1024 * 1024;

static STARTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(STARTS_MAX)));

/// A program to run.
pub(super) struct Script {
    program: Box<str>,
    args: Box<[String]>,
    output_max: usize,
    /// A program that was killed and is not gone: no other is started beside it.
    unkillable: Mutex<Option<Child>>,
}

impl Script {
    pub(super) fn parse(spec: &CheckSpec, output_max: usize) -> Result<Self, ProbeError> {
        let (program, args) = spec.args.split_first().ok_or_else(|| ProbeError("Missing Args".to_owned()))?;
        if program.is_empty() || spec.args.iter().any(|it| it.contains('\0')) {
            return Err(ProbeError::field("Args", &spec.args.join(" "), "a program is named by text without NUL"));
        }
        Ok(Self { program: program.as_str().into(), args: args.into(), output_max, unkillable: Mutex::new(None) })
    }

    pub(super) async fn run(&self, limit: Limit) -> Outcome {
        if self.is_still_there() {
            return critical("The program of an earlier run was killed and has not ended yet".to_owned());
        }
        // The later of the two is dropped first: the group is killed while the program's id cannot be another's.
        let (mut child, mut run) = match timeout_at(limit.deadline, self.start()).await {
            Ok(Ok(started)) => (started.child, started.run),
            Ok(Err(error)) => return self.not_started(&error),
            Err(_) => return timed_out(limit.timeout, ""),
        };
        match timeout_at(limit.deadline, run.watch(&mut child)).await {
            Ok(Ok(status)) => run.ended(status),
            Ok(Err(error)) => critical(format!("waiting for the program failed: {}", text::io_error(&error))),
            Err(_) => {
                run.kill();
                run.read_what_is_there();
                if timeout(REAPED_WITHIN, child.wait()).await.is_err() {
                    *self.unkillable.lock() = Some(child);
                }
                timed_out(limit.timeout, &run.printed())
            }
        }
    }

    fn is_still_there(&self) -> bool {
        let mut slot = self.unkillable.lock();
        if let Some(child) = slot.as_mut()
            && matches!(child.try_wait(), Ok(None))
        {
            return true;
        }
        *slot = None;
        false
    }

    /// Starts the program on a thread that may block: a file system that does not answer holds up nothing else.
    async fn start(&self) -> io::Result<Started> {
        let permit = STARTS.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (program, args, tail) = (self.program.clone(), self.args.clone(), Tail::new(self.output_max));
        blocking::run(move || {
            let _permit = permit;
            start(&program, &args, tail)
        })
        .await?
    }

    fn not_started(&self, error: &io::Error) -> Outcome {
        let program = &self.program;
        if error.kind() == io::ErrorKind::NotFound && !program.contains('/') {
            return critical(format!("exec: \"{program}\": executable file not found in $PATH"));
        }
        let outcome = failed(format!("fork/exec {program}: {}", text::io_error(error)), error);
        // As many processes as this user or group may have are there (clone(2)).
        let is_full = error.kind() == io::ErrorKind::WouldBlock;
        Outcome { inconclusive: outcome.inconclusive || is_full, ..outcome }
    }
}

/// A program that was started. What is dropped of it first kills it.
struct Started {
    run: Run,
    child: Child,
}

fn start(program: &str, args: &[String], tail: Tail) -> io::Result<Started> {
    let (reader, writer) = io::pipe()?;
    let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok(Started { run: Run { group, pipe, tail, at_end: false }, child })
}

fn timed_out(after: Duration, printed: &str) -> Outcome {
    let message = format!("Timed out ({}) running check", text::duration(after));
    critical(if printed.is_empty() { message } else { format!("{message}\n\n{printed}") })
}

/// A program that runs. Dropped, it is killed with everything it started.
struct Run {
    /// Its process group, as long as that has to be killed.
    group: Option<Pid>,
    pipe: Receiver,
    tail: Tail,
    /// Whether nobody can print any more.
    at_end: bool,
}

impl Run {
    /// Reads until the program has ended.
    async fn watch(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut chunk = vec![0; CHUNK];
        let mut pace = Pace::default();
        while !self.at_end {
            if pace.is_due(self.tail.total()) {
                tokio::select! {
                    biased;
                    status = child.wait() => return status,
                    () = sleep(PACE) => {}
                }
            }
            tokio::select! {
                biased;
                status = child.wait() => return status,
                read = self.pipe.read(&mut chunk) => self.take(&chunk, read?),
            }
        }
        child.wait().await
    }

    fn take(&mut self, chunk: &[u8], length: usize) {
        self.at_end = length == 0;
        self.tail.push(chunk.get(..length).unwrap_or_default());
    }

    /// The program has ended: everything it printed is in the pipe by now.
    fn ended(mut self, status: ExitStatus) -> Outcome {
        self.read_what_is_there();
        if self.at_end {
            self.group = None;
        }
        let text = self.printed();
        match status.code() {
            Some(0) => passing(text),
            Some(1) => warning(text),
            _ => critical(text),
        }
    }

    /// What it printed; there is nothing left of it afterwards.
    fn printed(&mut self) -> String {
        std::mem::replace(&mut self.tail, Tail::new(1)).into_text()
    }

    /// Reads without waiting. The descriptor is asked itself: the runtime may not know yet that there is something.
    fn read_what_is_there(&mut self) {
        let mut chunk = vec![0; CHUNK];
        let most = self.tail.total().saturating_add(LEFT_MAX);
        while !self.at_end && self.tail.total() < most {
            match rustix::io::read(self.pipe.as_fd(), &mut *chunk) {
                Ok(length) => self.take(&chunk, length),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // It may have ended by itself in this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests;
