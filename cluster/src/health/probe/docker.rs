//! `docker_container_id`: runs `args` inside a container, by the engine's API (`DOCKER_HOST`, or
//! `unix:///var/run/docker.sock`). Passes, warns and fails by the exit code as a script does.
//!
//! The arguments are run as they are; as in Consul `shell` is used by nothing that has arguments. The engine has no way to
//! end what it runs in a container: at the timeout the run ends here, and the program may go on there. Engines that want
//! TLS are not spoken to.

mod engine;
mod frames;

use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout_at};

use self::{
    engine::{Engine, EngineError},
    frames::Frames,
};
use super::{
    Limit, Outcome, ProbeError, critical, failed,
    output::{PACE, Tail},
    passing, text, warning,
};
use crate::local::definition::CheckSpec;

/// The variable that names the engine's socket.
const HOST_VARIABLE: &str = "DOCKER_HOST";
/// Where the engine listens where nothing says otherwise.
const HOST: &str = "unix:///var/run/docker.sock";

/// A program to run in a container.
pub(super) struct Docker {
    engine: Engine,
    container: Box<str>,
    args: Box<[String]>,
    output_max: usize,
}

/// Why there is no result; worded as Consul does.
#[derive(Debug, thiserror::Error)]
enum DockerError {
    #[error("create exec failed for container {0}: {1}")]
    Create(String, #[source] EngineError),
    #[error("create exec failed for unknown container {0}")]
    UnknownContainer(String),
    #[error("{1} exec failed since container {0} is paused or stopped")]
    Stopped(String, &'static str),
    #[error("{step} exec failed for container {container} with status {code}: {answer}")]
    Status { step: &'static str, container: String, code: u16, answer: String },
    #[error("start exec failed for container {0}: {1}")]
    Start(String, #[source] EngineError),
    #[error("inspect exec failed for container {0}: {1}")]
    Inspect(String, #[source] EngineError),
    #[error("{1} exec response for container {0} cannot be parsed: {2}")]
    Answer(String, &'static str, String),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Create<'a> {
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    tty: bool,
    cmd: &'a [String],
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    detach: bool,
    tty: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default)]
    running: bool,
    exit_code: Option<i64>,
}

impl Docker {
    pub(super) fn parse(spec: &CheckSpec, output_max: usize) -> Result<Self, ProbeError> {
        let host = std::env::var(HOST_VARIABLE).ok().filter(|host| !host.is_empty());
        Self::at(host.as_deref().unwrap_or(HOST), spec, output_max)
    }

    fn at(host: &str, spec: &CheckSpec, output_max: usize) -> Result<Self, ProbeError> {
        let engine = Engine::parse(host).map_err(|error| ProbeError::field(HOST_VARIABLE, host, error))?;
        if spec.args.is_empty() {
            return Err(ProbeError("Missing Args: a Docker check runs them in the container".to_owned()));
        }
        let container = spec.docker_container_id.as_str().into();
        Ok(Self { engine, container, args: spec.args.as_slice().into(), output_max })
    }

    pub(super) async fn run(&self, limit: Limit) -> Outcome {
        let mut tail = Tail::new(self.output_max);
        let ended = timeout_at(limit.deadline, self.exit_code(limit, &mut tail)).await;
        match ended {
            Ok(Ok(0)) => passing(tail.into_text()),
            Ok(Ok(1)) => warning(tail.into_text()),
            Ok(Ok(_)) => critical(tail.into_text()),
            Ok(Err(error)) => failed(error.to_string(), &error),
            Err(_) => {
                let message = format!("Timed out ({}) running check", text::duration(limit.timeout));
                let printed = tail.into_text();
                critical(if printed.is_empty() { message } else { format!("{message}\n\n{printed}") })
            }
        }
    }

    async fn exit_code(&self, limit: Limit, tail: &mut Tail) -> Result<i64, DockerError> {
        let id = self.create(limit).await?;
        self.start(&id, limit, tail).await?;
        self.inspect(&id, limit).await
    }

    async fn create(&self, limit: Limit) -> Result<String, DockerError> {
        let container = || self.container.to_string();
        let create =
            Create { attach_stdin: false, attach_stdout: true, attach_stderr: true, tty: false, cmd: &self.args };
        let path = format!("/containers/{}/exec", engine::escaped(&self.container));
        let answer = self.engine.call(&path, Some(&create), limit).await;
        let (code, answer) = answer.map_err(|error| DockerError::Create(container(), error))?;
        match code {
            201 => serde_json::from_slice(&answer)
                .map(|created: Created| created.id)
                .map_err(|error| DockerError::Answer(container(), "create", error.to_string())),
            404 => Err(DockerError::UnknownContainer(container())),
            409 => Err(DockerError::Stopped(container(), "create")),
            code => Err(self.refused("create", code, &answer)),
        }
    }

    /// Runs it, and returns when it has ended.
    async fn start(&self, id: &str, limit: Limit, tail: &mut Tail) -> Result<(), DockerError> {
        let path = format!("/exec/{}/start", engine::escaped(id));
        let mut frames = Frames::default();
        let answer = self.engine.stream(&path, &Start { detach: false, tty: false }, limit, |bytes| {
            frames.read(bytes, |printed| tail.push(printed));
            tail.total()
        });
        let (code, answer) = answer.await.map_err(|error| DockerError::Start(self.container.to_string(), error))?;
        match code {
            200 => Ok(()),
            409 => Err(DockerError::Stopped(self.container.to_string(), "start")),
            code => Err(self.refused("start", code, &answer)),
        }
    }

    async fn inspect(&self, id: &str, limit: Limit) -> Result<i64, DockerError> {
        let path = format!("/exec/{}/json", engine::escaped(id));
        let container = || self.container.to_string();
        // The output may end a moment before the engine knows the exit code; the timeout ends this.
        loop {
            let answer = self.engine.call(&path, None::<&()>, limit).await;
            let (code, answer) = answer.map_err(|error| DockerError::Inspect(container(), error))?;
            if code != 200 {
                return Err(self.refused("inspect", code, &answer));
            }
            let inspected: Inspected = serde_json::from_slice(&answer)
                .map_err(|error| DockerError::Answer(container(), "inspect", error.to_string()))?;
            if let Some(code) = inspected.exit_code.filter(|_| !inspected.running) {
                return Ok(code);
            }
            sleep(10 * PACE).await;
        }
    }

    fn refused(&self, step: &'static str, code: u16, answer: &[u8]) -> DockerError {
        let answer = String::from_utf8_lossy(answer).trim().to_owned();
        DockerError::Status { step, container: self.container.to_string(), code, answer }
    }
}

#[cfg(test)]
mod tests;
