//! Recursors: scripted ones that answer, fail, cut, lie low, die and lead back, asked through the sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "for tests alone")]

mod common;
#[path = "common/upstream.rs"]
mod upstream;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use common::{World, query, service, show};
use hickory_proto::op::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};
use upstream::{Heard, Upstream, a, cut, reply, sections, soa};
use usher_cluster::{
    access::AllowAll,
    catalog::{Catalog, Changes},
};
use usher_dns::{policy::Policy, serve::Server};

/// How long a reply may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent with recursors.
struct Agent {
    address: SocketAddr,
    server: Server,
}

async fn free_address() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = udp.local_addr().unwrap();
        if TcpListener::bind(address).await.is_ok() {
            return address;
        }
    }
}

fn policy(recursors: &[SocketAddr]) -> Policy {
    Policy { recursors: recursors.to_vec(), recursor_timeout: Duration::from_secs(10), ..Policy::default() }
}

/// The same with recursors that are soon given up.
fn hasty(recursors: &[SocketAddr]) -> Policy {
    Policy { recursor_timeout: Duration::from_millis(300), ..policy(recursors) }
}

impl Agent {
    async fn start(policy: Policy) -> Self {
        Self::start_at(free_address().await, policy).await
    }

    async fn start_at(address: SocketAddr, policy: Policy) -> Self {
        let mut world = World::new(Policy::default());
        world.add("h1", "10.0.0.1", service("ext", "www.example.com", 443));
        let catalog = Catalog::default();
        catalog.publish(world.state, Changes::default());
        let server = Server::start(&[address], policy, Arc::new(catalog), Arc::new(AllowAll)).await.unwrap();
        Self { address, server }
    }

    /// The reply to a question, as text.
    async fn ask(&self, question: &str) -> String {
        show(&Message::from_vec(&self.packet(&query(question).0).await).unwrap())
    }

    async fn packet(&self, packet: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(packet).await.unwrap();
        let mut reply = vec![0; 65_535];
        let length = timeout(PATIENCE, socket.recv(&mut reply)).await.expect("a reply").unwrap();
        assert_eq!(reply[..2], packet[..2], "the id comes back");
        reply.truncate(length);
        reply
    }

    async fn ask_tcp(&self, question: &str) -> String {
        let (packet, _) = query(question);
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_u16(packet.len().try_into().unwrap()).await.unwrap();
        stream.write_all(&packet).await.unwrap();
        let mut reply = vec![0; timeout(PATIENCE, stream.read_u16()).await.expect("a reply").unwrap().into()];
        stream.read_exact(&mut reply).await.unwrap();
        show(&Message::from_vec(&reply).unwrap())
    }

