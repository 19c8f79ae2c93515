//! The certificate of the encrypted listeners, which can be replaced while they serve.
//!
//! Whoever connects is given what is current then; connections there are keep theirs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    Error as TlsError,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Most bytes read of a file; chains of certificates are some kilobytes.
const FILE_MAX: u64 = 1 << 20;

/// A certificate with its chain and key.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

/// A certificate and a key that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate's file.
    #[error("certificate {path}: {reason}")]
    Certificate {
        /// Which.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key's file.
    #[error("key {path}: {reason}")]
    Key {
        /// Which.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Each is in order, but not for the other.
    #[error("key {key} does not belong to certificate {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
}

impl Certificate {
    /// Reads a certificate with its chain, the server's own first, and its key, both in PEM. Blocks on the disk.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        Ok(Self(ArcSwap::from_pointee(read(certificate, key)?)))
    }

    /// Puts others in force for connections to come; after an error those of before stay. Blocks on the disk.
    pub fn replace(&self, certificate: &Path, key: &Path) -> Result<(), CertificateError> {
        self.0.store(Arc::new(read(certificate, key)?));
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let [certificate_path, key_path] = [certificate, key].map(|path| path.display().to_string());
    let bad_certificate = |reason: String| CertificateError::Certificate { path: certificate_path.clone(), reason };
    let bad_key = |reason: String| CertificateError::Key { path: key_path.clone(), reason };
    let text = contents(certificate).map_err(|error| bad_certificate(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| bad_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad_certificate("no certificate is in it".to_owned()));
    }
    let text = contents(key).map_err(|error| bad_key(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| bad_key(error.to_string()))?;
    let provider = aws_lc_rs::default_provider();
    let signing = provider.key_provider.load_private_key(key).map_err(|error| bad_key(error.to_string()))?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(TlsError::InconsistentKeys(_)) => {
            Err(CertificateError::Mismatch { certificate: certificate_path, key: key_path })
        }
        Err(error) => Err(bad_certificate(error.to_string())),
    }
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {FILE_MAX} bytes")));
    }
    Ok(text)
}
