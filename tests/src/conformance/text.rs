//! Values as text: short for messages, plain for commands, and the JSON that the recorded bodies were sent as.

use std::io;

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::Formatter;

/// A value as a word: text without quotes, anything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as JSON of at most so many characters.
pub(super) fn brief(value: &Value, limit: usize) -> String {
    shorten(&value.to_string(), limit)
}

/// At most so many characters of a text, its cut marked.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(3)).collect();
    kept + "..."
}

/// A body as it was sent when the cases were recorded: a blank after `,` and `:`, only ASCII. Where a body is stored
/// and read back byte for byte this matters.
pub(super) fn body_json(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    value.serialize(&mut serializer).expect("a value can be written to memory");
    out
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for character in fragment.chars() {
            if character.is_ascii() {
                writer.write_all(&[character as u8])?;
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_sent_as_it_was_recorded() {
        let value = serde_json::json!({"a": [1, "é😀"], "b": {}});
        assert_eq!(body_json(&value), br#"{"a": [1, "\u00e9\ud83d\ude00"], "b": {}}"#);
    }

    #[test]
    fn a_cut_is_marked() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abc...");
    }
}
