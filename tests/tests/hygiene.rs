//! The house rules that a program can check, so that no person has to: module heads, file sizes, left-over marks, line
//! lengths, links, and that the documents tell the truth about versions and commands.
//!
//! Adding a `.rs` file anywhere in the workspace brings it under these rules; `target` is not looked at.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use usher_tests::workspace;

const MAX_FILE_LINES: usize = 700;
/// As rustfmt has it; it does not look into macros, though.
const MAX_CODE: usize = 120;
/// rustfmt does not break comments: a word may run over. Rows of tables and drawings cannot be broken.
const MAX_COMMENT: usize = 126;
/// Top-level folders of source; DESIGN allows no other.
const FOLDERS: [&str; 5] = ["cli", "cluster", "dns", "testdata", "tests"];

struct Source {
    /// Relative to the workspace.
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        collect(&workspace().join(folder), &mut found);
    }
    assert!(found.len() > 20, "the sources are found");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { path: path.strip_prefix(workspace()).unwrap().to_path_buf(), text });
        }
    }
}

/// Fails with every place where the rule does not hold.
fn rule(what: &str, broken: impl Fn(&Source) -> Vec<String>) {
    let places: Vec<String> = sources()
        .iter()
        .flat_map(|source| broken(source).into_iter().map(|place| format!("  {}{place}", source.path.display())))
        .collect();
    assert!(places.is_empty(), "{what}:\n{}", places.join("\n"));
}

fn lines_where(source: &Source, bad: impl Fn(&str) -> bool) -> Vec<String> {
    let numbered = source.text.lines().enumerate();
    numbered.filter(|(_, line)| bad(line)).map(|(at, line)| format!(":{}: {}", at + 1, line.trim())).collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    rule("a file begins with //!", |source| if source.text.starts_with("//! ") { vec![] } else { vec![String::new()] });
}

#[test]
fn no_file_is_too_long() {
    rule("a file has one subject", |source| {
        let lines = source.text.lines().count();
        if lines <= MAX_FILE_LINES { vec![] } else { vec![format!(": {lines} lines, at most {MAX_FILE_LINES}")] }
    });
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = ["TO", "FIX", "XX", "HA"].map(|start| start.to_owned());
    let ends = ["DO", "ME", "X", "CK"];
    let words: Vec<String> = marks.iter().zip(ends).map(|(start, end)| format!("{start}{end}")).collect();
    let pattern = Regex::new(&format!(r"\b({})\b|\b(todo|unimplemented)!\(", words.join("|"))).unwrap();
    rule("nothing is left for later", |source| lines_where(source, |line| pattern.is_match(line)));
}

#[test]
fn lines_fit_and_have_no_tabs() {
    let whole = Regex::new(r"https?://|^\s*//[!/]? ([|]|.*[─│└▼►])").unwrap();
    rule("a line fits", |source| {
        lines_where(source, |line| {
            let comment = line.trim_start().starts_with("//");
            let most = if comment { MAX_COMMENT } else { MAX_CODE };
            // A text is not broken either.
            line.chars().count() > most && !whole.is_match(line) && (comment || !line.contains('"'))
        })
    });
    rule("no tabs, no blanks at the end", |source| {
        lines_where(source, |line| line.starts_with('\t') || line.ends_with(' '))
    });
}

#[test]
fn no_test_is_switched_off() {
    let ignored = format!("#[{}", "ignore");
    rule("a test that never runs proves nothing", |source| {
        // One simulation is a process of its own: the tests of that file start it.
        let is_started_by_others = source.path.ends_with("simulation/runs.rs");
        lines_where(source, |line| line.trim().starts_with(&ignored) && !is_started_by_others)
    });
}

#[test]
fn the_layers_point_downwards() {
    let layers: [(&str, &[&str]); 3] = [
        ("cluster", &["usher_dns", "axum", "hickory_", "clap"]),
        ("dns", &["openraft", "foca", "axum", "hyper", "clap"]),
        ("tests", &["usher_dns::", "usher_cluster::"]),
    ];
    for (folder, above) in layers {
        rule(&format!("{folder} knows nothing of what is above it"), |source| {
            // Checks ask resolvers, as clients do: what Usher answers is none of their business.
            let asks = ["dns", "names"].iter().any(|client| {
                let module = format!("cluster/src/health/probe/{client}");
                source.path.starts_with(&module) || source.path.ends_with(format!("{module}.rs"))
            });
            if !source.path.starts_with(folder) || source.path.ends_with("hygiene.rs") || asks {
                return vec![];
            }
            let used = |line: &str| {
                let line = line.trim_start();
                !line.starts_with("//") && above.iter().any(|name| line.contains(name))
            };
            lines_where(source, used)
        });
    }
    let names = Regex::new(r#"(^|[^"])\bopenraft::"#).unwrap();
    rule("openraft is named in one module", |source| {
        let home = source.path.starts_with("cluster/src/raft") || source.path.ends_with("hygiene.rs");
        if home { vec![] } else { lines_where(source, |line| names.is_match(line)) }
    });
}

#[test]
fn the_readme_begins_with_two_commands_that_exist() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    for command in ["cargo run --release -- agent -dev", "cargo test"] {
        assert!(readme.lines().any(|line| line.trim_start().starts_with(command)), "README.md has `{command}`");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#\s]+)(#[^)]*)?\)").unwrap();
    let documents: Vec<PathBuf> = fs::read_dir(workspace())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for found in link.captures_iter(&text) {
            let target = &found[1];
            let there = target.contains("://") || document.parent().unwrap().join(target).exists();
            assert!(there, "{}: {target} does not exist", document.display());
        }
    }
}

#[test]
fn the_version_is_in_the_changelog() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let version = Regex::new(r#"(?m)^version = "([^"]+)""#).unwrap();
    let version = &version.captures(&manifest).expect("the workspace has a version")[1];
    let changelog = fs::read_to_string(workspace().join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains(version), "CHANGELOG.md has a section for {version}");
}

#[test]
fn no_other_folder_holds_source() {
    for entry in fs::read_dir(workspace()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let known = FOLDERS.contains(&name.as_str()) || name == "target" || name.starts_with('.');
        let holds = path.is_dir() && path.join("Cargo.toml").exists();
        assert!(known || !holds, "{name} holds source, and is not in the plan of the house");
    }
}
