//! One request and its answer over a connection of their own.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::LOCATION};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    ext::ReasonPhrase,
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout_at;

use super::{Hop, Http, HttpError};
use crate::health::probe::{
    Limit,
    stream::{beside, open},
};

/// The most of an answer that is held at once: its head has to fit.
const BUFFER_MAX: usize = 64 * 1024;

/// Fields of a head.
const FIELDS_MAX: usize = 1000;

/// What came back.
pub(super) enum Answer {
    /// The result: its status, what the server calls it, and the beginning of its body.
    Final { status: StatusCode, reason: String, body: Vec<u8> },
    /// Another request is asked for.
    Redirect { status: StatusCode, location: Option<HeaderValue> },
}

impl Http {
    /// Makes one request. The connection lives in this future and ends with it.
    pub(super) async fn exchange(&self, hop: &Hop, limit: Limit) -> Result<Answer, HttpError> {
        let stream = open(&hop.target, hop.is_secure().then_some(&self.tls), limit).await?;
        let (sender, connection) = http1::Builder::new()
            .title_case_headers(true)
            .max_headers(FIELDS_MAX)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .max_buf_size(BUFFER_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(HttpError::Connection)?;
        beside(connection, self.ask(sender, hop, limit)).await
    }

    async fn ask(&self, mut sender: SendRequest<Full<Bytes>>, hop: &Hop, limit: Limit) -> Result<Answer, HttpError> {
        let mut request = Request::new(Full::new(hop.body.clone()));
        *request.method_mut() = hop.method.clone();
        *request.uri_mut() = hop.uri.clone();
        *request.headers_mut() = hop.headers.clone();
        let answered = timeout_at(limit.deadline, sender.send_request(request)).await;
        let mut response = answered.map_err(|_| HttpError::Timeout)?.map_err(failed)?;
        let status = response.status();
        if self.follow && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(Answer::Redirect { status, location: response.headers_mut().remove(LOCATION) });
        }
        let reason = reason(&response);
        let mut body = Vec::new();
        // What did not come in time is not waited for: the head has decided.
        let _ = timeout_at(limit.deadline, read(response.into_body(), &mut body, self.output_max)).await;
        Ok(Answer::Final { status, reason, body })
    }
}

fn failed(error: hyper::Error) -> HttpError {
    if error.is_incomplete_message() {
        HttpError::Closed
    } else if error.is_parse() {
        HttpError::Malformed(error)
    } else {
        HttpError::Connection(error)
    }
}

/// What a server calls its status: its own words, or the usual ones.
fn reason(response: &Response<Incoming>) -> String {
    match response.extensions().get::<ReasonPhrase>() {
        Some(own) => String::from_utf8_lossy(own.as_bytes()).into_owned(),
        None => response.status().canonical_reason().unwrap_or_default().to_owned(),
    }
}

/// Reads the first `limit` bytes, or as many as come.
async fn read(mut body: Incoming, into: &mut Vec<u8>, limit: usize) {
    while into.len() < limit {
        let Some(Ok(frame)) = body.frame().await else { return };
        let Ok(data) = frame.into_data() else { continue };
        let wanted = data.get(..limit - into.len()).unwrap_or(&data);
        into.extend_from_slice(wanted);
    }
}
