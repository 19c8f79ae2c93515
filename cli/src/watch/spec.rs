//! What is watched, and who is told: from the parameters of a file or of flags to values that fit together.
//!
//! Pure. The names and texts are Consul's where it has them.

use std::{collections::BTreeMap, fmt, time::Duration};

use url::Url;

use crate::client::{Mark, request::Request};

/// How long a server is let wait for a change.
pub const WAIT: Duration = Duration::from_secs(300);
/// How long an HTTP handler may take when nobody says.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes kept of what a handler says when nobody says.
pub const OUTPUT_SIZE: usize = 4096;
/// The most bytes that can be asked to be kept.
const OUTPUT_SIZE_MAX: i64 = 1 << 20;

/// Parameters as they come, before they are checked. Empty means not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// The kind of watch.
    pub r#type: String,
    /// Where to ask.
    pub datacenter: String,
    /// With which token.
    pub token: String,
    /// Whether any server may answer.
    pub stale: bool,
    /// Of `key`.
    pub key: String,
    /// Of `keyprefix`.
    pub prefix: String,
    /// Of `service` and `checks`.
    pub service: String,
    /// Of `agent_service`.
    pub service_id: String,
    /// Of `service`.
    pub tag: Vec<String>,
    /// Of `service`.
    pub passingonly: bool,
    /// Of `checks`.
    pub state: String,
    /// Of `event`.
    pub name: String,
}

/// A watch that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What is asked.
    pub what: What,
    /// The datacenter; empty for the agent's own.
    pub datacenter: String,
    /// The token; empty for whatever the client has.
    pub token: String,
    /// Whether any server may answer.
    pub stale: bool,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The names of all services with their tags.
    Services,
    /// All nodes.
    Nodes,
    /// The instances of one service.
    Service {
        /// Its name.
        name: String,
        /// The tags an instance must carry, every one.
        tags: Vec<String>,
        /// Whether every check of it must pass.
        passing_only: bool,
    },
    /// All checks, those of a service, or those in a state.
    Checks(Checks),
    /// One registration of the agent that is asked, by its id.
    AgentService(String),
}

/// Which checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Those of a service.
    Of(String),
    /// Those in a state, or `any`.
    In(String),
}

/// Why a watch cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// There is no type.
    #[error("Watch type must be specified")]
    NoType,
    /// There is no such type.
    #[error("Unsupported watch type: {0}")]
    Unsupported(String),
    /// What it looks at is not built.
    #[error("watch type {kind} needs {needs}, which this version does not have yet")]
    NotBuilt {
        /// The type.
        kind: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// A parameter is missing.
    #[error("Must specify a single {0} to watch")]
    Missing(&'static str),
    /// Only one of two goes.
    #[error("Cannot specify service and state")]
    Both,
    /// Parameters that do not go with the type.
    #[error("Invalid parameters: [{}]", .0.join(" "))]
    Parameters(Vec<&'static str>),
    /// The handler cannot be used.
    #[error("{0}")]
    Handler(String),
}

impl Watch {
    /// Checks that the parameters make a watch.
    pub fn new(given: &Parameters) -> Result<Self, WatchError> {
        let what = match given.r#type.as_str() {
            "" => return Err(WatchError::NoType),
            "key" | "keyprefix" | "event" => return Err(not_built(given)),
            "services" => What::Services,
            "nodes" => What::Nodes,
            "service" if given.service.is_empty() => return Err(WatchError::Missing("service")),
            "service" => {
                What::Service { name: given.service.clone(), tags: given.tag.clone(), passing_only: given.passingonly }
            }
            "checks" if !given.service.is_empty() && !given.state.is_empty() => return Err(WatchError::Both),
            "checks" if !given.service.is_empty() => What::Checks(Checks::Of(given.service.clone())),
            "checks" if !given.state.is_empty() => What::Checks(Checks::In(given.state.clone())),
            "checks" => What::Checks(Checks::In("any".into())),
            "agent_service" if given.service_id.is_empty() => return Err(WatchError::Missing("service_id")),
            "agent_service" => What::AgentService(given.service_id.clone()),
            other => return Err(WatchError::Unsupported(other.to_owned())),
        };
        let strange = strange(given);
        if !strange.is_empty() {
            return Err(WatchError::Parameters(strange));
        }
        let (datacenter, token) = (given.datacenter.clone(), given.token.clone());
        Ok(Self { what, datacenter, token, stale: given.stale })
    }

    /// The question, from what is known on; with nothing known it asks for what is there now.
    pub fn request(&self, known: &Mark) -> Request {
        let mut request = match &self.what {
            What::Services => Request::new("/v1/catalog/services"),
            What::Nodes => Request::new("/v1/catalog/nodes"),
            What::Service { name, tags, passing_only } => {
                let request = Request::new("/v1/health/service").segment(name);
                let request = tags.iter().fold(request, |request, tag| request.with("tag", tag));
                if *passing_only { request.with("passing", "1") } else { request }
            }
            What::Checks(Checks::Of(service)) => Request::new("/v1/health/checks").segment(service),
            What::Checks(Checks::In(state)) => Request::new("/v1/health/state").segment(state),
            What::AgentService(id) => Request::new("/v1/agent/service").segment(id),
        };
        request = request.with_some("dc", &self.datacenter);
        if self.stale {
            request = request.present("stale");
        }
        let wait = format!("{}s", WAIT.as_secs());
        if known.index > 0 {
            request = request.with("index", &known.index.to_string()).with("wait", &wait);
        }
        if !known.hash.is_empty() {
            request = request.with("hash", &known.hash).with("wait", &wait);
        }
        request
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Services => formatter.write_str("services"),
            What::Nodes => formatter.write_str("nodes"),
            What::Service { name, .. } => write!(formatter, "service {name}"),
            What::Checks(Checks::Of(service)) => write!(formatter, "checks of service {service}"),
            What::Checks(Checks::In(state)) => write!(formatter, "checks in state {state}"),
            What::AgentService(id) => write!(formatter, "service {id} of the agent"),
        }
    }
}

