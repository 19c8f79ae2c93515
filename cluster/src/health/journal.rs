//! The last results of all checks on disk, so that an agent that starts again knows what it knew. Nothing is synced: what
//! is written outlasts this process, and what a power failure takes costs no more than a check's first run.
//!
//! ```text
//!   results that changed ─► soon: a line each, and the time ─► <data dir>/check-results ─► read at the next start
//!                              └─► at once, if a program waits for it
//! ```
//!
//! A line is the CRC-32 of the rest, and JSON: a result, or a time at which this process was heard by programs. Words
//! that change without the status are written when the file is written anew, and at the end.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{catalog::model::Status, datadir::Staged};

/// The file's name.
const FILE: &str = "check-results";
/// While programs report, the time at which they were heard is written this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// What changes waits so long for what changes with it.
const GATHERING: Duration = Duration::from_millis(100);
/// Programs may have been heard for so long after what the file says.
pub(super) const UNHEARD: Duration = INTERVAL.saturating_add(GATHERING);
/// A file is written anew when it is longer than this and than twice what it began with.
const REWRITE_BYTES: u64 = 1024 * 1024;
/// A file longer than this is not ours.
const FILE_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// How long a file that cannot be written is left alone.
const PAUSE: Duration = Duration::from_secs(60);

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// What was known of a check, by its folded id; `None` when there was none any more.
    Result { check: String, result: Option<Kept> },
    /// Milliseconds since 1970 until which programs were heard.
    Heard(u64),
}

/// What was known of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) status: Status,
    #[serde(default)]
    pub(super) output: String,
}

/// What was kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Restored {
    /// By folded id.
    pub(super) results: HashMap<String, Kept>,
    /// Until when programs were heard, if that is known.
    pub(super) heard: Option<SystemTime>,
}

/// Reads what was kept. Lines that are not whole are left out.
pub(super) fn read(data_dir: &Path) -> Restored {
    let path = data_dir.join(FILE);
    let bytes = match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > FILE_MAX_BYTES => Err(io::Error::other("it is too long")),
        Ok(_) => fs::read(&path),
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => decode(&bytes),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(target: "agent", path = %path.display(), %error, "Results of checks cannot be read and are forgotten");
            }
            Restored::default()
        }
    }
}

fn decode(bytes: &[u8]) -> Restored {
    let mut restored = Restored::default();
    for line in bytes.split(|byte| *byte == b'\n').filter_map(decode_line) {
        match line {
            Line::Heard(at) => restored.heard = UNIX_EPOCH.checked_add(Duration::from_millis(at)),
            Line::Result { check, result: Some(kept) } => drop(restored.results.insert(check, kept)),
            Line::Result { check, result: None } => drop(restored.results.remove(&check)),
        }
    }
    restored
}

fn decode_line(line: &[u8]) -> Option<Line> {
    let (checksum, body) = line.split_at_checked(8)?;
    let body = body.strip_prefix(b" ")?;
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    if checksum != crc32fast::hash(body) {
        return None;
    }
    serde_json::from_slice(body).ok()
}

fn encode_line(line: &Line, into: &mut Vec<u8>) {
    // Text and numbers always become JSON; were it not so, the line would be left out.
    let Ok(body) = serde_json::to_vec(line) else { return };
    into.extend_from_slice(format!("{:08x} ", crc32fast::hash(&body)).as_bytes());
    into.extend_from_slice(&body);
    into.push(b'\n');
}

/// What is to be written. Those who find results note them here.
#[derive(Default)]
pub(super) struct Journal {
    touched: Mutex<Touched>,
    arrived: Notify,
    /// Somebody waits for it.
    urgent: Notify,
    /// The number of the last note that was written, or could not be; [`u64::MAX`] where nothing is kept any more.
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct Touched {
    /// Folded ids.
    checks: BTreeSet<String>,
    /// How many notes were ever taken.
    last: u64,
}

impl Journal {
    /// One that nobody writes.
    pub(super) fn of_nobody() -> Self {
        Self { done: watch::Sender::new(u64::MAX), ..Self::default() }
    }

