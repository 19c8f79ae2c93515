//! TLS for the client: whom to trust and what to show. Reads certificate files; connects to nothing.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_rustls::ConfigBuilderExt;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::{
    error::{ClientError, system},
    settings::TlsSettings,
};

/// The most files read of a directory of certificates.
const MAX_CA_FILES: usize = 10_000;
/// The largest file of certificates or a key that is read: all the world's CAs together are half a megabyte.
const MAX_FILE: u64 = 16 << 20;

/// Builds the configuration that `settings` describe.
pub fn configuration(settings: &TlsSettings) -> Result<Arc<ClientConfig>, ClientError> {
    let builder = trusting(settings)?;
    let configuration = match (&settings.client_cert, &settings.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "client certificate")?;
            let text = contents(key, "client key")?;
            let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| unusable("client key", key, &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable("client certificate", certificate, &error))?
        }
        (Some(_), None) => return Err(ClientError::Tls("a client certificate needs its key (-client-key)".into())),
        (None, Some(_)) => return Err(ClientError::Tls("a client key needs its certificate (-client-cert)".into())),
    };
    Ok(Arc::new(configuration))
}

fn trusting(settings: &TlsSettings) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    if settings.skip_verify {
        return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))));
    }
    let files = match (&settings.ca_file, &settings.ca_path) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(directory)) => files_in(directory)?,
        (None, None) => {
            return builder.with_native_roots().map_err(|error| ClientError::Tls(format!("the system's CAs: {error}")));
        }
    };
    let mut roots = RootCertStore::empty();
    for file in files {
        for certificate in certificates(&file, "CA File")? {
            roots.add(certificate).map_err(|error| unusable("CA File", &file, &error))?;
        }
    }
    Ok(builder.with_root_certificates(roots))
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>, ClientError> {
    let failed = |error: io::Error| unusable("CA Path", directory, &system(&error));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)?.take(MAX_CA_FILES) {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&contents(path, what)?) {
        found.push(certificate.map_err(|error| unusable(what, path, &error))?);
    }
    if found.is_empty() {
        return Err(unusable(what, path, &"there is no certificate (PEM) in it"));
    }
    Ok(found)
}

/// What stands in a file, as far as it may be long.
fn contents(path: &Path, what: &'static str) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| unusable(what, path, &system(&error)))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unusable(what, path, &format_args!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

fn unusable(what: &'static str, path: &Path, problem: &dyn std::fmt::Display) -> ClientError {
    ClientError::File { what, path: path.to_owned(), problem: problem.to_string() }
}

/// Takes any certificate: what `CONSUL_HTTP_SSL_VERIFY=false` asks for.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
