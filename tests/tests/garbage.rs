//! Bytes that mean nothing, on every port: the agent neither ends nor forgets its work.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::json;
use usher_tests::agent::{Agent, Builder};
use usher_tests::dns::{self, Options};
use usher_tests::http::{Http, Request};
use usher_tests::poll::eventually;

const SEED: u64 = 0x75_73_68_65_72;
const PACKETS: usize = 2_000;
const CONNECTIONS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(10);

fn noise(random: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..=most)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// A question that was good once, with some of its bytes changed, or cut short, or with more behind it.
fn spoiled_question(random: &mut StdRng) -> Vec<u8> {
    let options = Options { edns: Some(4096), ..Options::default() };
    let mut bytes = dns::query("web.service.consul SRV", &options).unwrap().to_vec().unwrap();
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..bytes.len());
        bytes[at] = random.random();
    }
    if random.random_bool(0.3) {
        bytes.truncate(random.random_range(0..bytes.len()));
    }
    if random.random_bool(0.2) {
        bytes.extend(noise(random, 100));
    }
    bytes
}

fn working_agent() -> Agent {
    let agent = Builder::dev().start();
    agent.put_ok(
        "/v1/catalog/register",
        &json!({"Node": "n1", "Address": "10.0.0.1", "Service": {"Service": "web", "Port": 80}}),
    );
    agent
}

/// What an attack may make the agent hold at most; without limits it would be hundreds of megabytes.
const MOST_MEMORY: u64 = 64 << 20;

fn still_works(agent: &mut Agent, before: u64) {
    assert!(agent.ended().is_none(), "it runs");
    let grown = agent.resident().saturating_sub(before);
    assert!(grown <= MOST_MEMORY, "{grown} bytes more than at rest");
    for tcp in [false, true] {
        let options = Options { tcp, ..Options::default() };
        let answer = dns::ask_with(agent.ports.dns, "web.service.consul A", &options).unwrap();
        assert_eq!(dns::lines(&answer.answers), ["web.service.consul. 0 A 10.0.0.1"]);
    }
    assert_eq!(agent.get("/v1/health/service/web").json()[0]["Service"]["Port"], 80);
    agent.put_ok("/v1/catalog/register", &json!({"Node": "n2", "Address": "10.0.0.2"}));
    assert!(!agent.output().contains("panicked"), "nothing panicked");
}

#[test]
fn garbage_over_udp_changes_nothing() {
    let mut agent = working_agent();
    let before = agent.resident();
    let mut random = StdRng::seed_from_u64(SEED);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for port in [agent.ports.dns, agent.ports.serf_lan, agent.ports.serf_wan] {
        for _ in 0..PACKETS {
            let packet = if random.random() { noise(&mut random, 1500) } else { spoiled_question(&mut random) };
            // A full queue of the receiver is its right.
            let _ = socket.send_to(&packet, ("127.0.0.1", port));
        }
    }
    still_works(&mut agent, before);
}

#[test]
fn garbage_over_tcp_changes_nothing() {
    let mut agent = working_agent();
    let before = agent.resident();
    let mut random = StdRng::seed_from_u64(SEED);
    let ports = agent.ports;
    for port in [ports.dns, ports.http, ports.server, ports.serf_lan, ports.serf_wan] {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let mut bytes = noise(&mut random, 4000);
            if random.random() {
                // A length, and less or more than it says.
                bytes.splice(0..0, random.random::<u16>().to_be_bytes());
            }
            let _ = stream.write_all(&bytes); // it may have hung up by now
            if random.random_bool(0.5) {
                open.push(stream); // and some stay open, saying nothing more
            }
        }
        drop(open);
    }
    still_works(&mut agent, before);
}

/// Names that do not exist, none twice: the flood that fills caches and logs of others.
const NAMES: u32 = 60_000;
/// A question of somebody else after so many of them.
const BETWEEN: u32 = 3_000;

/// A name with something new in it that does not exist, each of another kind, with EDNS so that it is said why.
fn nobody(number: u32, random: &mut StdRng) -> Vec<u8> {
    const KINDS: [&str; 8] = [
        "service.consul",
        "node.consul",
        "web.service.consul",
        "service.dc9.consul",
        "query.consul",
        "consul",
        "10.in-addr.arpa",
        "example.com",
    ];
    let kind = KINDS[number as usize % KINDS.len()];
    let label = format!("x{number}-{:016x}", random.random::<u64>());
    let options = Options { edns: Some(4096), ..Options::default() };
    dns::query(&format!("{label}.{kind} A"), &options).unwrap().to_vec().unwrap()
}

#[test]
fn names_without_end_are_not_kept() {
    let mut agent = working_agent();
    let mut random = StdRng::seed_from_u64(SEED);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", agent.ports.dns)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let before = agent.resident();
    let (mut reply, mut replies, mut why) = ([0; 4096], 0_u32, 0_u32);
    for number in 0..NAMES {
        // A full queue of the receiver is its right.
        let _ = socket.send(&nobody(number, &mut random));
        while let Ok(length) = socket.recv(&mut reply) {
            replies += 1;
            why += u32::from(reply[..length].windows(4).any(|bytes| bytes[..2] == [0, 15] && bytes[2] == 0));
        }
        if number % BETWEEN == 0 {
            // The queue may be full at that moment: who asks asks again, as resolvers do.
            let ask = || dns::ask_with(agent.ports.dns, "web.service.consul A", &Options::default());
            let answer = eventually("an answer amid the flood", ask);
            assert_eq!(dns::lines(&answer.answers), ["web.service.consul. 0 A 10.0.0.1"], "after {number}");
        }
    }
    assert!(replies > NAMES / 10 && why > replies / 10, "{replies} replies, {why} say why");
    still_works(&mut agent, before);
}

