//! What may stand in a file: tables of known keys with their types, and the three things done by them.
//!
//! ```text
//!   parsed text ─► normalise (known keys, right types, canonical names) ─► merge (over what came before) ─► typed values
//! ```
//!
//! [`normalise`] brings JSON and HCL to one form: HCL wraps every object in a list, so a list of one element stands for
//! the element where one is wanted. Durations become nanoseconds. Pure; the tables themselves are in
//! [`super::keys`] and [`crate::definition`].

use serde_json::{Map, Number, Value};

use super::duration;

/// The known keys of one object.
#[derive(Debug)]
pub struct Table {
    /// The keys.
    pub keys: &'static [Key],
    /// Compare names without underscores as well (`ServiceID` is `service_id`).
    pub any_style: bool,
}

/// One known key.
#[derive(Debug)]
pub struct Key {
    /// The canonical name.
    pub name: &'static str,
    /// Further names.
    pub aliases: &'static [&'static str],
    /// The type of its value.
    pub kind: Kind,
    /// What becomes of it.
    pub effect: Effect,
}

/// The type of a key's value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A whole number, not negative.
    Uint,
    /// A number.
    Float,
    /// A text.
    Text,
    /// A Go duration.
    Duration,
    /// A list of texts.
    Texts,
    /// A list of texts, or one text, which stands for a list of it.
    TextOrTexts,
    /// Texts by name.
    TextMap,
    /// Lists of texts by name.
    TextsMap,
    /// Durations by name.
    DurationMap,
    /// An object of known keys.
    Table(&'static Table),
    /// A list of them.
    Tables(&'static Table),
    /// Such objects by name.
    TableMap(&'static Table),
    /// Anything: passed over.
    Any,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It takes effect.
    Used,
    /// There is nothing it could change here, and nobody misses it (`disable_update_check`): no warning.
    Moot,
    /// Counts for checks over TLS alone, as TLS is not built elsewhere yet: warned of.
    ChecksOnly,
    /// The agent's certificate, for encrypted DNS and for checks: warned of.
    Certificate,
    /// Not built yet: warned of.
    NotBuilt,
    /// The service mesh, which is not part of this product: warned of.
    Mesh,
    /// Consul's enterprise edition only: warned of.
    Enterprise,
}

/// Which rules the reader follows where files and HTTP bodies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Configuration and definition files, JSON or HCL: a list of one element stands for the element.
    File,
    /// HTTP bodies: durations may be numbers of nanoseconds.
    Api,
}

/// A value does not fit its table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Nobody knows these keys.
    #[error("{}", unknown_text(.0))]
    UnknownKeys(Vec<String>),
    /// A value has the wrong type.
    #[error("'{path}' expected {expected}, got {found}")]
    WrongType {
        /// The key, with the keys it stands in.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A duration is not written as one.
    #[error("{path}: invalid duration: {problem}")]
    Duration {
        /// The key, with the keys it stands in.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

fn unknown_text(paths: &[String]) -> String {
    let lines: Vec<String> = paths.iter().map(|path| format!("invalid config key {path}")).collect();
    lines.join(", ")
}

/// A key that is accepted but does not take effect, found by [`normalise`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The key, with the keys it stands in.
    pub path: String,
    /// Why it takes no effect.
    pub effect: Effect,
}

/// A value in its canonical form, and which of its keys take no effect.
#[derive(Debug, Default)]
pub struct Normalised {
    /// Canonical names, unwrapped, durations as nanoseconds.
    pub value: Map<String, Value>,
    /// What takes no effect.
    pub unused: Vec<Unused>,
}

/// Checks `value` by `table` and brings it to its canonical form. All unknown keys are told at once, a wrong type at the
/// first.
pub fn normalise(value: &Value, table: &Table, strictness: Strictness) -> Result<Normalised, SchemaError> {
    let mut walk = Walk { strictness, unknown: Vec::new(), unused: Vec::new() };
    let value = match walk.table(value, table, "")? {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    if !walk.unknown.is_empty() {
        return Err(SchemaError::UnknownKeys(walk.unknown));
    }
    Ok(Normalised { value, unused: walk.unused })
}

struct Walk {
    strictness: Strictness,
    unknown: Vec<String>,
    unused: Vec<Unused>,
}

impl Walk {
    fn table(&mut self, value: &Value, table: &Table, path: &str) -> Result<Value, SchemaError> {
        let object = match self.unwrap_one(value) {
            Value::Object(object) => object,
            other => return Err(wrong(path, "a map", other)),
        };
        let mut result = Map::new();
        for (name, value) in object {
            let path = join(path, name);
            let Some(key) = table.find(name) else {
                self.unknown.push(path);
                continue;
            };
            if !matches!(key.effect, Effect::Used | Effect::Moot) && !value.is_null() {
                self.unused.push(Unused { path: path.clone(), effect: key.effect });
            }
            // Null says nothing, as if the key were not there; and what has no form has no use.
            if value.is_null() || matches!(key.kind, Kind::Any) {
                continue;
            }
            let value = self.value(value, key.kind, &path)?;
            result.insert(key.name.to_owned(), value);
        }
        Ok(Value::Object(result))
    }

    fn value(&mut self, value: &Value, kind: Kind, path: &str) -> Result<Value, SchemaError> {
        match kind {
            Kind::Any => Ok(Value::Null),
            Kind::Table(table) => self.table(value, table, path),
            Kind::Texts => self.texts(value, path),
            Kind::TextOrTexts if value.is_string() => Ok(Value::Array(vec![value.clone()])),
            Kind::TextOrTexts => self.texts(value, path),
            Kind::Tables(table) => self.list(value, "a list", path, |walk, item, path| walk.table(item, table, path)),
            Kind::TextMap => self.map(value, path, |walk, item, path| walk.scalar(item, Kind::Text, path)),
            Kind::TextsMap => self.map(value, path, |walk, item, path| walk.texts(item, path)),
            Kind::DurationMap => self.map(value, path, |walk, item, path| walk.scalar(item, Kind::Duration, path)),
            Kind::TableMap(table) => self.map(value, path, |walk, item, path| walk.table(item, table, path)),
            Kind::Bool | Kind::Int | Kind::Uint | Kind::Float | Kind::Text | Kind::Duration => {
                self.scalar(value, kind, path)
            }
        }
    }

    fn texts(&mut self, value: &Value, path: &str) -> Result<Value, SchemaError> {
        self.list(value, "a list of strings", path, |walk, item, path| walk.scalar(item, Kind::Text, path))
    }

    fn list(
        &mut self,
        value: &Value,
        expected: &'static str,
        path: &str,
        mut item: impl FnMut(&mut Self, &Value, &str) -> Result<Value, SchemaError>,
    ) -> Result<Value, SchemaError> {
        let items = match value {
            Value::Array(items) => items.as_slice(),
            // A single object where a list of objects is wanted is taken as a list of it.
            Value::Object(_) if self.strictness == Strictness::File => std::slice::from_ref(value),
            other => return Err(wrong(path, expected, other)),
        };
        let mut result = Vec::with_capacity(items.len());
        for (number, value) in items.iter().enumerate() {
            if value.is_null() {
                continue;
            }
            result.push(item(self, value, &format!("{path}[{number}]"))?);
        }
        Ok(Value::Array(result))
    }

    fn map(
        &mut self,
        value: &Value,
        path: &str,
        mut item: impl FnMut(&mut Self, &Value, &str) -> Result<Value, SchemaError>,
    ) -> Result<Value, SchemaError> {
        let object = match self.unwrap_one(value) {
            Value::Object(object) => object,
            other => return Err(wrong(path, "a map", other)),
        };
        let mut result = Map::new();
        for (name, value) in object {
            if !value.is_null() {
                result.insert(name.clone(), item(self, value, &format!("{path}[{name}]"))?);
            }
        }
        Ok(Value::Object(result))
    }

    fn scalar(&mut self, value: &Value, kind: Kind, path: &str) -> Result<Value, SchemaError> {
        let value = self.unwrap_one(value);
        let fits = match kind {
            Kind::Bool => value.as_bool().map(Value::from),
            Kind::Int => whole(value).map(Value::from),
            Kind::Uint => whole(value).filter(|number| *number >= 0).map(Value::from),
            Kind::Float => value.as_f64().and_then(Number::from_f64).map(Value::Number),
            Kind::Text => value.as_str().map(Value::from),
            Kind::Duration => return self.duration(value, path),
            _ => None,
        };
        fits.ok_or_else(|| wrong(path, kind.expected(), value))
    }

    fn duration(&self, value: &Value, path: &str) -> Result<Value, SchemaError> {
        if let Value::String(text) = value {
            let nanoseconds = duration::parse(text)
                .map_err(|error| SchemaError::Duration { path: path.to_owned(), problem: error.to_string() })?;
            return Ok(Value::from(nanoseconds));
        }
        if self.strictness == Strictness::Api
            && let Some(nanoseconds) = value.as_i64()
        {
            return Ok(Value::from(nanoseconds));
        }
        if self.strictness == Strictness::Api
            && let Some(number) = value.as_f64()
        {
            // Whole nanoseconds; a cast saturates, and what is out of range is refused by who uses it.
            #[expect(clippy::cast_possible_truncation, reason = "saturating on purpose")]
            return Ok(Value::from(number as i64));
        }
        Err(wrong(path, Kind::Duration.expected(), value))
    }

    /// In files a list of one element stands for the element, as HCL makes of every object.
    fn unwrap_one<'v>(&self, value: &'v Value) -> &'v Value {
        match value {
            Value::Array(items) if self.strictness == Strictness::File => match items.as_slice() {
                [one] => one,
                _ => value,
            },
            _ => value,
        }
    }
}

/// A whole number; `80.0` is one, `80.5` is not.
fn whole(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
    Some(number as i64)
}

impl Kind {
    fn expected(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Uint => "a whole number that is not negative",
            Self::Float => "a number",
            Self::Text => "a string",
            Self::Duration => "a duration such as \"10s\"",
            Self::Texts => "a list of strings",
            Self::TextOrTexts => "a string or a list of strings",
            Self::Tables(_) => "a list",
            Self::TextMap | Self::TextsMap | Self::DurationMap | Self::Table(_) | Self::TableMap(_) => "a map",
            Self::Any => "any value",
        }
    }
}

