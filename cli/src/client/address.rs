//! Where an agent's HTTP API is: `host:port`, `http://…`, `https://…` or `unix://path`. Pure.

use std::{fmt, path::PathBuf};

/// The address of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether by TLS.
        tls: bool,
        /// What stands before every path, for agents behind a proxy; empty or `/…`.
        prefix: String,
    },
    /// Over a unix socket.
    Unix(PathBuf),
}

/// An address cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It begins with a scheme nobody speaks. Scripts know the text.
    #[error("Unknown protocol scheme: {0}")]
    Scheme(String),
    /// Something is missing or wrong.
    #[error("\"{address}\" is no address of an agent: {problem}")]
    Form {
        /// As given.
        address: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Address {
    /// Reads an address. `force_tls` makes `host:port` and `http://` mean TLS too. Without a port the scheme's counts.
    pub fn parse(text: &str, force_tls: bool) -> Result<Self, AddressError> {
        let form = |problem| AddressError::Form { address: text.to_owned(), problem };
        let (tls, rest) = match text.split_once("://") {
            None => (force_tls, text),
            Some(("http", rest)) => (force_tls, rest),
            Some(("https", rest)) => (true, rest),
            Some(("unix", "")) => return Err(form("the path of the socket is missing")),
            Some(("unix", path)) => return Ok(Self::Unix(path.into())),
            Some((scheme, _)) => return Err(AddressError::Scheme(scheme.to_owned())),
        };
        let (authority, prefix) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = split_port(authority).map_err(form)?;
        if host.is_empty() {
            return Err(form("the host is missing"));
        }
        if !host.chars().chain(prefix.chars()).all(|c| c.is_ascii_graphic()) || host.contains(['@', '?', '#', '%']) {
            return Err(form("a character in it does not belong there"));
        }
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(Self::Tcp { host: host.to_owned(), port, tls, prefix: prefix.trim_end_matches('/').to_owned() })
    }

    /// What stands before every path.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Tcp { prefix, .. } => prefix,
            Self::Unix(_) => "",
        }
    }

    /// The `Host` header.
    pub fn host_header(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } => authority(host, *port),
            Self::Unix(_) => "localhost".into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls, prefix } => {
                let scheme = if *tls { "https" } else { "http" };
                write!(f, "{scheme}://{}{prefix}", authority(host, *port))
            }
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host and port of `host`, `host:port`, `[v6]` and `[v6]:port`.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err("something stands behind the bracket"),
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match port {
        None => Ok((host, None)),
        Some(digits) => Ok((host, Some(digits.parse().map_err(|_| "the port is not a number from 0 to 65535")?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool, prefix: &str) -> Address {
        Address::Tcp { host: host.into(), port, tls, prefix: prefix.into() }
    }

    #[test]
    fn reads_addresses() {
        let table = [
            ("127.0.0.1:8500", tcp("127.0.0.1", 8500, false, ""), "http://127.0.0.1:8500"),
            ("http://h:1/", tcp("h", 1, false, ""), "http://h:1"),
            ("https://h", tcp("h", 443, true, ""), "https://h:443"),
            ("h", tcp("h", 80, false, ""), "http://h:80"),
            ("https://h:1/a/b/", tcp("h", 1, true, "/a/b"), "https://h:1/a/b"),
            ("[::1]:8500", tcp("::1", 8500, false, ""), "http://[::1]:8500"),
            ("http://[::1]", tcp("::1", 80, false, ""), "http://[::1]:80"),
            ("unix:///run/u.sock", Address::Unix("/run/u.sock".into()), "unix:///run/u.sock"),
            ("unix://rel", Address::Unix("rel".into()), "unix://rel"),
        ];
        for (text, address, shown) in table {
            let read = Address::parse(text, false);
            assert_eq!(read.as_ref().map(ToString::to_string).as_deref(), Ok(shown));
            assert_eq!(read, Ok(address), "{text}");
        }
        assert_eq!(Address::parse("http://h:1", true), Ok(tcp("h", 1, true, "")));
        assert_eq!(Address::parse("h:1", true), Ok(tcp("h", 1, true, "")));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", ":8500", "h:x", "h:70000", "::1:8500", "[::1", "[::1]8500", "unix://", "a b:1", "u@h:1", "h:"]
        {
            assert!(matches!(Address::parse(text, false), Err(AddressError::Form { .. })), "{text}");
        }
        let scheme = Address::parse("ftp://x", false).unwrap_err();
        assert_eq!(scheme.to_string(), "Unknown protocol scheme: ftp");
    }
}
