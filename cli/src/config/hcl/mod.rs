//! HCL 1, the language of configuration files, as Consul 1.8 reads it.
//!
//! ```text
//!   text ─► tokens ─► a tree of JSON values, and where every key stands
//! ```
//!
//! The tree keeps HCL's own shape: every object is wrapped in a list, because a block may be repeated;
//! [`super::schema`] unwraps what is wanted once. A scalar that is repeated is replaced, lists and blocks are appended.
//! Text that begins with `{` is JSON. Pure; nothing a file holds can make it panic or recurse without end.

mod lexer;

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

use self::lexer::{Lexer, Spanned, Token};

/// Objects and lists within each other; deeper text is refused.
const MAX_DEPTH: usize = 64;

/// A place in a text, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// A text is not HCL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {problem}", at.line, at.column)]
pub struct HclError {
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub problem: String,
}

/// A parsed text.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Its top level.
    pub value: Map<String, Value>,
    /// Where keys stand, by their path (`dns_config.soa`), the first of each.
    pub positions: HashMap<String, Position>,
}

/// Parses a text.
pub fn parse(text: &str) -> Result<Parsed, HclError> {
    if text.trim_start().starts_with('{') {
        return parse_json(text);
    }
    let mut parser = Parser { lexer: Lexer::new(text), ahead: None, positions: HashMap::new() };
    let value = parser.object(&Token::End, "", 0)?;
    Ok(Parsed { value, positions: parser.positions })
}

fn parse_json(text: &str) -> Result<Parsed, HclError> {
    let value = serde_json::from_str(text).map_err(|error| {
        let (at, problem) = json_error(&error);
        HclError { at, problem }
    })?;
    Ok(Parsed { value, positions: HashMap::new() })
}

/// Where a text is not JSON, and why.
pub fn json_error(error: &serde_json::Error) -> (Position, String) {
    let text = error.to_string();
    let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem).to_owned();
    (Position { line: error.line(), column: error.column() }, problem)
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    ahead: Option<Spanned>,
    positions: HashMap<String, Position>,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Spanned, HclError> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.lexer.next(),
        }
    }

    fn peek(&mut self) -> Result<&Spanned, HclError> {
        let token = self.next()?;
        Ok(self.ahead.insert(token))
    }

    fn next_is(&mut self, token: &Token) -> Result<bool, HclError> {
        let found = self.peek()?.token == *token;
        if found {
            self.ahead = None;
        }
        Ok(found)
    }

    /// The items up to `end`, which is taken; each may be followed by a comma.
    fn object(&mut self, end: &Token, path: &str, depth: usize) -> Result<Map<String, Value>, HclError> {
        let mut object = Map::new();
        while !self.next_is(end)? {
            self.item(&mut object, path, depth)?;
            self.next_is(&Token::Comma)?;
        }
        Ok(object)
    }

    /// `key = value`, `key { … }` or `key "label" { … }`.
    fn item(&mut self, object: &mut Map<String, Value>, path: &str, depth: usize) -> Result<(), HclError> {
        let first = self.next()?;
        let (Token::Ident(key) | Token::Text(key)) = first.token else {
            let problem = format!("expected a key, got {}", first.token.describe());
            return Err(HclError { at: first.at, problem });
        };
        if depth >= MAX_DEPTH {
            return Err(HclError { at: first.at, problem: format!("more than {MAX_DEPTH} levels") });
        }
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        self.positions.entry(path.clone()).or_insert(first.at);
        let token = self.next()?;
        let value = match token.token {
            Token::Assign => self.value(&path, depth + 1)?,
            Token::LeftBrace => wrap(self.object(&Token::RightBrace, &path, depth + 1)?),
            Token::Ident(_) | Token::Text(_) => {
                // A label is a block within the block.
                self.ahead = Some(token);
                wrap(self.label(&path, depth + 1)?)
            }
            other => {
                let problem = format!("key '{key}' expected '{{' or '=', got {}", other.describe());
                return Err(HclError { at: token.at, problem });
            }
        };
        put(object, key, value);
        Ok(())
    }

    fn label(&mut self, path: &str, depth: usize) -> Result<Map<String, Value>, HclError> {
        let mut object = Map::new();
        let at = self.peek()?.at;
        self.item(&mut object, path, depth)?;
        let is_block =
            object.values().all(|value| matches!(value, Value::Array(items) if items.iter().all(Value::is_object)));
        if !is_block {
            return Err(HclError { at, problem: "expected '{' after a label, got '='".into() });
        }
        Ok(object)
    }

    fn value(&mut self, path: &str, depth: usize) -> Result<Value, HclError> {
        let token = self.next()?;
        if depth >= MAX_DEPTH {
            return Err(HclError { at: token.at, problem: format!("more than {MAX_DEPTH} levels") });
        }
        match token.token {
            Token::Text(text) => Ok(Value::String(text)),
            Token::Int(number) => Ok(number.into()),
            Token::Float(number) => Ok(Number::from_f64(number).map_or(Value::Null, Value::Number)),
            Token::Bool(value) => Ok(value.into()),
            Token::LeftBrace => Ok(wrap(self.object(&Token::RightBrace, path, depth)?)),
            Token::LeftBracket => self.list(path, depth),
            other => Err(HclError { at: token.at, problem: format!("expected a value, got {}", other.describe()) }),
        }
    }

    fn list(&mut self, path: &str, depth: usize) -> Result<Value, HclError> {
        let mut items = Vec::new();
        loop {
            // Extra commas mean nothing.
            while self.next_is(&Token::Comma)? {}
            if self.next_is(&Token::RightBracket)? {
                return Ok(Value::Array(items));
            }
            let is_object = self.peek()?.token == Token::LeftBrace;
            match self.value(path, depth + 1)? {
                Value::Array(one) if is_object => items.extend(one),
                other => items.push(other),
            }
            let token = self.peek()?;
            if !matches!(token.token, Token::Comma | Token::RightBracket) {
                let problem = format!("expected ',' or ']' in a list, got {}", token.token.describe());
                return Err(HclError { at: token.at, problem });
            }
        }
    }
}

