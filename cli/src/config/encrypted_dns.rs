//! DNS over TLS, HTTPS and QUIC: where it listens, and the files of its certificate.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::{
    ConfigError,
    build::{at, port},
    raw::Raw,
};

/// Where DNS listens for those who encrypt. Empty when it is off, as it is by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptedDns {
    /// DNS over TLS.
    pub tls: Vec<SocketAddr>,
    /// DNS over HTTPS.
    pub https: Vec<SocketAddr>,
    /// DNS over QUIC.
    pub quic: Vec<SocketAddr>,
    /// Their certificate; there if one of them is on.
    pub files: Option<CertificateFiles>,
}

/// A certificate with its chain, and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The names of the settings they come from.
    pub settings: [&'static str; 2],
}

pub(super) fn build(raw: &Raw, ips: &[IpAddr]) -> Result<EncryptedDns, ConfigError> {
    let mut on = None;
    let mut listen = |key: &'static str, value: i64| {
        let port = port(key, value)?;
        on = on.or(port.map(|_| key));
        Ok::<_, ConfigError>(at(ips, port))
    };
    let tls = listen("ports.dns_tls", raw.ports.dns_tls)?;
    let https = listen("ports.dns_https", raw.ports.dns_https)?;
    let quic = listen("ports.dns_quic", raw.ports.dns_quic)?;
    let files = on.map(|port| files(raw, port)).transpose()?;
    Ok(EncryptedDns { tls, https, quic, files })
}

/// The files of DNS itself, else the agent's.
fn files(raw: &Raw, port: &str) -> Result<CertificateFiles, ConfigError> {
    let one = |own: &str, own_name: &'static str, agents: &str, agents_name: &'static str| {
        let (path, name) = if own.is_empty() { (agents, agents_name) } else { (own, own_name) };
        if path.is_empty() {
            let text = format!("{port} needs a certificate and its key: neither {own_name} nor {agents_name} is set");
            return Err(ConfigError::Invalid(text));
        }
        Ok((PathBuf::from(path), name))
    };
    let (certificate, certificate_name) =
        one(&raw.dns_config.cert_file, "dns_config.cert_file", &raw.cert_file, "cert_file")?;
    let (key, key_name) = one(&raw.dns_config.key_file, "dns_config.key_file", &raw.key_file, "key_file")?;
    Ok(CertificateFiles { certificate, key, settings: [certificate_name, key_name] })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn built(ports: [i64; 3], own: [&str; 2], agents: [&str; 2]) -> Result<EncryptedDns, String> {
        let mut raw = Raw::default();
        [raw.ports.dns_tls, raw.ports.dns_https, raw.ports.dns_quic] = ports;
        [raw.dns_config.cert_file, raw.dns_config.key_file] = own.map(str::to_owned);
        [raw.cert_file, raw.key_file] = agents.map(str::to_owned);
        build(&raw, &[Ipv4Addr::LOCALHOST.into()]).map_err(|error| error.to_string())
    }

    #[test]
    fn files_of_dns_count_before_those_of_the_agent() {
        assert_eq!(built([-1, 0, -1], ["", ""], ["", ""]), Ok(EncryptedDns::default()));
        let names = |own, agents| {
            let files = built([-1, -1, 853], own, agents).unwrap().files.unwrap();
            (files.certificate.display().to_string(), files.key.display().to_string(), files.settings)
        };
        let agents = ["c", "k"];
        assert_eq!(names(["", ""], agents), ("c".into(), "k".into(), ["cert_file", "key_file"]));
        let own = ["dns_config.cert_file", "dns_config.key_file"];
        assert_eq!(names(["C", "K"], agents), ("C".into(), "K".into(), own));
        assert_eq!(names(["C", "K"], ["", ""]), ("C".into(), "K".into(), own));
    }

    #[test]
    fn a_port_without_a_certificate_is_refused() {
        for (ports, port) in [([853, -1, -1], "ports.dns_tls"), ([-1, 443, 853], "ports.dns_https")] {
            for (own, agents, missing) in [
                (["", ""], ["", ""], "cert_file"),
                (["", ""], ["c", ""], "key_file"),
                (["C", ""], ["", ""], "key_file"),
            ] {
                let error = built(ports, own, agents).unwrap_err();
                let wanted = format!(
                    "{port} needs a certificate and its key: neither dns_config.{missing} nor {missing} is set"
                );
                assert_eq!(error, wanted);
            }
        }
        assert!(built([70_000, -1, -1], ["", ""], ["", ""]).unwrap_err().contains("ports.dns_tls"));
    }
}