fn wrong(path: &str, expected: &'static str, found: &Value) -> SchemaError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    let path = if path.is_empty() { "the top level" } else { path };
    SchemaError::WrongType { path: path.to_owned(), expected, found }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Table {
    /// The key called `name`.
    pub fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| self.same(key.name, name) || key.aliases.iter().any(|alias| self.same(alias, name)))
    }

    fn same(&self, known: &str, given: &str) -> bool {
        if known.eq_ignore_ascii_case(given) {
            return true;
        }
        if !self.any_style {
            return false;
        }
        let fold = |text: &str| -> Vec<u8> {
            text.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase()).collect()
        };
        fold(known) == fold(given)
    }

    /// Lays `over` upon `base`, both normalised by this table: lists are appended, maps and objects merged, and of
    /// everything else the later wins.
    pub fn merge(&self, base: &mut Map<String, Value>, over: Map<String, Value>) {
        for (name, value) in over {
            let Some(existing) = base.get_mut(&name) else {
                base.insert(name, value);
                continue;
            };
            let kind = self.find(&name).map_or(Kind::Any, |key| key.kind);
            match (kind, existing, value) {
                (Kind::Texts | Kind::TextOrTexts | Kind::Tables(_), Value::Array(existing), Value::Array(more)) => {
                    existing.extend(more)
                }
                (Kind::Table(table), Value::Object(existing), Value::Object(more)) => table.merge(existing, more),
                (_, Value::Object(existing), Value::Object(more)) => existing.extend(more),
                (_, existing, value) => *existing = value,
            }
        }
    }
}

