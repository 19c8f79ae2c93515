//! The README's own configurations, which the programs are run with.

use std::fs;

use usher_tests::workspace;

/// The part of the README they stand in.
const SECTION: &str = "## Behind a resolver";
/// Usher's port there.
const PORT: &str = "8600";

/// The configuration there that has a line that begins so, with `port` in the place of Usher's.
pub(crate) fn with_port(begins: &str, port: u16) -> String {
    block(begins).replace(PORT, &port.to_string())
}

/// The configuration there that has a line that begins so.
pub(crate) fn block(begins: &str) -> String {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let (_, section) = readme.split_once(SECTION).expect("the README says how resolvers are set up");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut blocks = section.split("\n\n").filter(|block| block.starts_with("    "));
    let found = blocks.find(|block| block.lines().any(|line| line.trim_start().starts_with(begins)));
    let found = found.unwrap_or_else(|| panic!("the README has no {begins}"));
    found
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n")
}