    /// Asks until the reply is as wanted; the last one.
    async fn ask_until(&self, question: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let reply = self.ask(question).await;
            if wanted(&reply) || Instant::now() > end {
                return reply;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Every name is 192.0.2.80, for five minutes.
fn good(heard: &Heard) -> Option<Vec<u8>> {
    Some(reply(&heard.packet, 0, &[a(80, 300)]))
}

fn failing(heard: &Heard) -> Option<Vec<u8>> {
    Some(reply(&heard.packet, 2, &[]))
}

fn silent(_: &Heard) -> Option<Vec<u8>> {
    None
}

const FAILED: &str = "SERVER FAILURE rd ra";

fn www(ttl: u32) -> String {
    format!("NO ERROR rd ra\nan www.example.com. {ttl} A 192.0.2.80")
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn recursors_are_asked_one_after_the_other() {
    let (silent, failing, good) =
        (Upstream::new(silent).await, Upstream::new(failing).await, Upstream::new(good).await);
    let agent = Agent::start(hasty(&[silent.address, failing.address, good.address])).await;
    assert_eq!(agent.ask("www.example.com A").await, www(300));
    let asked = || [silent.heard(), failing.heard(), good.heard()].map(|heard| heard.len());
    assert_eq!(asked(), [1, 1, 1]);
    good.now(self::failing);
    assert_eq!(agent.ask("ftp.example.com A").await, FAILED);
    assert_eq!(asked(), [2, 2, 2]);
    agent.server.shutdown().await;
}

#[tokio::test]
async fn a_recursor_that_is_always_silent_is_asked_last() {
    let (silent, good) = (Upstream::new(silent).await, Upstream::new(good).await);
    let agent = Agent::start(hasty(&[silent.address, good.address])).await;
    for number in 0..20 {
        assert_eq!(agent.ask(&format!("n{number}.example.com A")).await.lines().count(), 2);
    }
    // It takes three questions to know; one more each ten seconds, on a machine that is that slow.
    assert!((3..8).contains(&silent.heard().len()), "{:?}", silent.heard());
    agent.server.shutdown().await;
}

#[tokio::test]
async fn recursors_are_asked_in_random_order_if_told_so() {
    let (one, other) = (Upstream::new(good).await, Upstream::new(good).await);
    let recursors = [one.address, other.address];
    let agent = Agent::start(Policy { recursor_random: true, ..policy(&recursors) }).await;
    for number in 0..64 {
        agent.ask(&format!("n{number}.example.com A")).await;
    }
    let asked = [one.heard().len(), other.heard().len()];
    assert!(asked.iter().sum::<usize>() == 64 && asked.iter().all(|asked| *asked > 8), "{asked:?}");
    agent.server.shutdown().await;
}

#[tokio::test]
async fn a_recursor_that_is_not_there_is_noticed_at_once() {
    let (gone, good) = (free_address().await, Upstream::new(good).await);
    let agent =
        Agent::start(Policy { recursor_timeout: Duration::from_secs(3600), ..policy(&[gone, good.address]) }).await;
    assert_eq!(agent.ask("www.example.com A").await, www(300), "not after an hour");
    agent.server.shutdown().await;
}

/// Forty addresses; cut over UDP.
fn large(heard: &Heard) -> Option<Vec<u8>> {
    let records: Vec<_> = (0..40).map(|last| a(last, 300)).collect();
    Some(if heard.tcp { reply(&heard.packet, 0, &records) } else { cut(&heard.packet) })
}

#[tokio::test]
async fn what_is_cut_is_asked_for_over_tcp_and_kept_whole() {
    let large = Upstream::new(large).await;
    let agent = Agent::start(policy(&[large.address])).await;
    let whole = |reply: &str| reply.lines().count() == 41;
    assert!(whole(&agent.ask("www.example.com A edns=4096").await));
    assert_eq!(large.heard(), ["www.example.com", "www.example.com tcp"]);
    assert_eq!(agent.ask("www.example.com A").await, "NO ERROR tc rd ra", "too much without EDNS");
    assert!(whole(&agent.ask_tcp("www.example.com A").await), "kept, so there is no more asking");
    assert_eq!(large.heard().len(), 4, "once with EDNS, once without");
    // Cut on all ways: that is what the client gets, and it is asked anew.
    large.now(|heard| Some(cut(&heard.packet)));
    assert_eq!(agent.ask("ftp.example.com A").await, "NO ERROR tc rd ra");
    assert_eq!(agent.ask("ftp.example.com A").await, "NO ERROR tc rd ra");
    assert_eq!(large.heard().len(), 8);
    agent.server.shutdown().await;
}

#[tokio::test]
async fn datagrams_larger_than_told_are_asked_for_over_tcp() {
    let records: Vec<_> = (0..300).map(|number: u16| a(number.to_be_bytes()[1], 300)).collect();
    let wide = Upstream::new(move |heard| Some(reply(&heard.packet, 0, &records))).await;
    let agent = Agent::start(policy(&[wide.address])).await;
    assert_eq!(agent.ask("www.example.com A edns=8192").await.lines().count(), 301);
    assert_eq!(wide.heard(), ["www.example.com", "www.example.com tcp"]);
    agent.server.shutdown().await;
}

#[tokio::test]
async fn answers_are_kept_and_their_ttls_counted_down() {
    let good = Upstream::new(good).await;
    let agent = Agent::start(policy(&[good.address])).await;
    assert_eq!(agent.ask("www.example.com A").await, www(300));
    let counted = |reply: &str, name: &str| {
        let ttl = reply.strip_prefix(&format!("NO ERROR rd ra\nan {name}. ")).and_then(|rest| rest.split_once(' '));
        ttl.is_some_and(|(ttl, rest)| rest == "A 192.0.2.80" && (200..300).contains(&ttl.parse().unwrap()))
    };
    let later = agent.ask_until("www.example.com A", |reply| *reply != www(300)).await;
    assert!(counted(&later, "www.example.com"), "{later}");
    let other_letters = agent.ask("WwW.example.com A").await;
    assert!(counted(&other_letters, "WwW.example.com"), "in the letters of who asks: {other_letters}");
    let by_tcp = agent.ask_tcp("www.example.com A").await;
    assert!(counted(&by_tcp, "www.example.com"), "{by_tcp}");
    assert_eq!(good.heard(), ["www.example.com"], "asked once");
    // Another question: with EDNS, another type.
    assert_eq!(agent.ask("www.example.com A edns=1232").await, www(300).replace("ra", "ra opt"));
    agent.ask("www.example.com AAAA").await;
    assert_eq!(good.heard().len(), 3);
    // A name that an address of the catalog leads to: the same question as the client's own.
    let followed =
        "NO ERROR aa rd ra\nan ext.service.consul. 0 CNAME www.example.com.\nan www.example.com. 0 A 192.0.2.80";
    assert_eq!(agent.ask("ext.service.consul A").await, followed);
    assert_eq!(good.heard().len(), 3, "known from the first question");
    // What is said for a client's network is for nobody else.
    for _ in 0..2 {
        agent.ask("www.example.com A edns=1232 ecs=10.1.2.0/24").await;
    }
    assert_eq!(good.heard().len(), 5);
    agent.server.shutdown().await;
}

#[tokio::test]
async fn an_alias_leads_to_addresses_of_the_family_that_is_asked_for() {
    let by_type = |heard: &Heard| {
        let kind_at = heard.packet.len() - 3;
        let mut aaaa = vec![0xc0, 12, 0, 28, 0, 1, 0, 0, 1, 44, 0, 16, 0x20, 0x01, 0x0d, 0xb8];
        aaaa.extend([0; 11]);
        aaaa.push(80);
        let records = if heard.packet[kind_at] == 28 { vec![aaaa] } else { vec![a(80, 300)] };
        Some(reply(&heard.packet, 0, &records))
    };
    let upstream = Upstream::new(by_type).await;
    let agent = Agent::start(policy(&[upstream.address])).await;
    let alias = "NO ERROR aa rd ra\nan ext.service.consul. 0 CNAME www.example.com.";
    let v4 = "www.example.com. 0 A 192.0.2.80";
    let v6 = "www.example.com. 0 AAAA 2001:db8::50";
    assert_eq!(agent.ask("ext.service.consul AAAA").await, format!("{alias}\nan {v6}"));
    assert_eq!(agent.ask("ext.service.consul A").await, format!("{alias}\nan {v4}"));
    let srv = "NO ERROR aa rd ra\nan ext.service.consul. 0 SRV 1 1 443 www.example.com.";
    assert_eq!(agent.ask("ext.service.consul SRV").await, format!("{srv}\nad {v4}\nad {v6}"));
    assert_eq!(upstream.heard().len(), 2, "each family once");
    agent.server.shutdown().await;
}

#[tokio::test]
async fn that_there_is_nothing_is_kept_if_it_may_be() {
    let upstream = Upstream::new(|heard| Some(sections(&heard.packet, 3, &[], &[soa(600, 60)]))).await;
    let agent = Agent::start(policy(&[upstream.address])).await;
    let first = agent.ask("no.example.com A").await;
    assert!(first.starts_with("NON-EXISTENT DOMAIN rd ra\nau . 600 SOA"), "{first}");
    let second = agent.ask("no.example.com A").await;
    let ttl = second.split(' ').nth(5).map(|word| word.parse::<u32>());
    assert!(matches!(ttl, Some(Ok(1..=60))), "as long as it is kept: {second}");
    assert_eq!(upstream.heard().len(), 1);
    upstream.now(|heard| Some(reply(&heard.packet, 3, &[])));
    for _ in 0..2 {
        assert_eq!(agent.ask("gone.example.com A").await, "NON-EXISTENT DOMAIN rd ra");
    }
    assert_eq!(upstream.heard().len(), 3, "without SOA it is asked again");
    agent.server.shutdown().await;
}

#[tokio::test]
async fn failures_count_for_a_few_seconds() {
    let upstream = Upstream::new(failing).await;
    let agent = Agent::start(policy(&[upstream.address])).await;
    for _ in 0..5 {
        assert_eq!(agent.ask("www.example.com A").await, FAILED);
    }
    let asked = upstream.heard().len();
    assert!(asked <= 2, "asked {asked} times: not each time");
    upstream.now(good);
    assert_eq!(agent.ask_until("www.example.com A", |reply| reply != FAILED).await, www(300), "and no longer");
    agent.server.shutdown().await;
}

fn brief(heard: &Heard) -> Option<Vec<u8>> {
    Some(reply(&heard.packet, 0, &[a(80, 1)]))
}

#[tokio::test]
async fn an_answer_out_of_date_is_better_than_none_if_allowed() {
    let upstream = Upstream::new(brief).await;
    let stale = Policy { recursor_stale_max: Duration::from_secs(3600), ..hasty(&[upstream.address]) };
    let (lax, strict) = (Agent::start(stale).await, Agent::start(hasty(&[upstream.address])).await);
    for agent in [&lax, &strict] {
        assert_eq!(agent.ask("www.example.com A").await, www(1));
    }
    upstream.now(silent);
    assert_eq!(lax.ask_until("www.example.com A", |reply| *reply != www(1)).await, www(30));
    assert_eq!(strict.ask_until("www.example.com A", |reply| *reply != www(1)).await, FAILED);
    let asked = upstream.heard().len();
    for _ in 0..20 {
        assert_eq!(lax.ask("www.example.com A").await, www(30));
    }
    assert_eq!(upstream.heard().len(), asked, "what failed is not tried at once again");
    lax.server.shutdown().await;
    strict.server.shutdown().await;
}

#[tokio::test]
async fn who_is_slow_is_not_waited_for_where_there_is_an_old_answer() {
    let upstream = Upstream::new(brief).await;
    let an_hour = Duration::from_secs(3600);
    let stale = Policy { recursor_stale_max: an_hour, recursor_timeout: an_hour, ..policy(&[upstream.address]) };
    let agent = Agent::start(stale).await;
    agent.ask("www.example.com A").await;
    upstream.now(silent);
    assert_eq!(agent.ask_until("www.example.com A", |reply| *reply != www(1)).await, www(30));
    // What comes late counts from now on.
    upstream.reply_late(|heard| reply(&heard.packet, 0, &[a(81, 300)])).await;
    let later = agent.ask_until("www.example.com A", |reply| reply.contains("192.0.2.81")).await;
    assert_eq!(later, "NO ERROR rd ra\nan www.example.com. 300 A 192.0.2.81");
    agent.server.shutdown().await;
}

#[tokio::test]
async fn the_same_question_is_asked_once_for_all_who_wait() {
    let upstream = Upstream::new(silent).await;
    let agent = Arc::new(Agent::start(Policy { recursor_cache_size: 0, ..policy(&[upstream.address]) }).await);
    let mut clients = JoinSet::new();
    for number in 0..40_u8 {
        let agent = agent.clone();
        clients.spawn(async move {
            let name = if number % 2 == 0 { "www.example.com A" } else { "WWW.example.COM A" };
            (agent.ask(name).await, name)
        });
    }
    until("a question comes", || !upstream.heard().is_empty()).await;
    // One more name, asked last and over the same sockets: the others are under way when it is heard.
    let last = tokio::spawn({
        let agent = agent.clone();
        async move { agent.ask("last.example.com A").await }
    });
    until("the last question comes", || upstream.heard().contains(&"last.example.com".to_owned())).await;
    while upstream.heard().len() < 2 || !last.is_finished() || !clients.is_empty() {
        upstream.reply_late(|heard| reply(&heard.packet, 0, &[a(80, 300)])).await;
        while let Some(done) = clients.try_join_next() {
            let (reply, name) = done.unwrap();
            assert_eq!(reply, www(300).replace("www.example.com", name.strip_suffix(" A").unwrap()));
        }
        tokio::task::yield_now().await;
    }
    let asked = upstream.heard().len();
    assert!(asked < 10, "{asked} questions for 41 clients");
    Arc::into_inner(agent).unwrap().server.shutdown().await;
}

#[tokio::test]
async fn what_is_known_is_answered_while_others_wait_in_vain() {
    let upstream = Upstream::new(good).await;
    // As many of one recursor as take all the questions that may wait.
    let agent = Agent::start(policy(&[upstream.address; 3])).await;
    agent.ask("www.example.com A").await;
    upstream.now(silent);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut number = 0;
    // Until every place among those who wait is taken: then a question fails at once.
    let mut reply = [0; 512];
    let length = loop {
        if let Ok(length) = socket.try_recv(&mut reply) {
            break length;
        }
        let (packet, _) = query(&format!("n{number}.example.com A"));
        socket.send_to(&packet, agent.address).await.unwrap();
        number += 1;
        tokio::task::yield_now().await;
    };
    assert_eq!(show(&Message::from_vec(&reply[..length]).unwrap()), FAILED);
    assert!(number > 1000, "after {number}");
    assert_eq!(agent.ask("www.example.com A").await.lines().count(), 2);
    assert_eq!(agent.ask_tcp("www.example.com A").await.lines().count(), 2);
    agent.server.shutdown().await;
}

#[tokio::test]
async fn a_flood_of_names_pushes_out_the_oldest() {
    let upstream = Upstream::new(good).await;
    let agent = Agent::start(Policy { recursor_cache_size: 20, ..policy(&[upstream.address]) }).await;
    for number in 0..200 {
        agent.ask(&format!("n{number}.example.com A")).await;
        agent.ask("www.example.com A").await;
    }
    assert_eq!(upstream.heard().len(), 201, "what is used stays");
    agent.ask("n199.example.com A").await;
    assert_eq!(upstream.heard().len(), 201, "the newest is there");
    agent.ask("n1.example.com A").await;
    assert_eq!(upstream.heard().len(), 202, "the oldest is not");
    agent.server.shutdown().await;
}

#[tokio::test]
async fn other_recursors_begin_with_nothing_known() {
    let (one, other) = (Upstream::new(good).await, Upstream::new(good).await);
    let agent = Agent::start(policy(&[one.address])).await;
    agent.ask("www.example.com A").await;
    agent.server.reconfigure(Policy { node_ttl: Duration::from_secs(1), ..policy(&[one.address]) });
    agent.ask("www.example.com A").await;
    assert_eq!(one.heard().len(), 1, "known as before");
    agent.server.reconfigure(policy(&[other.address]));
    agent.ask("www.example.com A").await;
    assert_eq!((one.heard().len(), other.heard().len()), (1, 1));
    agent.server.shutdown().await;
}

/// A resolver that passes on what it is asked, to the agent or to one who knows; it counts what it hears.
struct Forwarder {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Forwarder {
    /// Questions that `back` picks go to `agent`.
    async fn new(agent: SocketAddr, back: fn(&str) -> bool) -> Self {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let heard = Arc::<AtomicUsize>::default();
        let counting = heard.clone();
        let serving = tokio::spawn(async move {
            let mut passing = JoinSet::new();
            let mut packet = vec![0; 65_535];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                counting.fetch_add(1, Ordering::SeqCst);
                let packet = packet[..length].to_vec();
                if !back(&upstream::name(&packet)) {
                    let code = if upstream::is_probe(&packet) { 3 } else { 0 };
                    socket.send_to(&reply(&packet, code, &[a(80, 300)]), from).await.unwrap();
                    continue;
                }
                let socket = socket.clone();
                passing.spawn(async move {
                    let on = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                    on.connect(agent).await.unwrap();
                    on.send(&packet).await.unwrap();
                    let mut reply = vec![0; 65_535];
                    // The agent may be gone at the end of the test.
                    if let Ok(length) = on.recv(&mut reply).await {
                        socket.send_to(&reply[..length], from).await.unwrap();
                    }
                });
            }
        });
        Self { address, heard, serving }
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Asks the agent for names until one costs `between` no datagram: how many it took. A name fails in any case.
async fn names_until_left_out(agent: &Agent, between: &Forwarder) -> usize {
    for tried in 0..50 {
        let before = between.heard();
        assert_eq!(agent.ask(&format!("n{tried}.example.com A")).await, FAILED);
        // The question whether it leads back comes first.
        if before > 0 && between.heard() == before {
            return tried;
        }
    }
    panic!("it is never left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recursor_that_leads_back_is_left_out() {
    let address = free_address().await;
    let looping = Forwarder::new(address, |_| true).await;
    let agent = Agent::start_at(address, hasty(&[looping.address])).await;
    let tried = names_until_left_out(&agent, &looping).await;
    let heard = looping.heard();
    assert!(heard <= 1 + 2 * tried, "{heard} datagrams for {tried} names and a probe");
    for number in 0..50 {
        assert_eq!(agent.ask(&format!("later{number}.example.com A")).await, FAILED);
    }
    assert_eq!(looping.heard(), heard, "left out");
    let good = Upstream::new(good).await;
    agent.server.reconfigure(hasty(&[looping.address, good.address]));
    assert_eq!(agent.ask("www.example.com A").await, www(300), "others are asked");
    agent.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_some_names_costs_one_round_each() {
    let address = free_address().await;
    let looping = Forwarder::new(address, |name| name.ends_with(".arpa")).await;
    let agent = Agent::start_at(address, hasty(&[looping.address])).await;
    assert_eq!(agent.ask("www.example.com A").await, www(300), "it is in order otherwise");
    let before = looping.heard();
    let mut clients = JoinSet::new();
    let agent = Arc::new(agent);
    for _ in 0..20 {
        let agent = agent.clone();
        clients.spawn(async move { agent.ask("9.2.0.192.in-addr.arpa PTR").await });
    }
    while let Some(reply) = clients.join_next().await {
        assert_eq!(reply.unwrap(), FAILED);
    }
    assert_eq!(agent.ask("9.2.0.192.in-addr.arpa PTR").await, FAILED);
    let heard = looping.heard() - before;
    // The question itself, and the one whether the recursor leads back, which it does not for that name.
    assert!(heard <= 3, "{heard} datagrams for one question");
    assert_eq!(agent.ask("ftp.example.com A").await.lines().count(), 2, "and it is not left out");
    Arc::into_inner(agent).unwrap().server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_each_other_s_recursors_find_out() {
    let (one, other) = (free_address().await, free_address().await);
    let between = Forwarder::new(other, |_| true).await;
    let other = Agent::start_at(other, hasty(&[one])).await;
    let one = Agent::start_at(one, hasty(&[between.address])).await;
    // Whichever leaves the other out: what `other` is asked comes no longer past the one between.
    let tried = names_until_left_out(&other, &between).await;
    assert!(between.heard() <= 2 + 2 * tried, "{} datagrams for {tried} names", between.heard());
    one.server.shutdown().await;
    other.server.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_is_its_own_recursor_asks_nobody() {
    let port = free_address().await.port();
    let everywhere = (Ipv4Addr::UNSPECIFIED, port).into();
    let own = (Ipv4Addr::new(127, 0, 0, 77), port).into();
    let mut agent = Agent::start_at(everywhere, policy(&[own])).await;
    agent.address = (Ipv4Addr::LOCALHOST, port).into();
    assert_eq!(agent.ask("www.example.com A").await, "QUERY REFUSED rd", "as without recursors");
    agent.server.shutdown().await;
}
