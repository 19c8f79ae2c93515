//! HTTP checks against servers that answer, redirect, flood, drip, hang and die.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use super::*;
use crate::{
    catalog::model::Status::{self, Critical, Passing, Warning},
    health::probe::{
        testing::{SHORT, answering, request, run, server},
        validate,
    },
};

fn spec(url: impl Into<String>) -> CheckSpec {
    CheckSpec { http: url.into(), ..CheckSpec::default() }
}

#[tokio::test]
async fn the_status_decides_and_is_told() {
    let cases: [(&str, Status, &str); 7] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Passing, "200 OK Output: hello"),
        ("HTTP/1.1 204 All Fine\r\n\r\n", Passing, "204 All Fine Output: "),
        ("HTTP/1.0 299 \r\n\r\nto the end", Passing, "299 Output: to the end"),
        (
            "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nslow",
            Warning,
            "429 Too Many Requests Output: slow",
        ),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\nno", Critical, "503 Service Unavailable Output: no"),
        ("HTTP/1.1 300 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", Critical, "300 X Output: "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nbroken off", Passing, "200 OK Output: broken off"),
    ];
    for (answer, status, output) in cases {
        let (address, _requests) = answering(answer).await;
        let url = format!("http://{address}/health");
        let outcome = run(spec(&url)).await;
        assert_eq!(outcome, Outcome::new(status, format!("HTTP GET {url}: {output}")));
    }
}

#[tokio::test]
async fn a_request_says_what_consul_says() {
    let (address, mut requests) = answering("HTTP/1.1 200 OK\r\n\r\n").await;
    run(spec(format!("http://{address}/p a?x=1#part"))).await;
    let expected = format!(
        "GET /p%20a?x=1 HTTP/1.1\r\nUser-Agent: Consul Health Check\r\nAccept: text/plain, text/*, */*\r\n\
         Connection: close\r\nHost: {address}\r\n\r\n"
    );
    assert_eq!(sorted(&requests.recv().await.expect("asked")), sorted(&expected));
}

#[tokio::test]
async fn a_request_says_what_its_definition_says() {
    let (address, mut requests) = answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let header = |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(ToString::to_string).collect());
    let outcome = run(CheckSpec {
        method: "Purge".to_owned(),
        body: "data".to_owned(),
        header: BTreeMap::from([
            header("x-a", &["1", "2"]),
            header("host", &["web.example"]),
            header("User-Agent", &["mine"]),
            header("content-length", &["99"]),
        ]),
        ..spec(format!("http://us%20er:pass@{address}/"))
    })
    .await;
    let expected = "Purge / HTTP/1.1\r\nUser-Agent: mine\r\nAccept: text/plain, text/*, */*\r\nConnection: close\r\n\
                    Host: web.example\r\nX-A: 1\r\nX-A: 2\r\nAuthorization: Basic dXMgZXI6cGFzcw==\r\n\
                    Content-Length: 4\r\n\r\ndata";
    assert_eq!(sorted(&requests.recv().await.expect("asked")), sorted(expected));
    assert_eq!(outcome.output, format!("HTTP Purge http://us%20er:xxxxx@{address}/: 200 OK Output: "));
}

/// The order of fields says nothing.
fn sorted(request: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = request.split("\r\n").collect();
    lines[1..].sort_unstable();
    lines
}

