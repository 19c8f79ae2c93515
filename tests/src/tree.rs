//! A folder as a value: every file with its bytes, to show that something left it as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Every path under a folder, with the hash of its content (folders have none).
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Reads the folder (or the one file) at `root`.
pub fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    walk(root, &mut found);
    found
}

/// Every file under a folder.
pub fn files(root: &Path) -> Vec<PathBuf> {
    tree(root).into_iter().filter(|(_, hash)| hash.is_some()).map(|(path, _)| path).collect()
}

fn walk(path: &Path, found: &mut Tree) {
    if !path.is_dir() {
        let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        found.insert(path.to_path_buf(), Some(Sha256::digest(content).to_vec()));
        return;
    }
    found.insert(path.to_path_buf(), None);
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for entry in entries {
        walk(&entry.expect("a folder can be read").path(), found);
    }
}
