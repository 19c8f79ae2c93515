//! Regular expressions as Consul reads them (Go's, that is RE2's syntax) in the words of the library that runs them. Pure.
//!
//! The two agree on most and differ silently on some: classes of words and digits are ASCII there, `[a&&b]` and `[[a]]`
//! are plain sets of characters, `\<` is a `<`, `{` that begins no repetition is itself. What Go refuses is refused.

use std::{fmt::Write as _, iter::Peekable, str::Chars};

/// What Go repeats at most.
const REPEAT_MAX: u32 = 1000;
/// Go's classes by name.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Says the same in the other syntax; the error says what is wrong, as Go does.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    let mut translation =
        Translation { rest: pattern.chars().peekable(), out: String::with_capacity(pattern.len() + 16) };
    translation.all()?;
    Ok(translation.out)
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

/// A part of a class.
enum Member {
    One(char),
    /// As it stands in a class.
    Many(String),
}

impl Translation<'_> {
    fn all(&mut self) -> Result<(), String> {
        // Whether what was just read repeats something.
        let mut repeats = false;
        while let Some(next) = self.rest.next() {
            let repeated_before = std::mem::take(&mut repeats);
            match next {
                '*' | '+' | '?' => {
                    repeats = true;
                    self.repeat(&next.to_string(), repeated_before)?;
                }
                '{' => match self.counted()? {
                    Some(count) => {
                        repeats = true;
                        self.repeat(&count, repeated_before)?;
                    }
                    None => self.literal('{'),
                },
                '(' => self.group()?,
                '[' => self.class()?,
                '\\' => self.escape()?,
                '.' | '^' | '$' | '|' | ')' => self.out.push(next),
                other => self.literal(other),
            }
        }
        Ok(())
    }

    fn literal(&mut self, character: char) {
        let mut buffer = [0; 4];
        self.out.push_str(&regex::escape(character.encode_utf8(&mut buffer)));
    }

    /// Writes a repetition, with the `?` that makes it take as little as it can.
    fn repeat(&mut self, operator: &str, repeated_before: bool) -> Result<(), String> {
        if repeated_before {
            return Err(format!("invalid nested repetition operator: `{operator}`"));
        }
        self.out.push_str(operator);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(())
    }

    /// What follows a `{`, if that makes it a repetition: `2}`, `2,}`, `2,3}`.
    fn counted(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.rest.clone();
        let mut count = String::from("{");
        let mut numbers = Vec::new();
        loop {
            let mut digits = String::new();
            while let Some(digit) = ahead.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            if digits.is_empty() && numbers.is_empty() {
                return Ok(None);
            }
            count.push_str(&digits);
            numbers.push(digits);
            match ahead.next() {
                Some(',') if numbers.len() == 1 => count.push(','),
                Some('}') => break,
                _ => return Ok(None),
            }
        }
        count.push('}');
        for number in numbers.iter().filter(|number| !number.is_empty()) {
            if number.parse::<u32>().map_or(true, |number| number > REPEAT_MAX) {
                return Err(format!("invalid repeat count: `{count}`"));
            }
        }
        self.rest = ahead;
        Ok(Some(count))
    }

    /// What follows a `(`. Names of groups say nothing here and are left out.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        let named = self.rest.next_if_eq(&'P').is_some();
        if self.rest.next_if_eq(&'<').is_some() {
            let name: String = std::iter::from_fn(|| self.rest.next_if(|it| *it != '>')).collect();
            let is_name = !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
            if self.rest.next().is_none() || !is_name {
                return Err(format!("invalid named capture: `(?P<{name}`"));
            }
            return Ok(());
        }
        let flags: String = std::iter::from_fn(|| self.rest.next_if(|it| !matches!(it, ':' | ')'))).collect();
        let end = self.rest.next();
        let is_known = flags.chars().all(|flag| matches!(flag, 'i' | 'm' | 's' | 'U' | '-'));
        match end {
            Some(end) if is_known && !named => {
                // Writing into a text cannot fail.
                let _ = write!(self.out, "?{flags}{end}");
                Ok(())
            }
            _ => Err(format!("invalid or unsupported Perl syntax: `(?{}{flags}`", if named { "P" } else { "" })),
        }
    }

    /// What follows a `\` outside a class.
    fn escape(&mut self) -> Result<(), String> {
        match self.rest.next_if(|it| matches!(it, 'b' | 'B' | 'A' | 'z' | 'Q')) {
            Some('b') => self.out.push_str("(?-u:\\b)"),
            // Its ASCII form could part a character; between letters beyond ASCII it differs.
            Some('B') => self.out.push_str("\\B"),
            Some('Q') => self.quoted(),
            Some(anchor) => {
                self.out.push('\\');
                self.out.push(anchor);
            }
            None => match self.escaped()? {
                Member::One(character) => self.literal(character),
                Member::Many(class) => {
                    let _ = write!(self.out, "[{class}]");
                }
            },
        }
        Ok(())
    }

    /// Everything up to `\E`, or to the end.
    fn quoted(&mut self) {
        while let Some(next) = self.rest.next() {
            if next == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(next);
        }
    }

    /// What follows a `\` anywhere.
    fn escaped(&mut self) -> Result<Member, String> {
        let many = |class: &str| Ok(Member::Many(class.to_owned()));
        match self.rest.next() {
            Some('d') => many("0-9"),
            Some('D') => many("[^0-9]"),
            Some('s') => many("\\t\\n\\x0C\\r\\x20"),
            Some('S') => many("[^\\t\\n\\x0C\\r\\x20]"),
            Some('w') => many("0-9A-Za-z_"),
            Some('W') => many("[^0-9A-Za-z_]"),
            Some(letter @ ('p' | 'P')) => self.property(letter).map(Member::Many),
            Some('a') => Ok(Member::One('\u{7}')),
            Some('f') => Ok(Member::One('\u{c}')),
            Some('t') => Ok(Member::One('\t')),
            Some('n') => Ok(Member::One('\n')),
            Some('r') => Ok(Member::One('\r')),
            Some('v') => Ok(Member::One('\u{b}')),
            Some('x') => self.hexadecimal().map(Member::One),
            Some(digit @ '0'..='7') => self.octal(digit).map(Member::One),
            Some(other) if other.is_ascii() && !other.is_ascii_alphanumeric() => Ok(Member::One(other)),
            Some(other) => Err(format!("invalid escape sequence: `\\{other}`")),
            None => Err("trailing backslash at end of expression: ``".to_owned()),
        }
    }

    /// A class of Unicode: `L`, `{Greek}`, `{^Greek}`.
    fn property(&mut self, letter: char) -> Result<String, String> {
        let invalid = |name: &str| Err(format!("invalid character class range: `\\{letter}{name}`"));
        let name: String = match self.rest.next() {
            Some('{') => std::iter::from_fn(|| self.rest.next_if(|it| *it != '}')).collect(),
            Some(one) => return Ok(format!("\\{letter}{one}")),
            None => return invalid(""),
        };
        if self.rest.next().is_none() {
            return invalid(&name);
        }
        let (turned, name) = match name.strip_prefix('^') {
            Some(name) => (true, name),
            None => (false, name.as_str()),
        };
        if name.is_empty() || !name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_') {
            return invalid(name);
        }
        Ok(format!("\\{}{{{name}}}", if (letter == 'P') == turned { 'p' } else { 'P' }))
    }

    /// What follows `\x`: two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Result<char, String> {
        let digits: String = if self.rest.next_if_eq(&'{').is_some() {
            let digits = std::iter::from_fn(|| self.rest.next_if(char::is_ascii_hexdigit)).collect();
            if self.rest.next() != Some('}') {
                return Err("invalid escape sequence: `\\x{`".to_owned());
            }
            digits
        } else {
            let digit = |rest: &mut Peekable<Chars<'_>>| rest.next_if(char::is_ascii_hexdigit);
            match (digit(&mut self.rest), digit(&mut self.rest)) {
                (Some(high), Some(low)) => [high, low].iter().collect(),
                _ => return Err("invalid escape sequence: `\\x`".to_owned()),
            }
        };
        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        code.ok_or_else(|| format!("invalid escape sequence: `\\x{{{digits}}}`"))
    }

    /// Up to three digits; one alone would refer back to a group, which is not done.
    fn octal(&mut self, first: char) -> Result<char, String> {
        let mut code = first.to_digit(8).unwrap_or_default();
        let mut more = 0;
        while more < 2
            && let Some(digit) = self.rest.next_if(|it| it.is_digit(8))
        {
            code = code * 8 + digit.to_digit(8).unwrap_or_default();
            more += 1;
        }
        if first != '0' && more == 0 {
            return Err(format!("invalid escape sequence: `\\{first}`"));
        }
        char::from_u32(code).ok_or_else(|| format!("invalid escape sequence: `\\{first}`"))
    }

    /// What follows a `[`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            match self.rest.peek() {
                None => return Err("missing closing ]: `[`".to_owned()),
                Some(']') if !is_first => break,
                Some(_) => is_first = false,
            }
            if let Some(named) = self.named_class()? {
                self.out.push_str(&named);
                continue;
            }
            match self.class_member()? {
                Member::Many(class) => self.out.push_str(&class),
                Member::One(low) => self.range(low)?,
            }
        }
        self.rest.next();
        self.out.push(']');
        Ok(())
    }

    /// A character of a class, or as many as follow until another.
    fn range(&mut self, low: char) -> Result<(), String> {
        let mut ahead = self.rest.clone();
        let is_range = ahead.next() == Some('-') && ahead.peek().is_some_and(|it| *it != ']');
        if !is_range {
            let _ = write!(self.out, "\\x{{{:X}}}", u32::from(low));
            return Ok(());
        }
        self.rest = ahead;
        match self.class_member()? {
            Member::One(high) if low <= high => {
                let _ = write!(self.out, "\\x{{{:X}}}-\\x{{{:X}}}", u32::from(low), u32::from(high));
                Ok(())
            }
            Member::One(high) => Err(format!("invalid character class range: `{low}-{high}`")),
            Member::Many(_) => Err(format!("invalid character class range: `{low}-`")),
        }
    }

    fn class_member(&mut self) -> Result<Member, String> {
        match self.rest.next() {
            Some('\\') => self.escaped(),
            Some(other) => Ok(Member::One(other)),
            None => Err("missing closing ]: `[`".to_owned()),
        }
    }

    /// `[:alpha:]` or `[:^alpha:]`, if that is next.
    fn named_class(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('[') || ahead.next() != Some(':') {
            return Ok(None);
        }
        let given: String = std::iter::from_fn(|| ahead.next_if(|it| *it != ':')).collect();
        if ahead.next() != Some(':') || ahead.next() != Some(']') {
            return Ok(None);
        }
        if !NAMED.contains(&given.strip_prefix('^').unwrap_or(&given)) {
            return Err(format!("invalid character class range: `[:{given}:]`"));
        }
        self.rest = ahead;
        Ok(Some(format!("[:{given}:]")))
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::translated;

    fn compiled(pattern: &str) -> Result<Regex, String> {
        Regex::new(&translated(pattern)?).map_err(|error| error.to_string())
    }

    /// What Consul 1.8.7 said to the same patterns and texts.
    #[test]
    fn patterns_mean_what_they_mean_to_go() {
        for (pattern, matching, others) in [
            (r"^\w+$", &["web", "w_1", "123"][..], &["ü", "a b", "x-y", "٣"][..]),
            (r"^\d+$", &["123"], &["٣", "w"]),
            (r"\W", &["ü", "w.b"], &["web"]),
            (r"^\s$", &[" ", "\t", "\u{c}"], &["\u{b}", "\u{a0}", "s"]),
            (r"\bx", &["x-y", "üx", "a x"], &["ax"]),
            (r"[a&&b]", &["a", "b", "&"], &["c"]),
            (r"^[+--]$", &["+", ",", "-"], &["."]),
            (r"^[[a]]$", &["[]", "a]"], &["a", "[a]"]),
            (r"[[]", &["["], &["a"]),
            (r"^[]a]$", &["]", "a"], &["b"]),
            (r"^[^]a]$", &["b", "\n"], &["]", "a"]),
            (r"^[--a]$", &["-", "A", "a"], &["b", ","]),
            (r"^[a~~b]$", &["a", "~", "b"], &["c"]),
            (r"^[\d\-x-]$", &["1", "-", "x"], &["w"]),
            (r"^[^\W]$", &["w", "_"], &["ü", "-"]),
            (r"^[[:word:]]$", &["w"], &["ü"]),
            (r"^[[:^alpha:]]$", &["1"], &["a"]),
            (r"\<w", &["<w"], &["w"]),
            (r"\b{start}w", &["x{start}w"], &["w", "{start}w"]),
            (r"\Qw.b\E.", &["w.bx"], &["wxbx", "w.b"]),
            (r"\Qa*", &["a*"], &["aa"]),
            (r"{", &["{"], &["a"]),
            (r"^a{,2}$", &["a{,2}"], &["aa"]),
            (r"^a{2}$", &["aa"], &["a", "a{2}"]),
            (r"^a{1,}?b{0,1}$", &["aab", "a"], &["b"]),
            (r"\07\x41\x{e9}\101", &["\u{7}AéA"], &["7"]),
            (r"(?P<1a>w)(?P<1a>e)", &["we"], &["w"]),
            (r"(?i)WEB(?-i)x", &["webx"], &["webX"]),
            (r"^(?i:k)$", &["k", "K", "\u{212a}"], &["x"]),
            (r"\pL\p{Greek}\P{Latin}\p{^Greek}", &["aα1b"], &["aab1"]),
            (r"^a|b$|^$", &["ax", "xb", ""], &["xax"]),
            (r"a\.b\-c\_d\/e", &["a.b-c_d/e"], &["axb-c_d/e"]),
            (r"]}", &["]}"], &["]"]),
            ("^a.c$", &["abc"], &["a\nc"]),
        ] {
            let compiled = compiled(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for text in matching {
                assert!(compiled.is_match(text), "{pattern} matches {text:?}");
            }
            for text in others {
                assert!(!compiled.is_match(text), "{pattern} does not match {text:?}");
            }
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (pattern, problem) in [
            (r"a**", "invalid nested repetition operator: `*`"),
            (r"a+?+", "invalid nested repetition operator: `+`"),
            (r"a{1}{2}", "invalid nested repetition operator: `{2}`"),
            (r"a{1001}", "invalid repeat count: `{1001}`"),
            (r"(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            (r"(?R)a", "invalid or unsupported Perl syntax: `(?R`"),
            (r"(?=a)", "invalid or unsupported Perl syntax: `(?=a`"),
            (r"(?Pa)", "invalid or unsupported Perl syntax: `(?Pa`"),
            (r"(?P<a b>x)", "invalid named capture: `(?P<a b`"),
            (r"\u0077", r"invalid escape sequence: `\u`"),
            (r"\ü", r"invalid escape sequence: `\ü`"),
            (r"\8", r"invalid escape sequence: `\8`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
            (r"[a-\d]", "invalid character class range: `a-`"),
            (r"[a--b]", "invalid character class range: `a--`"),
            (r"[b-a]", "invalid character class range: `b-a`"),
            (r"[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"[a", "missing closing ]: `[`"),
            (r"[", "missing closing ]: `[`"),
            (r"\", "trailing backslash at end of expression: ``"),
            (r"\p{", r"invalid character class range: `\p`"),
        ] {
            assert_eq!(translated(pattern).unwrap_err(), problem, "{pattern}");
        }
        for pattern in ["*", "(", ")", "a{2,1}", "?a"] {
            assert!(compiled(pattern).is_err(), "{pattern}");
        }
    }

    /// No text makes it panic, and what it writes is never refused for its form but where Go would refuse it, too.
    #[test]
    fn any_text_is_read() {
        proptest::proptest!(|(text in "[\\[\\]\\\\(){}?*+^$|.:a-cP<>xpQE0-9,&~ü-]{0,24}")| {
            if let Ok(written) = translated(&text) {
                let _ = Regex::new(&written);
            }
        });
    }
}
