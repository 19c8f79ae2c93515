//! A log file that is begun anew when it is too large or too old, named as Consul names them.
//!
//! `log_file = "/var/log/usher/"` writes `/var/log/usher/usher-<nanoseconds>.log`, `"/var/log/a.txt"` writes
//! `/var/log/a-<nanoseconds>.txt`. The time is passed in.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Names tried for a new file before giving up; each is one nanosecond later.
const NAME_ATTEMPTS: u128 = 1_000;

/// How a log file is called and when it is begun anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The path as configured: a folder (ending in `/`), or a file name the time is put into.
    pub path: String,
    /// Bytes after which a new file is begun; 0 for no limit.
    pub max_bytes: u64,
    /// Time after which a new file is begun.
    pub max_age: Duration,
    /// Older files that are kept: 0 for all, below 0 for none.
    pub max_files: i64,
}

/// An open log file.
#[derive(Debug)]
pub(super) struct RotatingFile {
    rotation: Rotation,
    file: File,
    written: u64,
    begun: SystemTime,
}

impl RotatingFile {
    /// Begins a file.
    pub(super) fn open(rotation: Rotation, now: SystemTime) -> io::Result<Self> {
        let file = rotation.create(now)?;
        Ok(Self { rotation, file, written: 0, begun: now })
    }

    /// Writes one line, in a new file if it is time for one.
    pub(super) fn write_line(&mut self, line: &str, now: SystemTime) -> io::Result<()> {
        let too_large = self.rotation.max_bytes > 0 && self.written >= self.rotation.max_bytes;
        let too_old = now.duration_since(self.begun).is_ok_and(|age| age >= self.rotation.max_age);
        if too_large || too_old {
            self.file = self.rotation.create(now)?;
            self.written = 0;
            self.begun = now;
            self.rotation.prune()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.file.write_all(b"\n")?;
        self.written += line.len() as u64 + 1;
        Ok(())
    }
}

impl Rotation {
    /// Folder, beginning and ending of the files' names.
    fn parts(&self) -> (PathBuf, String, String) {
        let (folder, name) = self
            .path
            .rsplit_once('/')
            .map_or((".", self.path.as_str()), |(folder, name)| (if folder.is_empty() { "/" } else { folder }, name));
        let (stem, extension) = match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, extension),
            _ if name.is_empty() => ("usher", "log"),
            _ => (name, "log"),
        };
        (PathBuf::from(folder), format!("{stem}-"), format!(".{extension}"))
    }

    fn create(&self, now: SystemTime) -> io::Result<File> {
        let (folder, before, after) = self.parts();
        fs::create_dir_all(&folder)?;
        let stamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        for attempt in 0..NAME_ATTEMPTS {
            let path = folder.join(format!("{before}{}{after}", stamp + attempt));
            match OpenOptions::new().append(true).create_new(true).mode(0o640).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// Removes the oldest files beyond `max_files`; the newest is the one being written.
    fn prune(&self) -> io::Result<()> {
        let keep = match self.max_files {
            0 => return Ok(()),
            ..0 => 0,
            some => usize::try_from(some).unwrap_or(usize::MAX),
        };
        let (folder, before, after) = self.parts();
        let mut stamped: Vec<(u128, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if let Some(stamp) = stamp_of(&path, &before, &after) {
                stamped.push((stamp, path));
            }
        }
        stamped.sort_unstable();
        let archives = stamped.len().saturating_sub(1);
        for (_, path) in stamped.into_iter().take(archives.saturating_sub(keep)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn stamp_of(path: &Path, before: &str, after: &str) -> Option<u128> {
    path.file_name()?.to_str()?.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(path: String) -> Rotation {
        Rotation { path, max_bytes: 10, max_age: Duration::from_secs(60), max_files: 2 }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn names_by_path() {
        for (path, folder, before, after) in [
            ("/var/log/", "/var/log", "usher-", ".log"),
            ("/var/log/a", "/var/log", "a-", ".log"),
            ("/var/log/a.b.txt", "/var/log", "a.b-", ".txt"),
            ("a.log", ".", "a-", ".log"),
            ("/a.log", "/", "a-", ".log"),
        ] {
            assert_eq!(rotation(path.into()).parts(), (folder.into(), before.into(), after.into()), "{path}");
        }
    }

    #[test]
    fn a_new_file_when_too_large_or_too_old_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}/logs/", folder.path().display());
        let mut file = RotatingFile::open(rotation(path), at(1)).unwrap();
        let logs = folder.path().join("logs");
        file.write_line("0123456789", at(2)).unwrap();
        assert_eq!(names(&logs), ["usher-1000000000.log"]);
        file.write_line("too large", at(3)).unwrap();
        assert_eq!(names(&logs), ["usher-1000000000.log", "usher-3000000000.log"]);
        file.write_line("too old", at(63)).unwrap();
        file.write_line("x", at(123)).unwrap();
        assert_eq!(names(&logs), ["usher-123000000000.log", "usher-3000000000.log", "usher-63000000000.log"]);
        assert_eq!(fs::read_to_string(logs.join("usher-3000000000.log")).unwrap(), "too large\n");
    }

    #[test]
    fn a_path_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(RotatingFile::open(rotation(format!("{}/x/", file.display())), at(1)).is_err());
    }
}
