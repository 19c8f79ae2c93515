//! One worker and its socket, filled before it starts; each test on both ways to receive.

use std::{
    collections::HashSet,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    thread::{self, JoinHandle},
};

use usher_cluster::{access::AllowAll, catalog::Catalog};

use super::*;
use crate::policy::Policy;

const PATIENCE: Duration = Duration::from_secs(10);
/// Whatever has waited at all is late, and dropped at once.
const AT_ONCE: Limits = limits(Duration::from_nanos(1));
const NEVER: Limits = limits(Duration::MAX);
const BACKENDS: [Backend; 2] = [Backend::Plain, Backend::Ring];

const fn limits(late: Duration) -> Limits {
    Limits { late, grace: Duration::ZERO, memory: Duration::ZERO }
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn server(address: IpAddr) -> Arc<UdpSocket> {
    Arc::new(bind(SocketAddr::from((address, 0))).unwrap())
}

/// A question for a name of ours that does not exist, `extra` bytes longer than the shortest.
fn question(id: u16, extra: usize) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend(b"\x01\0\0\x01\0\0\0\0\0\0");
    packet.push(u8::try_from(extra + 1).unwrap());
    packet.extend(vec![b'x'; extra + 1]);
    packet.extend(b"\x07service\x06consul\0\0\x01\0\x01");
    packet
}

struct Running {
    stop: Arc<AtomicBool>,
    bell: io::PipeWriter,
    socket: Arc<UdpSocket>,
    tally: Arc<Tally>,
    thread: JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
}

fn start(backend: Backend, socket: &Arc<UdpSocket>, limits: Limits) -> Running {
    let address = socket.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let entered = runtime.enter();
    let shared = Shared::new(Policy::default(), &[address], Arc::new(Catalog::default()), Arc::new(AllowAll)).unwrap();
    drop(entered);
    let (rung, bell) = io::pipe().unwrap();
    let worker = Worker {
        socket: socket.clone(),
        address,
        shared: Arc::new(shared),
        tally: Arc::default(),
        stop: Arc::default(),
        bell: Arc::new(rung),
        runtime: runtime.handle().clone(),
        seed: 1,
        workers: 1,
        backend,
        limits,
    };
    let (stop, tally) = (worker.stop.clone(), worker.tally.clone());
    let thread = thread::spawn(move || worker.run());
    Running { stop, bell, socket: socket.clone(), tally, thread, _runtime: runtime }
}

impl Running {
    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.write_all(&[0]).unwrap();
        wake(&self.socket);
        self.thread.join().unwrap();
        self.tally.overloaded()
    }
}

/// The id of the next reply.
fn reply(client: &UdpSocket) -> u16 {
    let mut packet = [0; 512];
    let length = client.recv(&mut packet).expect("a reply");
    assert!(length > 12 && packet[2] & 0x80 != 0 && packet[3] & 0x0f == 3, "{:?}", &packet[..length]);
    u16::from_be_bytes([packet[0], packet[1]])
}

fn replies(client: &UdpSocket, count: u16) -> HashSet<u16> {
    (0..count).map(|_| reply(client)).collect()
}

#[test]
fn late_questions_are_dropped_and_the_newest_answered() {
    for backend in BACKENDS {
        let (server, client) = (server(Ipv4Addr::LOCALHOST.into()), client());
        let last = 2 * BATCH as u16 + 4;
        for id in 0..=last {
            client.send_to(&question(id, 0), server.local_addr().unwrap()).unwrap();
        }
        let running = start(backend, &server, AT_ONCE);
        let mut answered = HashSet::new();
        while !answered.contains(&last) {
            assert!(answered.insert(reply(&client)));
        }
        let dropped = running.stop();
        client.set_nonblocking(true).unwrap();
        while client.peek(&mut [0; 1]).is_ok() {
            assert!(answered.insert(reply(&client)));
        }
        assert!(dropped >= BATCH as u64 && !answered.contains(&0), "{backend:?}: {dropped} dropped, {answered:?}");
        assert_eq!(dropped + answered.len() as u64, u64::from(last) + 1, "{backend:?}: each one or the other");
    }
}

