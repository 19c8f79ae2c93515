//! Checks in containers, with a stand-in for the engine at a unix socket.

use std::path::PathBuf;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::Instant,
};

use super::*;
use crate::health::probe::testing::{AMPLE, SHORT};

/// An engine with one container, `web`, whose programs print `output` (then end with `code`, or never).
struct FakeEngine {
    host: String,
    requests: mpsc::UnboundedReceiver<String>,
    _folder: tempfile::TempDir,
}

impl FakeEngine {
    fn start(output: Vec<u8>, code: Option<i64>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path: PathBuf = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&path).expect("bound");
        let (heard, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut inspected = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                inspected += usize::from(request.starts_with("GET"));
                let answer = answer(&request, &output, code.filter(|_| inspected > 1));
                let _ = heard.send(request);
                let _ = stream.write_all(&answer).await;
                if code.is_none() && answer.ends_with(&output) {
                    tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
                }
            }
        });
        Self { host: format!("unix://{}", path.display()), requests, _folder: folder }
    }

    async fn run(&self, spec: CheckSpec) -> Outcome {
        let timeout = spec.timeout.unwrap_or(AMPLE);
        let docker = Docker::at(&self.host, &spec, spec.output_max_size.map_or(4096, |it| it as usize)).expect("valid");
        docker.run(Limit { deadline: Instant::now() + timeout, timeout }).await
    }
}

fn answer(request: &str, output: &[u8], code: Option<i64>) -> Vec<u8> {
    let json = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    match request.split(' ').nth(1).unwrap_or_default() {
        "/containers/web/exec" => json("201 Created", r#"{"Id":"e1"}"#),
        "/containers/stopped/exec" => json("409 Conflict", "stopped"),
        "/containers/broken/exec" => json("500 Oops", r#"{"message":"broken"}"#),
        "/exec/e1/start" => [b"HTTP/1.1 200 OK\r\n\r\n", output].concat(),
        "/exec/e1/json" => match code {
            Some(code) => json("200 OK", &format!(r#"{{"ID":"e1","Running":false,"ExitCode":{code}}}"#)),
            None => json("200 OK", r#"{"ID":"e1","Running":true,"ExitCode":null}"#),
        },
        _ => json("404 Not Found", "unknown"),
    }
}

async fn read_request(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                return text;
            }
        }
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return text,
            Ok(length) => text.push_str(std::str::from_utf8(&chunk[..length]).expect("text")),
        }
    }
}

fn spec(container: &str) -> CheckSpec {
    CheckSpec {
        docker_container_id: container.to_owned(),
        args: vec!["/bin/check".to_owned(), "-v".to_owned()],
        shell: "/bin/sh".to_owned(),
        ..CheckSpec::default()
    }
}

fn frames(pieces: &[(u8, &str)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (number, text) in pieces {
        stream.extend_from_slice(&[*number, 0, 0, 0]);
        stream.extend_from_slice(&u32::try_from(text.len()).expect("short").to_be_bytes());
        stream.extend_from_slice(text.as_bytes());
    }
    stream
}

#[tokio::test]
async fn the_exit_code_decides_and_the_output_is_told() {
    let cases = [
        (0, passing("out\nerr\n".to_owned())),
        (1, warning("out\nerr\n".to_owned())),
        (2, critical("out\nerr\n".to_owned())),
        (-1, critical("out\nerr\n".to_owned())),
    ];
    for (code, expected) in cases {
        let mut engine = FakeEngine::start(frames(&[(1, "out\n"), (2, "err\n")]), Some(code));
        assert_eq!(engine.run(spec("web")).await, expected);
        let created = engine.requests.try_recv().expect("the first request");
        let json =
            r#"{"AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,"Cmd":["/bin/check","-v"]}"#;
        assert!(created.ends_with(json), "{created}");
        let started = engine.requests.try_recv().expect("the second request");
        assert!(started.ends_with(r#"{"Detach":false,"Tty":false}"#), "{started}");
        // Asked again while it still ran.
        for _ in 0..2 {
            let inspected = engine.requests.try_recv().expect("another request");
            assert!(inspected.starts_with("GET /exec/e1/json HTTP/1.1\r\n"), "{inspected}");
        }
    }
}

#[tokio::test]
async fn much_output_is_cut_and_an_endless_program_left() {
    let engine = FakeEngine::start(frames(&[(1, "0123456789")]), Some(0));
    let outcome = engine.run(CheckSpec { output_max_size: Some(3), ..spec("web") }).await;
    assert_eq!(outcome, passing("Captured 3 of 10 bytes\n...\n789".to_owned()));
    let engine = FakeEngine::start(frames(&[(1, "begun\n")]), None);
    let outcome = engine.run(CheckSpec { timeout: Some(SHORT), ..spec("web") }).await;
    assert_eq!(outcome, critical("Timed out (200ms) running check\n\nbegun\n".to_owned()));
}

#[tokio::test]
async fn what_the_engine_refuses_is_told() {
    let engine = FakeEngine::start(Vec::new(), Some(0));
    let cases = [
        ("gone", "create exec failed for unknown container gone"),
        ("stopped", "create exec failed since container stopped is paused or stopped"),
        ("broken", "create exec failed for container broken with status 500: {\"message\":\"broken\"}"),
        ("../x", "create exec failed for unknown container ../x"),
    ];
    for (container, text) in cases {
        assert_eq!(engine.run(spec(container)).await, critical(text.to_owned()));
    }
}

#[tokio::test]
async fn without_an_engine_its_socket_is_named() {
    let cases = [
        ("unix:///no/such.sock", "dial unix /no/such.sock: connect: no such file or directory"),
        ("tcp://127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused"),
    ];
    for (host, reason) in cases {
        let docker = Docker::at(host, &spec("web"), 4096).expect("valid");
        let outcome = docker.run(Limit { deadline: Instant::now() + AMPLE, timeout: AMPLE }).await;
        assert_eq!(outcome, critical(format!("create exec failed for container web: {reason}")));
    }
    assert!(Docker::at("ssh://host", &spec("web"), 4096).is_err());
    assert!(Docker::at(HOST, &CheckSpec { args: Vec::new(), ..spec("web") }, 4096).is_err());
}
