//! Checks that ask resolvers which answer, truncate, refuse, lie and keep silent.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_proto::{
    op::MessageType,
    rr::{
        RData, Record,
        rdata::{A, CNAME, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};

use super::*;
use crate::health::probe::{
    testing::{SHORT, refusing, run},
    validate,
};

fn spec(server: SocketAddr, change: impl FnOnce(&mut CheckSpec)) -> CheckSpec {
    let mut spec = CheckSpec { dns: "web.example".to_owned(), dns_server: server.to_string(), ..CheckSpec::default() };
    change(&mut spec);
    spec
}

/// A resolver over UDP whose answers `answer` makes of questions.
async fn resolver(answer: impl Fn(&Message) -> Message + Send + 'static) -> SocketAddr {
    resolver_on(UdpSocket::bind("127.0.0.1:0").await.expect("a port is free"), answer)
}

fn resolver_on(socket: UdpSocket, answer: impl Fn(&Message) -> Message + Send + 'static) -> SocketAddr {
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            let packet = answer(&question).to_vec().expect("writable");
            let _ = socket.send_to(&packet, peer).await;
        }
    });
    address
}

fn answer(question: &Message, code: ResponseCode, data: &[RData]) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.response_code = code;
    answer.add_queries(question.queries.clone());
    for data in data {
        answer.add_answer(Record::from_rdata(question.queries[0].name().clone(), 1, data.clone()));
    }
    answer
}

fn a(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(10, 0, 0, last)))
}

#[tokio::test]
async fn an_answer_passes_with_everything_expected_in_it() {
    let address = resolver(|question| {
        let alias = RData::CNAME(CNAME(Name::from_ascii("other.example.").expect("a name")));
        answer(question, ResponseCode::NoError, &[alias, a(2), a(1)])
    })
    .await;
    let begin = format!("DNS web.example. A @{address}: ");
    let expecting =
        |values: &'static [&str]| spec(address, |it| it.dns_expect = values.iter().map(ToString::to_string).collect());
    assert_eq!(run(expecting(&[])).await, passing(format!("{begin}10.0.0.1, 10.0.0.2")));
    assert_eq!(run(expecting(&["10.0.0.2"])).await, passing(format!("{begin}10.0.0.1, 10.0.0.2")));
    assert_eq!(
        run(expecting(&["10.0.0.2", "10.0.0.9"])).await,
        critical(format!("{begin}10.0.0.1, 10.0.0.2; missing: 10.0.0.9"))
    );
    let alias = run(spec(address, |it| {
        it.dns_type = "cname".to_owned();
        it.dns_expect = vec!["Other.Example".to_owned()];
    }));
    assert_eq!(alias.await, passing(format!("DNS web.example. CNAME @{address}: other.example")));
}

#[tokio::test]
async fn an_answer_that_is_none_is_critical() {
    let nothing = resolver(|question| answer(question, ResponseCode::NoError, &[])).await;
    let outcome = run(spec(nothing, |_| {})).await;
    assert_eq!(outcome, critical(format!("DNS web.example. A @{nothing}: no record of this type")));
    let unknown = resolver(|question| answer(question, ResponseCode::NXDomain, &[a(1)])).await;
    let outcome = run(spec(unknown, |_| {})).await;
    assert_eq!(outcome, critical(format!("DNS web.example. A @{unknown}: NXDOMAIN")));
    let refusing = refusing().await;
    let closed = refusing.local_addr().expect("bound");
    let outcome = run(spec(closed, |_| {})).await;
    assert_eq!(outcome, critical(format!("DNS web.example. A @{closed}: udp {closed}: connection refused")));
}

#[tokio::test]
async fn what_answers_something_else_is_not_heard() {
    let wrong: [fn(&mut Message); 3] = [
        |answer| answer.metadata.id ^= 1,
        |answer| answer.metadata.message_type = MessageType::Query,
        |answer| {
            answer.queries[0].set_name(Name::from_ascii("evil.example.").expect("a name"));
        },
    ];
    for wrong in wrong {
        let address = resolver(move |question| {
            let mut answer = answer(question, ResponseCode::NoError, &[a(1)]);
            wrong(&mut answer);
            answer
        })
        .await;
        let outcome = run(spec(address, |it| it.timeout = Some(SHORT))).await;
        assert_eq!(outcome, critical(format!("DNS web.example. A @{address}: i/o timeout")));
    }
}

#[tokio::test]
async fn a_lost_question_is_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let address = resolver(move |question| {
        let mut answer = answer(question, ResponseCode::NoError, &[a(1)]);
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.metadata.id ^= 1;
        }
        answer
    })
    .await;
    let outcome = run(spec(address, |_| {})).await;
    assert_eq!(outcome, passing(format!("DNS web.example. A @{address}: 10.0.0.1")));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// The same port over TCP and UDP; one that is free for the one may be taken for the other.
async fn both() -> (TcpListener, UdpSocket) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().expect("bound")).await {
            return (listener, socket);
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_comes_over_tcp() {
    let (listener, socket) = both().await;
    let address = resolver_on(socket, |question| {
        let mut answer = answer(question, ResponseCode::NoError, &[]);
        answer.metadata.truncation = true;
        answer
    });
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("asked");
        let length = stream.read_u16().await.expect("a length");
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.expect("a question");
        let text = RData::TXT(TXT::new(vec!["all of ".to_owned(), "it".to_owned()]));
        let packet = answer(&Message::from_vec(&question).expect("a question"), ResponseCode::NoError, &[text]);
        let packet = packet.to_vec().expect("writable");
        stream.write_u16(u16::try_from(packet.len()).expect("short")).await.expect("written");
        stream.write_all(&packet).await.expect("written");
    });
    let outcome = run(spec(address, |it| {
        it.dns_type = "TXT".to_owned();
        it.dns_expect = vec!["\"all of it\"".to_owned()];
    }));
    assert_eq!(outcome.await, passing(format!("DNS web.example. TXT @{address}: all of it")));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let address = "127.0.0.1:53".parse().expect("an address");
    let error = |change: fn(&mut CheckSpec)| validate(&spec(address, change)).expect_err("refused").to_string();
    assert_eq!(
        error(|it| it.dns_type = "AXFR".to_owned()),
        "Invalid DNSType \"AXFR\": it is no type that can be asked for"
    );
    assert_eq!(
        error(|it| it.dns_type = "HOST".to_owned()),
        "Invalid DNSType \"HOST\": it is no type that can be asked for"
    );
    assert_eq!(error(|it| it.dns_server = String::new()), "Invalid DNSServer \"\": missing port in address");
    assert_eq!(error(|it| it.dns_expect = vec![String::new()]), "Invalid DNSExpect \"\": no record says nothing");
    assert!(error(|it| it.dns = "a..b".to_owned()).starts_with("Invalid DNS \"a..b\": "));
    for given in ["a_b.example", "_web._tcp.example.", "web"] {
        assert!(validate(&spec(address, |it| it.dns = given.to_owned())).is_ok(), "{given}");
    }
    for given in ["127.0.0.1", "::1", "[::1]:53", "dns.example", "dns.example:5353"] {
        assert!(validate(&spec(address, |it| it.dns_server = given.to_owned())).is_ok(), "{given}");
    }
}
