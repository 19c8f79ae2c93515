//! HCL 1 text to tokens.
//!
//! Knows the notation of names, numbers, strings with their escapes and interpolations (kept as they are written),
//! heredocs and comments. Newlines mean nothing but the end of a comment. Pure.

use super::{HclError, Position};

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Ident(String),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Assign,
    Comma,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    End,
}

impl Token {
    /// How errors call it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Ident(name) => format!("'{name}'"),
            Self::Text(_) => "a string".into(),
            Self::Int(_) | Self::Float(_) => "a number".into(),
            Self::Bool(value) => format!("'{value}'"),
            Self::Assign => "'='".into(),
            Self::Comma => "','".into(),
            Self::LeftBrace => "'{'".into(),
            Self::RightBrace => "'}'".into(),
            Self::LeftBracket => "'['".into(),
            Self::RightBracket => "']'".into(),
            Self::End => "the end of the file".into(),
        }
    }
}

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) at: Position,
}

/// Reads tokens from left to right.
pub(super) struct Lexer<'t> {
    rest: &'t str,
    at: Position,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { rest: text, at: Position { line: 1, column: 1 } }
    }

    /// The next token; at the end [`Token::End`], again and again.
    pub(super) fn next(&mut self) -> Result<Spanned, HclError> {
        self.skip_blank()?;
        let at = self.at;
        let Some(first) = self.peek() else {
            return Ok(Spanned { token: Token::End, at });
        };
        let token = match first {
            '=' => self.single(Token::Assign),
            ',' => self.single(Token::Comma),
            '{' => self.single(Token::LeftBrace),
            '}' => self.single(Token::RightBrace),
            '[' => self.single(Token::LeftBracket),
            ']' => self.single(Token::RightBracket),
            '"' => self.string()?,
            '<' => self.heredoc()?,
            '-' | '.' | '0'..='9' => self.number()?,
            c if c == '_' || c.is_alphabetic() => self.name(),
            c => return Err(self.error(format!("unexpected character {c:?}"))),
        };
        Ok(Spanned { token, at })
    }

    fn error(&self, problem: impl Into<String>) -> HclError {
        HclError { at: self.at, problem: problem.into() }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn single(&mut self, token: Token) -> Token {
        self.bump();
        token
    }

    fn take_while(&mut self, mut want: impl FnMut(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek().filter(|c| want(*c)) {
            taken.push(c);
            self.bump();
        }
        taken
    }

    fn skip_blank(&mut self) -> Result<(), HclError> {
        loop {
            let Some(c) = self.peek() else { return Ok(()) };
            match c {
                ' ' | '\t' | '\r' | '\n' => {
                    self.bump();
                }
                '#' => self.skip_line(),
                '/' if self.rest.starts_with("//") => self.skip_line(),
                '/' if self.rest.starts_with("/*") => self.skip_block()?,
                '/' => return Err(self.error("expected a second '/' or '*' for a comment")),
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        self.take_while(|c| c != '\n');
    }

    fn skip_block(&mut self) -> Result<(), HclError> {
        let unterminated = self.error("comment not terminated");
        self.bump();
        self.bump();
        while !self.rest.starts_with("*/") {
            if self.bump().is_none() {
                return Err(unterminated);
            }
        }
        self.bump();
        self.bump();
        Ok(())
    }

    fn name(&mut self) -> Token {
        let name = self.take_while(|c| c == '_' || c == '-' || c == '.' || c.is_alphanumeric());
        match name.as_str() {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            _ => Token::Ident(name),
        }
    }

    fn number(&mut self) -> Result<Token, HclError> {
        let begin = self.error("");
        let fail = |problem: String| HclError { at: begin.at, problem };
        let mut text = String::new();
        if self.peek() == Some('-') {
            text.push('-');
            self.bump();
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return Err(fail("expected a digit after '-'".into()));
            }
        }
        if self.rest.starts_with("0x") || self.rest.starts_with("0X") {
            self.bump();
            self.bump();
            text.push_str(&self.take_while(|c| c.is_ascii_hexdigit()));
            return i64::from_str_radix(&text, 16)
                .map(Token::Int)
                .map_err(|_| fail(format!("0x{text} is no number of 64 bits")));
        }
        text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        let mut float = false;
        if self.peek() == Some('.') {
            float = true;
            self.bump();
            text.push('.');
            text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            float = true;
            self.bump();
            text.push('e');
            if let Some(sign) = self.peek().filter(|c| matches!(c, '+' | '-')) {
                text.push(sign);
                self.bump();
            }
            text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        if float {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            return value.map(Token::Float).ok_or_else(|| fail(format!("{text} is no number")));
        }
        let digits = text.trim_start_matches('-');
        let octal = digits.len() > 1 && digits.starts_with('0');
        let value = i64::from_str_radix(&text, if octal { 8 } else { 10 });
        value.map(Token::Int).map_err(|_| fail(format!("{text} is no number of 64 bits")))
    }

    fn string(&mut self) -> Result<Token, HclError> {
        let unterminated = self.error("string not terminated");
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                None | Some('\n' | '\0') => return Err(unterminated),
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => text.push(self.escape()?),
                Some('$') if self.peek() == Some('{') => self.interpolation(&mut text, &unterminated)?,
                Some(c) => text.push(c),
            }
        }
    }

    /// `${…}` is not evaluated: it is kept with its braces, whatever stands between them.
    fn interpolation(&mut self, text: &mut String, unterminated: &HclError) -> Result<(), HclError> {
        text.push('$');
        let mut depth = 0_usize;
        loop {
            let c = self.bump().filter(|c| *c != '\0').ok_or_else(|| unterminated.clone())?;
            text.push(c);
            match c {
                '{' => depth += 1,
                '}' if depth <= 1 => return Ok(()),
                '}' => depth -= 1,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<char, HclError> {
        let bad = self.error("unknown escape in a string");
        let simple = match self.bump().ok_or_else(|| bad.clone())? {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' => '\\',
            '"' => '"',
            'x' => return self.code_point(2, 16, 0, &bad),
            'u' => return self.code_point(4, 16, 0, &bad),
            'U' => return self.code_point(8, 16, 0, &bad),
            c @ '0'..='7' => return self.code_point(2, 8, c.to_digit(8).unwrap_or(0), &bad),
            _ => return Err(bad),
        };
        Ok(simple)
    }

    fn code_point(&mut self, digits: usize, radix: u32, first: u32, bad: &HclError) -> Result<char, HclError> {
        let mut value = first;
        for _ in 0..digits {
            let digit = self.bump().and_then(|c| c.to_digit(radix)).ok_or_else(|| bad.clone())?;
            value = value.checked_mul(radix).and_then(|v| v.checked_add(digit)).ok_or_else(|| bad.clone())?;
        }
        char::from_u32(value).ok_or_else(|| bad.clone())
    }

    fn heredoc(&mut self) -> Result<Token, HclError> {
        let begin = self.error("heredoc not terminated");
        if !self.rest.starts_with("<<") {
            return Err(self.error("unexpected character '<'"));
        }
        self.bump();
        self.bump();
        let unindent = self.peek() == Some('-');
        if unindent {
            self.bump();
        }
        let anchor = self.take_while(|c| c == '_' || c.is_alphanumeric());
        if anchor.is_empty() {
            return Err(self.error("expected a name right after '<<'"));
        }
        self.take_while(|c| c == '\r');
        let no_line_end = self.error("expected a new line after the name of a heredoc");
        if self.bump() != Some('\n') {
            return Err(no_line_end);
        }
        let mut lines: Vec<String> = Vec::new();
        loop {
            let line = self.take_while(|c| c != '\n' && c != '\0');
            if self.bump() != Some('\n') {
                return Err(begin);
            }
            let bare = line.trim_end_matches('\r');
            if bare.trim_start() == anchor {
                let indent: String = bare.chars().take_while(|c| c.is_whitespace()).collect();
                return Ok(Token::Text(join_heredoc(&lines, unindent.then_some(indent.as_str()))));
            }
            lines.push(line);
        }
    }
}

/// Lines with their ends; without the closing line's indentation if it is asked for and every line has it.
fn join_heredoc(lines: &[String], indent: Option<&str>) -> String {
    let strip = indent.filter(|indent| lines.iter().all(|line| line.starts_with(indent))).unwrap_or("");
    lines.iter().map(|line| format!("{}\n", line.strip_prefix(strip).unwrap_or(line))).collect()
}
