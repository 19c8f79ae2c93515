//! Which agent answers: this one, or a server in its stead.
//!
//! ```text
//!   client agent:  lists, states, the servers' own ─► any server
//!                  one service or node, and an answer of a moment ago will do ─► the agent's own view
//!   server:        what only the leader knows ─► the leader, unless it is that
//!   receiving:     ApiRequest ─► dispatch, as if it had come here ─► ApiResponse
//! ```
//!
//! What belongs to the agent that was asked stays there: its limits, who may ask it, the form of the answer and the
//! headers it puts on every one. What a caller may read is decided where it is read.

use std::{
    borrow::Cow,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{
    Request, StatusCode,
    header::{CACHE_CONTROL, HeaderName},
};
use tokio_util::sync::CancellationToken;
use usher_cluster::{
    agent::{AnswerApi, Destination},
    catalog::{Interest, Lease},
    rpc::message::{ApiRequest, ApiResponse},
};

use super::{
    Api,
    context::Cx,
    dispatch, encode,
    query::QueryOptions,
    reply::{Body, Cached, Consistency, Failure, Reply},
    routes::{Place, Route},
};

/// Carries the caller's secret from agent to agent.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");

/// What a client agent's own view has for a request.
#[derive(Debug)]
pub(super) struct View {
    /// Keeps it while the request waits for changes.
    _lease: Lease,
    interest: Interest,
    /// Whether it was there before.
    hit: bool,
}

impl View {
    /// How long ago it was last known to be as the servers have it.
    pub(super) fn age(&self, cx: &Cx) -> Duration {
        let source = cx.api.agent.catalog().source();
        source.and_then(|source| source.age(&self.interest)).unwrap_or_default()
    }

    /// What is told of the view as a cache.
    pub(super) fn cached(&self, cx: &Cx) -> Cached {
        Cached { hit: self.hit, age: self.age(cx) }
    }
}

/// Where a request is answered.
pub(super) enum Answerer {
    /// Here.
    Here,
    /// Here, from the agent's own view.
    View(View),
    /// By another agent.
    Other(Destination),
}

/// Whether this agent may have to leave such requests to others.
pub(super) fn may_be_elsewhere(route: &Route, server: bool) -> bool {
    match route.place {
        Place::Here => false,
        Place::Leader => true,
        Place::Server | Place::Part(_) => !server,
    }
}

/// Decides who answers a request; fetches the view if that is to.
pub(super) async fn answerer(route: &Route, cx: &Cx) -> Result<Answerer, Failure> {
    let agent = &cx.api.agent;
    match route.place {
        Place::Here => Ok(Answerer::Here),
        Place::Leader if agent.is_server() && !agent.status().is_leader => Ok(Answerer::Other(Destination::Leader)),
        _ if agent.is_server() => Ok(Answerer::Here),
        Place::Part(interest) if !cx.tail.is_empty() => part(interest(&cx.tail), cx).await,
        Place::Part(_) | Place::Server | Place::Leader => Ok(Answerer::Other(Destination::Any)),
    }
}

/// A part of the catalog is asked for at a client agent.
async fn part(interest: Interest, cx: &Cx) -> Result<Answerer, Failure> {
    let any = Ok(Answerer::Other(Destination::Any));
    let query = QueryOptions::parse(&cx.params, &cx.cache_control, &cx.options)?;
    cx.route().map_err(|error| Failure::from(error).of_read())?;
    if query.consistency != Consistency::Stale && !query.cached {
        return any;
    }
    let Some(source) = cx.api.agent.catalog().source() else { return any };
    let age = source.age(&interest);
    if age.is_some_and(|age| query.max_stale.is_some_and(|most| age > most)) {
        return any;
    }
    match source.want(interest.clone()).await {
        Ok(lease) => Ok(Answerer::View(View { _lease: lease, interest, hit: age.is_some() })),
        Err(error) => Err(Failure::internal(error.to_string()).of_read()),
    }
}

/// Has another agent answer. Dropped, the request is given up there, too.
pub(super) async fn forward(cx: Cx, asked: Asked, to: Destination) -> Result<Reply, Failure> {
    let by_default = cx.params.has("stale") || cx.params.has("leader") || cx.params.has("consistent");
    let mut uri = asked.uri;
    // What this agent's settings say where the request does not.
    if !by_default && !cx.params.has("max_stale") && !cx.options.discovery_max_stale.is_zero() {
        let seconds = cx.options.discovery_max_stale.as_millis();
        uri.push_str(if uri.contains('?') { "&" } else { "?" });
        uri.push_str(&format!("max_stale={seconds}ms"));
    }
    let request = ApiRequest {
        method: asked.method.to_owned(),
        uri,
        token: cx.token,
        cache_control: cx.cache_control,
        body: cx.body.to_vec(),
    };
    let answered = tokio::select! {
        answered = cx.api.agent.forward(request, to) => answered.map_err(|error| error.to_string()),
        () = cx.shutdown.cancelled() => Err("the agent is stopping".to_owned()),
    };
    answered.map(reply).map_err(|text| Failure::internal(text).of_read())
}

/// A request as it is passed on.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `GET`, …
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) uri: String,
}

