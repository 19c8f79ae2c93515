//! The sockets: started, asked, reconfigured and stopped on loopback. As `serving` with io_uring for UDP, where the
//! system has it, and as part of `serving_plain` without.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "for tests alone")]

mod common;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use common::{World, free_address, query, service, show};
use hickory_proto::op::Message;
use usher_cluster::{
    access::AllowAll,
    catalog::{Catalog, Changes},
};
use usher_dns::{
    policy::Policy,
    serve::{Backend, Server},
};

/// How long a reply may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(10);

fn catalog(world: &World) -> Arc<Catalog> {
    let catalog = Catalog::default();
    catalog.publish(world.state.clone(), Changes::default());
    Arc::new(catalog)
}

fn world() -> World {
    let mut world = World::new(Policy::of_consul());
    world.add("h1", "10.0.0.1", service("web", "", 80));
    world.add("h2", "10.0.0.2", service("ext", "www.example.com", 443));
    world
}

async fn start(addresses: &[SocketAddr], policy: Policy, world: &World) -> Server {
    Server::start_by(backend(), addresses, None, policy, catalog(world), Arc::new(AllowAll)).await.unwrap()
}

/// How this build of the suite serves UDP.
fn backend() -> Backend {
    if module_path!().starts_with("serving_plain") { Backend::Plain } else { Backend::Auto }
}

async fn udp(server: SocketAddr, packet: Vec<u8>) -> Option<Vec<u8>> {
    tokio::task::spawn_blocking(move || {
        let any: SocketAddr =
            if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&packet).unwrap();
        let mut reply = [0; 65_535];
        let length = socket.recv(&mut reply).ok()?;
        Some(reply[..length].to_vec())
    })
    .await
    .unwrap()
}

async fn tcp(server: SocketAddr, packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for packet in &packets {
            stream.write_all(&u16::try_from(packet.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(packet).unwrap();
        }
        let mut replies = Vec::new();
        for _ in &packets {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut reply).unwrap();
            replies.push(reply);
        }
        replies
    })
    .await
    .unwrap()
}

async fn ask(server: SocketAddr, question: &str) -> String {
    let (packet, _) = query(question);
    let reply = udp(server, packet.clone()).await.expect("a reply");
    assert_eq!(reply[..2], packet[..2], "the id comes back");
    show(&Message::from_vec(&reply).unwrap())
}

async fn ask_tcp(server: SocketAddr, question: &str) -> String {
    let (packet, _) = query(question);
    show(&Message::from_vec(&tcp(server, vec![packet]).await[0]).unwrap())
}

const WEB: &str = "NO ERROR aa rd\nan web.service.consul. 0 A 10.0.0.1";

#[tokio::test]
async fn both_transports_answer_alike_and_stop() {
    let address = free_address();
    let world = world();
    let server = start(&[address], Policy::of_consul(), &world).await;
    for question in [
        "web.service.consul A",
        "web.service.consul SRV edns=1232 ecs=10.1.2.0/24",
        "n1.node.consul ANY",
        "consul SOA",
        "consul AXFR",
        "example.com A",
        "nosuch.service.consul A edns=4096",
        "9.9.9.9.in-addr.arpa PTR",
    ] {
        let (one, other) = (ask(address, question).await, ask_tcp(address, question).await);
        assert_eq!(one, other.replace("tcp", ""), "{question}");
    }
    assert_eq!(ask(address, "web.service.consul A").await, WEB);
    server.shutdown().await;
    let again = start(&[address], Policy::of_consul(), &world).await;
    assert_eq!(ask(address, "web.service.consul A").await, WEB, "the port was free again");
    again.shutdown().await;
}

