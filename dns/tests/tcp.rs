//! Connections of DNS over TCP (RFC 7766): what they carry, in which order, and when they end.
//!
//! Time is paused where it decides: it leaps to the next deadline as soon as nobody has anything else to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "for tests alone")]

mod common;

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use common::{World, free_address, instance, query, service, show};
use hickory_proto::op::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use usher_cluster::{
    access::AllowAll,
    catalog::{Catalog, Changes},
};
use usher_dns::{policy::Policy, serve::Server};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);

struct Client(TcpStream);

impl Client {
    async fn connect(server: SocketAddr) -> Self {
        Self(TcpStream::connect(server).await.unwrap())
    }

    async fn send(&mut self, packets: &[Vec<u8>]) {
        self.0.write_all(&framed(packets)).await.unwrap();
    }

    /// The next reply; `None` at the end of the connection.
    async fn reply(&mut self) -> Option<Vec<u8>> {
        timeout(PATIENCE, read_message(&mut self.0)).await.expect("a reply or the end")
    }

    async fn ask(&mut self, question: &str) -> String {
        self.send(&[query(question).0]).await;
        show(&Message::from_vec(&self.reply().await.expect("a reply")).unwrap())
    }

    /// Waits until the server closes the connection.
    async fn end(&mut self) {
        assert_eq!(self.reply().await, None, "the end, without another reply");
    }
}

async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) => return None,
        Err(error) => panic!("{error}"),
    };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.unwrap();
    Some(message)
}

fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for packet in packets {
        stream.extend_from_slice(&u16::try_from(packet.len()).unwrap().to_be_bytes());
        stream.extend_from_slice(packet);
    }
    stream
}

/// The question with this id.
fn numbered(question: &str, id: u16) -> Vec<u8> {
    let (mut packet, _) = query(question);
    packet[..2].copy_from_slice(&id.to_be_bytes());
    packet
}

fn id(reply: &[u8]) -> u16 {
    u16::from_be_bytes([reply[0], reply[1]])
}

/// `web` once, `many` so often that its SRV records fill a message of 65,535 bytes more than once.
fn world() -> World {
    let mut world = World::new(Policy::of_consul());
    world.add("h1", "10.0.0.1", service("web", "", 80));
    for number in 0..2500 {
        world.add(&format!("host-{number}"), "10.0.0.2", instance(&format!("many-{number}"), "many", number));
    }
    world
}

async fn start(policy: Policy, world: &World) -> (Server, SocketAddr) {
    let catalog = Catalog::default();
    catalog.publish(world.state.clone(), Changes::default());
    let address = free_address();
    let server = Server::start(&[address], policy, Arc::new(catalog), Arc::new(AllowAll)).await.unwrap();
    (server, address)
}

/// A recursor that tells of each question and holds its reply back until it is asked to give one.
struct Recursor {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<TcpStream>,
}

impl Recursor {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if tell.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, asked }
    }

    fn policy(&self) -> Policy {
        // Longer than any errand: what ends one is the errand's own limit.
        Policy { recursors: vec![self.address], recursor_timeout: Duration::from_secs(3600), ..Policy::of_consul() }
    }

    async fn next(&mut self) -> TcpStream {
        timeout(PATIENCE, self.asked.recv()).await.expect("the recursor is asked").unwrap()
    }
}

/// Answers a question held back, as far as the client is concerned: there is no such name.
async fn answer(mut stream: TcpStream) {
    let mut reply = read_message(&mut stream).await.unwrap();
    reply[2] |= 0x80;
    reply[3] |= 3;
    stream.write_all(&framed(&[reply])).await.unwrap();
}

