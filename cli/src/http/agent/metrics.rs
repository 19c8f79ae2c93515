//! `GET /v1/agent/metrics`.

use crate::http::{
    context::Cx,
    reply::{Failure, Reply},
};

/// JSON, or with `?format=prometheus` the text format Prometheus scrapes.
pub(in crate::http) async fn metrics(cx: Cx) -> Result<Reply, Failure> {
    let agent = &cx.api.agent;
    if cx.params.value("format") == "prometheus" {
        return Ok(Reply::text("text/plain; version=0.0.4; charset=utf-8", cx.api.metrics.prometheus(agent)));
    }
    Reply::json(&cx.api.metrics.summary(agent))
}
