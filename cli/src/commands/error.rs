//! Why a command did not do its work. Every text is one line.

use std::io;

use crate::{client::ClientError, config::ConfigError};

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was called the wrong way; the text says how.
    #[error("{0}")]
    Usage(String),
    /// The agent could not be asked, before anything was asked.
    #[error("Error connecting to the agent: {0}")]
    Client(ClientError),
    /// The agent could not be asked, or said no.
    #[error("{doing}: {source}")]
    Request {
        /// What was tried, such as `Error retrieving members`.
        doing: String,
        /// Why it failed.
        source: ClientError,
    },
    /// A file with definitions cannot be used; the text names the file and the key.
    #[error("Error: {0}")]
    File(#[from] ConfigError),
    /// Something else.
    #[error("{0}")]
    Other(String),
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

/// Says what was tried when a request fails.
pub trait Doing<T> {
    /// `doing` is such as `Error retrieving members`.
    fn doing(self, doing: impl Into<String>) -> Result<T, CommandError>;
}

impl<T> Doing<T> for Result<T, ClientError> {
    fn doing(self, doing: impl Into<String>) -> Result<T, CommandError> {
        self.map_err(|source| CommandError::Request { doing: doing.into(), source })
    }
}