/// Another agent's answer as one of this agent.
fn reply(response: ApiResponse) -> Reply {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let content_type = response.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value);
    let body = match content_type.map(String::as_str) {
        None => Body::Empty,
        Some("application/json") => Body::Json(response.body),
        Some(other) => Body::Text(Cow::Owned(other.to_owned()), String::from_utf8_lossy(&response.body).into_owned()),
    };
    let belongs = |name: &str| name.starts_with("x-consul-") || matches!(name, "x-cache" | "age" | "location");
    let headers = response.headers.into_iter().filter(|(name, _)| belongs(name));
    let headers = headers.map(|(name, value)| (Cow::Owned(name), value)).collect();
    Reply { status, body, meta: None, headers }
}

/// Answers what other agents pass on to this server.
pub(super) struct Receiving {
    /// The agent holds this: it must not hold the agent.
    api: Weak<Api>,
    shutdown: CancellationToken,
}

impl Receiving {
    /// Answers by `api` until `shutdown`.
    pub(super) fn new(api: &Arc<Api>, shutdown: &CancellationToken) -> Self {
        Self { api: Arc::downgrade(api), shutdown: shutdown.clone() }
    }
}

impl AnswerApi for Receiving {
    fn answer(&self, request: ApiRequest) -> BoxFuture<'_, ApiResponse> {
        async move {
            let outcome = match (self.api.upgrade(), head(&request)) {
                (Some(api), Some(head)) => {
                    dispatch::answer_agent(api, self.shutdown.clone(), head.map(|()| Bytes::from(request.body))).await
                }
                (None, _) => Err(Failure::internal("the agent is stopping")),
                (_, None) => Err(Failure::bad("400 Bad Request")),
            };
            encode::plain(outcome)
        }
        .boxed()
    }
}

/// The request's head as it would have come here.
fn head(request: &ApiRequest) -> Option<Request<()>> {
    let mut head = Request::builder().method(request.method.as_str()).uri(request.uri.as_str());
    for (name, value) in [(TOKEN, &request.token), (CACHE_CONTROL, &request.cache_control)] {
        if !value.is_empty() {
            head = head.header(name, value);
        }
    }
    head.body(()).ok()
}

#[cfg(test)]
mod tests {
    use usher_cluster::access::AllowAll;

    use super::*;
    use crate::http::{Options, tests::served};

