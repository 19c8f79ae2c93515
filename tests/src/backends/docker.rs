//! A container engine's API on a unix socket, as far as running a command in a container goes: create an exec, start it
//! and read its output (framed as the engine frames it), ask how it ended.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinHandle, task::JoinSet};

use super::{body::Answer, end, lock, runtime};

/// A command that was run: in which container, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The container.
    pub container: String,
    /// The command.
    pub command: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    /// How commands end in each container: exit code and output. Others do not exist.
    containers: BTreeMap<String, (i64, String)>,
    runs: Vec<Run>,
}

/// A running engine.
#[derive(Debug)]
pub struct Docker {
    state: Arc<Mutex<State>>,
    folder: TempDir,
    task: Option<JoinHandle<()>>,
}

impl Docker {
    /// An engine without containers.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("usher-docker-").tempdir().expect("a folder can be made");
        let state = Arc::<Mutex<State>>::default();
        let _entered = runtime().enter();
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("a socket can be made");
        let shared = Arc::clone(&state);
        let task = runtime().spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let answer = service_fn(move |request| answer(Arc::clone(&shared), request));
                    // Whoever asks may go away at any time.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { state, folder, task: Some(task) }
    }

    /// From now on commands end so in this container.
    pub fn set(&self, container: &str, exit_code: i64, output: &str) {
        lock(&self.state).containers.insert(container.to_owned(), (exit_code, output.to_owned()));
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// As clients are told of it (`DOCKER_HOST`).
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The commands so far.
    pub fn runs(&self) -> Vec<Run> {
        lock(&self.state).runs.clone()
    }

    /// Dies: nobody is behind the socket.
    pub fn down(&mut self) {
        if let Some(task) = self.task.take() {
            end(task);
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.down();
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    // A version may stand before everything: /v1.41/containers/…
    if words.first().is_some_and(|word| word.starts_with("v1.")) {
        words.remove(0);
    }
    Ok(match words[..] {
        ["containers", container, "exec"] => create(&state, container, &body),
        ["exec", container, "start"] => start(&state, container),
        ["exec", container, "json"] => inspect(&state, container),
        _ => response(404, Answer::whole(json!({"message": "page not found"}).to_string())),
    })
}

/// The id of an exec is its container's.
fn create(state: &Mutex<State>, container: &str, body: &Value) -> Response<Answer> {
    let mut state = lock(state);
    if !state.containers.contains_key(container) {
        let text = json!({"message": format!("No such container: {container}")});
        return response(404, Answer::whole(text.to_string()));
    }
    let words = body["Cmd"].as_array().map(Vec::as_slice).unwrap_or_default();
    let command = words.iter().map(|word| word.as_str().unwrap_or_default().to_owned()).collect();
    state.runs.push(Run { container: container.to_owned(), command });
    response(201, Answer::whole(json!({"Id": container}).to_string()))
}

/// The output as the engine multiplexes it: a byte for the stream, three of nothing, four of length.
fn start(state: &Mutex<State>, container: &str) -> Response<Answer> {
    let output = lock(state).containers.get(container).map(|(_, output)| output.clone()).unwrap_or_default();
    let mut frame = vec![1, 0, 0, 0];
    frame.extend_from_slice(&u32::try_from(output.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(output.as_bytes());
    response(200, Answer::whole(frame))
}

fn inspect(state: &Mutex<State>, container: &str) -> Response<Answer> {
    let code = lock(state).containers.get(container).map(|(code, _)| *code);
    response(200, Answer::whole(json!({"ID": container, "Running": false, "ExitCode": code}).to_string()))
}

fn response(status: u16, body: Answer) -> Response<Answer> {
    let response = Response::builder().status(status).header("Content-Type", "application/json");
    response.body(body).expect("these statuses exist")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Http, Request};

    #[test]
    fn runs_a_command_in_a_container() {
        let mut engine = Docker::start();
        engine.set("web", 1, "not well");
        let client = Http::Unix(engine.socket());
        let put = |path: &str, body: Value| client.send(&Request::new("POST", path).body(body.to_string())).unwrap();
        assert_eq!(put("/containers/none/exec", json!({})).status, 404);
        let created = put("/v1.24/containers/web/exec", json!({"Cmd": ["sh", "-c", "true"]}));
        assert_eq!((created.status, created.json()["Id"].as_str()), (201, Some("web")));
        assert_eq!(put("/exec/web/start", json!({})).body, b"\x01\0\0\0\0\0\0\x08not well");
        assert_eq!(client.get("/exec/web/json").unwrap().json()["ExitCode"], 1);
        assert_eq!(engine.runs()[0].command, ["sh", "-c", "true"]);
        engine.down();
        assert!(client.get("/exec/web/json").is_err());
    }
}
