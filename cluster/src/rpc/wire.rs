//! The bytes of calls: a version byte and named MessagePack, which tolerates a field that was added later. Pure.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// A request.
pub(super) const CALL: u8 = 16;
/// A subscription to an interest; the window of updates (4, big endian) comes first.
pub(super) const SUBSCRIBE: u8 = 17;
/// So many more updates (4, big endian).
pub(super) const CREDIT: u8 = 18;
/// The answer to a request.
pub(super) const ANSWER: u8 = 32;
/// Why there is none, or why a subscription ends.
pub(super) const FAILURE: u8 = 33;
/// The state of a view.
pub(super) const UPDATE: u8 = 34;

const VERSION: u8 = 1;

/// The largest request, in bytes: the body of an HTTP request fits, and a command.
pub(super) const REQUEST_LIMIT: usize = 8 * 1024 * 1024;
/// The largest answer, in bytes: the list of everything fits.
pub(super) const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// A value as bytes, if it is no larger than `limit`.
pub(super) fn encode<T: Serialize>(value: &T, limit: usize) -> Result<Bytes, String> {
    let mut bytes = vec![VERSION];
    rmp_serde::encode::write_named(&mut bytes, value).map_err(|error| error.to_string())?;
    if bytes.len() > limit {
        return Err(format!("a message of {} bytes is too large: the limit is {limit}", bytes.len()));
    }
    Ok(bytes.into())
}

/// The value of `bytes`.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, body)) => rmp_serde::from_slice(body).map_err(|error| error.to_string()),
        Some((version, _)) => Err(format!("version {version} of a message is not known")),
        None => Err("a message without content".to_owned()),
    }
}

/// A subscription's body: its window, then what it is about.
pub(super) fn encode_subscription<T: Serialize>(window: u32, interest: &T) -> Result<Bytes, String> {
    let mut bytes = window.to_be_bytes().to_vec();
    bytes.extend(encode(interest, REQUEST_LIMIT)?);
    Ok(bytes.into())
}

/// The window and what follows it.
pub(super) fn split_window(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (window, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*window), rest))
}
