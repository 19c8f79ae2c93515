//! A catalog that holds only what was asked for: the first question has it fetched, later ones are answered at once,
//! and the answers are those of a whole catalog.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "for tests alone")]

mod common;

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{NOW, World, free_address, instance, query, service, show, tagged, with_meta};
use hickory_proto::op::Message;
use usher_cluster::{
    access::AllowAll,
    catalog::{Catalog, Changes, Interest, Lease, Source, State, Unavailable, command::Registration},
};
use usher_dns::{
    answer::View,
    client::Client,
    policy::Policy,
    responder::{Errand, Outcome, Responder},
    serve::Server,
};

fn world() -> World {
    let mut world = World::new(Policy::of_consul());
    for server in 2..6_u8 {
        world.add(&format!("n{server}"), &format!("127.0.0.{server}"), service("consul", "", 8300));
    }
    let node = with_meta("h1", "10.0.0.1", &[("k", "v")]);
    world.register(Registration { service: Some(tagged(service("web", "", 80), &["v1"])), ..node });
    world.add("h2", "10.0.0.2", instance("w2", "web", 81));
    world.add("h2", "10.0.0.2", service("Own", "10.1.0.2", 90));
    world.check("h2", "10.0.0.2", "w2", "critical");
    world.add("h3", "h1.node.consul", service("alias", "web.service.consul", 443));
    world
}

const QUESTIONS: &[&str] = &[
    "web.service.consul A",
    "web.service.consul AAAA",
    "WEB.service.consul SRV",
    "v1.web.service.consul ANY",
    "nosuch.service.consul A",
    "own.service.consul SRV",
    "h1.node.consul A",
    "h1.node.consul TXT",
    "h3.node.consul A",
    "nosuch.node.consul A",
    "h1.node.consul MX",
    "alias.service.consul A",
    "alias.service.consul SRV",
    "consul NS",
    "anything.consul SOA",
    "1.0.0.10.in-addr.arpa PTR",
    "2.0.1.10.in-addr.arpa PTR",
    "9.9.9.9.in-addr.arpa PTR",
    "0a000001.addr.consul A",
    "example.com A",
];

/// Answers from `state`, or says what has to be fetched first.
fn ask(world: &World, state: &State, question: &str) -> Result<String, Vec<Interest>> {
    let (packet, transport) = query(question);
    let view =
        View { state, zone: &world.zone, authorizer: &*world.authorizer, known: &world.known, now: NOW, stale: None };
    let mut out = Vec::new();
    match Responder::new(1).respond(&packet, &Client::by(transport), &view, &mut out) {
        Outcome::Replied => Ok(show(&Message::from_vec(&out).unwrap())),
        Outcome::Elsewhere(Errand::Fetch(interests)) => Err(interests),
        other => panic!("{question}: {other:?}"),
    }
}

#[test]
fn what_is_fetched_is_answered_as_a_whole_catalog_answers() {
    let world = world();
    for question in QUESTIONS {
        let mut part = State::partial();
        let mut rounds = 0;
        let answer = loop {
            match ask(&world, &part, question) {
                Ok(answer) => break answer,
                Err(interests) => {
                    assert!(!interests.is_empty() && rounds < 8, "{question}: {interests:?}");
                    rounds += 1;
                    for interest in interests {
                        assert_eq!(part.held_as_of(&interest), None, "{question}: asked for again");
                        part.show(&interest, 1, world.state.content(&interest), false, &mut Changes::default());
                    }
                }
            }
        };
        assert_eq!(Ok(answer), ask(&world, &world.state, question), "{question}");
    }
}

#[test]
fn nothing_is_fetched_that_no_answer_needs() {
    let world = world();
    for question in ["h1.node.consul MX", "0a000001.addr.consul A", "example.com A", "consul.consul AXFR", "x.consul A"]
    {
        assert!(ask(&world, &State::partial(), question).is_ok(), "{question}");
    }
}

/// A server's catalog, from which a client's is filled.
struct Whole {
    state: State,
    filled: Mutex<State>,
    catalog: Arc<Catalog>,
    asked: AtomicUsize,
    down: AtomicBool,
}