/// The types of what does not exist yet; what they miss is told first.
fn not_built(given: &Parameters) -> WatchError {
    match given.r#type.as_str() {
        "key" if given.key.is_empty() => WatchError::Missing("key"),
        "key" => WatchError::NotBuilt { kind: "key", needs: "the key-value store" },
        "keyprefix" if given.prefix.is_empty() => WatchError::Missing("prefix"),
        "keyprefix" => WatchError::NotBuilt { kind: "keyprefix", needs: "the key-value store" },
        _ => WatchError::NotBuilt { kind: "event", needs: "user events" },
    }
}

/// The parameters given that say nothing to this type.
fn strange(given: &Parameters) -> Vec<&'static str> {
    let kind = given.r#type.as_str();
    let parameters = [
        ("key", !given.key.is_empty(), false),
        ("name", !given.name.is_empty(), false),
        ("passingonly", given.passingonly, kind == "service"),
        ("prefix", !given.prefix.is_empty(), false),
        ("service", !given.service.is_empty(), matches!(kind, "service" | "checks")),
        ("service_id", !given.service_id.is_empty(), kind == "agent_service"),
        ("state", !given.state.is_empty(), kind == "checks"),
        ("tag", !given.tag.is_empty(), kind == "service"),
    ];
    parameters.into_iter().filter(|(_, given, fits)| *given && !fits).map(|(name, _, _)| name).collect()
}

/// Who is told of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// A command, with the JSON on its standard input.
    Command(Command),
    /// An HTTP server, with the JSON as the request's body.
    Http(HttpHandler),
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A line for the shell.
    Shell(String),
    /// A program and its arguments; never empty.
    Program(Vec<String>),
}

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHandler {
    /// Where.
    pub url: Url,
    /// Its method.
    pub method: String,
    /// Further headers.
    pub headers: BTreeMap<String, Vec<String>>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether the server's certificate is not verified.
    pub skip_verify: bool,
    /// Bytes kept of the answer for the log.
    pub output_size: usize,
}

/// A handler as a file gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct HandlerParameters {
    /// `script` (or empty) or `http`.
    pub handler_type: String,
    /// A line for the shell.
    pub handler: String,
    /// A program and its arguments.
    pub args: Vec<String>,
    /// For `http`.
    pub http_handler_config: Option<HttpParameters>,
}