#[tokio::test]
async fn a_connection_carries_any_number_of_questions() {
    let (server, address) = start(Policy::of_consul(), &world()).await;
    let mut client = Client::connect(address).await;
    let first = client.ask("web.service.consul SRV").await;
    for _ in 0..300 {
        assert_eq!(client.ask("web.service.consul SRV").await, first);
    }
    let packets: Vec<_> = (0..20_000).map(|id| numbered("web.service.consul SRV", id)).collect();
    let (mut reading, mut writing) = client.0.into_split();
    // The client reads nothing until it has written everything: more than the system's buffers and ours hold.
    let sending = tokio::spawn(async move { writing.write_all(&framed(&packets)).await.map(|()| writing) });
    for id_wanted in 0..20_000 {
        let mut reply = vec![0; usize::from(reading.read_u16().await.unwrap())];
        reading.read_exact(&mut reply).await.unwrap();
        assert_eq!(id(&reply), id_wanted, "in order, as none has to wait");
    }
    let _writing = sending.await.unwrap().unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn messages_are_cut_anywhere_by_the_stream() {
    let (server, address) = start(Policy::of_consul(), &world()).await;
    let mut client = Client::connect(address).await;
    client.0.set_nodelay(true).unwrap();
    let stream = framed(&[numbered("web.service.consul A", 1), Vec::new(), numbered("web.service.consul A", 2)]);
    for cut in 0..=stream.len() {
        let (head, tail) = stream.split_at(cut);
        client.0.write_all(head).await.unwrap();
        tokio::task::yield_now().await;
        client.0.write_all(tail).await.unwrap();
        let ids = [client.reply().await.unwrap(), client.reply().await.unwrap()].map(|reply| id(&reply));
        assert_eq!(ids, [1, 2], "cut at {cut}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn the_largest_messages_go_both_ways() {
    let (server, address) = start(Policy::of_consul(), &world()).await;
    let mut client = Client::connect(address).await;
    // Bytes behind the question are no part of it.
    let mut largest = numbered("many.service.consul SRV", 7);
    largest.resize(65_535, 0);
    client.send(&[largest.clone(), largest]).await;
    for _ in 0..2 {
        let reply = client.reply().await.unwrap();
        assert!((65_000..=65_535).contains(&reply.len()), "{}", reply.len());
        let message = Message::from_vec(&reply).unwrap();
        assert!(message.answers.len() > 400 && !message.metadata.truncation);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_waits_for_others_is_overtaken() {
    let mut recursor = Recursor::start().await;
    let (server, address) = start(recursor.policy(), &world()).await;
    let mut client = Client::connect(address).await;
    client.send(&[numbered("a.example A", 1), numbered("b.example A", 2), numbered("web.service.consul A", 3)]).await;
    assert_eq!(id(&client.reply().await.unwrap()), 3);
    let held = [recursor.next().await, recursor.next().await];
    client.send(&[numbered("web.service.consul A", 4)]).await;
    assert_eq!(id(&client.reply().await.unwrap()), 4);
    for stream in held {
        answer(stream).await;
    }
    let mut ids = [client.reply().await.unwrap(), client.reply().await.unwrap()].map(|reply| id(&reply));
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_connection_has_only_so_many_errands() {
    let mut recursor = Recursor::start().await;
    let (server, address) = start(recursor.policy(), &world()).await;
    let mut client = Client::connect(address).await;
    let mut packets: Vec<_> = (0..128).map(|id| numbered(&format!("a{id}.example A"), id)).collect();
    packets.extend([numbered("last.example A", 128), numbered("web.service.consul A", 129)]);
    client.send(&packets).await;
    let mut held = Vec::new();
    for _ in 0..128 {
        held.push(recursor.next().await);
    }
    let mut other = Client::connect(address).await;
    assert!(other.ask("web.service.consul A").await.contains("10.0.0.1"), "others are not held up");
    assert_eq!(recursor.asked.try_recv().err(), Some(mpsc::error::TryRecvError::Empty), "no more than 128");
    answer(held.pop().unwrap()).await;
    assert!(id(&client.reply().await.unwrap()) < 128);
    assert_eq!(id(&client.reply().await.unwrap()), 129, "read on as soon as there is room");
    answer(recursor.next().await).await;
    assert_eq!(id(&client.reply().await.unwrap()), 128);
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_sends_no_more_still_gets_its_replies() {
    let mut recursor = Recursor::start().await;
    let (server, address) = start(recursor.policy(), &world()).await;
    let mut client = Client::connect(address).await;
    client.send(&[numbered("a.example A", 1), numbered("web.service.consul A", 2)]).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(id(&client.reply().await.unwrap()), 2);
    answer(recursor.next().await).await;
    assert_eq!(id(&client.reply().await.unwrap()), 1);
    client.end().await;
    server.shutdown().await;
}

#[tokio::test]
async fn replies_under_way_are_sent_before_the_end() {
    let mut recursor = Recursor::start().await;
    let (server, address) = start(recursor.policy(), &world()).await;
    let (mut waiting, mut idle) = (Client::connect(address).await, Client::connect(address).await);
    idle.ask("web.service.consul A").await;
    waiting.send(&[numbered("a.example A", 1)]).await;
    let held = recursor.next().await;
    let ending = tokio::spawn(server.shutdown());
    idle.end().await;
    answer(held).await;
    assert_eq!(id(&waiting.reply().await.unwrap()), 1);
    waiting.end().await;
    timeout(PATIENCE, ending).await.unwrap().unwrap();
    assert_eq!(TcpStream::connect(address).await.err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
}

#[tokio::test(start_paused = true)]
async fn an_errand_that_never_ends_does_not_keep_the_server() {
    let mut recursor = Recursor::start().await;
    let (server, address) = start(recursor.policy(), &world()).await;
    let mut client = Client::connect(address).await;
    client.send(&[numbered("a.example A", 1)]).await;
    let _held = recursor.next().await;
    timeout(IDLE, server.shutdown()).await.expect("not as long as an errand may take");
    // Whether the client is still told so, or only sees the end, is a matter of who is first.
    if let Some(reply) = client.reply().await {
        assert_eq!(reply[3] & 15, 2, "SERVFAIL");
        client.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_and_questions_keep_it() {
    let (server, address) = start(Policy::of_consul(), &world()).await;
    let mut client = Client::connect(address).await;
    for _ in 0..5 {
        client.ask("web.service.consul A").await;
        sleep(IDLE - Duration::from_secs(1)).await;
    }
    let last = Instant::now();
    client.ask("web.service.consul A").await;
    client.end().await;
    assert!(last.elapsed() >= IDLE, "{:?}", last.elapsed());
    let mut silent = Client::connect(address).await;
    silent.end().await;
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_waited_for_but_not_for_ever() {
    let (server, address) = start(Policy::of_consul(), &world()).await;
    let stream = framed(&[numbered("web.service.consul A", 1)]);
    let mut slow = Client::connect(address).await;
    // One whole request is slow, but in time; then bytes drip.
    for part in stream.chunks(stream.len() / 4) {
        slow.0.write_all(part).await.unwrap();
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(id(&slow.reply().await.unwrap()), 1);
    let began = Instant::now();
    let dripped: io::Result<()> = async {
        for byte in stream {
            slow.0.write_all(&[byte]).await?;
            sleep(Duration::from_secs(3)).await;
        }
        Ok(())
    }
    .await;
    assert!(dripped.is_err(), "closed before the last byte");
    assert!(began.elapsed() < 3 * IDLE, "{:?}", began.elapsed());
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_replies_is_closed() {
    let (server, address) = start(Policy::of_consul(), &world()).await;
    let mut greedy = Client::connect(address).await;
    let packets = framed(&vec![numbered("many.service.consul SRV", 1); 100]);
    let began = Instant::now();
    // Written until nobody takes it any more, and never read.
    let written: io::Result<()> = async {
        loop {
            greedy.0.write_all(&packets).await?;
        }
    }
    .await;
    assert!(written.is_err());
    assert!((IDLE..2 * IDLE).contains(&began.elapsed()), "{:?}", began.elapsed());
    let mut other = Client::connect(address).await;
    other.ask("web.service.consul A").await;
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_errand_keeps_its_connection_for_as_long_as_it_takes() {
    let mut recursor = Recursor::start().await;
    let (server, address) = start(recursor.policy(), &world()).await;
    let mut client = Client::connect(address).await;
    let began = Instant::now();
    client.send(&[numbered("a.example A", 1)]).await;
    let _held = recursor.next().await;
    let reply = Message::from_vec(&client.reply().await.unwrap()).unwrap();
    assert_eq!(show(&reply), "SERVER FAILURE rd ra");
    assert!(began.elapsed() > IDLE, "an errand may take longer than silence");
    client.end().await;
    server.shutdown().await;
}