    /// Notes that what is known of the check of that folded id has changed; the note's number.
    pub(super) fn touch(&self, key: &str) -> u64 {
        let mut touched = self.touched.lock();
        touched.last += 1;
        let number = touched.last;
        let first = touched.checks.is_empty();
        if !touched.checks.contains(key) {
            touched.checks.insert(key.to_owned());
        }
        drop(touched);
        if first {
            self.arrived.notify_one();
        }
        number
    }

    /// Waits until a note is written, or cannot be.
    pub(super) async fn written(&self, number: u64) {
        self.urgent.notify_one();
        // The sender is in `self`.
        let _ = self.done.subscribe().wait_for(|done| *done >= number).await;
    }

    fn take(&self) -> (BTreeSet<String>, u64) {
        let mut touched = self.touched.lock();
        (std::mem::take(&mut touched.checks), touched.last)
    }

    /// Keeps the results in `data_dir` until `stop`, and then what is left.
    pub(super) async fn run(self: Arc<Self>, shared: Arc<Shared>, data_dir: PathBuf, stop: CancellationToken) {
        let mut keeper =
            Keeper { shared, path: data_dir.join(FILE), statuses: HashMap::new(), words: BTreeSet::new(), file: None };
        let mut resting = None;
        keeper.rewrite().await.unwrap_or_else(|error| resting = keeper.rest(&error));
        loop {
            let turn = async {
                let gathered = async {
                    self.arrived.notified().await;
                    // What waits for nobody waits for what changes with it.
                    drop(tokio::time::timeout(GATHERING, self.urgent.notified()).await);
                };
                // With programs to be heard the time is written even if nothing changes.
                match keeper.is_heard() {
                    true => drop(tokio::time::timeout(INTERVAL, gathered).await),
                    false => gathered.await,
                }
            };
            if stop.run_until_cancelled(turn).await.is_none() {
                break;
            }
            let (touched, number) = self.take();
            if resting.is_none_or(|until| until <= Instant::now()) {
                resting = keeper.append(touched, false).await.err().and_then(|error| keeper.rest(&error));
            }
            // A disk that does not take it keeps nobody waiting; the file is written anew when it does.
            self.done.send_replace(number);
        }
        let (touched, _) = self.take();
        if let Err(error) = keeper.append(touched, true).await {
            keeper.rest(&error);
        }
        self.done.send_replace(u64::MAX);
    }
}

/// The file and what it holds.
struct Keeper {
    shared: Arc<Shared>,
    path: PathBuf,
    /// The status that was written last, by folded id.
    statuses: HashMap<String, Status>,
    /// Checks whose words have changed since.
    words: BTreeSet<String>,
    file: Option<Open>,
}

#[derive(Clone)]
struct Open {
    file: Arc<File>,
    length: u64,
    /// What it began with.
    first: u64,
}

impl Keeper {
    /// Whether there are checks that programs report to.
    fn is_heard(&self) -> bool {
        !self.shared.tables.lock().deadlines.is_empty()
    }

    /// Leaves the file alone for a while.
    fn rest(&mut self, error: &io::Error) -> Option<Instant> {
        tracing::warn!(target: "agent", path = %self.path.display(), %error, "Results of checks cannot be kept");
        self.file = None;
        Some(Instant::now() + PAUSE)
    }

