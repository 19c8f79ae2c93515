//! Single values as Go programs read them in flags and environment variables. Pure.

use std::time::Duration;

use crate::config::duration;

/// A time as Go's flags read it, such as `1m30s`; one that is not more than nothing is refused.
pub fn go_time(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        nanoseconds @ 1.. => Ok(duration::from_nanos(nanoseconds)),
        _ => Err("it must be more than nothing".to_owned()),
    }
}

/// A boolean as Go's flags and environment variables are read.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A whole number as Go's flags read it: decimal, or `0x`, `0o`, `0b` and a leading zero for other bases.
pub fn go_int(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, digits.get(2..).unwrap_or_default()),
        Some("0o") => (8, digits.get(2..).unwrap_or_default()),
        Some("0b") => (2, digits.get(2..).unwrap_or_default()),
        Some(two) if two.starts_with('0') => (8, digits.get(1..).unwrap_or_default()),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own, which must not stand behind a base.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("parse error".into());
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range".into(),
        _ => "parse error".into(),
    })
}

/// A whole number as Go's programs write it: as [`go_int`], with underscores between digits.
pub fn go_literal(text: &str) -> Result<i64, String> {
    let misplaced = text.contains("__") || text.ends_with('_') || text.trim_start_matches(['-', '+']).starts_with('_');
    let read = if misplaced { Err("parse error".into()) } else { go_int(&text.replace('_', "")) };
    read.map_err(|problem| match problem.as_str() {
        "parse error" => "it is no whole number".into(),
        _ => problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_gos_and_more_than_nothing() {
        assert_eq!(go_time("1.5s"), Ok(Duration::from_millis(1500)));
        for text in ["0", "0s", "-1s", "10", "soon", ""] {
            assert!(go_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_gos() {
        let good =
            [("0", 0), ("80", 80), ("-1", -1), ("+7", 7), ("0x10", 16), ("-0x10", -16), ("0b11", 3), ("017", 15)];
        for (text, expected) in good {
            assert_eq!(go_int(text), Ok(expected), "{text}");
        }
        for text in ["", "-", "abc", "1 ", "0x", "0x-1", "--1", "1.5", "09", "é"] {
            assert_eq!(go_int(text), Err("parse error".into()), "{text}");
        }
        assert_eq!(go_int("9223372036854775808"), Err("value out of range".into()));
    }

    #[test]
    fn underscores_stand_between_digits() {
        for (text, expected) in [("80", 80), ("1_000", 1000), ("0x_50", 80), ("-0b1_0", -2)] {
            assert_eq!(go_literal(text), Ok(expected), "{text}");
        }
        for text in ["_1", "1_", "1__0", "-_1", "80.0", ""] {
            assert_eq!(go_literal(text), Err("it is no whole number".into()), "{text}");
        }
        assert_eq!(go_literal("99999999999999999999"), Err("value out of range".into()));
    }
}