/// A message with this question and `additional` records, as bytes.
fn message(question: &[u8], additional: u16, records: &[u8]) -> Vec<u8> {
    let [high, low] = additional.to_be_bytes();
    [&[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, high, low][..], question, records].concat()
}

/// Messages of up to 65,535 bytes that are much work, or much memory, for who follows what they say.
fn bombs() -> Vec<Vec<u8>> {
    const LARGEST: usize = 65_535;
    let good = b"\x03web\x07service\x06consul\0\0\x01\0\x01";
    let fill = |mut message: Vec<u8>, with: &[u8]| {
        while message.len() + with.len() <= LARGEST {
            message.extend_from_slice(with);
        }
        message
    };
    // The question points at the last of many labels, each of which is followed by a pointer to the one before.
    let mut chain = message(b"\xff\xfa\0\x01\0\x01", 0, b"\x01a\0\0");
    while chain.len() < 0x3ffe {
        let [high, low] = u16::try_from(chain.len() - 4).unwrap().to_be_bytes();
        chain.extend_from_slice(&[1, b'b', 0xc0 | high, low]);
    }
    let asking = |pointer: &[u8]| message(pointer, 0, b"");
    vec![
        chain,
        fill(message(b"\xc0\x0c\0\x01\0\x01", 0, b""), b"\xc0\x0c"), // a name that is itself
        asking(b"\x3fa\xc0\x0c\0\x01\0\x01"),
        asking(b"\xff\xff\0\x01\0\x01"),
        fill(message(b"", 0, b""), b"\x3f"), // one label after the other
        fill(message(good, u16::MAX, b""), b"\0\0\x01\0\x01\0\0\0\0\0\0"), // as many records as there can be
        fill(message(good, u16::MAX, b""), b"\xc0\x0c\0\x29\x10\0\0\0\0\0\0\0"), // each an OPT of another owner
        fill(message(good, 1, b"\0\0\x29\x10\0\0\0\0\0\xff\xd1"), b"\0\x0c\0\0"), // options without end
        fill(message(good, 1, b"\0\0\x29\x10\0\0\0\0\0\xff\xd1"), b"\0\x03\0\0"),
        vec![0; LARGEST],
        vec![0xff; LARGEST],
        fill(message(good, 0, b""), b"\0"),
    ]
}

#[test]
fn the_largest_messages_and_names_that_lead_in_circles_cost_no_more_than_others() {
    const TURNS: usize = 40;
    let mut agent = working_agent();
    let before = agent.resident();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = ("127.0.0.1", agent.ports.dns);
    for bomb in bombs() {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let length = u16::try_from(bomb.len()).unwrap().to_be_bytes();
        let framed = [&length[..], &bomb].concat();
        let mut replies = stream.try_clone().unwrap();
        let reading = std::thread::spawn(move || std::io::copy(&mut replies, &mut std::io::sink()));
        for _ in 0..TURNS {
            stream.write_all(&framed).unwrap();
            // The longest are none for UDP.
            let _ = socket.send_to(&bomb, address);
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        reading.join().unwrap().unwrap();
    }
    still_works(&mut agent, before);
}

#[test]
fn requests_that_are_none_are_answered_as_such_or_hung_up_on() {
    let mut agent = working_agent();
    let before = agent.resident();
    let long = format!("GET /v1/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(2 << 20));
    let headers: String = (0..200_000).map(|number| format!("X-{number}: y\r\n")).collect();
    let many = format!("GET /v1/agent/self HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let table: [(&str, &[u8]); 9] = [
        ("nothing", b"\r\n\r\n\r\n"),
        ("no version", b"GET /v1/agent/self\r\n\r\n"),
        ("another version", b"GET /v1/agent/self HTTP/9.9\r\n\r\n"),
        (
            "no such chunk",
            b"PUT /v1/agent/service/register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ),
        ("length below zero", b"PUT /v1/agent/service/register HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        (
            "two lengths",
            b"PUT /v1/agent/service/register HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        ),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("long path", long.as_bytes()),
        ("many headers", many.as_bytes()),
    ];
    for (what, bytes) in table {
        let mut connection = agent.http().connect(PATIENCE).unwrap();
        let _ = connection.write_all(bytes); // it may hang up before the end
        if let usher_tests::http::Connection::Tcp(stream) = &connection {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = connection.take(1 << 16).read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"),
            "{what}: {answer}"
        );
    }
    still_works(&mut agent, before);
}

#[test]
fn bodies_that_mean_nothing_are_refused() {
    let mut agent = working_agent();
    let before = agent.resident();
    let targets =
        ["/v1/agent/service/register", "/v1/catalog/register", "/v1/catalog/deregister", "/v1/agent/check/register"];
    let deep = "[".repeat(200_000);
    let bodies: [&[u8]; 8] =
        [b"", b"{", b"null", b"[]", b"\xff\xfe", b"{\"Name\": 7}", b"{\"Node\": {\"a\": []}}", deep.as_bytes()];
    for target in targets {
        for body in bodies {
            let request = Request::new("PUT", target).body(body);
            let response = Http::local(agent.ports.http).send(&request).unwrap();
            let start = String::from_utf8_lossy(&body[..body.len().min(20)]);
            assert!((400..=500).contains(&response.status), "{target} {start}: {}", response.status);
            assert!(!response.body.is_empty(), "{target} {start}: says why");
        }
    }
    still_works(&mut agent, before);
}