/// A key that takes effect.
pub const fn used(name: &'static str, kind: Kind) -> Key {
    Key { name, aliases: &[], kind, effect: Effect::Used }
}

/// A key that takes effect on checks alone.
pub const fn checks_only(name: &'static str, kind: Kind) -> Key {
    Key { name, aliases: &[], kind, effect: Effect::ChecksOnly }
}

/// A file of the agent's certificate.
pub const fn certificate(name: &'static str) -> Key {
    Key { name, aliases: &[], kind: Kind::Text, effect: Effect::Certificate }
}

/// A key that has nothing to change here.
pub const fn moot(name: &'static str, kind: Kind) -> Key {
    Key { name, aliases: &[], kind, effect: Effect::Moot }
}

/// A key of something not built yet.
pub const fn not_built(name: &'static str, kind: Kind) -> Key {
    Key { name, aliases: &[], kind, effect: Effect::NotBuilt }
}

/// A key of the service mesh.
pub const fn mesh(name: &'static str, kind: Kind) -> Key {
    Key { name, aliases: &[], kind, effect: Effect::Mesh }
}

/// A key of the enterprise edition.
pub const fn enterprise(name: &'static str, kind: Kind) -> Key {
    Key { name, aliases: &[], kind, effect: Effect::Enterprise }
}
