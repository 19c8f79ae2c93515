//! Calls over real sockets: answered, cancelled, refused, and what hostile peers get.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    client::Subscription,
    frame::{Frame, write_frame},
    greeting::{Greeting, Protocol, dial},
    message::{ApiRequest, ApiResponse},
    *,
};
use crate::{
    catalog::Catalog,
    net::{TcpListener, TcpStream},
    raft::{self, Consensus},
    view::Content,
};

/// Long enough for a starved machine; nothing is expected to take it.
const DEADLINE: Duration = Duration::from_secs(30);

/// Answers by what the request's path says.
#[derive(Clone)]
struct Echo {
    under_way: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    state: watch::Sender<u64>,
}

impl Default for Echo {
    fn default() -> Self {
        Self { under_way: Arc::default(), asked: Arc::default(), state: watch::Sender::new(0) }
    }
}

/// Counts a call while it is under way.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Echo {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = UnderWay(self.under_way.clone());
        async move {
            let _under_way = under_way;
            match request {
                Request::Api { request: ApiRequest { uri, .. }, .. } if uri == "never" => std::future::pending().await,
                Request::Api { request: ApiRequest { uri, .. }, .. } if uri == "no" => {
                    Err(Failure::Refused("because".to_owned()))
                }
                Request::Api { request: ApiRequest { body, .. }, .. } => {
                    Ok(Response::Api(ApiResponse { body, ..ApiResponse::default() }))
                }
                _ => Ok(Response::Done),
            }
        }
        .boxed()
    }

    fn subscribe(&self, interest: Interest) -> BoxStream<'static, Update> {
        let (mut states, asked) = (self.state.subscribe(), self.asked.clone());
        states.mark_changed();
        stream::unfold(states, move |mut states| {
            let (interest, asked) = (interest.clone(), asked.clone());
            async move {
                states.changed().await.ok()?;
                asked.fetch_add(1, Ordering::SeqCst);
                let as_of = *states.borrow_and_update();
                let content = Content::Address { nodes: Vec::new(), services: Vec::new() };
                Some((Update { interest, as_of, content }, states))
            }
        })
        .boxed()
    }
}

/// A server on a port of its own.
struct Served {
    address: SocketAddr,
    echo: Echo,
    consensus: Consensus,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = raft::Options { address, bootstrap: false, ..raft::Options::for_tests(None) };
        let consensus = Consensus::start(options, Arc::new(Catalog::default())).await.unwrap();
        let (echo, stop, tasks) = (Echo::default(), CancellationToken::new(), TaskTracker::new());
        serve(listener, Arc::new(echo.clone()), consensus.clone(), &tasks, stop.clone());
        Self { address, echo, consensus, stop, tasks }
    }

    /// Everything of it has ended when this returns.
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(DEADLINE, self.tasks.wait()).await.unwrap();
        self.consensus.shutdown().await;
    }

    /// Makes a connection for calls by hand.
    async fn connect(&self) -> TcpStream {
        dial(self.address, Greeting::CALLS, DEADLINE).await.unwrap()
    }
}

