//! One request of a run: the first, or one that a redirect asks for. Pure.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{
        ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, REFERER, TRANSFER_ENCODING,
        USER_AGENT, WWW_AUTHENTICATE,
    },
};
use percent_encoding::percent_decode_str;
use url::{Host, Position, Url};

use super::{HttpError, ProbeError};
use crate::health::probe::dial::HostPort;

/// What servers' logs and rules know a check by.
const AGENT: HeaderValue = HeaderValue::from_static("Consul Health Check");
const ACCEPTED: HeaderValue = HeaderValue::from_static("text/plain, text/*, */*");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What to ask whom.
pub(super) struct Hop {
    pub(super) url: Url,
    pub(super) method: Method,
    /// Everything but what the body needs.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The URL's path and query, as the request line has them.
    pub(super) uri: Uri,
    pub(super) target: HostPort,
}

/// The fields a definition gives, and those it leaves out.
pub(super) fn headers(given: &BTreeMap<String, Vec<String>>) -> Result<HeaderMap, ProbeError> {
    let mut headers = HeaderMap::new();
    for (name, values) in given {
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| ProbeError::field("Header", name, "it is no name of a field"))?;
        // The body's length is what it is, and a connection serves one request.
        if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&field) {
            continue;
        }
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| ProbeError::field("Header", name, format!("{value:?} is no value of a field")))?;
            headers.append(&field, value);
        }
    }
    headers.entry(USER_AGENT).or_insert(AGENT);
    headers.entry(ACCEPT).or_insert(ACCEPTED);
    headers.insert(CONNECTION, CLOSE);
    Ok(headers)
}

impl Hop {
    /// Fields that the URL decides are filled in where they are missing. The error says what is wrong with the URL.
    pub(super) fn new(url: Url, method: Method, mut headers: HeaderMap, body: Bytes) -> Result<Self, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("unsupported protocol scheme \"{}\"", url.scheme()));
        }
        let host = match url.host() {
            Some(Host::Ipv6(ip)) => ip.to_string(),
            Some(host) => host.to_string(),
            None => return Err("no Host in request URL".to_owned()),
        };
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or("the port must not be 0")?;
        let uri = Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).map_err(|error| error.to_string())?;
        if !headers.contains_key(HOST) {
            let authority = &url[Position::BeforeHost..Position::AfterPort];
            let value = HeaderValue::from_str(authority).map_err(|_| "its host is no value of a field".to_owned())?;
            headers.insert(HOST, value);
        }
        if !headers.contains_key(AUTHORIZATION) && (!url.username().is_empty() || url.password().is_some()) {
            headers.insert(AUTHORIZATION, basic(&url)?);
        }
        Ok(Self { target: HostPort::new(&host, port), url, method, headers, body, uri })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The request that a redirect of this one asks for, by the rules of Go's client: 301, 302 and 303 turn everything but
    /// HEAD into a GET without a body, 307 and 308 repeat the request; credentials go to the same host or one below it
    /// alone; a `Host` of the definition's own stays where the location names no other.
    pub(super) fn redirected(
        &self,
        status: StatusCode,
        location: Option<HeaderValue>,
        custom_host: Option<&HeaderValue>,
    ) -> Result<Self, HttpError> {
        let location = location.ok_or(HttpError::NoLocation(status.as_u16()))?;
        let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
        let url = match self.url.join(&location) {
            Ok(url) => url,
            Err(error) => return Err(HttpError::Location(location, error.to_string())),
        };
        let mut headers = self.headers.clone();
        headers.remove(HOST);
        if let Some(host) = custom_host.filter(|_| Url::parse(&location).is_err()) {
            headers.insert(HOST, host.clone());
        }
        if !is_same_or_below(&self.url, &url) {
            for credential in [AUTHORIZATION, COOKIE, WWW_AUTHENTICATE] {
                headers.remove(credential);
            }
        }
        set_referer(&mut headers, &self.url, &url);
        let repeats = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let (method, body) = if repeats {
            (self.method.clone(), self.body.clone())
        } else {
            headers.remove(CONTENT_TYPE);
            (if self.method == Method::HEAD { Method::HEAD } else { Method::GET }, Bytes::new())
        };
        Self::new(url, method, headers, body).map_err(|reason| HttpError::Location(location, reason))
    }
}

/// The user and password of a URL (RFC 7617).
fn basic(url: &Url) -> Result<HeaderValue, String> {
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value =
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(credentials))).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_same_or_below(from: &Url, to: &Url) -> bool {
    let (Some(from), Some(to)) = (from.host_str(), to.host_str()) else { return false };
    from == to || to.strip_suffix(from).is_some_and(|above| above.ends_with('.'))
}

/// Where the redirect came from, without credentials, and not from an encrypted place to an open one.
fn set_referer(headers: &mut HeaderMap, from: &Url, to: &Url) {
    headers.remove(REFERER);
    if from.scheme() == "https" && to.scheme() == "http" {
        return;
    }
    let mut from = from.clone();
    from.set_fragment(None);
    // Refused for URLs without a host alone.
    let _ = (from.set_username(""), from.set_password(None));
    if let Ok(value) = HeaderValue::from_str(from.as_str()) {
        headers.insert(REFERER, value);
    }
}
