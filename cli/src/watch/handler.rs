//! Telling a command: it gets the JSON on its standard input, and runs in a process group of its own, which is killed as a
//! whole when nobody waits for it any more.

use std::{collections::VecDeque, io, process::ExitStatus, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command as Process},
    time::timeout,
};

use super::{
    engine::Change,
    spec::{Command, OUTPUT_SIZE},
};

/// How long the output of a command is waited for after its end: what it left running may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The shell where the environment names none.
const SHELL: &str = "/bin/sh";

/// Why a handler was not told.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The command cannot be started.
    #[error("cannot run {command}: {source}")]
    Start {
        /// The program.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot be waited for.
    #[error("cannot wait for the handler: {0}")]
    Wait(io::Error),
    /// It failed.
    #[error("{}", ended(.0))]
    Failed(ExitStatus),
    /// The request cannot be built or sent.
    #[error("{url}: {problem}")]
    Http {
        /// Where to.
        url: String,
        /// Why.
        problem: String,
    },
}

/// The end of a process in the words Go programs use.
fn ended(status: &ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => status.to_string(),
    }
}

/// What becomes of what a command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// It goes where this process's goes.
    Through,
    /// The last of it is kept.
    Kept,
}

/// A process group that is killed when it is let go of before its leader has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended by itself meanwhile.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Runs a command with `change` and waits for its end; gives what it said, where that is kept. Dropped, the command and
/// all it has started are killed.
pub async fn run_command(command: &Command, change: &Change, speech: Speech) -> Result<String, HandlerError> {
    let (name, mut process) = process(command);
    let output = || if speech == Speech::Kept { Stdio::piped() } else { Stdio::inherit() };
    process.stdin(Stdio::piped()).stdout(output()).stderr(output()).process_group(0).kill_on_drop(true);
    process.env("CONSUL_INDEX", change.index.to_string()).env("USHER_INDEX", change.index.to_string());
    let mut child = process.spawn().map_err(|source| HandlerError::Start { command: name, source })?;
    let mut group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut said = Tail::new(OUTPUT_SIZE);
    let feeding = async {
        if let Some(mut stdin) = stdin {
            // Who does not read its input wants none of it.
            let _closed = stdin.write_all(change.json.as_bytes()).await;
            let _closed = stdin.write_all(b"\n").await;
        }
    };
    let status = {
        let speaking = said.listen(stdout, stderr);
        tokio::pin!(feeding, speaking);
        let (mut fed, mut silent) = (false, false);
        let status = loop {
            tokio::select! {
                () = &mut feeding, if !fed => fed = true,
                () = &mut speaking, if !silent => silent = true,
                status = child.wait() => break status.map_err(HandlerError::Wait)?,
            }
        };
        group.has_ended();
        if !silent {
            let _over = timeout(LAST_WORDS, speaking).await;
        }
        status
    };
    if status.success() { Ok(said.text()) } else { Err(failed(status, &said)) }
}

fn failed(status: ExitStatus, said: &Tail) -> HandlerError {
    let text = said.text();
    if !text.is_empty() {
        tracing::debug!(target: "agent.watch", output = text, "watch handler output");
    }
    HandlerError::Failed(status)
}

fn process(command: &Command) -> (String, Process) {
    match command {
        Command::Shell(line) => {
            let shell = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty()).unwrap_or_else(|| SHELL.into());
            let mut process = Process::new(&shell);
            process.arg("-c").arg(line);
            (shell, process)
        }
        Command::Program(words) => {
            let (program, arguments) =
                words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            let mut process = Process::new(program);
            process.args(arguments);
            (program.to_owned(), process)
        }
    }
}

/// The last bytes of what is said; what came before is counted and forgotten.
struct Tail {
    size: usize,
    kept: VecDeque<u8>,
    total: usize,
}

impl Tail {
    fn new(size: usize) -> Self {
        Self { size, kept: VecDeque::new(), total: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len());
        let last = bytes.get(bytes.len().saturating_sub(self.size)..).unwrap_or_default();
        let surplus = (self.kept.len() + last.len()).saturating_sub(self.size);
        self.kept.drain(..surplus.min(self.kept.len()));
        self.kept.extend(last);
    }

    fn text(&self) -> String {
        let (first, second) = self.kept.as_slices();
        let text = String::from_utf8_lossy(&[first, second].concat()).trim_end().to_owned();
        if self.total > self.size {
            return format!("Captured {} of {} bytes\n...\n{text}", self.kept.len(), self.total);
        }
        text
    }

    /// Takes in both until they end.
    async fn listen(&mut self, out: Option<impl AsyncRead + Unpin>, err: Option<impl AsyncRead + Unpin>) {
        let (mut out, mut err) = (out, err);
        let (mut from_out, mut from_err) = ([0; 1024], [0; 1024]);
        while out.is_some() || err.is_some() {
            let (count, buffer) = tokio::select! {
                count = some_of(&mut out, &mut from_out), if out.is_some() => (count, &from_out),
                count = some_of(&mut err, &mut from_err), if err.is_some() => (count, &from_err),
            };
            self.push(buffer.get(..count).unwrap_or_default());
        }
    }
}

/// The next bytes of a stream; at its end there is none any more.
async fn some_of(stream: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    let Some(open) = stream else { return 0 };
    let count = open.read(buffer).await.unwrap_or(0);
    if count == 0 {
        *stream = None;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change { index: 7, json: "[1,2]".into() }
    }

    #[tokio::test]
    async fn a_command_gets_the_json_and_the_index() {
        let shell = Command::Shell("cat; echo $CONSUL_INDEX >&2".into());
        let said = run_command(&shell, &change(), Speech::Kept).await.unwrap();
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["7", "[1,2]"]);
        let program = Command::Program(vec!["cat".into()]);
        assert_eq!(run_command(&program, &change(), Speech::Kept).await.unwrap(), "[1,2]");
    }

    #[tokio::test]
    async fn a_command_that_does_not_read_or_fails() {
        let large = Change { index: 1, json: "x".repeat(1 << 20) };
        let program = Command::Program(vec!["true".into()]);
        assert_eq!(run_command(&program, &large, Speech::Kept).await.unwrap(), "");
        let failing = Command::Shell("exit 3".into());
        let error = run_command(&failing, &change(), Speech::Kept).await.unwrap_err();
        assert_eq!(error.to_string(), "exit status 3");
        let missing = Command::Program(vec!["/nonexistent/program".into()]);
        let error = run_command(&missing, &change(), Speech::Kept).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot run /nonexistent/program: "), "{error}");
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_does_not_hold_the_watch() {
        let shell = Command::Shell("sleep 600 & echo $!".into());
        let left = run_command(&shell, &change(), Speech::Kept).await.unwrap();
        let left = Pid::from_raw(left.parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).expect("it still runs");
    }

    #[test]
    fn the_last_of_what_is_said_is_kept() {
        let mut tail = Tail::new(4);
        tail.push(b"ab");
        assert_eq!(tail.text(), "ab");
        tail.push(b"cde");
        assert_eq!(tail.text(), "Captured 4 of 5 bytes\n...\nbcde");
        tail.push(b"0123456789");
        assert_eq!(tail.text(), "Captured 4 of 15 bytes\n...\n6789");
    }
}
