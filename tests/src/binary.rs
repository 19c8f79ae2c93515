//! Where the binary under test is.
//!
//! `USHER_BIN` names one (a release build, say, or another implementation). Otherwise cargo builds the workspace's
//! own, in the profile of the test, once in each test process: nothing to do when it is up to date. So a plain `cargo
//! test` on a fresh clone works, and never runs against yesterday's binary.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::workspace;

/// The environment variable that names another binary.
pub const USHER_BIN: &str = "USHER_BIN";

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// The path of the binary under test, built if need be.
pub fn usher() -> &'static Path {
    BINARY.get_or_init(|| std::env::var_os(USHER_BIN).map_or_else(build, named))
}

/// Whether it is this product's and not another implementation: what only we promise is asked of ours alone.
pub fn is_ours() -> bool {
    static OURS: OnceLock<bool> = OnceLock::new();
    *OURS.get_or_init(|| {
        let output = Command::new(usher()).arg("version").output().expect("the binary tells its version");
        String::from_utf8_lossy(&output.stdout).starts_with("Usher")
    })
}

fn named(name: OsString) -> PathBuf {
    // Tests run in the folder of their package, the variable was most likely typed in the workspace's.
    let path = workspace().join(name);
    assert!(path.is_file(), "{USHER_BIN}: no such file: {}", path.display());
    path
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--bin", "usher", "--message-format=json-render-diagnostics"])
        .args(profile_flags())
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo could not build the binary under test");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "usher")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo tells where the binary is")
}

/// The flags that build in the profile this test was built in: its file is `target/<profile folder>/deps/<name>`.
fn profile_flags() -> Vec<String> {
    let me = std::env::current_exe().expect("a test knows its own file");
    let folder = me.ancestors().nth(2).and_then(Path::file_name).and_then(|name| name.to_str());
    match folder {
        None | Some("debug") => Vec::new(),
        Some(profile) => vec![format!("--profile={profile}")],
    }
}
