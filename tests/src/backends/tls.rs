//! Certificates for backends and agents: an authority of this test and what it signs.

use std::{path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// An authority that nobody knows but who reads its file.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    leaf: (CertificateDer<'static>, Vec<u8>),
    folder: TempDir,
}

impl Authority {
    /// Makes an authority and a certificate for `localhost` and 127.0.0.1.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("usher-ca-").tempdir().expect("a folder can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("an authority has no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority signs itself");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf_key = KeyPair::generate().expect("a key can be made");
        let leaf = CertificateParams::new(names).expect("the names are names");
        let leaf = leaf.signed_by(&leaf_key, &issuer).expect("an authority signs");
        for (name, text) in
            [("ca.pem", issuer.pem()), ("leaf.pem", leaf.pem() + &issuer.pem()), ("leaf.key", leaf_key.serialize_pem())]
        {
            std::fs::write(folder.path().join(name), text).expect("a file can be written");
        }
        Self { certificate: issuer.der().clone(), leaf: (leaf.der().clone(), leaf_key.serialize_der()), folder }
    }

    /// The authority's certificate as a file in PEM.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The certificate for `localhost` with its chain, and its key, as files in PEM.
    pub fn leaf_files(&self) -> [PathBuf; 2] {
        ["leaf.pem", "leaf.key"].map(|name| self.folder.path().join(name))
    }

    /// How a client connects that trusts this authority alone, and speaks this protocol.
    pub fn client(&self, protocol: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("an authority can be trusted");
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    /// Takes connections with a certificate of this authority, and speaks these protocols.
    pub fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let (certificate, key) = self.leaf.clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate, self.certificate.clone()], key)
            .expect("the key fits the certificate");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
