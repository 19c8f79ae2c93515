//! The parameters after the question mark.
//!
//! Pure. Text goes in; pairs come out in the order they were given, with percent-encoding and `+` undone. A parameter
//! without a value is there (`?stale`): presence and value are two questions, because Consul asks both.

use std::borrow::Cow;

/// The most pairs a request may carry; what is beyond is a mistake or an attack.
const MAX_PAIRS: usize = 1024;

/// Why the parameters could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParamError {
    /// A `%` without two hexadecimal digits.
    #[error("invalid encoding in the query parameter {0:?}")]
    Encoding(String),
    /// Too many.
    #[error("more than {MAX_PAIRS} query parameters")]
    TooMany,
}

/// The parameters of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the text after the question mark.
    pub(super) fn parse(query: &str) -> Result<Self, ParamError> {
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PAIRS {
                return Err(ParamError::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decode_query(text).ok_or_else(|| ParamError::Encoding(pair.to_owned()));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// Whether it was given, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// The first value given, empty if there is none.
    pub(super) fn value(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Every value given, in order.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A switch: absent is `Some(false)`, present without a value `Some(true)`, else what the value says; `None` for a
    /// value that is no boolean.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        match self.value(name) {
            "" => Some(self.has(name)),
            value => parse_bool(value),
        }
    }

    /// The `key:value` pairs of `?node-meta=`; without a colon the value is empty.
    pub(super) fn node_meta(&self) -> Vec<(String, String)> {
        self.all("node-meta")
            .map(|pair| pair.split_once(':').unwrap_or((pair, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// What Go takes for a boolean.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Undoes percent-encoding in a path; `None` if it is broken or not UTF-8.
pub(super) fn decode_path(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    String::from_utf8(decode_bytes(text)?).ok().map(Cow::Owned)
}

/// As [`decode_path`], with `+` for a blank. What is not UTF-8 is replaced (U+FFFD), as Go does once it becomes JSON:
/// programs cut the output they report anywhere.
fn decode_query(text: &str) -> Option<String> {
    let bytes = decode_bytes(&text.replace('+', " "))?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn decode_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
        bytes.push(high << 4 | low);
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Percent-encodes a decoded path for a `Location` header.
pub(super) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~$&+,:;=@!*'()".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{ParamError, Params, decode_path, encode_path};

    #[test]
    fn values_and_presence() {
        let params = Params::parse("stale&tag=a&tag=b%20c&wait=5s&note=x+y&node-meta=k:v:w&node-meta=k&=z").unwrap();
        assert!(params.has("stale"));
        assert!(!params.has("consistent"));
        assert_eq!(params.value("stale"), "");
        assert_eq!(params.value("wait"), "5s");
        assert_eq!(params.value("note"), "x y");
        assert_eq!(params.all("tag").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(params.node_meta(), [("k".to_owned(), "v:w".to_owned()), ("k".to_owned(), String::new())]);
    }

    #[test]
    fn switches() {
        for (query, expected) in [
            ("", Some(false)),
            ("passing", Some(true)),
            ("passing=", Some(true)),
            ("passing=1", Some(true)),
            ("passing=True", Some(true)),
            ("passing=0", Some(false)),
            ("passing=maybe", None),
        ] {
            assert_eq!(Params::parse(query).unwrap().switch("passing"), expected, "{query:?}");
        }
    }

    #[test]
    fn broken_encoding_and_floods_are_refused() {
        assert_eq!(Params::parse("a=%zz"), Err(ParamError::Encoding("a=%zz".to_owned())));
        assert_eq!(Params::parse("a=%f"), Err(ParamError::Encoding("a=%f".to_owned())));
        assert_eq!(Params::parse("a=x%ff").unwrap().value("a"), "x\u{fffd}", "what is no text is replaced");
        assert_eq!(Params::parse(&"a&".repeat(2000)), Err(ParamError::TooMany));
    }

    #[test]
    fn paths() {
        assert_eq!(decode_path("/v1/kv/a%2Fb").as_deref(), Some("/v1/kv/a/b"));
        assert_eq!(decode_path("/a+b").as_deref(), Some("/a+b"));
        assert_eq!(decode_path("/%z1"), None);
        assert_eq!(decode_path("/%ff"), None);
        assert_eq!(encode_path("/v1/a b/ü"), "/v1/a%20b/%C3%BC");
    }
}