/// An HTTP handler as a file gives it; the timeout in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct HttpParameters {
    /// Where.
    pub path: String,
    /// Its method.
    pub method: String,
    /// Further headers.
    pub header: BTreeMap<String, Vec<String>>,
    /// How long it may take.
    pub timeout: i64,
    /// Whether the server's certificate is not verified.
    pub tls_skip_verify: bool,
    /// Bytes kept of the answer.
    pub output_max_size: i64,
}

impl Handler {
    /// Checks that the parameters make one handler.
    pub fn new(given: &HandlerParameters) -> Result<Self, WatchError> {
        let wrong = |text: &str| Err(WatchError::Handler(text.to_owned()));
        let HandlerParameters { handler_type, handler, args, http_handler_config } = given;
        match handler_type.as_str() {
            "" | "script" => {}
            "http" if !handler.is_empty() || !args.is_empty() => {
                return wrong("handler and args do not go with the handler type 'http'");
            }
            "http" => {
                let Some(config) = http_handler_config else {
                    return wrong("Handler type 'http' requires 'http_handler_config' to be set");
                };
                return HttpHandler::new(config).map(Self::Http);
            }
            other => return wrong(&format!("Handler type '{other}' not recognized")),
        }
        if http_handler_config.is_some() {
            return wrong("http_handler_config needs handler_type = \"http\"");
        }
        match (handler.is_empty(), args.is_empty()) {
            (false, false) => wrong("Cannot specify both 'handler' and 'args'"),
            (false, true) => Ok(Self::Command(Command::Shell(handler.clone()))),
            (true, false) if args.iter().all(String::is_empty) => wrong("args is empty"),
            (true, false) => Ok(Self::Command(Command::Program(args.clone()))),
            (true, true) => wrong("Must define a watch handler: args, handler or http_handler_config"),
        }
    }
}

