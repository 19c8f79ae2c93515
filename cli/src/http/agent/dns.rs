//! `GET /v1/agent/dns/explain?name=NAME&type=TYPE`: how this agent's DNS answers a question, and why. Not of Consul.

use http::StatusCode;
use serde_json::{Value, json};
use usher_cluster::access::Permission;
use usher_dns::{
    client::Transport,
    explain::{Considered, Explanation},
};

use crate::http::{
    context::Cx,
    reply::{Failure, Reply},
};

/// `GET /v1/agent/dns/explain`.
pub(in crate::http) async fn explain(cx: Cx) -> Result<Reply, Failure> {
    let name = cx.params.value("name");
    if name.is_empty() {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "Missing name: ?name=web.service.consul&type=SRV"));
    }
    let kind = Some(cx.params.value("type")).filter(|kind| !kind.is_empty()).unwrap_or("A");
    let transport = if cx.params.has("tcp") { Transport::Tcp } else { Transport::Udp };
    let Some(explainer) = &cx.api.dns else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "This agent does not answer DNS (ports.dns is -1)"));
    };
    let explained = explainer.explain(name, kind, transport).await;
    let mut explanation = explained.map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let may = |node: &str| cx.authorize(&Permission::NodeRead(node)).is_ok();
    explanation.instances.retain(|instance| may(&instance.node));
    Reply::json(&view(&explanation))
}

fn view(explanation: &Explanation) -> Value {
    json!({
        "Question": explanation.question,
        "ReadAs": explanation.read_as,
        "Steps": explanation.steps,
        "Instances": explanation.instances.iter().map(instance).collect::<Vec<_>>(),
        "Reply": explanation.reply,
        "Reason": explanation.reason,
    })
}

fn instance(considered: &Considered) -> Value {
    json!({
        "Node": considered.node,
        "ServiceID": considered.id,
        "Address": considered.address,
        "Port": considered.port,
        "Status": considered.status,
        "Answerable": considered.answerable,
        "Why": considered.why,
    })
}