fn api(uri: &str, body: Vec<u8>) -> Request {
    Request::Api { request: ApiRequest { uri: uri.to_owned(), body, ..ApiRequest::default() }, leader: false }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The connection is closed by the server.
async fn is_cut_off(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    ended.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_whatever_their_size_and_order() {
    let served = Served::start().await;
    let connections = Connections::default();
    let calls: Vec<_> = (0..200usize)
        .map(|number| {
            let (connections, address) = (connections.clone(), served.address);
            tokio::spawn(async move {
                let body = vec![number as u8; number * number * 20];
                let answer = connections.call(address, &api("echo", body.clone()), DEADLINE).await.unwrap();
                assert!(matches!(answer, Response::Api(answer) if answer.body == body));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert!(matches!(connections.call(served.address, &Request::Identify, DEADLINE).await, Ok(Response::Done)));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_may_have_happened() {
    let served = Served::start().await;
    let connections = Connections::default();
    let refused = connections.call(served.address, &api("no", Vec::new()), DEADLINE).await;
    assert!(matches!(refused, Err(CallError::Failed(Failure::Refused(reason))) if reason == "because"));
    let late = connections.call(served.address, &api("never", Vec::new()), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(CallError::Deadline { server }) if server == served.address));
    let too_large = connections.call(served.address, &api("echo", vec![0; 9 * 1024 * 1024]), DEADLINE).await;
    assert!(matches!(too_large, Err(CallError::Failed(Failure::Refused(_)))));

    let address = served.address;
    let asking = tokio::spawn({
        let connections = connections.clone();
        async move { connections.call(address, &api("never", Vec::new()), DEADLINE).await }
    });
    let under_way = served.echo.under_way.clone();
    until("it is under way", || under_way.load(Ordering::SeqCst) == 1).await;
    served.stop().await;
    assert!(matches!(asking.await.unwrap(), Err(CallError::Lost { .. })));
    let gone = connections.call(address, &Request::Identify, DEADLINE).await;
    assert!(matches!(gone, Err(CallError::Unreachable { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_nobody_waits_for_is_cancelled() {
    let served = Served::start().await;
    let connections = Connections::default();
    let under_way = &served.echo.under_way;
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let (connections, address) = (connections.clone(), served.address);
            tokio::spawn(async move { connections.call(address, &api("never", Vec::new()), DEADLINE).await })
        })
        .collect();
    until("all are under way", || under_way.load(Ordering::SeqCst) == 10).await;
    for call in &asking[..5] {
        call.abort();
    }
    until("half of them are not any more", || under_way.load(Ordering::SeqCst) == 5).await;
    drop(connections);
    for call in &asking[5..] {
        call.abort();
    }
    until("none is", || under_way.load(Ordering::SeqCst) == 0).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_the_newest_state_and_no_pile_of_old_ones() {
    let served = Served::start().await;
    let connections = Connections::default();
    let interest = Interest::Service("web".to_owned());
    let mut subscription = connections.subscribe(served.address, interest.clone()).await.unwrap();
    let first = subscription.next().await.unwrap();
    assert_eq!((first.as_of, &first.interest), (0, &interest));

    // Nobody takes updates: a window of them is sent, then the view is not asked any more.
    let asked = served.echo.asked.clone();
    for state in 1..=1000 {
        served.echo.state.send_replace(state);
        tokio::task::yield_now().await;
    }
    let mut newest = subscription.next().await.unwrap().as_of;
    while newest < 1000 {
        let next = subscription.next().await.unwrap().as_of;
        assert!(next > newest);
        newest = next;
    }
    assert!(asked.load(Ordering::SeqCst) <= 1001);
    let before = asked.load(Ordering::SeqCst);
    for state in 1001..=1050 {
        served.echo.state.send_replace(state);
        until("it is seen or there is no credit", || {
            let sent = asked.load(Ordering::SeqCst) - before;
            sent as u64 >= (state - 1000).min(u64::from(super::client::WINDOW))
        })
        .await;
    }
    assert_eq!(asked.load(Ordering::SeqCst) - before, super::client::WINDOW as usize);
    until_newest(&mut subscription, 1050).await;

    // Another one beside it, and the end of both.
    let mut other = connections.subscribe(served.address, Interest::Node("n".to_owned())).await.unwrap();
    until_newest(&mut other, 1050).await;
    drop(subscription);
    until("it has ended at the server", || served.echo.state.receiver_count() == 1).await;
    served.stop().await;
    assert!(matches!(other.next().await, Err(CallError::Lost { .. })));
}

async fn until_newest(subscription: &mut Subscription, newest: u64) {
    while subscription.next().await.unwrap().as_of != newest {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_at_a_server_that_is_not_there_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut subscription = Connections::default().subscribe(address, Interest::Node("n".to_owned())).await.unwrap();
    assert!(matches!(subscription.next().await, Err(CallError::Unreachable { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_said_and_the_connection_goes_on() {
    let served = Served::start().await;
    let mut stream = served.connect().await;
    let mut unknown = vec![1];
    rmp_serde::encode::write_named(&mut unknown, &("Tomorrow", 1)).unwrap();
    for (id, body) in [(1, unknown), (2, Vec::new()), (3, vec![9, 9]), (4, vec![1, 0xc1])] {
        write_frame(&mut stream, &Frame::new(wire::CALL, id, body)).await.unwrap();
    }
    let known = wire::encode(&Request::Identify, 100).unwrap();
    write_frame(&mut stream, &Frame::new(wire::CALL, 5, known)).await.unwrap();
    let budget = frame::Budget::of_kib(10);
    let mut frames = frame::FrameReader::new(&mut stream, 1000, budget, DEADLINE);
    for id in 1..=4 {
        let frame = frames.next().await.unwrap().unwrap().frame;
        assert_eq!((frame.kind, frame.id), (wire::FAILURE, id));
        assert_eq!(wire::decode::<Failure>(&frame.body).unwrap(), Failure::Unknown);
    }
    assert_eq!(frames.next().await.unwrap().unwrap().frame.kind, wire::ANSWER);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_cut_off_and_others_are_served() {
    let served = Served::start().await;
    let connections = Connections::default();
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 64], &[0xff; 64], b"\x02USH\x01", b"\x07USH\x01"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(is_cut_off(&mut stream).await, "{garbage:?}");
    }
    // Greeted, but then: a length beyond every limit, a length too short, a kind nobody knows, an id used twice.
    let twice: Vec<u8> = {
        let never = wire::encode(&api("never", Vec::new()), 1000).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..2 {
            write_frame(&mut bytes, &Frame::new(wire::CALL, 1, never.clone())).await.unwrap();
        }
        bytes
    };
    for garbage in [&[0xff; 13][..], &[0, 0, 0, 1, 0], &[0, 0, 0, 9, 99, 0, 0, 0, 0, 0, 0, 0, 0], &twice] {
        let mut stream = served.connect().await;
        stream.write_all(garbage).await.unwrap();
        assert!(is_cut_off(&mut stream).await, "{garbage:?}");
    }
    until("nothing is left of it", || served.echo.under_way.load(Ordering::SeqCst) == 0).await;
    connections.call(served.address, &Request::Identify, DEADLINE).await.unwrap();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_one_meant_says_so() {
    let served = Served::start().await;
    let own = served.consensus.raft_id();
    for protocol in [Protocol::Raft, Protocol::Snapshot] {
        let wrong = Greeting { protocol, sender: 1, target: own ^ 1 };
        let error = dial(served.address, wrong, DEADLINE).await.err().unwrap();
        assert_eq!(error.to_string(), format!("this is server {own}, not {}", own ^ 1));
        dial(served.address, Greeting { target: own, ..wrong }, DEADLINE).await.unwrap();
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_of_an_address_are_refused_until_some_end() {
    let served = Served::start().await;
    let mut kept = Vec::new();
    let refusal = loop {
        match dial(served.address, Greeting::CALLS, DEADLINE).await {
            Ok(stream) => kept.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!((refusal.to_string().as_str(), kept.len()), ("too many connections", 1024));
    drop(kept);
    let deadline = Instant::now() + DEADLINE;
    while dial(served.address, Greeting::CALLS, DEADLINE).await.is_err() {
        assert!(Instant::now() < deadline, "no room again");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    served.stop().await;
}

/// Answers are not read: reading stops, and what the server holds stays bounded.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_answers_is_not_listened_to() {
    let served = Served::start().await;
    let mut stream = served.connect().await;
    let body = wire::encode(&api("echo", vec![7; 100_000]), 1_000_000).unwrap();
    let mut sent = 0u64;
    loop {
        let frame = Frame::new(wire::CALL, sent + 1, body.clone());
        match tokio::time::timeout(Duration::from_millis(500), write_frame(&mut stream, &frame)).await {
            Ok(written) => written.unwrap(),
            Err(_) => break,
        }
        sent += 1;
        assert!(sent < 1000, "whatever is sent is taken");
    }
    served.stop().await;
}

/// Nobody answers: the link notices by itself.
#[tokio::test(start_paused = true)]
async fn a_server_without_a_sign_of_life_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        greeting::receive(&mut stream).await.unwrap().unwrap();
        greeting::welcome(&mut stream).await.unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    });
    let connections = Connections::default();
    let call = connections.call(address, &Request::Identify, Duration::from_secs(600));
    let answer = tokio::time::timeout(Duration::from_secs(300), call).await.unwrap();
    assert!(matches!(&answer, Err(CallError::Lost { reason, .. }) if reason == "no sign of life"), "{answer:?}");
    silent.abort();
}
