//! Certificates that are right, for others, of nobody known, and not looked at.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::{
    catalog::model::Status,
    health::{
        Options,
        probe::testing::{Authority, SHORT, probe, run_with, server},
    },
};

/// An HTTPS server.
async fn https(authority: &Authority, clients: bool) -> SocketAddr {
    let acceptor = authority.acceptor(b"http/1.1", clients);
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    })
    .await
}

fn spec(url: String) -> CheckSpec {
    CheckSpec { http: url, ..CheckSpec::default() }
}

#[tokio::test]
async fn certificates_are_verified_unless_that_is_not_wanted() {
    let authority = Authority::new();
    let address = https(&authority, false).await;
    let trusted = authority.trusted();
    let url = format!("https://localhost:{}/", address.port());
    let outcome = run_with(spec(url.clone()), &trusted).await;
    assert_eq!((outcome.status, outcome.output), (Status::Passing, format!("HTTP GET {url}: 200 OK Output: ok")));
    // By its address, too.
    assert_eq!(run_with(spec(format!("https://{address}/")), &trusted).await.status, Status::Passing);

    let outcome = run_with(spec(url.clone()), &Options::default()).await;
    assert_eq!(outcome.output, format!("Get \"{url}\": tls: invalid peer certificate: UnknownIssuer"));
    let unverified = CheckSpec { tls_skip_verify: true, ..spec(url.clone()) };
    assert_eq!(run_with(unverified, &Options::default()).await.status, Status::Passing);

    let named = |name: &str| CheckSpec { tls_server_name: name.to_owned(), ..spec(format!("https://{address}/")) };
    assert_eq!(run_with(named("localhost"), &trusted).await.status, Status::Passing);
    let mut elsewhere = trusted.clone();
    elsewhere.tls.server_name = "web.example".to_owned();
    assert_eq!(run_with(named("localhost"), &elsewhere).await.status, Status::Passing);
    assert_eq!(run_with(named(""), &elsewhere).await.status, Status::Critical, "the agent's name counts");
    let outcome = run_with(named("web.example"), &trusted).await;
    assert!(
        outcome.output.contains("tls: invalid peer certificate: certificate not valid for name \"web.example\""),
        "{}",
        outcome.output
    );
}

#[tokio::test]
async fn folders_of_authorities_and_own_certificates_are_used() {
    let authority = Authority::new();
    let address = https(&authority, true).await;
    let url = format!("https://{address}/");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(authority.file("ca.pem"), folder.path().join("one.pem")).expect("copied");
    let anonymous =
        Options { tls: Tls { ca_path: Some(folder.path().into()), ..Tls::default() }, ..Options::default() };
    assert_eq!(run_with(spec(url.clone()), &anonymous).await.status, Status::Critical);
    let mut known = anonymous;
    known.tls.identity = Some((authority.file("leaf.pem"), authority.file("leaf.key")));
    let outcome = run_with(spec(url), &known).await;
    assert_eq!(outcome.status, Status::Passing, "{}", outcome.output);
}

