//! DNS over TCP: who may stay when there are too many connections.

use std::io::Read as _;
use std::net::TcpStream;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use usher_tests::agent::{Agent, Builder};
use usher_tests::dns::{self, Options, TIMEOUT};

/// Most connections of one address.
const CONNECTIONS: usize = 1024;

/// So many connections take more open files than are usual.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = CONNECTIONS as u64 * 2;
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        setrlimit(Resource::Nofile, limit).expect("more open files are allowed");
    }
}

fn connect(agent: &Agent) -> TcpStream {
    let mut stream = dns::connect(([127, 0, 0, 1], agent.ports.dns).into(), TIMEOUT).unwrap();
    ask(&mut stream);
    stream
}

fn ask(stream: &mut TcpStream) {
    let question = dns::query("web.service.consul A", &Options::default()).unwrap();
    dns::send_framed(stream, &question.to_vec().unwrap()).unwrap();
    let answer = dns::parse(&dns::read_framed(stream).unwrap()).unwrap();
    assert_eq!((answer.metadata.id, answer.answers.len()), (question.metadata.id, 1));
}

#[test]
fn who_was_silent_for_longest_makes_room_for_who_comes() {
    raise_open_files();
    let agent = Builder::dev().start();
    agent.put_ok("/v1/catalog/register", &json!({"Node": "n1", "Address": "10.0.0.1", "Service": {"Service": "web"}}));
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(&agent)).collect();
    ask(&mut streams[0]);
    let mut newest = connect(&agent);
    assert_eq!(streams[1].read(&mut [0]).unwrap(), 0, "closed: all others have asked since");
    for stream in [&mut streams[0], &mut newest] {
        ask(stream);
    }
    let last = streams.last_mut().unwrap();
    ask(last);
}