fn wrap(object: Map<String, Value>) -> Value {
    Value::Array(vec![Value::Object(object)])
}

fn put(object: &mut Map<String, Value>, key: String, value: Value) {
    match (object.get_mut(&key), value) {
        (Some(Value::Array(existing)), Value::Array(more)) => existing.extend(more),
        (_, value) => {
            object.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn tree(text: &str) -> Value {
        Value::Object(parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).value)
    }

    #[test]
    fn forms() {
        let table = [
            ("", json!({})),
            ("a = 1", json!({"a": 1})),
            ("a = 1, b = 2,", json!({"a": 1, "b": 2})),
            ("a = 1 b = true c = false", json!({"a": 1, "b": true, "c": false})),
            ("a\n=\n1", json!({"a": 1})),
            ("\"a\" = \"x\"", json!({"a": "x"})),
            ("s { a = 1 b = 2 }", json!({"s": [{"a": 1, "b": 2}]})),
            ("s = { a = 1, b = 2 }", json!({"s": [{"a": 1, "b": 2}]})),
            ("s \"l\" m { a = 1 }", json!({"s": [{"l": [{"m": [{"a": 1}]}]}]})),
            ("s { a = 1 } s { a = 2 }", json!({"s": [{"a": 1}, {"a": 2}]})),
            ("s = [ { a = 1 b = 2 }, { a = 3 } ]", json!({"s": [{"a": 1, "b": 2}, {"a": 3}]})),
            ("s = [ { a = 1 } ] s { a = 2 }", json!({"s": [{"a": 1}, {"a": 2}]})),
            ("a = [1] a = [2]", json!({"a": [1, 2]})),
            ("a = 1 a = 2", json!({"a": 2})),
            ("a = [[\"x\"], \"y\",]", json!({"a": [["x"], "y"]})),
            ("a = [,]", json!({"a": []})),
            ("a = [ # c\n1 // d\n, /* e */ 2 ]", json!({"a": [1, 2]})),
            ("a = 0x1F b = 010 c = -5 d = 0", json!({"a": 31, "b": 8, "c": -5, "d": 0})),
            ("a = 1.5 b = 1e3 c = .5 d = -2.5E-1", json!({"a": 1.5, "b": 1000.0, "c": 0.5, "d": -0.25})),
            ("a = \"${b(\"c\")} d\"", json!({"a": "${b(\"c\")} d"})),
            ("a = \"x${{\n}}y\"", json!({"a": "x${{\n}}y"})),
            (r#"a = "\n\t\"\\\u00e9\x41\101""#, json!({"a": "\n\t\"\\\u{e9}AA"})),
            ("a = <<EOF\nx\n  y\nEOF\n", json!({"a": "x\n  y\n"})),
            ("a = <<-EOF\n   x\n     y\n   EOF\n", json!({"a": "x\n  y\n"})),
            ("a = <<-EOF\n x\n     y\n   EOF\n", json!({"a": " x\n     y\n"})),
            ("a = <<EOF\n${x}\n EOF\nb = 1", json!({"a": "${x}\n", "b": 1})),
            ("/* c\n*/ a-b.c_d = 1 # e", json!({"a-b.c_d": 1})),
            ("s {\r\n a = 1\r\n}\r\n", json!({"s": [{"a": 1}]})),
            (" \n{\"a\": {\"b\": [1]}}", json!({"a": {"b": [1]}})),
        ];
        for (text, expected) in table {
            assert_eq!(tree(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_say_where() {
        let table = [
            ("a = 1\nb : 2", "2:3: unexpected character ':'"),
            ("a", "1:2: key 'a' expected '{' or '=', got the end of the file"),
            ("a =", "1:4: expected a value, got the end of the file"),
            ("a b = 1", "1:3: expected '{' after a label, got '='"),
            ("a = b", "1:5: expected a value, got 'b'"),
            ("a = 1,, b = 2", "1:7: expected a key, got ','"),
            ("= 1", "1:1: expected a key, got '='"),
            ("s {", "1:4: expected a key, got the end of the file"),
            ("}", "1:1: expected a key, got '}'"),
            ("a = [1 2]", "1:8: expected ',' or ']' in a list, got a number"),
            ("a = [1", "1:7: expected ',' or ']' in a list, got the end of the file"),
            ("a = \"x", "1:5: string not terminated"),
            ("a = \"x\ny\"", "1:5: string not terminated"),
            ("a = \"${x\"", "1:5: string not terminated"),
            ("a = \"\\q\"", "1:7: unknown escape in a string"),
            ("a = <<EOF\nx\n", "1:5: heredoc not terminated"),
            ("a = << EOF\nx\nEOF\n", "1:7: expected a name right after '<<'"),
            ("a = <<EOF x\nEOF\n", "1:10: expected a new line after the name of a heredoc"),
            ("/* x", "1:1: comment not terminated"),
            ("/ x", "1:1: expected a second '/' or '*' for a comment"),
            ("a = 08", "1:5: 08 is no number of 64 bits"),
            ("a = 99999999999999999999", "1:5: 99999999999999999999 is no number of 64 bits"),
            ("a = - 1", "1:5: expected a digit after '-'"),
            ("1a = 2", "1:1: expected a key, got a number"),
            ("{\"a\": }", "1:7: expected value"),
        ];
        for (text, expected) in table {
            let error = parse(text).map(|parsed| parsed.value).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn positions_of_keys() {
        let parsed = parse("a = 1\nb {\n  c { d = 1 }\n}\n").unwrap();
        assert_eq!(parsed.positions["b.c.d"], Position { line: 3, column: 7 });
    }

    #[test]
    fn depth_has_a_limit() {
        for (open, close) in [("a {", "}"), ("a = [", "]"), ("a b {", "}")] {
            let deep = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
            assert!(parse(&deep).unwrap_err().problem.contains("levels"));
            let deep = format!("{}{}", open.repeat(100_000), close.repeat(100_000));
            assert!(parse(&deep).is_err());
        }
        assert!(parse(&"x ".repeat(100_000)).unwrap_err().problem.contains("levels"));
    }

    /// Fragments that meet in all orders.
    fn soup() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("a".to_owned()),
            Just("= ".to_owned()),
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("[".to_owned()),
            Just("]".to_owned()),
            Just(",".to_owned()),
            Just("\"${".to_owned()),
            Just("\"".to_owned()),
            Just("\\u00".to_owned()),
            Just("<<-E\n".to_owned()),
            Just("E\n".to_owned()),
            Just("0x".to_owned()),
            Just("-1.e".to_owned()),
            Just("/*".to_owned()),
            "\\PC{0,3}",
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _either = parse(&text);
        }

        #[test]
        fn no_soup_panics(text in soup()) {
            let _either = parse(&text);
        }
    }
}