#[tokio::test]
async fn both_transports_send_the_same_bytes() {
    let mut two_opts = query("web.service.consul SRV edns=4096").0;
    two_opts.extend_from_within(two_opts.len() - 11..);
    two_opts[11] = 2;
    let status = [&[0x12, 0x34, 0x11, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &two_opts[12..]].concat();
    let packets = [query("web.service.consul SRV edns=4096").0, query("n1.node.consul ANY").0, two_opts, status];
    for disable_compression in [false, true] {
        let address = free_address();
        let server = start(&[address], Policy { disable_compression, ..Policy::of_consul() }, &world()).await;
        let by_tcp = tcp(address, packets.to_vec()).await;
        for (packet, reply) in packets.iter().zip(by_tcp) {
            assert_eq!(udp(address, packet.clone()).await, Some(reply), "{packet:02x?}");
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn requests_are_pipelined_on_one_connection() {
    let address = free_address();
    let server = start(&[address], Policy::of_consul(), &world()).await;
    let packets: Vec<Vec<u8>> = (0..20_u8)
        .map(|id| {
            let (mut packet, _) = query("web.service.consul SRV");
            packet[1] = id;
            packet
        })
        .collect();
    let mut ids: Vec<u8> = tcp(address, packets).await.iter().map(|reply| reply[1]).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..20).collect::<Vec<u8>>());
    server.shutdown().await;
}

#[tokio::test]
async fn wildcard_replies_come_from_the_address_that_was_asked() {
    let port = free_address().port();
    let server = start(&[(Ipv4Addr::UNSPECIFIED, port).into()], Policy::of_consul(), &world()).await;
    // The asking socket is connected: a reply from any other address would not reach it.
    for last in [1, 2, 77] {
        assert_eq!(ask((Ipv4Addr::new(127, 0, 0, last), port).into(), "web.service.consul A").await, WEB);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn ipv6_and_several_addresses() {
    let port = free_address().port();
    let addresses = [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::LOCALHOST, port).into()];
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let server = start(&addresses, Policy::of_consul(), &world()).await;
    assert_eq!(ask((Ipv6Addr::LOCALHOST, port).into(), "web.service.consul A").await, WEB);
    assert_eq!(ask(addresses[1], "web.service.consul A").await, WEB);
    assert_eq!(ask_tcp((Ipv6Addr::LOCALHOST, port).into(), "web.service.consul A").await, WEB);
    server.shutdown().await;
}

#[tokio::test]
async fn an_address_in_use_starts_nothing() {
    let (taken, free) = (free_address(), free_address());
    let first = start(&[taken], Policy::of_consul(), &world()).await;
    let error = Server::start(&[free, taken], Policy::of_consul(), catalog(&world()), Arc::new(AllowAll)).await;
    let error = error.err().expect("the address is taken").to_string();
    assert!(error.starts_with(&format!("cannot listen on tcp {taken}")), "{error}");
    assert!(TcpListener::bind(free).is_ok(), "nothing is left of the other address");
    first.shutdown().await;
}

#[tokio::test]
async fn settings_are_replaced_while_serving() {
    let address = free_address();
    let server = start(&[address], Policy::of_consul(), &world()).await;
    assert_eq!(ask(address, "web.service.consul A").await, WEB);
    server.reconfigure(Policy { service_ttl: vec![("*".into(), Duration::from_secs(9))], ..Policy::of_consul() });
    assert_eq!(ask(address, "web.service.consul A").await, "NO ERROR aa rd\nan web.service.consul. 9 A 10.0.0.1");
    server.reconfigure(Policy { domain: "not..a.name".into(), ..Policy::of_consul() });
    assert!(ask(address, "web.service.consul A").await.contains(" 9 A "), "settings that cannot be are not taken over");
    server.shutdown().await;
}

#[tokio::test]
async fn garbage_gets_no_answer_and_does_no_harm() {
    let address = free_address();
    let server = start(&[address], Policy::of_consul(), &world()).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for packet in [&b""[..], b"\xab\xcd\x01", &[0x80; 600], &[0xff; 2000]] {
        socket.send_to(packet, address).unwrap();
    }
    assert_eq!(ask(address, "web.service.consul A").await, WEB);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 512]).is_err(), "no reply to any of it");
    server.shutdown().await;
}

/// A recursor of our own: answers each request with what `reply` makes of it, by UDP and TCP. It does not tell of the
/// questions whether it leads back to the agent.
fn recursor(reply: fn(Vec<u8>, bool) -> Option<Vec<u8>>) -> (SocketAddr, mpsc::Receiver<bool>) {
    let address = free_address();
    let (asked, requests) = mpsc::channel();
    let udp = UdpSocket::bind(address).unwrap();
    let tcp = TcpListener::bind(address).unwrap();
    let by_tcp = asked.clone();
    thread::spawn(move || {
        let mut packet = [0; 2000];
        while let Ok((length, from)) = udp.recv_from(&mut packet) {
            if packet[..length].windows(8).any(|bytes| bytes == b"internal") {
                continue;
            }
            let _the_test_may_be_over = asked.send(false);
            if let Some(reply) = reply(packet[..length].to_vec(), false) {
                udp.send_to(&reply, from).unwrap();
            }
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut packet).unwrap();
            let _the_test_may_be_over = by_tcp.send(true);
            if let Some(reply) = reply(packet, true) {
                stream.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&reply).unwrap();
            }
        }
    });
    (address, requests)
}

