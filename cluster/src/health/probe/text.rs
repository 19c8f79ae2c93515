//! How errors and durations are worded in outputs: as Consul's operators know them. Pure.

use std::{fmt::Write as _, io, time::Duration};

/// An error of the system without Rust's number behind it and in the lower case of the C library's callers.
pub(super) fn io_error(error: &io::Error) -> String {
    let text = error.to_string();
    let text = match (error.raw_os_error(), text.rfind(" (os error ")) {
        (Some(_), Some(end)) => text.get(..end).unwrap_or(&text),
        _ => text.as_str(),
    };
    let mut letters = text.chars();
    // "No such file": the first letter only; what is written in capitals ("I/O error") stays.
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// An error with everything that caused it.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            let _ = write!(text, ": {reason}");
        }
        cause = error.source();
    }
    text
}

/// A duration as Go prints it: `1.5s`, `1m30s`, `250ms`.
pub(super) fn duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    for (unit, size) in [("ns", 1_000), ("µs", 1_000_000), ("ms", 1_000_000_000)] {
        if nanoseconds < size {
            return decimal(nanoseconds, size / 1_000) + unit;
        }
    }
    let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    text + &decimal(nanoseconds % 60_000_000_000, 1_000_000_000) + "s"
}

/// `number / unit` with as many decimals as it has.
fn decimal(number: u128, unit: u128) -> String {
    let whole = number / unit;
    let rest = number % unit;
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let cases = [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::from_nanos(1_500), "1.5µs"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_millis(1_500), "1.5s"),
            (Duration::from_secs(30), "30s"),
            (Duration::from_secs(60), "1m0s"),
            (Duration::from_millis(90_050), "1m30.05s"),
            (Duration::from_secs(3_600), "1h0m0s"),
            (Duration::from_secs(90_061), "25h1m1s"),
        ];
        for (given, expected) in cases {
            assert_eq!(duration(given), expected);
        }
    }

    #[test]
    fn errors_of_the_system_read_as_everywhere_else() {
        let system = |number| io_error(&io::Error::from_raw_os_error(number));
        assert_eq!(system(rustix::io::Errno::CONNREFUSED.raw_os_error()), "connection refused");
        assert_eq!(system(rustix::io::Errno::NOENT.raw_os_error()), "no such file or directory");
        assert_eq!(io_error(&io::Error::other("TLS is hard (os error 3)")), "TLS is hard (os error 3)");
    }
}
