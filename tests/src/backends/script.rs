//! Programs that checks run: shell scripts that pass, fail, hang, fork, flood and die as the test wants.
//!
//! What a script does stands in a file beside it, which the test may replace at any time; how often it ran is the size of
//! another. Nothing is in memory: scripts and test are different processes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A script.
#[derive(Debug)]
pub struct Script {
    folder: TempDir,
}

/// Ends with 0 and says so.
pub const PASS: &str = "echo all is well; exit 0";
/// Ends with 1.
pub const WARN: &str = "echo not quite; exit 1";
/// Ends with 2.
pub const FAIL: &str = "echo broken; exit 2";
/// Says something and does not end. What sleeps is a program of its own.
pub const HANG: &str = "echo waiting; sleep 1000";
/// Leaves a program behind that holds the output open, and waits for it.
pub const FORK: &str = "(sleep 1000 & echo $! >> \"$HERE/children\"; sleep 1000 & echo $! >> \"$HERE/children\"; wait)";
/// Prints without end.
pub const FLOOD: &str = "exec yes flooded";
/// Prints much, then ends with 0.
pub const MUCH: &str = "yes much | head -c 200000; exit 0";
/// Is killed.
pub const DIE: &str = "kill -9 $$";

impl Script {
    /// A script that does this.
    pub fn new(does: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("usher-script-").tempdir().expect("a folder can be made");
        let script = Self { folder };
        script.set(does);
        let run = script.path();
        let text = "#!/bin/sh\nHERE=$(dirname \"$0\")\nexport HERE\nprintf x >> \"$HERE/runs\"\n. \"$HERE/does\"\n";
        fs::write(&run, text).expect("a file can be written");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("a file can be made a program");
        script
    }

    /// From now on it does this.
    pub fn set(&self, does: &str) {
        // Replaced whole: a run that begins now must not see half of it.
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{does}\n")).expect("a file can be written");
        fs::rename(new, self.folder.path().join("does")).expect("a file can be replaced");
    }

    /// The program.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// How often it was started.
    pub fn runs(&self) -> u64 {
        fs::metadata(self.folder.path().join("runs")).map_or(0, |file| file.len())
    }

    /// The processes that [`FORK`] left behind and that are still there.
    pub fn children(&self) -> Vec<u32> {
        self.all_children().into_iter().filter(|id| is_running(*id)).collect()
    }

    /// How many processes [`FORK`] made.
    pub fn forked(&self) -> usize {
        self.all_children().len()
    }

    fn all_children(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.folder.path().join("children")).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }
}

/// Whether a process is there and is more than what its parent has not waited for.
pub fn is_running(id: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).unwrap_or_default();
    // The name may hold blanks; the state stands behind it.
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn does_what_it_is_told() {
        let script = Script::new(PASS);
        let run = || Command::new(script.path()).output().unwrap();
        let ended = run();
        assert_eq!((ended.status.code(), ended.stdout), (Some(0), b"all is well\n".to_vec()));
        script.set(WARN);
        assert_eq!(run().status.code(), Some(1));
        script.set(MUCH);
        assert_eq!(run().stdout.len(), 200_000);
        script.set(DIE);
        assert_eq!(run().status.code(), None);
        assert_eq!(script.runs(), 4);
        assert!(is_running(std::process::id()) && script.children().is_empty());
    }
}