/// Redirects `/STATUS` to `/final`, `/loop` to itself, `/nowhere` without saying where to.
async fn redirecting() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (heard, requests) = mpsc::unbounded_channel();
    let address = server(move |mut stream: TcpStream| {
        let heard = heard.clone();
        async move {
            let asked = request(&mut stream).await;
            let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
            let _ = heard.send(asked);
            let answer = match path.trim_start_matches('/') {
                "loop" => "HTTP/1.1 302 Found\r\nLocation: /loop\r\n\r\n".to_owned(),
                "nowhere" => "HTTP/1.1 302 Found\r\n\r\n".to_owned(),
                "elsewhere" => "HTTP/1.1 302 Found\r\nLocation: ftp://example.com/\r\n\r\n".to_owned(),
                "final" => "HTTP/1.1 200 OK\r\n\r\nfinal".to_owned(),
                status => format!("HTTP/1.1 {status} Moved\r\nLocation: final\r\nContent-Length: 0\r\n\r\n"),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    (address, requests)
}

#[tokio::test]
async fn redirects_are_followed_as_go_does() {
    let cases =
        [("301", "GET", ""), ("302", "GET", ""), ("303", "GET", ""), ("307", "POST", "abc"), ("308", "POST", "abc")];
    for (status, method, body) in cases {
        let (address, mut requests) = redirecting().await;
        let outcome = run(CheckSpec {
            method: "POST".to_owned(),
            body: "abc".to_owned(),
            header: BTreeMap::from([("Host".to_owned(), vec!["web.example".to_owned()])]),
            ..spec(format!("http://{address}/{status}"))
        })
        .await;
        assert_eq!(outcome.output, format!("HTTP POST http://{address}/{status}: 200 OK Output: final"));
        requests.recv().await.expect("the first request");
        let second = requests.recv().await.expect("the second request");
        assert!(second.starts_with(&format!("{method} /final HTTP/1.1\r\n")), "{second}");
        assert!(second.ends_with(&format!("\r\n\r\n{body}")), "{second}");
        assert!(second.contains("Host: web.example\r\n"), "{second}");
        assert!(second.contains(&format!("Referer: http://{address}/{status}\r\n")), "{second}");
    }
}

#[tokio::test]
async fn redirects_that_lead_nowhere_end() {
    let (address, mut requests) = redirecting().await;
    let outcome = run(spec(format!("http://{address}/loop"))).await;
    assert_eq!(outcome, critical(format!("Get \"http://{address}/loop\": stopped after 10 redirects")));
    for _ in 0..10 {
        requests.try_recv().expect("ten requests");
    }
    assert!(requests.try_recv().is_err());

    let outcome = run(spec(format!("http://{address}/nowhere"))).await;
    assert_eq!(outcome, critical(format!("Get \"http://{address}/nowhere\": 302 response missing Location header")));
    let outcome = run(spec(format!("http://{address}/elsewhere"))).await;
    assert_eq!(outcome.status, Critical);
    assert!(outcome.output.ends_with("unsupported protocol scheme \"ftp\""), "{}", outcome.output);
    let outcome = run(CheckSpec { disable_redirects: true, ..spec(format!("http://{address}/302")) }).await;
    assert_eq!(outcome, critical(format!("HTTP GET http://{address}/302: 302 Moved Output: ")));
}

#[test]
fn credentials_stay_with_the_host() {
    let from = |url: &str| {
        let given = BTreeMap::from([
            ("Authorization".to_owned(), vec!["secret".to_owned()]),
            ("Cookie".to_owned(), vec!["secret".to_owned()]),
        ]);
        let headers = hop::headers(&given).expect("valid");
        Hop::new(Url::parse(url).expect("a URL"), Method::GET, headers, Bytes::new()).expect("a request")
    };
    let cases = [
        ("/b", true),
        ("http://web.example:81/b", true),
        ("http://a.web.example/b", true),
        ("http://notweb.example/b", false),
        ("http://example/b", false),
    ];
    for (location, kept) in cases {
        let location = Some(HeaderValue::from_static(location));
        let next = from("http://web.example/a").redirected(StatusCode::FOUND, location, None).expect("leads somewhere");
        assert_eq!(next.headers.contains_key("authorization"), kept, "{}", next.url);
        assert_eq!(next.headers.contains_key("cookie"), kept, "{}", next.url);
    }
    let open = from("https://web.example/a");
    let next = open.redirected(StatusCode::FOUND, Some(HeaderValue::from_static("http://web.example/")), None);
    assert!(!next.expect("leads somewhere").headers.contains_key("referer"));
}

#[tokio::test]
async fn servers_that_do_not_answer_properly_are_critical() {
    let close = server(|mut stream| async move { drop(request(&mut stream).await) }).await;
    let babble = answering("SSH-2.0-OpenSSH\r\n\r\n").await.0;
    let cases = [
        (close, "EOF"),
        (babble, "malformed HTTP response: invalid HTTP version parsed"),
        ("127.0.0.1:1".parse().expect("an address"), "dial tcp 127.0.0.1:1: connect: connection refused"),
    ];
    for (address, reason) in cases {
        let outcome = run(spec(format!("http://{address}/"))).await;
        assert_eq!(outcome, critical(format!("Get \"http://{address}/\": {reason}")));
    }
}

#[tokio::test]
async fn heads_that_are_long_or_old_are_read() {
    let many: String = (0..500).map(|n| format!("X-{n}: {n}\r\n")).collect();
    for fields in [many.as_str(), "X-Folded: a\r\n b\r\n", "X-Spaced : a\r\n"] {
        let (address, _requests) = answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).await;
        let outcome = run(spec(format!("http://{address}/"))).await;
        assert_eq!(outcome.status, Status::Passing, "{}", outcome.output);
    }
}

#[tokio::test]
async fn a_run_ends_in_time_whatever_the_server_does() {
    let silent = server(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let dripping_head = server(|stream| drip(stream, b"HTTP/1.1 200 OK\r\nX-A: "));
    for address in [silent.await, dripping_head.await] {
        let outcome = run(CheckSpec { timeout: Some(SHORT), ..spec(format!("http://{address}/")) }).await;
        let reason = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        assert_eq!(outcome, critical(format!("Get \"http://{address}/\": {reason}")));
    }
    let dripping_body = server(|stream| drip(stream, b"HTTP/1.1 200 OK\r\n\r\n")).await;
    let outcome = run(CheckSpec { timeout: Some(SHORT), ..spec(format!("http://{dripping_body}/")) }).await;
    assert_eq!(outcome.status, Passing);
    assert!(outcome.output.contains("200 OK Output: xx"), "{}", outcome.output);
}

/// Sends one byte after the other for ever.
async fn drip(mut stream: TcpStream, begin: &'static [u8]) {
    let _ = stream.write_all(begin).await;
    while stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_and_the_connection_is_gone() {
    let (closed, mut was_closed) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let closed = closed.clone();
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'y'; 10_000]).await.is_ok() {}
            let _ = closed.send(());
        }
    })
    .await;
    let url = format!("http://{address}/");
    let outcome = run(CheckSpec { output_max_size: Some(10), ..spec(&url) }).await;
    assert_eq!(outcome.output, format!("HTTP GET {url}: 200 OK Output: yyyyyyyyyy"));
    was_closed.recv().await.expect("the server's writes fail");
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let listener = tokio::net::TcpListener::bind("[::1]:0").await.expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("asked");
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    });
    // 127.0.0.1 is tried first and refuses.
    let outcome = run(spec(format!("http://localhost:{port}/"))).await;
    assert_eq!(outcome.status, Passing, "{}", outcome.output);
    let outcome = run(spec("http://no.such.name.invalid/")).await;
    assert_eq!(outcome.status, Critical);
    let begin = "Get \"http://no.such.name.invalid/\": dial tcp: lookup no.such.name.invalid: ";
    assert!(outcome.output.starts_with(begin), "{}", outcome.output);
}

