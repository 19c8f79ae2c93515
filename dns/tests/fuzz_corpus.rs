//! The inputs that fuzzing began with, and those it found, through what fuzzing does with them (`dns/fuzz`).

#![allow(clippy::unwrap_used, reason = "for tests alone")]

mod common;
#[path = "common/fuzzing/mod.rs"]
mod fuzzing;

use std::{fs, path::Path};

use fuzzing::{memory::Counting, question, reply};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Gives a target every file of its folder.
fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/fuzz").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "the files of {target} are found");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        // Named where it fails: output is shown of tests that fail alone.
        println!("{}", file.display());
        run(&bytes);
    }
}

#[test]
fn packets_that_fuzzing_began_with_and_found() {
    replay("reply", reply::run);
}

#[test]
fn questions_that_fuzzing_began_with_and_found() {
    replay("question", question::run);
}
