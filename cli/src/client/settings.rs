//! Everything that decides how an agent is reached: flags over `USHER_…` over `CONSUL_…` variables over defaults.
//!
//! Reading the environment is passed in. `CONSUL_NAMESPACE` means nothing here and is not read.

use std::path::PathBuf;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    address::Address,
    error::{ClientError, system},
    flags::{ClusterFlags, HttpFlags},
};
use crate::values::go_bool;

/// Where the agent is when nobody says.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";

/// How to reach the agent, and what to ask with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the agent is.
    pub address: Address,
    /// The token; empty for none.
    pub token: String,
    /// A file that holds the token instead.
    pub token_file: Option<PathBuf>,
    /// The `Authorization` header for a proxy before the agent.
    pub basic_auth: Option<String>,
    /// The datacenter to ask; empty for the agent's own.
    pub datacenter: String,
    /// Whether any server may answer.
    pub stale: bool,
    /// How to speak TLS.
    pub tls: TlsSettings,
}

/// How to speak TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// CA certificates to trust; without file and directory the system's.
    pub ca_file: Option<PathBuf>,
    /// A directory of them.
    pub ca_path: Option<PathBuf>,
    /// The certificate to show.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// The name expected in the agent's certificate; empty for the host's.
    pub server_name: String,
    /// Whether the agent's certificate is not verified.
    pub skip_verify: bool,
}

/// Reads a variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Settings {
    /// Puts flags over the environment.
    pub fn of(flags: &HttpFlags, environment: Environment<'_>) -> Result<Self, ClientError> {
        let variables = Variables(environment);
        let force_tls = variables.boolean("HTTP_SSL")?.unwrap_or(false);
        let address = flags.http_addr.clone().or_else(|| variables.text("HTTP_ADDR"));
        let path = |flag: &Option<PathBuf>, name| flag.clone().or_else(|| variables.text(name).map(PathBuf::from));
        Ok(Self {
            address: Address::parse(address.as_deref().unwrap_or(DEFAULT_ADDRESS), force_tls)?,
            token: flags.token.clone().or_else(|| variables.text("HTTP_TOKEN")).unwrap_or_default(),
            token_file: path(&flags.token_file, "HTTP_TOKEN_FILE"),
            basic_auth: variables.text("HTTP_AUTH").map(|pair| basic(&pair)),
            datacenter: String::new(),
            stale: false,
            tls: TlsSettings {
                ca_file: path(&flags.ca_file, "CACERT"),
                ca_path: path(&flags.ca_path, "CAPATH"),
                client_cert: path(&flags.client_cert, "CLIENT_CERT"),
                client_key: path(&flags.client_key, "CLIENT_KEY"),
                server_name: flags
                    .tls_server_name
                    .clone()
                    .or_else(|| variables.text("TLS_SERVER_NAME"))
                    .unwrap_or_default(),
                skip_verify: !variables.boolean("HTTP_SSL_VERIFY")?.unwrap_or(true),
            },
        })
    }

    /// The same with the flags for the cluster.
    pub fn of_cluster(flags: &ClusterFlags, environment: Environment<'_>) -> Result<Self, ClientError> {
        let settings = Self::of(&flags.http, environment)?;
        Ok(Self { datacenter: flags.datacenter.clone().unwrap_or_default(), stale: flags.stale, ..settings })
    }

    /// The token to send. What a token file holds counts, unless that is nothing.
    pub fn resolve_token(&self) -> Result<String, ClientError> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let text = std::fs::read_to_string(path).map_err(|error| ClientError::File {
            what: "token file",
            path: path.clone(),
            problem: system(&error),
        })?;
        match text.trim() {
            "" => Ok(self.token.clone()),
            token => Ok(token.to_owned()),
        }
    }
}

/// The header for `user:password`, or for a user alone.
fn basic(pair: &str) -> String {
    let pair = if pair.contains(':') { pair.to_owned() } else { format!("{pair}:") };
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

struct Variables<'a>(Environment<'a>);

