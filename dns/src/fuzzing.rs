//! What fuzzing does with parts that nobody outside may know; compiled for tests, and for `dns/fuzz`.
//!
//! What it does with the rest is in `tests/common/fuzzing`. Inputs are kept in `testdata/fuzz`.

pub use crate::{recurse::fuzzing::run as recursor_reply, serve::fuzzed_frames as frames};

/// Gives a target every file of its folder.
#[cfg(test)]
pub(crate) fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/fuzz").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "the files of {target} are found");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        // Named where it fails: output is shown of tests that fail alone.
        println!("{}", file.display());
        run(&bytes);
    }
}
