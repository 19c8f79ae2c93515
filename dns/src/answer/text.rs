//! Metadata as TXT data: `key=value` (RFC 1464), or the bare value where the key begins with `rfc1035-`.

use std::collections::BTreeMap;

/// Most bytes of one character string (RFC 1035 3.3.14); longer texts are continued in further strings.
const STRING_MAX: usize = 255;
/// Most bytes of a record's data.
const RECORD_MAX: usize = 65_535;
/// Keys with this beginning, in any case, stand for a text of their own.
const BARE: &str = "rfc1035-";

/// Appends the TXT data of each pair, behind its length (two bytes), to `out`.
pub fn encode_all(meta: &BTreeMap<String, String>, out: &mut Vec<u8>) {
    let mut text = String::new();
    for (key, value) in meta {
        text.clear();
        pair(key, value, &mut text);
        let Ok(length) = u16::try_from(encoded_len(&text)) else { continue };
        out.extend_from_slice(&length.to_be_bytes());
        encode(&text, out);
    }
}

/// Appends the data of one TXT record with a string for each pair, of as many pairs as fit; nothing if there are none.
pub fn encode_together(meta: &BTreeMap<String, String>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut text = String::new();
    for (key, value) in meta {
        text.clear();
        pair(key, value, &mut text);
        if out.len() - start + encoded_len(&text) <= RECORD_MAX {
            encode(&text, out);
        }
    }
}

fn encoded_len(text: &str) -> usize {
    text.len() + text.len().div_ceil(STRING_MAX).max(1)
}

fn encode(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let (string, after) = rest.split_at(rest.len().min(STRING_MAX));
        out.push(u8::try_from(string.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(string);
        rest = after;
        if rest.is_empty() {
            return;
        }
    }
}

/// The data of each record in what [`encode_all`] made.
pub fn each(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (data, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = after;
        Some(data)
    })
}

fn pair(key: &str, value: &str, out: &mut String) {
    if key.get(..BARE.len()).is_some_and(|start| start.eq_ignore_ascii_case(BARE)) {
        out.push_str(value);
        return;
    }
    let inner = key.trim_start_matches(' ');
    let leading = key.len() - inner.len();
    let inner = inner.trim_end_matches(' ');
    let trailing = key.len() - leading - inner.len();
    (0..leading).for_each(|_| out.push_str("` "));
    for letter in inner.chars() {
        if matches!(letter, '`' | '=') {
            out.push('`');
        }
        out.push(letter);
    }
    (0..trailing).for_each(|_| out.push_str("` "));
    out.push('=');
    for letter in value.chars() {
        if letter == '`' {
            out.push('`');
        }
        out.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, value: &str) -> String {
        let mut out = String::new();
        pair(key, value, &mut out);
        out
    }

    #[test]
    fn keys_and_values_are_quoted_as_rfc_1464_says() {
        let cases = [
            ("color", "blue", "color=blue"),
            ("equation", "a=4", "equation=a=4"),
            ("a=a", "true", "a`=a=true"),
            ("a\\=a", "false", "a\\`=a=false"),
            ("=", "\\=", "`==\\="),
            ("string", "\"Cat\"", "string=\"Cat\""),
            ("string2", "`abc`", "string2=``abc``"),
            ("novalue", "", "novalue="),
            ("a b", "c d", "a b=c d"),
            ("abc ", "123 ", "abc` =123 "),
            (" abc", " 321", "` abc= 321"),
            ("  a  ", "1", "` ` a` ` =1"),
            ("`a", "b", "``a=b"),
            ("rfc1035-spf", "v=spf1 -all", "v=spf1 -all"),
            ("RFC1035-", "`", "`"),
        ];
        for (key, value, want) in cases {
            assert_eq!(text(key, value), want, "{key:?}");
        }
    }

    #[test]
    fn long_texts_go_into_several_strings() {
        let meta = BTreeMap::from([("a".to_owned(), "v".repeat(300)), ("b".to_owned(), "w".to_owned())]);
        let mut out = Vec::new();
        encode_all(&meta, &mut out);
        let records: Vec<&[u8]> = each(&out).collect();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].len(), records[0][0], records[0][256]), (304, 255, 47));
        assert_eq!(records[1], b"\x03b=w");
        assert_eq!(each(b"\0\x05short").count(), 1);
        assert_eq!(each(b"\0\x09short").count(), 0, "never more than is there");
    }

    #[test]
    fn an_empty_text_is_one_empty_string() {
        let mut out = Vec::new();
        encode_all(&BTreeMap::from([("rfc1035-x".to_owned(), String::new())]), &mut out);
        assert_eq!(out, [0, 1, 0]);
    }
}