    #[test]
    fn what_belongs_to_an_answer_comes_with_it() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let response = ApiResponse {
            status: 200,
            headers: vec![
                header("content-type", "application/json"),
                header("x-consul-index", "7"),
                header("x-cache", "HIT"),
                header("x-extra", "of the other agent"),
            ],
            body: b"[]".to_vec(),
        };
        let reply = reply(response);
        assert!(matches!(&reply.body, Body::Json(json) if json == b"[]"));
        let names: Vec<&str> = reply.headers.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["x-consul-index", "x-cache"]);
    }

    #[test]
    fn other_answers_keep_their_form() {
        let text = ApiResponse {
            status: 500,
            headers: vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())],
            body: b"No cluster leader".to_vec(),
        };
        let told = reply(text);
        assert_eq!(told.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            matches!(&told.body, Body::Text(kind, text) if kind.starts_with("text/") && text == "No cluster leader")
        );
        let nothing = reply(ApiResponse { status: 404, ..ApiResponse::default() });
        assert!(matches!(nothing.body, Body::Empty));
        assert_eq!(reply(ApiResponse { status: 7, ..ApiResponse::default() }).status, StatusCode::BAD_GATEWAY);
    }

    async fn receive(receiving: &Receiving, method: &str, uri: &str) -> (u16, String, Vec<(String, String)>) {
        let request = ApiRequest { method: method.to_owned(), uri: uri.to_owned(), ..ApiRequest::default() };
        let response = receiving.answer(request).await;
        (response.status, String::from_utf8(response.body).unwrap(), response.headers)
    }

    #[tokio::test]
    async fn a_server_answers_what_is_passed_on_as_if_it_had_come_there() {
        let response_headers = vec![("x-extra".to_owned(), "of this agent".to_owned())];
        let options = Options { response_headers, pretty: true, ..Options::default() };
        let served = served(options, Arc::new(AllowAll), None).await;
        let receiving = Receiving::new(&served.api, &CancellationToken::new());
        let (status, body, headers) = receive(&receiving, "GET", "/v1/catalog/service/nosuch?stale").await;
        assert_eq!((status, body.as_str()), (200, "[]"));
        let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("x-consul-effective-consistency"), Some("stale"));
        assert!(header("x-consul-index").is_some());
        assert_eq!(header("x-extra"), None, "what the agent puts on its own answers stays there");
        let (status, body, _) = receive(&receiving, "GET", "/v1/catalog/nodes?index=x").await;
        assert_eq!((status, body.as_str()), (400, "Invalid index"));
        let (status, ..) = receive(&receiving, "PUT", "/v1/catalog/nodes").await;
        assert_eq!(status, 405);
    }

    #[tokio::test]
    async fn a_server_does_not_take_for_its_own_what_was_meant_for_another_agent() {
        let served = served(Options::default(), Arc::new(AllowAll), None).await;
        let receiving = Receiving::new(&served.api, &CancellationToken::new());
        for (method, uri) in [("GET", "/v1/agent/self"), ("PUT", "/v1/agent/leave"), ("PUT", "/v1/catalog/register")] {
            assert_eq!(receive(&receiving, method, uri).await.0, 403, "{uri}");
        }
        let ended = Receiving { api: Weak::new(), shutdown: CancellationToken::new() };
        assert_eq!(receive(&ended, "GET", "/v1/catalog/nodes").await.0, 500);
    }

    #[tokio::test]
    async fn who_waits_for_a_change_is_answered_when_the_server_ends() {
        let served = served(Options::default(), Arc::new(AllowAll), None).await;
        let stop = CancellationToken::new();
        let receiving = Receiving::new(&served.api, &stop);
        let waiting = receive(&receiving, "GET", "/v1/catalog/service/nosuch?index=1000000&wait=10m");
        let (told, ()) = tokio::join!(waiting, async { stop.cancel() });
        assert_eq!(told.0, 200);
    }

    #[test]
    fn a_request_that_is_none_has_no_head() {
        let request = |uri: &str, token: &str| ApiRequest {
            method: "GET".to_owned(),
            uri: uri.to_owned(),
            token: token.to_owned(),
            ..ApiRequest::default()
        };
        let good = head(&request("/v1/catalog/nodes?dc=dc1", "secret")).unwrap();
        assert_eq!((good.uri().query(), &good.headers()[TOKEN]), (Some("dc=dc1"), &"secret".parse().unwrap()));
        assert!(head(&request("/a b", "")).is_none());
        assert!(head(&request("/", "line\nbreak")).is_none());
    }
}