impl Variables<'_> {
    /// A variable under this program's name or Consul's; empty ones count as not set.
    fn named(&self, name: &str) -> Option<(String, String)> {
        ["USHER", "CONSUL"].into_iter().find_map(|program| {
            let variable = format!("{program}_{name}");
            let text = (self.0)(&variable).filter(|text| !text.is_empty())?;
            Some((variable, text))
        })
    }

    fn text(&self, name: &str) -> Option<String> {
        self.named(name).map(|(_, text)| text)
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, ClientError> {
        let Some((variable, text)) = self.named(name) else { return Ok(None) };
        match go_bool(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(ClientError::Environment { variable, problem: "must be true or false" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)], flags: &HttpFlags) -> Result<Settings, ClientError> {
        Settings::of(flags, &|name| {
            pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn address_by_flag_environment_default() {
        let flag = HttpFlags { http_addr: Some("f:1".into()), ..HttpFlags::default() };
        let none = HttpFlags::default();
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a HttpFlags, &'a str);
        let table: [Case<'_>; 8] = [
            (&[], &none, "http://127.0.0.1:8500"),
            (&[("CONSUL_HTTP_ADDR", "c:2")], &none, "http://c:2"),
            (&[("CONSUL_HTTP_ADDR", "c:2"), ("USHER_HTTP_ADDR", "u:3")], &none, "http://u:3"),
            (&[("CONSUL_HTTP_ADDR", "c:2"), ("USHER_HTTP_ADDR", "")], &none, "http://c:2"),
            (&[("CONSUL_HTTP_ADDR", "c:2"), ("USHER_HTTP_ADDR", "u:3")], &flag, "http://f:1"),
            (&[("CONSUL_HTTP_SSL", "true")], &flag, "https://f:1"),
            (&[("CONSUL_HTTP_SSL", "true"), ("USHER_HTTP_SSL", "0")], &flag, "http://f:1"),
            (&[("CONSUL_HTTP_SSL", "1"), ("CONSUL_HTTP_ADDR", "unix:///s")], &none, "unix:///s"),
        ];
        for (pairs, flags, expected) in table {
            assert_eq!(with(pairs, flags).unwrap().address.to_string(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_rest_of_the_environment() {
        let pairs = [
            ("CONSUL_HTTP_TOKEN", "t"),
            ("CONSUL_HTTP_AUTH", "u:p"),
            ("CONSUL_HTTP_SSL_VERIFY", "false"),
            ("CONSUL_CACERT", "ca"),
            ("CONSUL_CAPATH", "cas"),
            ("CONSUL_CLIENT_CERT", "cert"),
            ("CONSUL_CLIENT_KEY", "key"),
            ("CONSUL_TLS_SERVER_NAME", "name"),
            ("CONSUL_NAMESPACE", "ignored"),
        ];
        let settings = with(&pairs, &HttpFlags::default()).unwrap();
        assert_eq!((settings.token.as_str(), settings.basic_auth.as_deref()), ("t", Some("Basic dTpw")));
        let tls = TlsSettings {
            ca_file: Some("ca".into()),
            ca_path: Some("cas".into()),
            client_cert: Some("cert".into()),
            client_key: Some("key".into()),
            server_name: "name".into(),
            skip_verify: true,
        };
        assert_eq!(settings.tls, tls);
    }

    #[test]
    fn nonsense_is_told_by_name() {
        let error = with(&[("USHER_HTTP_SSL", "maybe")], &HttpFlags::default()).unwrap_err();
        assert_eq!(error.to_string(), "USHER_HTTP_SSL: must be true or false");
    }

    #[test]
    fn a_token_file_counts_more_than_a_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let flags =
            HttpFlags { token: Some("flag".into()), token_file: Some(file.path().to_owned()), ..HttpFlags::default() };
        let settings = with(&[], &flags).unwrap();
        assert_eq!(settings.resolve_token().unwrap(), "flag");
        std::fs::write(file.path(), " secret\n").unwrap();
        assert_eq!(settings.resolve_token().unwrap(), "secret");
        let missing = Settings { token_file: Some("/nonexistent/token".into()), ..settings };
        let text = missing.resolve_token().unwrap_err().to_string();
        assert!(text.starts_with("Error loading token file: /nonexistent/token: "), "{text}");
    }
}