/// Every name is 192.0.2.80.
fn good(mut packet: Vec<u8>, _tcp: bool) -> Option<Vec<u8>> {
    packet[2] |= 0x80;
    packet[3] |= 0x80;
    packet[7] = 1;
    let end = packet.len() - if packet[11] == 1 { 11 } else { 0 };
    packet.splice(end..end, *b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02\x50");
    Some(packet)
}

fn coded(mut packet: Vec<u8>, code: u8) -> Option<Vec<u8>> {
    packet[2] |= 0x80;
    packet[3] |= code;
    Some(packet)
}

fn refusing(packet: Vec<u8>, _tcp: bool) -> Option<Vec<u8>> {
    coded(packet, 5)
}

fn unknowing(packet: Vec<u8>, _tcp: bool) -> Option<Vec<u8>> {
    coded(packet, 3)
}

fn silent(_packet: Vec<u8>, _tcp: bool) -> Option<Vec<u8>> {
    None
}

/// Cuts everything over UDP.
fn cutting(packet: Vec<u8>, tcp: bool) -> Option<Vec<u8>> {
    if tcp {
        return good(packet, tcp);
    }
    let mut reply = coded(packet, 0)?;
    reply[2] |= 2;
    Some(reply)
}

/// Lies about the question first, then answers.
fn forged(packet: Vec<u8>, tcp: bool) -> Option<Vec<u8>> {
    let mut reply = good(packet, tcp)?;
    reply[13] = b'x';
    Some(reply)
}

/// Nothing is kept, so that every question is passed on.
fn with_recursors(recursors: &[SocketAddr]) -> Policy {
    Policy {
        recursors: recursors.to_vec(),
        recursor_timeout: Duration::from_millis(300),
        recursor_cache_size: 0,
        ..Policy::of_consul()
    }
}

#[tokio::test]
async fn names_of_others_are_passed_on() {
    let address = free_address();
    let (good, asked) = recursor(good);
    let (refusing, refused) = recursor(refusing);
    let server = start(&[address], with_recursors(&[refusing, good]), &world()).await;
    let want = "NO ERROR rd ra\nan www.example.com. 300 A 192.0.2.80";
    assert_eq!(ask(address, "www.example.com A").await, want);
    assert!(refused.recv_timeout(PATIENCE).is_ok() && !asked.recv_timeout(PATIENCE).unwrap());
    assert_eq!(ask_tcp(address, "www.example.com A").await, want);
    assert!(asked.recv_timeout(PATIENCE).unwrap(), "as the client asked: by TCP");
    let opt = ask(address, "www.example.com A edns=1232").await;
    assert_eq!(opt, want.replace("ra", "ra opt"));
    assert!(ask(address, "9.9.9.9.in-addr.arpa PTR").await.starts_with("NO ERROR rd ra"));
    assert_eq!(ask(address, "web.service.consul A").await, WEB.replace("rd", "rd ra"), "ours are not");
    server.shutdown().await;
}

#[tokio::test]
async fn host_names_are_followed() {
    let address = free_address();
    let (cutting, asked) = recursor(cutting);
    let server = start(&[address], with_recursors(&[cutting]), &world()).await;
    let cname = "NO ERROR aa rd ra
an ext.service.consul. 0 CNAME www.example.com.
an www.example.com. 0 A 192.0.2.80";
    assert_eq!(ask(address, "ext.service.consul A").await, cname);
    let transports: Vec<bool> = (0..2).map(|_| asked.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(transports, [false, true], "cut over UDP, asked again over TCP");
    let srv = "NO ERROR aa rd ra
an ext.service.consul. 0 SRV 1 1 443 www.example.com.
ad www.example.com. 0 A 192.0.2.80";
    assert_eq!(ask(address, "ext.service.consul SRV").await, srv);
    assert_eq!(ask_tcp(address, "ext.service.consul SRV").await, srv);
    server.shutdown().await;
}

#[tokio::test]
async fn recursors_that_fail_are_told_apart() {
    for (reply, want) in [
        (unknowing as fn(Vec<u8>, bool) -> Option<Vec<u8>>, "NON-EXISTENT DOMAIN rd"),
        (refusing, "SERVER FAILURE rd ra"),
        (silent, "SERVER FAILURE rd ra"),
        (forged, "SERVER FAILURE rd ra"),
    ] {
        let address = free_address();
        let (recursor, _asked) = recursor(reply);
        let server = start(&[address], with_recursors(&[recursor]), &world()).await;
        assert_eq!(ask(address, "www.example.com A").await, want);
        assert_eq!(ask_tcp(address, "www.example.com A").await, want);
        let bare = "NO ERROR aa rd ra\nan ext.service.consul. 0 CNAME www.example.com.";
        assert_eq!(ask(address, "ext.service.consul A").await, bare);
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errands_are_given_up_at_the_end() {
    let address = free_address();
    let (silent, asked) = recursor(silent);
    let policy = Policy { recursor_timeout: Duration::from_secs(3600), ..with_recursors(&[silent]) };
    let server = start(&[address], policy, &world()).await;
    let (packet, _) = query("www.example.com A");
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().send_to(&packet, address).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    tokio::time::timeout(PATIENCE, server.shutdown()).await.expect("not an hour");
    // Nothing holds the port any more, not even with SO_REUSEPORT: an ordinary socket gets it.
    UdpSocket::bind(address).unwrap();
}