#[tokio::test]
async fn a_server_that_does_not_shake_hands_ends_in_time() {
    let silent = server(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let plain = server(|mut stream| async move { drop(stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await) }).await;
    let cases =
        [(silent, "tls: handshake timeout"), (plain, "tls: received corrupt message of type InvalidContentType")];
    for (address, reason) in cases {
        let limited = CheckSpec { timeout: Some(SHORT), ..spec(format!("https://{address}/")) };
        let outcome = run_with(limited, &Options::default()).await;
        assert_eq!(outcome.output, format!("Get \"https://{address}/\": {reason}"));
    }
}

/// Of the first version of X.509, as `openssl x509 -req -signkey` makes them, for 100 years.
const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBJDCBywIULWQW6vwa8Zyzb+cOU1g4905LrKQwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyODA4MjUxNFoYDzIxMjYxMTA0MDgyNTE0
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQo8SoM8gLYgRIjxAOmA/RvCVrxUn9mAKbP7Y50z+OjcExmTmV0NKvdiNMA0Nsy
DmZRb1yyrr0JP+QAV2l1LQr2MAoGCCqGSM49BAMCA0gAMEUCIQDRA8HM/qBOHKqk
DD3a5qyPhw4XgoFfNZDQ1urTMCMJrAIgILYt+WNvswwZ8m8Pq+ZXgIMDZtlsMZ5W
kVA73IeRUGA=
-----END CERTIFICATE-----
";
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxF0IrI+DoqTJ8867
SV/WzKiay+zmYTsMzAVa6FRfDy+hRANCAAQo8SoM8gLYgRIjxAOmA/RvCVrxUn9m
AKbP7Y50z+OjcExmTmV0NKvdiNMA0NsyDmZRb1yyrr0JP+QAV2l1LQr2
-----END PRIVATE KEY-----
";

#[tokio::test]
async fn any_certificate_is_any_certificate() {
    let address = https(&Authority::of_pem(VERSION_1, KEY), false).await;
    let unverified = CheckSpec { tls_skip_verify: true, ..spec(format!("https://{address}/")) };
    let outcome = run_with(unverified, &Options::default()).await;
    assert_eq!(outcome.status, Status::Passing, "{}", outcome.output);
}

#[tokio::test]
async fn a_trusted_certificate_may_serve_whatever_it_says_of_itself() {
    let authority = |change: fn(&mut rcgen::CertificateParams)| {
        Authority::self_signed(&["localhost"], |it| {
            it.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            change(it);
        })
    };
    let outcome = async |server: &Authority, trusted: &Authority, host: &str| {
        let address = https(server, false).await;
        run_with(spec(format!("https://{host}:{}/", address.port())), &trusted.trusted()).await
    };
    let own = authority(|_| ());
    assert_eq!(outcome(&own, &own, "localhost").await.status, Status::Passing);
    let other = outcome(&own, &own, "127.0.0.1").await;
    assert!(other.output.contains("certificate not valid for name"), "{}", other.output);
    let unknown = outcome(&authority(|_| ()), &own, "localhost").await;
    assert_eq!(unknown.status, Status::Critical, "{}", unknown.output);
    let old = authority(|it| it.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let old = outcome(&old, &old, "localhost").await;
    assert!(old.output.contains("certificate expired"), "{}", old.output);
}

/// An authority's file changes, is reloaded, and is damaged.
#[tokio::test]
async fn files_are_read_again_after_a_reload() {
    let (before, after) = (Authority::new(), Authority::new());
    let address = https(&after, false).await;
    let probe = probe(spec(format!("https://{address}/")), &before.trusted());
    assert_eq!(probe.run().await.status, Status::Critical);
    std::fs::copy(after.file("ca.pem"), before.file("ca.pem")).expect("copied");
    read_again();
    assert_eq!(probe.run().await.status, Status::Passing);
    std::fs::write(before.file("ca.pem"), "nonsense").expect("written");
    assert!(readable(&before.trusted().tls).is_err());
    read_again();
    assert_eq!(probe.run().await.status, Status::Passing);
}

#[tokio::test]
async fn checks_that_want_the_same_share_it() {
    let authority = Authority::new();
    let client = |skip_verify: bool| {
        let spec = CheckSpec { tls_skip_verify: skip_verify, ..CheckSpec::default() };
        Client::parse(&spec, &authority.trusted().tls, Alpn::Http1).expect("valid")
    };
    let (one, two, other) = (client(false), client(false), client(true));
    let config = one.config().await.expect("made");
    assert!(Arc::ptr_eq(&config, &two.config().await.expect("made")));
    assert!(!Arc::ptr_eq(&config, &other.config().await.expect("made")));
    // Files that were written since are read again.
    let file = std::fs::File::options().append(true).open(authority.file("ca.pem")).expect("open");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
    assert!(!Arc::ptr_eq(&config, &client(false).config().await.expect("made")));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let address = https(&Authority::new(), false).await;
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").expect("written");
    for (file, reason) in [(folder.path().join("none.pem"), "o such file"), (empty, "no certificate is in it")] {
        let options = Options { tls: Tls { ca_file: Some(file.clone()), ..Tls::default() }, ..Options::default() };
        let error = options.tls.check().expect_err("refused");
        assert!(error.starts_with(&format!("TLS: {}: ", file.display())), "{error}");
        assert!(error.contains(reason), "{error}");
        let outcome = run_with(spec(format!("https://{address}/")), &options).await;
        assert!(outcome.output.contains(&error) && outcome.inconclusive, "{outcome:?}");
        // A check without TLS does not need them.
        assert!(!run_with(spec("http://127.0.0.1:1/".to_owned()), &options).await.inconclusive);
    }
}
