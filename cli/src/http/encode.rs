//! Replies and failures to HTTP responses: headers, readable JSON, compression.
//!
//! Everything but the log stream and the compression of large answers is pure.

use std::{borrow::Cow, convert::Infallible, io::Write, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{ACCEPT_ENCODING, AGE, CONTENT_ENCODING, CONTENT_TYPE, VARY},
};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio_util::sync::CancellationToken;
use usher_cluster::rpc::message::ApiResponse;

use super::{
    Options,
    limits::COMPRESS_INLINE,
    reply::{Body, Failure, QueryMeta, Reply},
};
use crate::logging::LogStream;

/// The body of every response.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

const TEXT: &str = "text/plain; charset=utf-8";
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
const TRANSLATE: HeaderName = HeaderName::from_static("x-consul-translate-addresses");

/// What the client wants of the response's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Readable JSON.
    pub(super) pretty: bool,
    /// Compression.
    pub(super) gzip: bool,
}

/// Whether the client takes gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING);
    let mut codings = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let refused = parts.any(|part| {
            let quality = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            quality.is_some_and(|quality| quality.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0))
        });
        named && !refused
    })
}

/// Makes the response of an outcome.
pub(super) async fn response(
    outcome: Result<Reply, Failure>,
    form: Form,
    options: &Options,
    shutdown: CancellationToken,
) -> Response<ResponseBody> {
    let mut reply = outcome.unwrap_or_else(of_failure);
    let mut headers = HeaderMap::new();
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(meta) = reply.meta {
        meta_headers(&mut headers, &meta);
    }
    if options.translate_wan_addrs {
        headers.insert(TRANSLATE, HeaderValue::from_static("true"));
    }
    for (name, value) in std::mem::take(&mut reply.headers) {
        insert(&mut headers, &name, &value);
    }
    let body = match reply.body {
        Body::Empty => whole(Vec::new()),
        Body::Json(json) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            packed(if form.pretty { indented(&json) } else { json }, form.gzip, &mut headers).await
        }
        Body::Text(content_type, text) => {
            insert(&mut headers, CONTENT_TYPE.as_str(), &content_type);
            packed(text.into_bytes(), form.gzip, &mut headers).await
        }
        Body::Log(log) => lines(log, shutdown),
    };
    for (name, value) in &options.response_headers {
        insert(&mut headers, name, value);
    }
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = headers;
    response
}

/// Sets a header; one whose name or value cannot be sent is left out.
fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

/// A failure as a reply of text.
fn of_failure(failure: Failure) -> Reply {
    let body = if failure.text.is_empty() { Body::Empty } else { Body::Text(Cow::Borrowed(TEXT), failure.text) };
    let mut reply = Reply { body, ..Reply::empty() }.with_status(failure.status);
    if failure.read {
        reply.headers.extend([
            (Cow::Borrowed("x-consul-index"), "1".to_owned()),
            (Cow::Borrowed("x-consul-knownleader"), "false".to_owned()),
            (Cow::Borrowed("x-consul-lastcontact"), "0".to_owned()),
        ]);
    }
    if let Some(allow) = failure.allow {
        reply.headers.push((Cow::Borrowed("allow"), allow));
    }
    reply
}

