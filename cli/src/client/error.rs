//! Why the agent could not be asked, or said no. Every text is one line that says what to do about it where that is known.

use std::{io, path::PathBuf};

use crate::output::one_line;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address makes no sense.
    #[error("{0}")]
    Address(#[from] super::address::AddressError),
    /// A setting of the environment makes no sense.
    #[error("{variable}: {problem}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file that was named cannot be used.
    #[error("Error loading {what}: {}: {problem}", path.display())]
    File {
        /// What it is for.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// Nobody answers there.
    #[error("no agent answers at {address}: {} (is it running there? -http-addr names another)", system(source))]
    Unreachable {
        /// Where.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// It takes too long.
    #[error("{url}: no answer within {seconds} s")]
    Timeout {
        /// What was asked.
        url: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The request cannot be written, for example because of a line break in a token.
    #[error("cannot build the request: {source}")]
    Request {
        /// Why.
        source: http::Error,
    },
    /// The conversation broke.
    #[error("{url}: {}", conversation(source))]
    Http {
        /// What was asked.
        url: String,
        /// Why.
        source: hyper::Error,
    },
    /// The answer is larger than anything that is expected.
    #[error("{url}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The answer is not what was asked for.
    #[error("{url}: unexpected answer: {source}")]
    Json {
        /// What was asked.
        url: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The agent said no. Scripts know the text.
    #[error("Unexpected response code: {code} ({})", one_line(text))]
    Status {
        /// The HTTP status.
        code: u16,
        /// What it said.
        text: String,
    },
}

/// The system's word for an error, in lower case and without its number.
pub(super) fn system(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn conversation(error: &hyper::Error) -> String {
    if error.is_parse() {
        return "the answer is not HTTP (should the address begin with https://?)".into();
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_line() {
        let status = ClientError::Status { code: 500, text: "1 error occurred:\n\t* no\n\n".into() };
        assert_eq!(status.to_string(), "Unexpected response code: 500 (1 error occurred: * no)");
        let source = io::Error::from_raw_os_error(111);
        let gone = ClientError::Unreachable { address: "http://127.0.0.1:1".into(), source };
        assert_eq!(
            gone.to_string(),
            "no agent answers at http://127.0.0.1:1: connection refused (is it running there? -http-addr names another)"
        );
    }
}
