//! What is said of a check: kept within its limit. Pure.

/// Keeps at most `max` bytes of what a program reported, and says that there was more, as Consul does.
pub(super) fn limit(output: String, max: usize) -> String {
    let total = output.len();
    if total <= max {
        return output;
    }
    // Not within a character: what is kept is text.
    let kept = output.floor_char_boundary(max);
    let mut limited = output;
    limited.truncate(kept);
    limited.push_str(&format!(" ... (captured {kept} of {total} bytes)"));
    limited
}

/// What is said of a check whose program did not report in time.
pub(super) fn expired(last: &str) -> String {
    const EXPIRED: &str = "TTL expired";
    if last.is_empty() || last.starts_with(EXPIRED) {
        return if last.is_empty() { EXPIRED.to_owned() } else { last.to_owned() };
    }
    format!("{EXPIRED} (last output before timeout follows): {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_much_is_kept_and_text_stays_text() {
        let cases = [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc ... (captured 3 of 4 bytes)"),
            ("aéb", 2, "a ... (captured 1 of 4 bytes)"),
            ("abc", 0, " ... (captured 0 of 3 bytes)"),
            ("", 0, ""),
        ];
        for (output, max, expected) in cases {
            assert_eq!(limit(output.to_owned(), max), expected);
        }
    }

    #[test]
    fn the_last_words_are_kept() {
        assert_eq!(expired(""), "TTL expired");
        assert_eq!(expired("hm"), "TTL expired (last output before timeout follows): hm");
        assert_eq!(expired(&expired("hm")), expired("hm"));
    }
}