/// The headers clients continue from.
fn meta_headers(headers: &mut HeaderMap, meta: &QueryMeta) {
    headers.insert(INDEX, HeaderValue::from(meta.index));
    headers.insert(KNOWN_LEADER, HeaderValue::from_static(if meta.known_leader { "true" } else { "false" }));
    headers.insert(LAST_CONTACT, HeaderValue::from(milliseconds(meta.last_contact)));
    headers.insert(CONSISTENCY, HeaderValue::from_static(meta.consistency.as_str()));
    if let Some(cached) = meta.cached {
        headers.insert(CACHE, HeaderValue::from_static(if cached.hit { "HIT" } else { "MISS" }));
        headers.insert(AGE, HeaderValue::from(cached.age.as_secs()));
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An outcome as another agent is told it: without what belongs to the agent that was asked.
pub(super) fn plain(outcome: Result<Reply, Failure>) -> ApiResponse {
    let mut reply = outcome.unwrap_or_else(of_failure);
    let mut headers = HeaderMap::new();
    if let Some(meta) = reply.meta {
        meta_headers(&mut headers, &meta);
    }
    for (name, value) in std::mem::take(&mut reply.headers) {
        insert(&mut headers, &name, &value);
    }
    let body = match reply.body {
        // No route that streams is another agent's to answer.
        Body::Empty | Body::Log(_) => Vec::new(),
        Body::Json(json) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            json
        }
        Body::Text(content_type, text) => {
            insert(&mut headers, CONTENT_TYPE.as_str(), &content_type);
            text.into_bytes()
        }
    };
    let told = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    ApiResponse { status: reply.status.as_u16(), headers: headers.iter().filter_map(told).collect(), body }
}

/// A whole body, compressed if the client takes that.
async fn packed(bytes: Vec<u8>, gzip: bool, headers: &mut HeaderMap) -> ResponseBody {
    if !gzip || bytes.is_empty() {
        return whole(bytes);
    }
    let plain = Bytes::from(bytes);
    let source = plain.clone();
    let compressed = if plain.len() <= COMPRESS_INLINE {
        compress(&source).ok()
    } else {
        tokio::task::spawn_blocking(move || compress(&source)).await.ok().and_then(Result::ok)
    };
    let Some(compressed) = compressed else { return Full::new(plain).boxed_unsync() };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    whole(compressed)
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn whole(bytes: Vec<u8>) -> ResponseBody {
    Full::new(Bytes::from(bytes)).boxed_unsync()
}

/// Log lines until the log, the client or the agent ends.
fn lines(log: Box<LogStream>, shutdown: CancellationToken) -> ResponseBody {
    let frames = stream::unfold((log, shutdown), async |(mut log, shutdown)| {
        let line = tokio::select! {
            line = log.next() => line?,
            () = shutdown.cancelled() => return None,
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(line + "\n"))), (log, shutdown)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Compact JSON with line breaks and four blanks a level, and a line end, as Consul's `?pretty` has it.
fn indented(json: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            text.push(byte);
            continue;
        }
        match byte {
            b'{' | b'[' => {
                text.push(byte);
                if let Some(end) = bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    new_line(&mut text, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(byte);
            }
            b',' => {
                text.push(byte);
                new_line(&mut text, depth);
            }
            b':' => text.extend_from_slice(b": "),
            byte => {
                in_text = byte == b'"';
                text.push(byte);
            }
        }
    }
    text.push(b'\n');
    text
}

fn new_line(text: &mut Vec<u8>, depth: usize) {
    text.push(b'\n');
    text.extend(std::iter::repeat_n(b' ', depth * 4));
}

/// The answer to a path spelled in another way.
pub(super) fn redirect(location: &str, get: bool) -> Reply {
    let reply = Reply::empty().with_status(StatusCode::MOVED_PERMANENTLY).with_header("location", location);
    if !get {
        return reply;
    }
    let escaped = location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let page = format!("<a href=\"{escaped}\">Moved Permanently</a>.\n\n");
    Reply { body: Body::Text(Cow::Borrowed("text/html; charset=utf-8"), page), ..reply }
}

/// The answer to `OPTIONS`.
pub(super) fn allowed(methods: &str) -> Reply {
    Reply::empty().with_header("allow", methods)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};
    use http_body_util::BodyExt;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::{Form, accepts_gzip, indented, response};
    use crate::http::{
        Options,
        reply::{Cached, Consistency, Failure, QueryMeta, Reply},
    };

    #[test]
    fn readable_json() {
        let table = [
            (json!([]), "[]\n"),
            (json!({}), "{}\n"),
            (json!(["dc1"]), "[\n    \"dc1\"\n]\n"),
            (
                json!({"a": {"b": []}, "c": "x,\\\"{y:"}),
                "{\n    \"a\": {\n        \"b\": []\n    },\n    \"c\": \"x,\\\\\\\"{y:\"\n}\n",
            ),
            (json!(true), "true\n"),
        ];
        for (value, expected) in table {
            let text = String::from_utf8(indented(value.to_string().as_bytes())).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn who_takes_gzip() {
        for (header, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("x-gzip", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(header));
            assert_eq!(accepts_gzip(&headers), expected, "{header}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    async fn told(outcome: Result<Reply, Failure>, gzip: bool, options: &Options) -> (u16, HeaderMap, Vec<u8>) {
        let form = Form { pretty: false, gzip };
        let response = response(outcome, form, options, CancellationToken::new()).await;
        let (head, body) = response.into_parts();
        (head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_read_carries_its_headers() {
        let meta = QueryMeta {
            index: 7,
            known_leader: true,
            last_contact: Duration::from_millis(1500),
            consistency: Consistency::Stale,
            cached: Some(Cached { hit: true, age: Duration::from_secs(3) }),
        };
        let reply = Reply::json(&json!([])).unwrap().with_meta(meta);
        let options = Options {
            response_headers: vec![("X-Extra".into(), "yes".into()), ("bad name".into(), "x".into())],
            translate_wan_addrs: true,
            ..Options::default()
        };
        let (status, headers, body) = told(Ok(reply), false, &options).await;
        assert_eq!((status, body.as_slice()), (200, b"[]".as_slice()));
        for (name, value) in [
            ("content-type", "application/json"),
            ("vary", "Accept-Encoding"),
            ("x-consul-index", "7"),
            ("x-consul-knownleader", "true"),
            ("x-consul-lastcontact", "1500"),
            ("x-consul-effective-consistency", "stale"),
            ("x-cache", "HIT"),
            ("age", "3"),
            ("x-extra", "yes"),
            ("x-consul-translate-addresses", "true"),
        ] {
            assert_eq!(headers[name], value);
        }
    }

    #[tokio::test]
    async fn failures() {
        let (status, headers, body) =
            told(Err(Failure::internal("No path to datacenter").of_read()), false, &Options::default()).await;
        assert_eq!((status, body.as_slice()), (500, b"No path to datacenter".as_slice()));
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(headers["x-consul-index"], "1");
        assert_eq!(headers["x-consul-knownleader"], "false");
        let (status, headers, body) = told(Err(Failure::not_found()), true, &Options::default()).await;
        assert_eq!((status, body.len(), headers.get("content-type")), (404, 0, None));
        assert_eq!(headers.get("content-encoding"), None);
    }

    #[tokio::test]
    async fn small_and_large_answers_are_compressed() {
        use std::io::Read as _;
        for size in [10, 200_000] {
            let value = json!("x".repeat(size));
            let (_, headers, body) = told(Reply::json(&value), true, &Options::default()).await;
            assert_eq!(headers["content-encoding"], "gzip");
            let mut text = String::new();
            flate2::read::GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
            assert_eq!(text, value.to_string());
        }
    }
}