#[tokio::test]
async fn a_dropped_run_leaves_no_connection() {
    let (closed, mut was_closed) = mpsc::unbounded_channel();
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let (closed, begun) = (closed.clone(), begun.clone());
        async move {
            request(&mut stream).await;
            let _ = begun.send(());
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let _ = closed.send(());
        }
    })
    .await;
    tokio::select! {
        outcome = run(spec(format!("http://{address}/"))) => panic!("{outcome:?}"),
        _ = has_begun.recv() => {}
    }
    was_closed.recv().await.expect("closed");
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let with = |url: &str, change: fn(&mut CheckSpec)| {
        let mut spec = spec(url);
        change(&mut spec);
        spec
    };
    let header = |spec: &mut CheckSpec, name: &str, value: &str| {
        spec.header.insert(name.to_owned(), vec![value.to_owned()]);
    };
    let cases = [
        (spec("http://[::1"), "Invalid HTTP \"http://[::1\": invalid IPv6 address"),
        (spec("127.0.0.1:80/"), "Invalid HTTP \"127.0.0.1:80/\": relative URL without a base"),
        (spec("ftp://h/"), "Invalid HTTP \"ftp://h/\": unsupported protocol scheme \"ftp\""),
        (spec("http://h:0/"), "Invalid HTTP \"http://h:0/\": the port must not be 0"),
        (with("http://h/", |it| it.method = "G T".to_owned()), "Invalid Method \"G T\": it is no HTTP method"),
        (
            with("http://h/", |it| it.tls_server_name = "a b".to_owned()),
            "Invalid TLSServerName \"a b\": invalid dns name",
        ),
    ];
    for (spec, error) in cases {
        assert_eq!(validate(&spec).map_err(|error| error.to_string()), Err(error.to_owned()));
    }
    for (name, value) in [("a b", "1"), ("a", "1\n2")] {
        let mut spec = spec("http://h/");
        header(&mut spec, name, value);
        assert!(validate(&spec).is_err(), "{name}: {value:?}");
    }
}
