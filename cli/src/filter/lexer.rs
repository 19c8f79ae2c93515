//! From text to words of the language.
//!
//! A bare word is a selector, a keyword or a value, depending on where it stands; that is for the parser to know. What
//! is no word ends the words as [`Token::Broken`], so that the parser tells of it only if it gets that far.

use std::iter;

/// A word of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `(`
    Open,
    /// `)`
    Close,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `a`, `a.b`, `a["b c"]`: the names.
    Path(Vec<String>),
    /// A number, as written.
    Number(&'a str),
    /// A quoted text.
    Text(String),
    /// No word: what is wrong.
    Broken(&'static str),
    /// Nothing follows.
    End,
}

/// A word and the byte it begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed<'a> {
    pub(super) at: usize,
    pub(super) token: Token<'a>,
}

/// Why quoting is needed more often than one thinks.
const BARE: &str = "what is no letter, digit or underscore stands in quotes";

/// All words of `text`; the last is [`Token::End`] or [`Token::Broken`].
pub(super) fn words(text: &str) -> Vec<Placed<'_>> {
    let mut lexer = Lexer { text, at: 0 };
    let mut ended = false;
    iter::from_fn(|| {
        if ended {
            return None;
        }
        let placed = lexer.word();
        ended = matches!(placed.token, Token::End | Token::Broken(_));
        Some(placed)
    })
    .collect()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next_is(&self, wanted: impl Fn(char) -> bool) -> bool {
        self.rest().chars().next().is_some_and(wanted)
    }

    /// Steps over `wanted` if it stands here.
    fn take(&mut self, wanted: &str) -> bool {
        let here = self.rest().starts_with(wanted);
        if here {
            self.at += wanted.len();
        }
        here
    }

    /// Steps over what fits.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|letter| !fits(letter)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.take_while(is_blank);
    }

    fn word(&mut self) -> Placed<'a> {
        self.blanks();
        let at = self.at;
        match self.token() {
            Ok(token) => Placed { at, token },
            Err(problem) => Placed { at: self.at, token: Token::Broken(problem) },
        }
    }

    fn token(&mut self) -> Result<Token<'a>, &'static str> {
        let Some(first) = self.rest().chars().next() else { return Ok(Token::End) };
        match first {
            '(' if self.take("(") => Ok(Token::Open),
            ')' if self.take(")") => Ok(Token::Close),
            '=' if self.take("==") => Ok(Token::Equal),
            '=' => Err("a single \"=\"; equality is \"==\""),
            '!' if self.take("!=") => Ok(Token::NotEqual),
            '!' => Err("a single \"!\"; negation is \"not\", inequality \"!=\""),
            '"' | '`' => self.text().map(Token::Text),
            '\'' => Err("texts stand in \"\" or ``, not in ''"),
            '-' | '0'..='9' => self.number().map(Token::Number),
            'a'..='z' | 'A'..='Z' => self.path().map(Token::Path),
            _ => Err(BARE),
        }
    }

    /// `name`, and any number of `.name` and `["name"]`.
    fn path(&mut self) -> Result<Vec<String>, &'static str> {
        let mut names = vec![self.name()?];
        loop {
            if self.take(".") {
                names.push(self.name()?);
            } else if self.take("[") {
                names.push(self.index()?);
            } else if self.next_is(|letter| is_blank(letter) || "()=!".contains(letter)) || self.rest().is_empty() {
                return Ok(names);
            } else {
                return Err(BARE);
            }
        }
    }

    fn name(&mut self) -> Result<String, &'static str> {
        if !self.next_is(|letter| letter.is_ascii_alphabetic()) {
            return Err("a name begins with a letter; any other stands in [\"\"]");
        }
        Ok(self.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_').to_owned())
    }

    /// What stands in brackets, and the closing one.
    fn index(&mut self) -> Result<String, &'static str> {
        self.blanks();
        if !self.next_is(|letter| letter == '"' || letter == '`') {
            return Err("Invalid index: in brackets stands a quoted name");
        }
        let name = self.text()?;
        self.blanks();
        if self.take("]") { Ok(name) } else { Err("Unclosed index expression") }
    }

    /// `-`, whole digits without a leading zero, and a fraction.
    fn number(&mut self) -> Result<&'a str, &'static str> {
        const INVALID: &str = "Invalid number literal: what only begins as a number (an address, a version) is quoted";
        let start = self.at;
        self.take("-");
        let whole = self.take_while(|letter| letter.is_ascii_digit());
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(INVALID);
        }
        if self.take(".") && self.take_while(|letter| letter.is_ascii_digit()).is_empty() {
            return Err(INVALID);
        }
        if !self.rest().is_empty() && !self.next_is(|letter| is_blank(letter) || letter == ')') {
            return Err(INVALID);
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// A text in `""` with Go's escapes, or in ```` `` ```` as it is.
    fn text(&mut self) -> Result<String, &'static str> {
        const OPEN: &str = "Unterminated string literal";
        if self.take("`") {
            let raw = self.take_while(|letter| letter != '`');
            return if self.take("`") { Ok(raw.replace('\r', "")) } else { Err(OPEN) };
        }
        self.take("\"");
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(self.take_while(|letter| !matches!(letter, '"' | '\\' | '\n')).as_bytes());
            if self.take("\"") {
                return String::from_utf8(bytes).map_err(|_| "the escapes in it make no text");
            }
            if self.rest().is_empty() {
                return Err(OPEN);
            }
            if !self.take("\\") {
                return Err("a line ends within a quoted text; `` may hold several");
            }
            self.escape(&mut bytes)?;
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, into: &mut Vec<u8>) -> Result<(), &'static str> {
        const INVALID: &str = "invalid escape in a quoted text; in `` a backslash stands for itself";
        let Some(letter) = self.rest().chars().next() else { return Err("Unterminated string literal") };
        let simple = match letter {
            'a' => Some(0x07),
            'b' => Some(0x08),
            'f' => Some(0x0c),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(0x0b),
            '\\' => Some(b'\\'),
            '"' => Some(b'"'),
            _ => None,
        };
        if let Some(byte) = simple {
            self.at += 1;
            into.push(byte);
            return Ok(());
        }
        let (digits, base) = match letter {
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => (3, 8),
            _ => return Err(INVALID),
        };
        let skipped = usize::from(base == 16);
        let start = self.at + skipped;
        let code = self.text.get(start..start + digits).filter(|code| code.chars().all(|c| c.is_digit(base)));
        let code = code.and_then(|code| u32::from_str_radix(code, base).ok()).ok_or(INVALID)?;
        self.at = start + digits;
        if digits < 4 {
            into.push(u8::try_from(code).map_err(|_| INVALID)?);
        } else {
            let letter = char::from_u32(code).ok_or(INVALID)?;
            into.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::{Token, words};

    fn tokens(text: &str) -> Vec<Token<'_>> {
        words(text).into_iter().map(|placed| placed.token).collect()
    }

    fn path(names: &[&str]) -> Token<'static> {
        Token::Path(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn words_of_every_kind() {
        let expected = [
            Token::Open,
            path(&["a_1", "b", "c d", "e"]),
            Token::NotEqual,
            Token::Number("-1.50"),
            Token::Close,
            path(&["and"]),
            path(&["x"]),
            Token::Equal,
            Token::Text("q".into()),
            Token::End,
        ];
        assert_eq!(tokens("(a_1.b[ \"c d\" ].e!=-1.50)and x==`q`\n"), expected);
    }

    #[test]
    fn texts_are_gos() {
        for (text, expected) in [
            (r#""w\x65b""#, "web"),
            (r#""w\145b\u0065\U00000065""#, "webee"),
            (r#""\"\\\t""#, "\"\\\t"),
            (r#""\xc3\xbc""#, "ü"),
            ("`w\\x65\nb`", "w\\x65\nb"),
            ("\"\"", ""),
        ] {
            assert_eq!(tokens(text), [Token::Text(expected.into()), Token::End], "{text}");
        }
    }

    #[test]
    fn what_is_no_word_is_told_where_it_is() {
        for (text, at, problem) in [
            ("a = 1", 2, "single"),
            ("a ! 1", 2, "single"),
            ("ü", 0, "quotes"),
            ("x == a-b", 6, "quotes"),
            ("x == 'a'", 5, "texts stand in"),
            ("1.2.3", 3, "Invalid number"),
            ("007", 3, "Invalid number"),
            ("1.", 2, "Invalid number"),
            ("80or", 2, "Invalid number"),
            ("-a", 1, "Invalid number"),
            ("\"we", 3, "Unterminated"),
            ("`we", 3, "Unterminated"),
            ("\"we\\", 4, "Unterminated"),
            ("\"a\\qb\"", 3, "invalid escape"),
            ("\"a\\x6", 3, "invalid escape"),
            ("\"\\777\"", 5, "invalid escape"),
            ("\"\\ud800\"", 7, "invalid escape"),
            ("\"\\xff\"", 6, "no text"),
            ("\"a\nb\"", 2, "a line ends"),
            ("a[b]", 2, "Invalid index"),
            ("a[\"b\"", 5, "Unclosed index"),
            ("a.1", 2, "a name begins"),
        ] {
            let last = words(text).pop().unwrap();
            let Token::Broken(found) = last.token else { panic!("{text}: {last:?}") };
            assert!(found.contains(problem) && last.at == at, "{text}: {found} at {}", last.at);
        }
    }
}