    /// Writes what changed; with `words` also where only words did.
    async fn append(&mut self, mut touched: BTreeSet<String>, words: bool) -> io::Result<()> {
        let Some(open) = self.file.clone().filter(|open| open.length <= REWRITE_BYTES.max(open.first * 2)) else {
            return self.rewrite().await;
        };
        if words {
            touched.append(&mut self.words);
        }
        let mut bytes = Vec::new();
        for check in touched {
            let known = self.shared.local.latest(&check);
            let status = known.as_ref().map(|(status, _)| status.clone());
            if !words && status.is_some() && status.as_ref() == self.statuses.get(&check) {
                self.words.insert(check);
                continue;
            }
            match status {
                Some(status) => drop(self.statuses.insert(check.clone(), status)),
                None => drop(self.statuses.remove(&check)),
            }
            self.words.remove(&check);
            encode_line(&result(check, known), &mut bytes);
        }
        if self.is_heard() {
            encode_line(&heard_now(), &mut bytes);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let length = open.length + bytes.len() as u64;
        let file = open.file.clone();
        crate::blocking::run(move || (&*file).write_all(&bytes)).await??;
        self.file = Some(Open { length, ..open });
        Ok(())
    }

    /// Writes the file anew with what is known.
    async fn rewrite(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.statuses.clear();
        self.words.clear();
        for check in self.shared.local.check_keys() {
            let Some(known) = self.shared.local.latest(&check) else { continue };
            self.statuses.insert(check.clone(), known.0.clone());
            encode_line(&result(check, Some(known)), &mut bytes);
        }
        encode_line(&heard_now(), &mut bytes);
        let (path, first) = (self.path.clone(), bytes.len() as u64);
        let file = crate::blocking::run(move || {
            Staged::write(&path, &bytes)?.publish()?;
            File::options().append(true).open(&path)
        });
        let file = Arc::new(file.await??);
        self.file = Some(Open { file, length: first, first });
        Ok(())
    }
}

fn result(check: String, known: Option<(Status, String)>) -> Line {
    Line::Result { check, result: known.map(|(status, output)| Kept { status, output }) }
}

fn heard_now() -> Line {
    let since = crate::clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Line::Heard(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Has the file say that programs were last heard so many seconds ago.
    pub(in crate::health) fn age(data_dir: &Path, seconds: i64) {
        let Line::Heard(now) = heard_now() else { panic!("it says when") };
        let mut bytes = fs::read(data_dir.join(FILE)).unwrap();
        encode_line(&Line::Heard(now.checked_add_signed(-seconds * 1000).unwrap()), &mut bytes);
        fs::write(data_dir.join(FILE), bytes).unwrap();
    }

    fn line(check: &str, status: Option<&str>) -> Line {
        let kept = |status: &str| Kept { status: Status::from(status), output: format!("{check}\n is {status}") };
        Line::Result { check: check.to_owned(), result: status.map(kept) }
    }

    fn lines(all: &[Line]) -> Vec<u8> {
        let mut bytes = Vec::new();
        all.iter().for_each(|line| encode_line(line, &mut bytes));
        bytes
    }

    #[test]
    fn the_last_line_of_a_check_counts() {
        let bytes = lines(&[
            line("a", Some("passing")),
            line("b", Some("passing")),
            Line::Heard(1000),
            line("a", Some("warning")),
            line("b", None),
            Line::Heard(2000),
        ]);
        let restored = decode(&bytes);
        assert_eq!(restored.heard, Some(UNIX_EPOCH + Duration::from_secs(2)));
        let kept = Kept { status: Status::Warning, output: "a\n is warning".to_owned() };
        assert_eq!(restored.results, HashMap::from([("a".to_owned(), kept)]));
    }

    #[test]
    fn what_is_torn_or_damaged_is_left_out_and_nothing_else() {
        let whole = lines(&[line("a", Some("passing")), line("b", Some("warning"))]);
        let first = lines(&[line("a", Some("passing"))]).len();
        for length in 0..whole.len() {
            let restored = decode(whole.get(..length).unwrap());
            // A line is whole without its end, too.
            let expected = usize::from(length + 1 >= first) + usize::from(length + 1 >= whole.len());
            assert_eq!(restored.results.len(), expected, "{length}");
        }
        for position in 0..first - 1 {
            let mut damaged = whole.clone();
            *damaged.get_mut(position).unwrap() ^= 0x01;
            let restored = decode(&damaged);
            assert!(!restored.results.contains_key("a") && restored.results.contains_key("b"), "{position}");
        }
        assert_eq!(decode(b"\n\n00000000 {}\nnonsense\n"), Restored::default());
    }

    #[test]
    fn a_folder_without_the_file_restores_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Restored::default());
        fs::write(folder.path().join(FILE), lines(&[line("a", Some("passing"))])).unwrap();
        assert_eq!(read(folder.path()).results.len(), 1);
    }
}
