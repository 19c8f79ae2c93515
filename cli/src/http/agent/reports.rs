//! What programs report of themselves: results of checks with a TTL, and signs of life of a leased service.

use serde_json::Value;
use usher_cluster::{catalog::model::Status, health::ReportError};

use super::{check_of, registration::authorize_check, service_of};
use crate::http::{
    body::{self, BodyError, Fields},
    context::Cx,
    reply::{Failure, Reply},
};

/// `PUT /v1/agent/check/pass/:id?note=`.
pub(in crate::http) async fn pass(cx: Cx) -> Result<Reply, Failure> {
    let note = cx.params.value("note").to_owned();
    report(cx, Status::Passing, note).await
}

/// `PUT /v1/agent/check/warn/:id?note=`.
pub(in crate::http) async fn warn(cx: Cx) -> Result<Reply, Failure> {
    let note = cx.params.value("note").to_owned();
    report(cx, Status::Warning, note).await
}

/// `PUT /v1/agent/check/fail/:id?note=`.
pub(in crate::http) async fn fail(cx: Cx) -> Result<Reply, Failure> {
    let note = cx.params.value("note").to_owned();
    report(cx, Status::Critical, note).await
}

/// `PUT /v1/agent/check/update/:id` with `{"Status": …, "Output": …}`.
pub(in crate::http) async fn update(cx: Cx) -> Result<Reply, Failure> {
    let (status, output) = body::value(&cx.body).and_then(decode).map_err(Failure::decode)?;
    match Status::from(status.as_str()) {
        Status::Other(_) => Err(Failure::bad(format!("Invalid check status: '{status}'"))),
        status => report(cx, status, output).await,
    }
}

/// `PUT /v1/agent/service/renew/:id`: a leased service is alive (not in Consul).
pub(in crate::http) async fn renew(cx: Cx) -> Result<Reply, Failure> {
    let id = cx.name("Missing service ID")?;
    service_of(&cx, id)?;
    let renewed = cx.api.agent.renew_lease(id).await;
    renewed.map_err(|error| match error {
        ReportError::NoTtl(_) => Failure::bad(format!("Service {id:?} has no lease")),
        error => error.into(),
    })?;
    Ok(Reply::empty())
}

async fn report(cx: Cx, status: Status, output: String) -> Result<Reply, Failure> {
    if let Some(check) = check_of(&cx.api.agent.local().state(), &cx.tail) {
        authorize_check(&cx, &check.service_id)?;
    }
    cx.api.agent.report_check(&cx.tail, status, output).await?;
    Ok(Reply::empty())
}

/// The status and the output a body gives.
fn decode(value: Value) -> Result<(String, String), BodyError> {
    let mut fields = Fields::of(value, "checkUpdate")?;
    let update = (fields.text("Status")?, fields.text("Output")?);
    fields.finish()?;
    Ok(update)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::decode;

    #[test]
    fn bodies_of_updates() {
        let text = |text: &str| text.to_owned();
        for (body, expected) in [
            (json!({"Status": "passing", "Output": "o"}), Ok((text("passing"), text("o")))),
            (json!({"status": "warning"}), Ok((text("warning"), text("")))),
            (json!(null), Ok((text(""), text("")))),
            (json!({"Status": "passing", "Bogus": 1}), Err("json: unknown field \"Bogus\"")),
            (json!({"Status": 5}), Err("json: cannot unmarshal number into field checkUpdate.Status of type string")),
            (json!("x"), Err("json: cannot unmarshal string into field checkUpdate of type object")),
        ] {
            assert_eq!(decode(body).map_err(|error| error.to_string()), expected.map_err(text));
        }
    }
}
