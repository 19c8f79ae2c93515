//! Encrypted DNS as `kdig` (Knot DNS) speaks it: a client of others, with its own TLS and QUIC.
//!
//! Where `kdig` is missing, or was built without a protocol, the tests say so and pass; `USHER_NEED_TOOLS=1` (as in CI)
//! makes that a failure.

use std::process::Command;

use usher_tests::backends::tls::Authority;
use usher_tests::command::{Plan, run};

use crate::clients::{Files, Secure, register};

/// Whether the tool is here.
fn has_kdig() -> bool {
    if Command::new("kdig").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var_os("USHER_NEED_TOOLS").is_none(), "kdig is not installed (package knot-dnsutils)");
    eprintln!("left out: kdig is not installed (package knot-dnsutils)");
    false
}

#[test]
fn kdig_is_answered_over_tls_https_and_quic() {
    if !has_kdig() {
        return;
    }
    let (authority, ports) = (Authority::new(), Secure::free());
    let agent = ports.agent(&Files::of(&authority));
    register(&agent, "web", 60);
    let ways = [(ports.tls, "+tls"), (ports.https, "+https"), (ports.https, "+https-get"), (ports.quic, "+quic")];
    for (port, way) in ways {
        let mut kdig = Command::new("kdig");
        // What is said of TLS means +tls, unless another way is named behind it.
        kdig.args(["@127.0.0.1", "-p", &port.to_string(), "web.service.consul", "SRV", "+timeout=20"])
            .arg(format!("+tls-ca={}", authority.file().display()))
            .args(["+tls-hostname=localhost", way]);
        let ended = run(&mut kdig, &Plan::default()).unwrap();
        let printed = ended.out();
        assert_eq!(ended.code, 0, "{way}: {printed}{}", ended.err());
        assert!(printed.contains("status: NOERROR"), "{way}: {printed}{}", ended.err());
        let records = printed.lines().filter(|line| line.contains("\tSRV\t")).count();
        assert_eq!(records, 60, "{way}: {printed}");
    }
}

#[test]
fn kdig_refuses_a_certificate_it_does_not_trust() {
    if !has_kdig() {
        return;
    }
    let (authority, stranger, ports) = (Authority::new(), Authority::new(), Secure::free());
    let _agent = ports.agent(&Files::of(&authority));
    let mut kdig = Command::new("kdig");
    kdig.args(["@127.0.0.1", "-p", &ports.tls.to_string(), "consul", "SOA", "+tls", "+timeout=5", "+retry=0"])
        .arg(format!("+tls-ca={}", stranger.file().display()))
        .arg("+tls-hostname=localhost");
    let ended = run(&mut kdig, &Plan::default()).unwrap();
    assert_ne!(ended.code, 0, "{}", ended.out());
}