impl HttpHandler {
    fn new(given: &HttpParameters) -> Result<Self, WatchError> {
        let wrong = |text: String| WatchError::Handler(text);
        if given.path.is_empty() {
            return Err(wrong("Requires 'path' to be set".into()));
        }
        let url = Url::parse(&given.path)
            .map_err(|error| wrong(format!("http_handler_config.path: \"{}\" is no URL: {error}", given.path)))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("http_handler_config.path: \"{}\" is no http:// or https:// URL", given.path)));
        }
        let method = if given.method.is_empty() { "POST".to_owned() } else { given.method.to_uppercase() };
        if http::Method::from_bytes(method.as_bytes()).is_err() {
            return Err(wrong(format!("http_handler_config.method: \"{method}\" is no method")));
        }
        let timeout = match u64::try_from(given.timeout) {
            Ok(0) => HTTP_TIMEOUT,
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
            Err(_) => return Err(wrong("http_handler_config.timeout is negative".into())),
        };
        let output_size = match given.output_max_size {
            0 => OUTPUT_SIZE,
            size @ 1..=OUTPUT_SIZE_MAX => usize::try_from(size).unwrap_or(OUTPUT_SIZE),
            size => {
                return Err(wrong(format!(
                    "http_handler_config.output_max_size cannot be {size}. Must be between 1 and {OUTPUT_SIZE_MAX}"
                )));
            }
        };
        let headers = given.header.clone();
        Ok(Self { url, method, headers, timeout, skip_verify: given.tls_skip_verify, output_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(json: serde_json::Value) -> Parameters {
        serde_json::from_value(json).unwrap()
    }

    // Questions and texts as Consul's command has them.
    #[test]
    fn questions() {
        for (given, expected) in [
            (serde_json::json!({"type": "services"}), "/v1/catalog/services"),
            (serde_json::json!({"type": "nodes", "datacenter": "d", "stale": true}), "/v1/catalog/nodes?dc=d&stale"),
            (
                serde_json::json!({"type": "service", "service": "a b", "tag": ["x", "y"], "passingonly": true}),
                "/v1/health/service/a%20b?tag=x&tag=y&passing=1",
            ),
            (serde_json::json!({"type": "checks"}), "/v1/health/state/any"),
            (serde_json::json!({"type": "checks", "service": "web"}), "/v1/health/checks/web"),
            (serde_json::json!({"type": "checks", "state": "critical"}), "/v1/health/state/critical"),
        ] {
            let watch = Watch::new(&parameters(given)).unwrap();
            assert_eq!(watch.request(&Mark::default()).target(), expected);
            let joint = if expected.contains('?') { '&' } else { '?' };
            let known = Mark { index: 7, ..Mark::default() };
            assert_eq!(watch.request(&known).target(), format!("{expected}{joint}index=7&wait=300s"));
        }
        let own = Watch::new(&parameters(serde_json::json!({"type": "agent_service", "service_id": "w1"}))).unwrap();
        let known = Mark { hash: "ab".into(), ..Mark::default() };
        assert_eq!(own.request(&known).target(), "/v1/agent/service/w1?hash=ab&wait=300s");
    }

    #[test]
    fn what_is_no_watch() {
        for (given, expected) in [
            (serde_json::json!({}), "Watch type must be specified"),
            (serde_json::json!({"type": "bogus"}), "Unsupported watch type: bogus"),
            (serde_json::json!({"type": "service"}), "Must specify a single service to watch"),
            (serde_json::json!({"type": "agent_service"}), "Must specify a single service_id to watch"),
            (serde_json::json!({"type": "key"}), "Must specify a single key to watch"),
            (serde_json::json!({"type": "keyprefix"}), "Must specify a single prefix to watch"),
            (
                serde_json::json!({"type": "key", "key": "a"}),
                "watch type key needs the key-value store, which this version does not have yet",
            ),
            (serde_json::json!({"type": "event"}), "watch type event needs user events, which this version"),
            (serde_json::json!({"type": "checks", "service": "a", "state": "b"}), "Cannot specify service and state"),
            (serde_json::json!({"type": "nodes", "service": "a", "tag": ["b"]}), "Invalid parameters: [service tag]"),
        ] {
            let error = Watch::new(&parameters(given)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn handlers() {
        let handler = |json| Handler::new(&serde_json::from_value(json).unwrap()).map_err(|error| error.to_string());
        assert_eq!(handler(serde_json::json!({"handler": "cat"})), Ok(Handler::Command(Command::Shell("cat".into()))));
        assert_eq!(
            handler(serde_json::json!({"args": ["cat", "-n"], "handler_type": "script"})),
            Ok(Handler::Command(Command::Program(vec!["cat".into(), "-n".into()])))
        );
        let url = "https://h:1/a?b=c";
        let Ok(Handler::Http(http)) =
            handler(serde_json::json!({"handler_type": "http", "http_handler_config": {"path": url, "method": "put"}}))
        else {
            panic!("it is one")
        };
        assert_eq!((http.url.as_str(), http.method.as_str(), http.timeout), (url, "PUT", Duration::from_secs(10)));
        let http = |config| serde_json::json!({"handler_type": "http", "http_handler_config": config});
        for (given, expected) in [
            (serde_json::json!({}), "Must define a watch handler"),
            (serde_json::json!({"handler": "a", "args": ["b"]}), "Cannot specify both 'handler' and 'args'"),
            (serde_json::json!({"handler_type": "x"}), "Handler type 'x' not recognized"),
            (serde_json::json!({"handler_type": "http"}), "Handler type 'http' requires 'http_handler_config'"),
            (serde_json::json!({"handler_type": "http", "args": ["b"]}), "handler and args do not go with"),
            (serde_json::json!({"args": ["b"], "http_handler_config": {}}), "http_handler_config needs handler_type"),
            (http(serde_json::json!({})), "Requires 'path' to be set"),
            (http(serde_json::json!({"path": "ftp://x"})), "http_handler_config.path: \"ftp://x\" is no http://"),
            (http(serde_json::json!({"path": "http://a b"})), "http_handler_config.path: \"http://a b\" is no URL"),
            (http(serde_json::json!({"path": "http://x", "method": "a b"})), "http_handler_config.method"),
            (http(serde_json::json!({"path": "http://x", "timeout": -1})), "http_handler_config.timeout is negative"),
            (http(serde_json::json!({"path": "http://x", "output_max_size": -1})), "http_handler_config.output_max"),
        ] {
            let error = handler(given).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
