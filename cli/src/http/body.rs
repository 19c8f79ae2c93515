//! JSON bodies of requests.
//!
//! Pure. Bytes go in; a value, or an object whose fields are taken out one by one, comes out. Field names are compared
//! without regard to case or underscores (`NodeMeta`, `nodemeta` and `node_meta` are one), a `null` counts as absent,
//! and a field nobody asked for is an error that names it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::duration;

/// Why a body could not be read. The texts follow `Request decode failed: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// Nothing was sent.
    #[error("EOF")]
    Empty,
    /// It ended in the middle of a value.
    #[error("unexpected EOF")]
    Cut,
    /// It is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong type.
    #[error("json: cannot unmarshal {found} into field {field} of type {expected}")]
    Type {
        /// Where.
        field: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Nobody knows the field.
    #[error("json: unknown field {0:?}")]
    Unknown(String),
    /// A duration that is none.
    #[error(transparent)]
    Duration(#[from] duration::DurationError),
}

/// Reads the first JSON value of a body; what follows it is ignored, as Consul does. What is not UTF-8, and half of a
/// surrogate pair, is replaced (U+FFFD), as Go does: programs cut the output they report anywhere.
pub(super) fn value(body: &[u8]) -> Result<Value, BodyError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(BodyError::Empty);
    }
    let text = String::from_utf8_lossy(body);
    let text = with_whole_pairs(&text);
    let mut reader = serde_json::Deserializer::from_str(&text);
    Value::deserialize(&mut reader)
        .map_err(|error| if error.is_eof() { BodyError::Cut } else { BodyError::Syntax(error.to_string()) })
}

/// JSON in which no `\uD800` to `\uDFFF` stands alone.
fn with_whole_pairs(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        whole.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                whole.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            _ => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, left) = escape.split_at_checked(length).unwrap_or((escape, ""));
        whole.push_str(kept);
        rest = left;
    }
    Cow::Owned(whole + rest)
}

/// The code unit of a `\uXXXX` that begins here.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|it| it.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// An object whose fields are taken one by one.
#[derive(Debug)]
pub(super) struct Fields {
    /// The object's own name, for error texts.
    path: String,
    left: Vec<(String, Value)>,
}

impl Fields {
    /// The fields of `value`; `null` has none.
    pub(super) fn of(value: Value, path: &str) -> Result<Self, BodyError> {
        match value {
            Value::Object(map) => Ok(Self { path: path.to_owned(), left: map.into_iter().collect() }),
            Value::Null => Ok(Self { path: path.to_owned(), left: Vec::new() }),
            other => Err(mismatch(path, &other, "object")),
        }
    }

    /// Takes a field; the last one given wins, `null` counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let wanted = folded(name);
        let mut found = None;
        self.left.retain_mut(|(key, value)| {
            let is_it = folded(key) == wanted;
            if is_it {
                found = Some(value.take());
            }
            !is_it
        });
        found.filter(|value| !value.is_null())
    }

    /// Takes a text, empty when absent.
    pub(super) fn text(&mut self, name: &str) -> Result<String, BodyError> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.mismatch(name, &other, "string")),
        }
    }

    /// Takes an integer, 0 when absent.
    pub(super) fn integer(&mut self, name: &str) -> Result<i64, BodyError> {
        match self.take(name) {
            None => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| self.mismatch(name, &value, "int")),
        }
    }

    /// Takes an integer that is not negative, 0 when absent.
    pub(super) fn unsigned(&mut self, name: &str) -> Result<u64, BodyError> {
        match self.take(name) {
            None => Ok(0),
            Some(value) => value.as_u64().ok_or_else(|| self.mismatch(name, &value, "uint64")),
        }
    }

    /// Takes a boolean, `false` when absent.
    pub(super) fn switch(&mut self, name: &str) -> Result<bool, BodyError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(self.mismatch(name, &other, "bool")),
        }
    }

    /// Takes a duration in nanoseconds: Go's text, or a number of nanoseconds; 0 when absent.
    pub(super) fn duration(&mut self, name: &str) -> Result<i64, BodyError> {
        match self.take(name) {
            None => Ok(0),
            Some(Value::String(text)) if text.is_empty() => Ok(0),
            Some(Value::String(text)) => Ok(duration::parse(&text)?),
            Some(value) => value.as_i64().ok_or_else(|| self.mismatch(name, &value, "duration")),
        }
    }

    /// Takes a list, empty when absent.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, BodyError> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.mismatch(name, &other, "list")),
        }
    }

    /// Takes a list of texts, empty when absent.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, BodyError> {
        let items = self.list(name)?;
        items.into_iter().map(|item| self.one_text(name, item)).collect()
    }

    /// Takes an object whose keys are the user's own, empty when absent.
    pub(super) fn map(&mut self, name: &str) -> Result<Map<String, Value>, BodyError> {
        match self.take(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(other) => Err(self.mismatch(name, &other, "map")),
        }
    }

    /// Takes a map of texts, empty when absent.
    pub(super) fn text_map(&mut self, name: &str) -> Result<BTreeMap<String, String>, BodyError> {
        let map = self.map(name)?;
        map.into_iter().map(|(key, value)| Ok((key, self.one_text(name, value)?))).collect()
    }

    /// Takes a map of lists of texts, empty when absent.
    pub(super) fn text_lists(&mut self, name: &str) -> Result<BTreeMap<String, Vec<String>>, BodyError> {
        let mut lists = BTreeMap::new();
        for (key, value) in self.map(name)? {
            let Value::Array(items) = value else { return Err(self.mismatch(name, &value, "list of strings")) };
            let texts = items.into_iter().map(|item| self.one_text(name, item)).collect::<Result<_, _>>()?;
            lists.insert(key, texts);
        }
        Ok(lists)
    }

    /// Takes a field that is an object of its own; `None` when absent.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, BodyError> {
        self.take(name).map(|value| Self::of(value, &format!("{}.{name}", self.path))).transpose()
    }

    /// Drops fields that mean nothing here but are no error.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.take(name);
        }
    }

    /// Fails if anything is left that was not taken.
    pub(super) fn finish(self) -> Result<(), BodyError> {
        match self.left.into_iter().next() {
            Some((key, _)) => Err(BodyError::Unknown(key)),
            None => Ok(()),
        }
    }

    fn one_text(&self, name: &str, value: Value) -> Result<String, BodyError> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(self.mismatch(name, &other, "string")),
        }
    }

    /// The error for a field of the wrong type.
    pub(super) fn mismatch(&self, name: &str, found: &Value, expected: &'static str) -> BodyError {
        mismatch(&format!("{}.{name}", self.path), found, expected)
    }
}

