//! `GET /v1/agent/monitor`: the log as it is written, until the client goes.

use http::StatusCode;

use crate::{
    http::{
        context::Cx,
        reply::{Body, Failure, Reply},
    },
    logging,
};

/// `?loglevel=` picks the level, `info` without it. `?logjson` is refused: the lines are text.
pub(in crate::http) async fn monitor(cx: Cx) -> Result<Reply, Failure> {
    let name = match cx.params.value("loglevel") {
        "" => "info",
        name => name,
    };
    let level =
        logging::level_by_name(name).ok_or_else(|| Failure::bad_request(format_args!("Unknown log level: {name}")))?;
    if cx.params.switch("logjson") != Some(false) {
        return Err(Failure::bad_request("logjson is not supported, the log is streamed as text"));
    }
    let too_many = || Failure::new(StatusCode::TOO_MANY_REQUESTS, "too many monitors follow the log already");
    let stream = cx.api.log.try_subscribe(level).ok_or_else(too_many)?;
    Ok(Reply { body: Body::Log(Box::new(stream)), ..Reply::empty() })
}
