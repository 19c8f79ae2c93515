//! The names that a case may use for what differs from run to run: ports, saved values, the agent's folder.
//!
//! `${name}` in a step is replaced before it is made; `<port:name>` and `<var:name>` stand for them in expectations.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::text::plain;

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{(\w+)\}").expect("valid"));
static WHOLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\A\$\{(\w+)\}\z").expect("valid"));
static WHOLE_INT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\A\$\{int:(\w+)\}\z").expect("valid"));

/// A saved value.
#[derive(Debug, Clone)]
pub enum Var {
    /// A body as it came.
    Bytes(Vec<u8>),
    /// Anything else.
    Value(Value),
}

impl Var {
    /// As it stands within a text.
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Value(value) => plain(value),
        }
    }
}

/// What the names of one run mean.
#[derive(Debug, Default)]
pub struct Bindings {
    /// The agent's ports and those of what stands around it.
    pub ports: HashMap<&'static str, u16>,
    /// What steps have saved.
    pub vars: HashMap<String, Var>,
    /// The agent's folder, `${tmp}`.
    pub folder: PathBuf,
}

impl Bindings {
    /// The text with its names replaced; unknown ones stay.
    pub fn text(&self, text: &str) -> String {
        REFERENCE
            .replace_all(text, |found: &regex::Captures<'_>| {
                let name = &found[1];
                let port = self.ports.get(name).map(u16::to_string);
                let value = port.or_else(|| self.vars.get(name).map(Var::text));
                let value = value.or_else(|| (name == "tmp").then(|| self.folder.display().to_string()));
                value.unwrap_or_else(|| found[0].to_owned())
            })
            .into_owned()
    }

    /// The value with the names in its texts and keys replaced. A text that is the name of a port and nothing else
    /// becomes a number, as does `${int:name}`.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.number(text).unwrap_or_else(|| self.text(text).into()),
            Value::Array(list) => list.iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => self.map(map).into(),
            other => other.clone(),
        }
    }

    /// The same for an object.
    pub fn map(&self, map: &Map<String, Value>) -> Map<String, Value> {
        map.iter().map(|(key, value)| (self.text(key), self.value(value))).collect()
    }

    fn number(&self, text: &str) -> Option<Value> {
        if let Some(found) = WHOLE.captures(text) {
            return self.ports.get(&found[1]).map(|&port| port.into());
        }
        let found = WHOLE_INT.captures(text)?;
        self.vars.get(&found[1])?.text().parse::<i64>().ok().map(Value::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_in_texts_keys_and_lists() {
        let mut bindings = Bindings { folder: "/f".into(), ..Bindings::default() };
        bindings.ports.insert("http", 8500);
        bindings.vars.insert("i".to_owned(), Var::Value("7".into()));
        let value = serde_json::json!({"a${i}": ["${http}", "x${http}", "${tmp}/y", "${int:i}", "${none}"]});
        let wanted = serde_json::json!({"a7": [8500, "x8500", "/f/y", 7, "${none}"]});
        assert_eq!(bindings.value(&value), wanted);
    }
}
