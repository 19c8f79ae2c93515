//! Durations as users write them: Go's notation (`10s`, `1h30m`, `1.5ms`), read to and written from nanoseconds.
//!
//! Pure; knows nothing of who asks.

use std::time::Duration;

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Digits of a fraction that still matter: one nanosecond of an hour is below 1e-12.
const FRACTION_DIGITS: usize = 15;

/// A text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It does not follow the notation.
    #[error("time: invalid duration \"{0}\"")]
    Invalid(String),
    /// A number stands alone.
    #[error("time: missing unit in duration \"{0}\"")]
    MissingUnit(String),
    /// A number is followed by letters that are no unit.
    #[error("time: unknown unit \"{unit}\" in duration \"{text}\"")]
    UnknownUnit {
        /// The letters.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Reads a duration as signed nanoseconds: decimal numbers with an optional fraction, each followed by a unit.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end).ok_or_else(invalid)?;
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
        };
        let part = scaled(whole, fraction, *nanoseconds).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    let signed = if negative { -total } else { total };
    i64::try_from(signed).map_err(|_| invalid())
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn scaled(whole: &str, fraction: &str, unit: i128) -> Option<i128> {
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    let mut value = whole.checked_mul(unit)?;
    let mut place = unit;
    let mut numerator: i128 = 0;
    let mut denominator: i128 = 1;
    for digit in fraction.bytes().take(FRACTION_DIGITS) {
        numerator = numerator * 10 + i128::from(digit - b'0');
        denominator *= 10;
    }
    place = place.checked_mul(numerator)? / denominator;
    value = value.checked_add(place)?;
    Some(value)
}

/// Nanoseconds as a [`Duration`]; what is negative counts as nothing.
pub fn from_nanos(nanoseconds: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

/// Writes a duration the way Go prints it (`1h30m0s`, `1.5s`, `250ms`, `0s`).
pub fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".into();
    }
    if nanoseconds < 1_000_000_000 {
        let (unit, size) = match nanoseconds {
            0..1_000 => return format!("{nanoseconds}ns"),
            1_000..1_000_000 => ("\u{b5}s", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanoseconds, size));
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal(nanoseconds % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

fn decimal(value: u128, unit: u128) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{part:0width$}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let table = [
            ("0", 0),
            ("10s", 10_000_000_000),
            ("+5s", 5_000_000_000),
            ("-5s", -5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5ms", 1_500_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("2us", 2_000),
            ("2\u{b5}s", 2_000),
            ("3ns", 3),
            ("1h0m0.25s", 3_600_250_000_000),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "-", "x", "10", "10 s", "s", "1d", "1.2.3s", ".s", "9999999999h", "10s5", "1é"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("10").map_err(|e| e.to_string()), Err("time: missing unit in duration \"10\"".into()));
        assert_eq!(parse("1d").map_err(|e| e.to_string()), Err("time: unknown unit \"d\" in duration \"1d\"".into()));
    }

    #[test]
    fn writes_what_go_writes() {
        let table = [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (3_600_250_000_000, "1h0m0.25s"),
        ];
        for (nanoseconds, expected) in table {
            assert_eq!(format(Duration::from_nanos(nanoseconds)), expected);
            if nanoseconds > 0 {
                assert_eq!(parse(expected), Ok(i64::try_from(nanoseconds).unwrap()), "{expected}");
            }
        }
    }
}
