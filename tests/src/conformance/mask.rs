//! Masks: `<uint>`, `<uuid>`, `<port:http>`, ... in an expectation stand for anything of their form.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

use super::bindings::{Bindings, Var};

const UUID: &str = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}";
const TIME: &str = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?[-+]\d\d:?\d\d|Z)?(?: \w+)?(?: m=\S+)?";
const VERSION: &str = r"v?\d+\.\d+\.\d+[\w.+:-]*";

static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?s)<(?:uint|pos|num|uuid|any-string|some-string|word|time|version|duration)>",
        r"|<port:\w+>|<var:\w+>|<re:.*?:re>"
    ))
    .expect("valid")
});

/// Patterns made so far: the same few come again and again, and making one is dear.
static MADE: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());

/// Whether a text has a mask in it.
pub fn has_mask(text: &str) -> bool {
    TOKEN.is_match(text)
}

/// Whether a text is one that the pattern stands for.
pub fn matches(bindings: &Bindings, pattern: &str, text: &str) -> bool {
    made(&format!(r"(?s)\A(?:{})\z", source(bindings, pattern))).is_match(text)
}

/// Whether the pattern stands for some part of a text.
pub fn found_in(bindings: &Bindings, pattern: &str, text: &str) -> bool {
    made(&format!("(?s){}", source(bindings, pattern))).is_match(text)
}

/// The port that a text of the form `<port:name>` stands for.
pub fn port_of(bindings: &Bindings, text: &str) -> Option<u16> {
    bindings.ports.get(text.strip_prefix("<port:")?.strip_suffix('>')?).copied()
}

fn made(source: &str) -> Regex {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = made.get(source) {
        return regex.clone();
    }
    let regex = Regex::new(source).unwrap_or_else(|error| panic!("a recorded pattern: {error}"));
    made.insert(source.to_owned(), regex.clone());
    regex
}

fn source(bindings: &Bindings, pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = 0;
    for token in TOKEN.find_iter(pattern) {
        out.push_str(&regex::escape(&pattern[rest..token.start()]));
        out.push_str(&token_source(bindings, token.as_str()));
        rest = token.end();
    }
    out.push_str(&regex::escape(&pattern[rest..]));
    out
}

fn token_source(bindings: &Bindings, token: &str) -> String {
    if token.starts_with("<port:") {
        return port_of(bindings, token).map_or_else(|| r"\?".to_owned(), |port| port.to_string());
    }
    if let Some(name) = token.strip_prefix("<var:").and_then(|rest| rest.strip_suffix('>')) {
        return regex::escape(&bindings.vars.get(name).map_or_else(|| "?".to_owned(), Var::text));
    }
    if let Some(inner) = token.strip_prefix("<re:").and_then(|rest| rest.strip_suffix(":re>")) {
        return format!("(?:{inner})");
    }
    match token {
        "<uint>" => r"\d+".to_owned(),
        "<pos>" => r"0*[1-9]\d*".to_owned(),
        "<num>" => r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?".to_owned(),
        "<uuid>" => UUID.to_owned(),
        "<any-string>" => ".*".to_owned(),
        "<some-string>" => ".+".to_owned(),
        "<word>" => r"\S+".to_owned(),
        "<time>" => TIME.to_owned(),
        "<version>" => VERSION.to_owned(),
        "<duration>" => r"(?:\d+(?:\.\d+)?(?:ns|µs|us|ms|s|m|h))+".to_owned(),
        other => unreachable!("no such mask: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_stands_for_its_form_only() {
        let mut bindings = Bindings::default();
        bindings.ports.insert("http", 8500);
        bindings.vars.insert("id".to_owned(), Var::Value("a.b".into()));
        let table = [
            ("<uint>", "0", true),
            ("<pos>", "0", false),
            ("<pos>", "10", true),
            ("<num>", "-1.5e3", true),
            ("<uuid>", "b2f1c0de-0000-4000-8000-000000000001", true),
            ("<uuid>", "b2f1c0de", false),
            ("<some-string>", "", false),
            ("<any-string>", "a\nb", true),
            ("<word>", "a b", false),
            ("at <time>.", "at 2026-11-22 10:20:28.5 +0000 UTC.", true),
            ("<version>", "1.8.7+dfsg1", true),
            ("<duration>", "1h30m0.5s", true),
            ("127.0.0.1:<port:http>", "127.0.0.1:8500", true),
            ("127.0.0.1:<port:http>", "127.0.0.1:8501", false),
            ("<var:id>", "a.b", true),
            ("<var:id>", "axb", false),
            ("<re:[ab]{2}:re>!", "ab!", true),
            ("(plain)", "(plain)", true),
            ("(plain)", "plain", false),
        ];
        for (pattern, text, wanted) in table {
            assert_eq!(matches(&bindings, pattern, text), wanted, "{pattern} against {text}");
        }
        assert!(found_in(&bindings, "<uint> things", "there are 12 things"));
    }
}