#[test]
fn a_long_queue_that_is_in_time_is_answered_in_full() {
    for backend in BACKENDS {
        let (server, client) = (server(Ipv4Addr::LOCALHOST.into()), client());
        // More than there are buffers in a ring.
        for id in 0..200 {
            client.send_to(&question(id, 0), server.local_addr().unwrap()).unwrap();
        }
        let running = start(backend, &server, NEVER);
        assert_eq!(replies(&client, 200).len(), 200, "{backend:?}");
        assert_eq!(running.stop(), 0, "{backend:?}");
    }
}

#[test]
fn replies_reach_whom_they_are_for() {
    for backend in BACKENDS {
        let server = server(Ipv4Addr::UNSPECIFIED.into());
        let port = server.local_addr().unwrap().port();
        // Two clients, one asking two addresses; lengths mixed. A connected socket gets nothing from elsewhere.
        let clients: Vec<_> = [1, 1, 77].map(|last| (client(), Ipv4Addr::new(127, 0, 0, last))).into();
        for (client, asked) in &clients {
            client.connect((*asked, port)).unwrap();
        }
        for id in 0..40 {
            for (number, (client, _)) in (0..).zip(&clients) {
                client.send(&question(id * 3 + number, usize::from(id % 3))).unwrap();
            }
        }
        let running = start(backend, &server, NEVER);
        for (number, (client, _)) in (0..).zip(&clients) {
            let want: HashSet<u16> = (0..40).map(|id| id * 3 + number).collect();
            assert_eq!(replies(client, 40), want, "{backend:?}");
        }
        running.stop();
    }
}

#[test]
fn replies_go_one_by_one_where_the_way_out_takes_no_more() {
    for backend in BACKENDS {
        let (server, client) = (server(Ipv4Addr::LOCALHOST.into()), client());
        without_checksums(&server);
        let send = |ids: std::ops::Range<u16>| {
            for id in ids {
                client.send_to(&question(id, 0), server.local_addr().unwrap()).unwrap();
            }
        };
        send(0..100);
        let running = start(backend, &server, NEVER);
        assert_eq!(replies(&client, 100).len(), 100, "{backend:?}");
        send(100..200);
        assert_eq!(replies(&client, 100), (100..200).collect(), "{backend:?}: and ever after");
        running.stop();
    }
}

/// Linux refuses to cut messages of a socket that sends no checksums.
#[allow(unsafe_code, reason = "SO_NO_CHECK has no safe binding")]
fn without_checksums(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let option = (&raw const on).cast();
    // SAFETY: the option takes an int, and its address and size are given.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, option, length) };
    assert_eq!(done, 0);
}

#[test]
fn a_ring_that_fails_is_replaced() {
    let (server, client) = (server(Ipv4Addr::LOCALHOST.into()), client());
    let (rung, _bell) = io::pipe().unwrap();
    let mut intake = Intake::open(Backend::Ring, &server, &rung, false);
    let mut exchange = || {
        client.send_to(b"ping", server.local_addr().unwrap()).unwrap();
        while intake.receive(&server).unwrap() == 0 {}
        assert_eq!(intake.packet(0), b"ping");
        intake.send(&server, [(0, &b"pong"[..])].into_iter());
        let mut reply = [0; 5];
        assert_eq!((client.recv(&mut reply).unwrap(), &reply[..4]), (4, &b"pong"[..]));
        intake.fail();
    };
    exchange();
    exchange();
}

#[test]
fn a_peer_is_who_sent_the_datagram() {
    for (any, backend) in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        .into_iter()
        .flat_map(|any: IpAddr| BACKENDS.map(|backend| (any, backend)))
    {
        let Ok(client) = UdpSocket::bind((any, 0)) else { continue };
        let (server, (rung, _bell)) = (server(any), io::pipe().unwrap());
        client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        let mut intake = Intake::open(backend, &server, &rung, false);
        while intake.receive(&server).unwrap() == 0 {}
        assert_eq!(intake.peer(0).unwrap().address(), Some(any), "{backend:?}");
    }
}
