//! `http`: passes while a URL is answered with 2xx; 429 is a warning, anything else is critical.
//!
//! A run makes a connection of its own, over HTTP/1.1, and closes it. `method`, `header` (a `Host` in it is the host asked
//! for) and `body` are sent as given; without others, `User-Agent: Consul Health Check`, as servers' logs know it.
//! Redirects are followed as Go's client follows them, at most 10, unless `disable_redirects` makes them results.
//!
//! Of the answer's body the first `output_max_size` bytes are read, and then the connection is dropped: a body that is huge
//! or never ends costs nothing. The status is judged when the head has come; a body that breaks off or takes longer than
//! the timeout is told as far as it came.

mod exchange;
mod hop;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header::HOST};
use url::Url;

use self::{exchange::Answer, hop::Hop};
use super::{Limit, Outcome, ProbeError, critical, failed, passing, stream::OpenError, text, tls, warning};
use crate::{health::options::Tls, local::definition::CheckSpec};

/// Requests of one run, the first among them.
const REQUESTS_MAX: usize = 10;

/// A request to make.
pub(super) struct Http {
    first: Hop,
    /// The `Host` that was asked for beside the URL.
    host: Option<HeaderValue>,
    /// The method and the URL as the definition has them, without a password.
    shown: Box<str>,
    follow: bool,
    output_max: usize,
    tls: tls::Client,
}

/// Why a request has no answer; worded as Go does.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Timeout,
    #[error("EOF")]
    Closed,
    #[error("malformed HTTP response: {}", text::chain(.0))]
    Malformed(hyper::Error),
    #[error("{}", text::chain(.0))]
    Connection(hyper::Error),
    #[error("{0} response missing Location header")]
    NoLocation(u16),
    #[error("failed to follow the Location \"{0}\": {1}")]
    Location(String, String),
    #[error("stopped after {REQUESTS_MAX} redirects")]
    Redirects,
}

impl Http {
    pub(super) fn parse(spec: &CheckSpec, files: &Tls, output_max: usize) -> Result<Self, ProbeError> {
        let wrong = |reason: String| ProbeError::field("HTTP", &spec.http, reason);
        let url = Url::parse(&spec.http).map_err(|error| wrong(error.to_string()))?;
        let shown_method = if spec.method.is_empty() { "GET" } else { &spec.method };
        let method = Method::from_bytes(shown_method.as_bytes())
            .map_err(|_| ProbeError::field("Method", &spec.method, "it is no HTTP method"))?;
        let headers = hop::headers(&spec.header)?;
        let host = headers.get(HOST).cloned();
        let shown = format!("{shown_method} {}", without_password(&spec.http, &url));
        let first = Hop::new(url, method, headers, Bytes::from(spec.body.clone())).map_err(wrong)?;
        let tls = tls::Client::parse(spec, files, tls::Alpn::Http1)?;
        Ok(Self { first, host, shown: shown.into(), follow: !spec.disable_redirects, output_max, tls })
    }

    pub(super) async fn run(&self, limit: Limit) -> Outcome {
        let mut redirected: Option<Hop> = None;
        for _ in 0..REQUESTS_MAX {
            let hop = redirected.as_ref().unwrap_or(&self.first);
            let next = match self.exchange(hop, limit).await {
                Ok(Answer::Final { status, reason, body }) => return self.judge(status, &reason, &body),
                Ok(Answer::Redirect { status, location }) => hop.redirected(status, location, self.host.as_ref()),
                Err(error) => Err(error),
            };
            match next {
                Ok(next) => redirected = Some(next),
                Err(error) => return hop.failed(&error),
            }
        }
        redirected.as_ref().unwrap_or(&self.first).failed(&HttpError::Redirects)
    }

    fn judge(&self, status: StatusCode, reason: &str, body: &[u8]) -> Outcome {
        let (shown, code, output) = (&self.shown, status.as_str(), String::from_utf8_lossy(body));
        let space = if reason.is_empty() { "" } else { " " };
        let text = format!("HTTP {shown}: {code}{space}{reason} Output: {output}");
        match status {
            StatusCode::TOO_MANY_REQUESTS => warning(text),
            status if status.is_success() => passing(text),
            _ => critical(text),
        }
    }
}

impl Hop {
    /// As Go names a request that failed.
    fn failed(&self, error: &HttpError) -> Outcome {
        let method = self.method.as_str().to_ascii_lowercase();
        let mut letters = method.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        let url = without_password(self.url.as_str(), &self.url);
        failed(format!("{first}{} \"{url}\": {error}", letters.as_str()), error)
    }
}

/// What is shown of a URL: everybody can read a check's output.
fn without_password(given: &str, url: &Url) -> String {
    if url.password().is_none() {
        return given.to_owned();
    }
    let mut shown = url.clone();
    // Refused for URLs without a host alone, which have no password.
    let _ = shown.set_password(Some("xxxxx"));
    shown.to_string()
}

#[cfg(test)]
mod tests;
