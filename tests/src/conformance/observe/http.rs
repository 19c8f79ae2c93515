//! An HTTP step: the request, the requests sent meanwhile, and the answer's status, chosen headers and body.

use std::io::{self, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use super::{Observation, body_view, unhex};
use crate::conformance::bindings::{Bindings, Var};
use crate::conformance::case::{During, Step};
use crate::conformance::text::body_json;
use crate::conformance::world::World;
use crate::http::{Http, Request, Response};

/// Response headers that are always noted.
const HEADERS: [&str; 11] = [
    "Content-Type",
    "Content-Encoding",
    "X-Consul-Index",
    "X-Consul-KnownLeader",
    "X-Consul-LastContact",
    "X-Consul-Effective-Consistency",
    "X-Consul-Translate-Addresses",
    "X-Consul-ContentHash",
    "X-Cache",
    "Allow",
    "Location",
];

/// The longest body a compressed answer may unfold to.
const MAX_UNPACKED: u64 = 64 << 20;

pub(super) fn observe(world: &mut World, step: &Step, line: &str) -> anyhow::Result<Observation> {
    let request = request(&world.bindings, step, line)?;
    let http = world.http();
    let start = Instant::now();
    let answer = thread::scope(|scope| {
        meanwhile(scope, &world.bindings, &http, &step.during);
        let answer = http.send(&request);
        (answer, start.elapsed())
    });
    match answer {
        (Ok(response), elapsed) => Ok(view(step, response, elapsed)),
        (Err(error), _) => {
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                world.in_vain();
                return Ok(Observation::error("no answer"));
            }
            Ok(Observation::error(error.to_string()))
        }
    }
}

/// Sends the requests that belong into another step's waiting time, each after its own pause.
pub(super) fn meanwhile<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    bindings: &Bindings,
    http: &Http,
    during: &[During],
) {
    for later in during {
        let mut request = Request::from_line(&bindings.text(&later.http));
        request.body = later.body.as_ref().map(|body| json_body(bindings, body));
        let (http, pause) = (http.clone(), Duration::from_secs_f64(later.after));
        scope.spawn(move || {
            thread::sleep(pause); // the recording's own time
            let _ = http.send(&request); // what it brought about is what the waiting step sees
        });
    }
}

fn request(bindings: &Bindings, step: &Step, line: &str) -> anyhow::Result<Request> {
    let mut request = Request::from_line(&bindings.text(line));
    request.headers = step.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    request.body = body(bindings, step)?;
    request.chunked = step.chunked;
    request.timeout = step.timeout.map(Duration::from_secs_f64);
    Ok(request)
}

fn body(bindings: &Bindings, step: &Step) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(name) = &step.body_from {
        return match bindings.vars.get(name) {
            Some(Var::Bytes(bytes)) => Ok(Some(bytes.clone())),
            _ => anyhow::bail!("no body was saved as {name}"),
        };
    }
    if let Some(hex) = &step.body_hex {
        return unhex(hex).map(Some);
    }
    if let Some((text, length)) = &step.body_repeat {
        anyhow::ensure!(!text.is_empty(), "nothing to repeat");
        return Ok(Some(text.bytes().cycle().take(*length).collect()));
    }
    Ok(step.body.as_ref().map(|body| json_body(bindings, body)))
}

/// Text is sent as it is, anything else as JSON.
fn json_body(bindings: &Bindings, body: &Value) -> Vec<u8> {
    match bindings.value(body) {
        Value::String(text) => text.into_bytes(),
        other => body_json(&other),
    }
}

fn view(step: &Step, response: Response, elapsed: Duration) -> Observation {
    let mut seen = Observation { elapsed, raw: response.body.clone(), ..Observation::default() };
    let wanted = HEADERS.iter().copied().chain(step.want_headers.iter().map(String::as_str));
    let headers: Map<String, Value> =
        wanted.filter_map(|name| Some((name.to_owned(), response.header(name)?.into()))).collect();
    seen.set("status", response.status);
    seen.set("headers", headers);
    let kind = response.header("Content-Type").unwrap_or_default().to_owned();
    let packed = response.header("Content-Encoding") == Some("gzip");
    seen.headers = response.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    let body = if packed { unpack(&response.body) } else { Ok(response.body) };
    match body {
        Ok(body) => body_view(&mut seen, &body, &kind, step.view),
        Err(error) => seen.set("error", format!("{error:#}")),
    }
    seen
}

fn unpack(body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(body).take(MAX_UNPACKED).read_to_end(&mut unpacked).context("bad gzip body")?;
    Ok(unpacked)
}
