//! DNS over TLS, HTTPS and QUIC: answered as over TCP, with certificates that can be replaced.

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_proto::op::Message;
use http::Request;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use usher_tests::agent::{Agent, Builder};
use usher_tests::backends::{self, tls::Authority};
use usher_tests::dns::{self, Options};
use usher_tests::poll::eventually;

use crate::clients::{Doh, Doq, Dot, Files, Secure, connect, local, question, register};

/// Instances whose SRV answer no datagram holds, and those whose answer no message holds.
const MANY: [(&str, usize); 2] = [("large", 60), ("huge", 1200)];

const SEED: u64 = 0x75_73_68_65_72;
/// What an attack may make the agent hold at most.
const MOST_MEMORY: u64 = 64 << 20;

fn sorted_answers(message: &Message) -> Vec<String> {
    let mut lines = dns::lines(&message.answers);
    lines.sort();
    lines
}

fn over_tcp(agent: &Agent, text: &str) -> Message {
    let options = Options { tcp: true, edns: Some(1232), ..Options::default() };
    dns::ask_with(agent.ports.dns, text, &options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answers_as_tcp_does() {
    let authority = Authority::new();
    let ports = Secure::free();
    let agent = ports.agent(&Files::of(&authority));
    for (service, instances) in MANY {
        register(&agent, service, instances);
    }
    let mut dot = Dot::connect(ports.tls, &authority).await.unwrap();
    let doh = Doh::connect(ports.https, &authority).await.unwrap();
    let doq = Doq::connect(ports.quic, &authority).await.unwrap();
    for text in [
        "large.service.consul A",
        "large.service.consul SRV",
        "node-7.node.consul ANY",
        "nosuch.service.consul A",
        "consul NS",
        "www.example.com A",
        "huge.service.consul SRV",
    ] {
        let expected = over_tcp(&agent, text);
        // Over QUIC the id is 0 (RFC 9250 4.2.1), and best for the caches of HTTP, too (RFC 8484 4.1).
        let packet = question(text, 0);
        let replies = [
            ("tls", dot.ask(std::slice::from_ref(&packet)).await.remove(0)),
            ("https", doh.post(packet.clone()).await.into_body()),
            ("quic", doq.ask(&packet).await),
        ];
        for (transport, reply) in replies {
            let got = dns::parse(&reply).unwrap();
            let what = format!("{text} over {transport}");
            assert_eq!(
                got.metadata,
                {
                    let mut wanted = expected.metadata;
                    wanted.id = 0;
                    wanted
                },
                "{what}"
            );
            assert_eq!(got.edns.is_some(), expected.edns.is_some(), "{what}");
            if text.starts_with("huge") {
                // Which of them go is drawn anew; how many depends on their names.
                assert!(reply.len() > 60_000 && got.answers.len() > 500, "{what}: {} bytes", reply.len());
                continue;
            }
            assert_eq!(sorted_answers(&got), sorted_answers(&expected), "{what}");
            assert_eq!(got.authorities.len(), expected.authorities.len(), "{what}");
            assert_eq!(got.additionals.len(), expected.additionals.len(), "{what}");
        }
    }
    let log = agent.output();
    assert!(!log.contains("rflags"), "hickory-server writes two lines a reply, which nobody wants to read\n{log}");
}

#[test]
fn names_of_others_are_found_out() {
    let upstream = backends::dns::Dns::start();
    upstream.set("www.example.test", &[Ipv4Addr::new(192, 0, 2, 80)]);
    let (authority, ports) = (Authority::new(), Secure::free());
    let files = Files::of(&authority);
    let agent = Builder::dev()
        .config(ports.config(&files.certificate(), &files.key()))
        .config(json!({"recursors": [upstream.udp().address().to_string()]}))
        .start();
    let service = json!({"Service": "ext", "Address": "www.example.test", "Port": 443});
    agent.put_ok("/v1/catalog/register", &json!({"Node": "n1", "Address": "10.0.0.1", "Service": service}));
    let packet = question("ext.service.consul A", 0);
    let asked = async {
        [
            Dot::connect(ports.tls, &authority).await.unwrap().ask(std::slice::from_ref(&packet)).await.remove(0),
            Doh::connect(ports.https, &authority).await.unwrap().post(packet.clone()).await.into_body(),
            Doq::connect(ports.quic, &authority).await.unwrap().ask(&packet).await,
        ]
    };
    for reply in tokio::runtime::Runtime::new().unwrap().block_on(asked) {
        let expected = ["ext.service.consul. 0 CNAME www.example.test.", "www.example.test. 0 A 192.0.2.80"];
        assert_eq!(dns::lines(&dns::parse(&reply).unwrap().answers), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_do_not_keep_an_agent_that_ends() {
    let (authority, ports) = (Authority::new(), Secure::free());
    let mut agent = ports.agent(&Files::of(&authority));
    register(&agent, "web", 3);
    let packet = question("web.service.consul SRV", 0);
    let mut dot = Dot::connect(ports.tls, &authority).await.unwrap();
    let doh = Doh::connect(ports.https, &authority).await.unwrap();
    let doq = Doq::connect(ports.quic, &authority).await.unwrap();
    checked(&dot.ask(std::slice::from_ref(&packet)).await[0]);
    checked(doh.post(packet.clone()).await.body());
    checked(&doq.ask(&packet).await);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().code(), Some(1));
    let log = agent.output();
    assert!(log.contains("shutdown complete") && !log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_go_over_one_connection() {
    let authority = Authority::new();
    let ports = Secure::free();
    let agent = ports.agent(&Files::of(&authority));
    register(&agent, "web", 3);
    let packets: Vec<Vec<u8>> = (0..2000).map(|id| question("web.service.consul SRV", id)).collect();
    let mut dot = Dot::connect(ports.tls, &authority).await.unwrap();
    let mut ids: Vec<u16> = dot.ask(&packets).await.iter().map(|reply| checked(reply)).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..2000));
    let doh = Doh::connect(ports.https, &authority).await.unwrap();
    let posts = packets.iter().take(500).map(|packet| doh.post(packet.clone()));
    let answered = futures(posts.collect()).await;
    assert!(answered.iter().map(|response| checked(response.body())).eq(0..500));
    let doq = Doq::connect(ports.quic, &authority).await.unwrap();
    let packet = question("web.service.consul SRV", 0);
    for reply in futures((0..50).map(|_| doq.ask(&packet)).collect()).await {
        assert_eq!(checked(&reply), 0);
    }
}

/// The id of a reply with three instances.
fn checked(reply: &[u8]) -> u16 {
    let message = dns::parse(reply).unwrap();
    assert_eq!(message.answers.len(), 3);
    message.metadata.id
}

/// All at once, their results in order.
async fn futures<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, result) in waiting.iter_mut().filter(|(_, result)| result.is_none()) {
            if let std::task::Poll::Ready(ready) = future.as_mut().poll(cx) {
                *result = Some(ready);
            }
        }
        if waiting.iter().all(|(_, result)| result.is_some()) { ().into() } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_takes_get_and_post_and_says_what_it_does_not_take() {
    let authority = Authority::new();
    let ports = Secure::free();
    let agent = Builder::dev()
        .config(ports.config(&authority.leaf_files()[0], &authority.leaf_files()[1]))
        .config(json!({"dns_config": {"service_ttl": {"*": "30s"}}}))
        .start();
    register(&agent, "web", 1);
    let doh = Doh::connect(ports.https, &authority).await.unwrap();
    let packet = question("web.service.consul A", 0);
    let encoded = URL_SAFE_NO_PAD.encode(&packet);
    let get = |uri: String| Request::get(uri).body(()).unwrap();
    let got = doh.request(get(format!("https://localhost/dns-query?dns={encoded}")), Vec::new()).await;
    let posted = doh.post(packet.clone()).await;
    for response in [got, posted] {
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(response.status(), 200);
        assert_eq!(header("content-type"), "application/dns-message");
        assert_eq!(header("cache-control"), "max-age=30");
        assert_eq!(header("content-length"), response.body().len().to_string());
        let message = dns::parse(response.body()).unwrap();
        assert_eq!(dns::lines(&message.answers), ["web.service.consul. 30 A 10.0.0.1"]);
    }
    let post = |uri: &str, kind: &str| Request::post(uri).header("content-type", kind).body(()).unwrap();
    let uri = "https://localhost/dns-query";
    let message = "application/dns-message";
    let cases = [
        (get("https://localhost/".into()), vec![], 404),
        (get("https://localhost/dns-query/x".into()), vec![], 404),
        (Request::put(uri).body(()).unwrap(), packet.clone(), 405),
        (post(uri, "text/plain"), packet.clone(), 415),
        (Request::post(uri).body(()).unwrap(), packet.clone(), 415),
        (get(uri.into()), vec![], 400),
        (get(format!("{uri}?dns=!")), vec![], 400),
        (post(uri, message), b"short".to_vec(), 400),
        (post(uri, message), vec![0; 65_536], 413),
    ];
    for (request, body, status) in cases {
        let what = format!("{request:?}");
        assert_eq!(doh.request(request, body).await.status(), status, "{what}");
    }
    assert_eq!(doh.post(packet).await.status(), 200, "the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_replaces_the_certificate_for_connections_to_come() {
    let (before, after) = (Authority::new(), Authority::new());
    let (ports, files) = (Secure::free(), Files::of(&before));
    let agent = ports.agent(&files);
    register(&agent, "web", 3);
    let packet = question("web.service.consul SRV", 0);
    let mut old = Dot::connect(ports.tls, &before).await.unwrap();
    checked(&old.ask(std::slice::from_ref(&packet)).await[0]);
    assert!(Dot::connect(ports.tls, &after).await.is_err(), "not signed by that one");

    files.replace(&after);
    assert_eq!(agent.cli(&["reload"]).code, 0);
    let only_after = || async {
        assert!(Dot::connect(ports.tls, &before).await.is_err());
        assert!(Doh::connect(ports.https, &before).await.is_err());
        assert!(Doq::connect(ports.quic, &before).await.is_err());
        checked(&Dot::connect(ports.tls, &after).await.unwrap().ask(std::slice::from_ref(&packet)).await[0]);
        checked(Doh::connect(ports.https, &after).await.unwrap().post(packet.clone()).await.body());
        checked(&Doq::connect(ports.quic, &after).await.unwrap().ask(&packet).await);
    };
    only_after().await;
    checked(&old.ask(std::slice::from_ref(&packet)).await[0]);

    std::fs::copy(&before.leaf_files()[1], files.key()).unwrap();
    assert_eq!(agent.cli(&["reload"]).code, 0);
    let told = "The new certificate of DNS cannot be used, the old one stays";
    eventually(told, || agent.output().contains(told).then_some(()).ok_or(()));
    assert!(agent.output().contains(&format!("key {} does not belong to", files.key().display())));
    only_after().await;
}

/// Bytes that mean nothing: instead of TLS, within TLS, and as datagrams.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_changes_nothing() {
    let (authority, ports) = (Authority::new(), Secure::free());
    let mut agent = ports.agent(&Files::of(&authority));
    register(&agent, "web", 3);
    let before = agent.resident();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut noise = |most: usize| {
        let mut bytes = vec![0; random.random_range(1..=most)];
        random.fill_bytes(&mut bytes);
        bytes
    };
    let mut open = Vec::new();
    for (port, protocol) in [(ports.tls, &b"dot"[..]), (ports.https, b"h2")] {
        for _ in 0..50 {
            let mut plain = TcpStream::connect(local(port)).await.unwrap();
            let _it_may_have_hung_up = plain.write_all(&noise(4000)).await;
            let mut within = connect(port, &authority, protocol).await.unwrap();
            let _it_may_have_hung_up = within.write_all(&noise(4000)).await;
            let _it_may_have_hung_up = within.flush().await;
            open.push((plain, within));
        }
    }
    let socket = UdpSocket::bind(local(0)).await.unwrap();
    for _ in 0..2000 {
        let _its_queue_may_be_full = socket.send_to(&noise(1400), local(ports.quic)).await;
    }
    let packet = question("web.service.consul SRV", 0);
    checked(&Dot::connect(ports.tls, &authority).await.unwrap().ask(std::slice::from_ref(&packet)).await[0]);
    checked(Doh::connect(ports.https, &authority).await.unwrap().post(packet.clone()).await.body());
    checked(&Doq::connect(ports.quic, &authority).await.unwrap().ask(&packet).await);
    let grown = agent.resident().saturating_sub(before);
    assert!(grown <= MOST_MEMORY, "{grown} bytes more than at rest");
    assert!(agent.ended().is_none() && !agent.output().contains("panicked"));
}

#[test]
fn a_certificate_that_cannot_be_served_with_is_refused_at_the_start() {
    let (one, other) = (Authority::new(), Authority::new());
    let ([certificate, key], [_, other_key]) = (one.leaf_files(), other.leaf_files());
    let folder = tempfile::tempdir().unwrap();
    let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
    std::fs::write(&empty, "").unwrap();
    let cases = [
        (&missing, &key, format!("certificate {}: No such file", missing.display())),
        (&empty, &key, format!("certificate {}: no certificate is in it", empty.display())),
        (&certificate, &missing, format!("key {}: No such file", missing.display())),
        (&certificate, &certificate, format!("key {}: ", certificate.display())),
        (
            &certificate,
            &other_key,
            format!("key {} does not belong to certificate {}", other_key.display(), certificate.display()),
        ),
    ];
    for (certificate, key, reason) in cases {
        let ended = Builder::dev().config(Secure::free().config(certificate, key)).refused();
        let wanted = format!("Error starting agent: dns_config.cert_file, dns_config.key_file: {reason}");
        assert!(ended.err().contains(&wanted), "{wanted}\n{}", ended.err());
    }
    for port in ["dns_tls", "dns_https", "dns_quic"] {
        let ended = Builder::dev().config(json!({"ports": {port: Secure::free().tls}})).refused();
        assert!(ended.err().contains(&format!("ports.{port} needs a certificate and its key")), "{}", ended.err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_certificate_serves_where_dns_has_none_of_its_own() {
    let authority = Authority::new();
    let [certificate, key] = authority.leaf_files();
    // The usual port of both is the same: one is TCP, the other UDP.
    let port = Secure::free().tls;
    let agent = Builder::dev()
        .config(json!({
            "ports": {"dns": -1, "dns_tls": port, "dns_quic": port}, "cert_file": certificate, "key_file": key,
        }))
        .start();
    register(&agent, "web", 3);
    let packet = question("web.service.consul SRV", 0);
    checked(&Dot::connect(port, &authority).await.unwrap().ask(std::slice::from_ref(&packet)).await[0]);
    checked(&Doq::connect(port, &authority).await.unwrap().ask(&packet).await);
}
