//! The path and query of one request, escaped. Pure.

use std::fmt::Write;

/// What is asked for: a path and a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    path: String,
    query: String,
}

impl Request {
    /// A request for `path`, such as `/v1/catalog/nodes`.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), query: String::new() }
    }

    /// Adds a name to the path, whatever it is made of.
    pub fn segment(mut self, name: &str) -> Self {
        self.path.push('/');
        escape(name, &mut self.path);
        self
    }

    /// Adds `key=value` to the query.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        escape(key, &mut self.query);
        self.query.push('=');
        escape(value, &mut self.query);
        self
    }

    /// Adds `key=value` to the query unless the value is empty.
    pub fn with_some(self, key: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.with(key, value) }
    }

    /// Adds a parameter that counts by being there.
    pub fn present(mut self, key: &str) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        escape(key, &mut self.query);
        self
    }

    /// Path and query together.
    pub fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }
}

fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => into.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(into, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let request = Request::new("/v1/agent/service/deregister").segment("a/b ü?");
        assert_eq!(request.target(), "/v1/agent/service/deregister/a%2Fb%20%C3%BC%3F");
        let request = Request::new("/v1/x").with("filter", "a == \"b\"").with_some("near", "").present("stale");
        assert_eq!(request.target(), "/v1/x?filter=a%20%3D%3D%20%22b%22&stale");
        assert_eq!(Request::new("/v1/x").present("stale").with("dc", "d").target(), "/v1/x?stale&dc=d");
    }
}