impl Source for Whole {
    fn want(&self, interest: Interest) -> Pin<Box<dyn Future<Output = Result<Lease, Unavailable>> + Send + '_>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.down.load(Ordering::SeqCst) {
                return Err(Unavailable);
            }
            self.asked.fetch_add(1, Ordering::SeqCst);
            let (mut filled, mut changes) = (self.filled.lock().unwrap(), Changes::default());
            filled.show(&interest, 1, self.state.content(&interest), false, &mut changes);
            self.catalog.publish(filled.clone(), changes);
            filled.lease(&interest).ok_or(Unavailable)
        })
    }

    fn age(&self, _: &Interest) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

fn client(world: &World) -> Arc<Whole> {
    let catalog = Arc::new(Catalog::default());
    let whole = Arc::new(Whole {
        state: world.state.clone(),
        filled: Mutex::new(State::partial()),
        catalog: catalog.clone(),
        asked: AtomicUsize::new(0),
        down: AtomicBool::new(false),
    });
    let source: Arc<dyn Source> = whole.clone();
    catalog.draw_from(Arc::downgrade(&source));
    whole
}

async fn ask_server(server: SocketAddr, question: &str, tcp: bool) -> String {
    use std::io::{Read as _, Write as _};
    let (packet, _) = query(question);
    let asked = tokio::task::spawn_blocking(move || {
        let patience = Some(Duration::from_secs(10));
        if tcp {
            let mut stream = std::net::TcpStream::connect(server).unwrap();
            stream.set_read_timeout(patience).unwrap();
            stream.write_all(&u16::try_from(packet.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&packet).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut reply).unwrap();
            return reply;
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(patience).unwrap();
        socket.send_to(&packet, server).unwrap();
        let mut reply = vec![0; 65_535];
        let length = socket.recv(&mut reply).unwrap();
        reply.truncate(length);
        reply
    });
    // The zone's serial is the time.
    let shown = show(&Message::from_vec(&asked.await.unwrap()).unwrap());
    let words = shown.split(' ').map(|word| match word.parse::<u32>() {
        Ok(serial) if serial > NOW => NOW.to_string(),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_both_transports_the_first_question_fetches_and_the_next_do_not() {
    let world = world();
    for tcp in [false, true] {
        let (whole, address) = (client(&world), free_address());
        let catalog = whole.catalog.clone();
        let server = Server::start(&[address], Policy::of_consul(), catalog, Arc::new(AllowAll)).await.unwrap();
        for question in QUESTIONS.iter().filter(|question| !question.ends_with("NS") && !question.ends_with("SOA")) {
            let expected = ask(&world, &world.state, question).unwrap();
            let first = ask_server(address, question, tcp).await;
            assert_eq!(first, expected, "{question}");
            let asked = whole.asked.load(Ordering::SeqCst);
            assert_eq!(ask_server(address, question, tcp).await, expected, "{question}");
            assert_eq!(whole.asked.load(Ordering::SeqCst), asked, "{question}: is fetched again");
        }
        let servers = ask_server(address, "consul NS", tcp).await;
        assert_eq!(servers.lines().filter(|line| line.starts_with("an consul. 0 NS")).count(), 3, "{servers}");
        assert_eq!(servers.lines().filter(|line| line.starts_with("ad n")).count(), 3, "{servers}");
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_server_in_reach_what_is_held_is_answered_and_the_rest_fails() {
    let world = world();
    let (whole, address) = (client(&world), free_address());
    let server =
        Server::start(&[address], Policy::of_consul(), whole.catalog.clone(), Arc::new(AllowAll)).await.unwrap();
    let known = ask_server(address, "web.service.consul A", false).await;
    whole.down.store(true, Ordering::SeqCst);
    assert_eq!(ask_server(address, "web.service.consul A", false).await, known);
    for tcp in [false, true] {
        assert_eq!(ask_server(address, "own.service.consul A", tcp).await, "SERVER FAILURE rd ra");
    }
    server.shutdown().await;
}