fn mismatch(field: &str, found: &Value, expected: &'static str) -> BodyError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    BodyError::Type { field: field.to_owned(), found, expected }
}

/// A field name without case and underscores.
fn folded(name: &str) -> String {
    name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{BodyError, Fields, value};

    #[test]
    fn bodies() {
        assert_eq!(value(b""), Err(BodyError::Empty));
        assert_eq!(value(b" \n"), Err(BodyError::Empty));
        assert_eq!(value(b"{"), Err(BodyError::Cut));
        assert!(matches!(value(b"{]"), Err(BodyError::Syntax(_))));
        assert_eq!(value(b"{\"a\":1} junk"), Ok(json!({"a": 1})));
        let deep = "[".repeat(100_000);
        assert!(value(deep.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        for (body, expected) in [
            (b"\"caf\xe9\"".as_slice(), "caf\u{fffd}"),
            (br#""\ud83d\ude00 \uD83D\uDE00 \u00e9\n\\ud800""#, "\u{1f600} \u{1f600} é\n\\ud800"),
            (br#""\udce9a\ud800\"b\ud800\u0041""#, "\u{fffd}a\u{fffd}\"b\u{fffd}A"),
            (br#""\ud83d""#, "\u{fffd}"),
        ] {
            assert_eq!(value(body), Ok(json!(expected)), "{}", String::from_utf8_lossy(body));
        }
        for broken in [br#""\ud8"#.as_slice(), br#""\udzzz""#, b"\"\\ud80\xff\"", b"\\ud800", br#""\"#] {
            assert!(value(broken).is_err(), "{}", String::from_utf8_lossy(broken));
        }
    }

    #[test]
    fn field_names_in_any_style() {
        let body = json!({"node_meta": {"a": "b"}, "CHECKID": "c", "port": 7, "skipNodeUpdate": true, "Tags": null});
        let mut fields = Fields::of(body, "Body").unwrap();
        assert_eq!(fields.text_map("NodeMeta").unwrap()["a"], "b");
        assert_eq!(fields.text("CheckID").unwrap(), "c");
        assert_eq!(fields.integer("Port").unwrap(), 7);
        assert!(fields.switch("SkipNodeUpdate").unwrap());
        assert!(fields.texts("Tags").unwrap().is_empty());
        fields.finish().unwrap();
    }

    #[test]
    fn what_nobody_asked_for_is_named() {
        let fields = Fields::of(json!({"Nope": 1}), "Body").unwrap();
        assert_eq!(fields.finish().unwrap_err().to_string(), "json: unknown field \"Nope\"");
    }

    #[test]
    fn wrong_types_are_named() {
        let mut fields = Fields::of(json!({"Port": "80", "Tags": ["a", 1], "TTL": "10x"}), "Service").unwrap();
        assert_eq!(
            fields.integer("Port").unwrap_err().to_string(),
            "json: cannot unmarshal string into field Service.Port of type int"
        );
        assert_eq!(
            fields.texts("Tags").unwrap_err().to_string(),
            "json: cannot unmarshal number into field Service.Tags of type string"
        );
        assert_eq!(fields.duration("TTL").unwrap_err().to_string(), "time: unknown unit \"x\" in duration \"10x\"");
        assert!(Fields::of(json!([]), "Body").is_err());
    }

    #[test]
    fn durations_as_text_and_number() {
        let mut fields = Fields::of(json!({"a": "10s", "b": 5, "c": ""}), "Body").unwrap();
        assert_eq!(fields.duration("a"), Ok(10_000_000_000));
        assert_eq!(fields.duration("b"), Ok(5));
        assert_eq!(fields.duration("c"), Ok(0));
        assert_eq!(fields.duration("d"), Ok(0));
    }
}
