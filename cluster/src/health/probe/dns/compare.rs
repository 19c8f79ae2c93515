//! When two values of a record are the same. Pure.

use std::net::IpAddr;

use hickory_proto::rr::RecordType;

/// The form in which the value of a record, as a zone file writes it, is compared and shown.
pub(super) fn normal(kind: RecordType, value: &str) -> String {
    let value = value.trim();
    match kind {
        RecordType::A | RecordType::AAAA => {
            value.parse::<IpAddr>().map_or_else(|_| value.to_ascii_lowercase(), |ip| ip.to_string())
        }
        RecordType::TXT => unquoted(value),
        _ => {
            let words = value.split_ascii_whitespace().map(|word| without_dot(word).to_ascii_lowercase());
            words.collect::<Vec<_>>().join(" ")
        }
    }
}

/// A name without the dot at its end; the root keeps its own.
fn without_dot(word: &str) -> &str {
    match word.strip_suffix('.') {
        Some("") | None => word,
        Some(name) => name,
    }
}

/// The strings of a TXT record run together, as they are when they are read (RFC 7208 section 3.3 does so, too).
fn unquoted(value: &str) -> String {
    if !value.starts_with('"') {
        return value.to_owned();
    }
    let (mut text, mut quoted, mut escaped) = (String::new(), false, false);
    for letter in value.chars() {
        match letter {
            letter if escaped => {
                escaped = false;
                text.push(letter);
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            letter if quoted => text.push(letter),
            // Between two strings.
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        let cases = [
            (RecordType::A, " 10.0.0.1 ", "10.0.0.1"),
            (RecordType::AAAA, "2001:DB8:0:0::1", "2001:db8::1"),
            (RecordType::A, "Nonsense.", "nonsense."),
            (RecordType::CNAME, "Web.Example.", "web.example"),
            (RecordType::NS, ".", "."),
            (RecordType::MX, "10  Mail.example.", "10 mail.example"),
            (RecordType::SRV, "1 1 80 a.example.", "1 1 80 a.example"),
            (RecordType::TXT, "V=1 as it is.", "V=1 as it is."),
            (RecordType::TXT, "\"V=1 \" \"two \\\" \\\\\"", "V=1 two \" \\"),
        ];
        for (kind, given, expected) in cases {
            assert_eq!(normal(kind, given), expected);
        }
    }
}
