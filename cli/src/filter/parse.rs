//! From the words of an expression to its structure.
//!
//! ```text
//!   any        = all { "or" all }
//!   all        = negation { "and" negation }
//!   negation   = "not" negation | "(" any ")" | comparison
//!   comparison = path ( "==" | "!=" | ["not"] "contains" | ["not"] "matches" ) value
//!              | path "is" ["not"] "empty"
//!              | value ["not"] "in" path
//! ```
//!
//! Keywords are no reserved words: `not in Tags` asks for the tag `not`. So what follows a `not` is tried as an expression
//! first, and as the rest of a comparison then; of two errors the one further on is told.

use super::{
    MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH,
    error::{FilterError, Position},
    lexer::{Placed, Token, words},
};

/// The structure of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// One of them holds.
    Any(Vec<Expression>),
    /// Each of them holds.
    All(Vec<Expression>),
    /// It does not hold.
    Not(Box<Expression>),
    /// One question about one item.
    Comparison(Comparison),
}

/// One question about one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// The names that lead to what is compared; at least one.
    pub(super) path: Vec<String>,
    /// The byte they begin at.
    pub(super) path_at: usize,
    /// How it is compared.
    pub(super) operator: Operator,
    /// With what; empty where the operator asks for nothing.
    pub(super) value: String,
    /// The byte that begins at.
    pub(super) value_at: usize,
}

/// How something is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
    IsEmpty,
    IsNotEmpty,
    Matches,
    NotMatches,
}

impl Operator {
    /// The name errors call it by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Equal => "Equal",
            Self::NotEqual => "Not Equal",
            Self::In => "In",
            Self::NotIn => "Not In",
            Self::IsEmpty => "Is Empty",
            Self::IsNotEmpty => "Is Not Empty",
            Self::Matches => "Matches",
            Self::NotMatches => "Not Matches",
        }
    }

    /// Whether it holds for what is not there, such as a key a map does not have.
    pub(super) fn of_nothing(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotIn | Self::IsEmpty | Self::NotMatches)
    }
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.len() > MAX_LENGTH {
        return Err(FilterError::TooLong);
    }
    let words = words(text);
    let mut parser = Parser { text, words: &words, at: 0, depth: 0, comparisons: 0, furthest: None };
    match parser.whole() {
        Ok(expression) => Ok(expression),
        Err(Stop::Limit(error)) => Err(error),
        Err(Stop::Here) => Err(parser.furthest()),
    }
}

/// Why a rule does not fit.
enum Stop {
    /// What it expected is among [`Parser::furthest`]; another rule may fit.
    Here,
    /// No rule can.
    Limit(FilterError),
}

struct Parser<'a> {
    text: &'a str,
    words: &'a [Placed<'a>],
    /// The word looked at.
    at: usize,
    depth: usize,
    comparisons: usize,
    /// The word nothing came past so far, and what was expected there.
    furthest: Option<(usize, &'static str)>,
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Result<Expression, Stop> {
        let expression = self.any()?;
        match self.token() {
            Token::End => Ok(expression),
            _ => Err(self.expected("\"and\", \"or\" or the end")),
        }
    }

    fn any(&mut self) -> Result<Expression, Stop> {
        self.chain("or", Self::all, Expression::Any)
    }

    fn all(&mut self) -> Result<Expression, Stop> {
        self.chain("and", Self::negation, Expression::All)
    }

    /// One or more of `part` with `word` between them.
    fn chain(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expression, Stop>,
        joined: fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, Stop> {
        let first = part(self)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take_word(word) {
            parts.push(part(self)?);
        }
        Ok(joined(parts))
    }

    fn negation(&mut self) -> Result<Expression, Stop> {
        let start = self.at;
        if self.take_word("not") {
            match self.deeper(Self::negation) {
                Ok(inner) => return Ok(Expression::Not(Box::new(inner))),
                Err(Stop::Here) => self.at = start,
                Err(limit) => return Err(limit),
            }
        }
        if self.take(&Token::Open) {
            let inner = self.deeper(Self::any)?;
            return if self.take(&Token::Close) { Ok(inner) } else { Err(self.expected(UNMATCHED)) };
        }
        self.comparison()
    }

    fn deeper(&mut self, rule: fn(&mut Self) -> Result<Expression, Stop>) -> Result<Expression, Stop> {
        if self.depth == MAX_DEPTH {
            let at = Position::of(self.text, self.offset());
            return Err(Stop::Limit(FilterError::TooDeep { at }));
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    fn comparison(&mut self) -> Result<Expression, Stop> {
        let first_at = self.offset();
        let (path, value) = match self.token() {
            Token::Path(names) => (Some(names.clone()), names.join(".")),
            Token::Number(number) => (None, (*number).to_owned()),
            Token::Text(text) => (None, text.clone()),
            _ => return Err(self.expected("a selector, a value, \"not\" or \"(\"")),
        };
        self.at += 1;
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(Stop::Limit(FilterError::TooManyComparisons));
        }
        let comparison = |path, path_at, operator, value, value_at| {
            Ok(Expression::Comparison(Comparison { path, path_at, operator, value, value_at }))
        };
        let Some(path) = path else {
            let operator = self.membership("\"in\" or \"not in\" (a selector is not quoted)")?;
            let (path, path_at) = self.selector()?;
            return comparison(path, path_at, operator, value, first_at);
        };
        if let Some(operator) = self.emptiness()? {
            return comparison(path, first_at, operator, String::new(), first_at);
        }
        if let Some(operator) = self.relation() {
            let (value, value_at) = self.value()?;
            return comparison(path, first_at, operator, value, value_at);
        }
        let operator = self.membership(
            "an operator (==, !=, in, not in, contains, not contains, matches, not matches, is empty, is not empty)",
        )?;
        let (selector, selector_at) = self.selector()?;
        comparison(selector, selector_at, operator, value, first_at)
    }

    /// `==`, `!=`, `contains`, `matches` and the negations of the latter.
    fn relation(&mut self) -> Option<Operator> {
        let start = self.at;
        if self.take(&Token::Equal) {
            return Some(Operator::Equal);
        }
        if self.take(&Token::NotEqual) {
            return Some(Operator::NotEqual);
        }
        let negated = self.take_word("not");
        let operators = if self.take_word("contains") {
            Some((Operator::In, Operator::NotIn))
        } else if self.take_word("matches") {
            Some((Operator::Matches, Operator::NotMatches))
        } else {
            self.at = start;
            None
        };
        operators.map(|(plain, opposite)| if negated { opposite } else { plain })
    }

    /// `is empty` and `is not empty`.
    fn emptiness(&mut self) -> Result<Option<Operator>, Stop> {
        if !self.take_word("is") {
            return Ok(None);
        }
        let negated = self.take_word("not");
        match self.take_word("empty") {
            true => Ok(Some(if negated { Operator::IsNotEmpty } else { Operator::IsEmpty })),
            false => Err(self.expected("\"empty\"")),
        }
    }

    /// `in` and `not in`.
    fn membership(&mut self, expected: &'static str) -> Result<Operator, Stop> {
        let negated = self.take_word("not");
        match self.take_word("in") {
            true => Ok(if negated { Operator::NotIn } else { Operator::In }),
            false if negated => Err(self.expected("\"in\", \"contains\" or \"matches\"")),
            false => Err(self.expected(expected)),
        }
    }

    fn selector(&mut self) -> Result<(Vec<String>, usize), Stop> {
        let at = self.offset();
        let Token::Path(names) = self.token() else { return Err(self.expected("a selector (not quoted)")) };
        let names = names.clone();
        self.at += 1;
        Ok((names, at))
    }

    fn value(&mut self) -> Result<(String, usize), Stop> {
        let at = self.offset();
        let value = match self.token() {
            Token::Path(names) => names.join("."),
            Token::Number(number) => (*number).to_owned(),
            Token::Text(text) => text.clone(),
            _ => return Err(self.expected("a value")),
        };
        self.at += 1;
        Ok((value, at))
    }

    /// The word looked at. The last one ends the expression and is never stepped over.
    fn token(&self) -> &'a Token<'a> {
        self.words.get(self.at).map_or(&Token::End, |placed| &placed.token)
    }

    fn offset(&self) -> usize {
        self.words.get(self.at).map_or(self.text.len(), |placed| placed.at)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.token(), Token::Path(names) if matches!(names.as_slice(), [only] if only == word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let here = self.is_word(word);
        self.at += usize::from(here);
        here
    }

    fn take(&mut self, token: &Token<'_>) -> bool {
        let here = self.token() == token;
        self.at += usize::from(here);
        here
    }

    /// Nothing fits here.
    fn expected(&mut self, what: &'static str) -> Stop {
        if self.furthest.is_none_or(|(furthest, _)| self.at >= furthest) {
            self.furthest = Some((self.at, what));
        }
        Stop::Here
    }

    /// The error furthest on.
    fn furthest(&self) -> FilterError {
        let (at, expected) = self.furthest.unwrap_or((self.at, "an expression"));
        let placed = self.words.get(at);
        let offset = placed.map_or(self.text.len(), |placed| placed.at);
        let problem = match placed.map(|placed| &placed.token) {
            Some(Token::Broken(problem)) => (*problem).to_owned(),
            _ if expected == UNMATCHED => UNMATCHED.to_owned(),
            Some(Token::End) | None => format!("expected {expected}, but the expression ends"),
            Some(token) => format!("expected {expected}, found {}", shown(token)),
        };
        FilterError::Syntax { at: Position::of(self.text, offset), offset, problem }
    }
}

const UNMATCHED: &str = "Unmatched parentheses";

/// A word as it is shown in an error.
fn shown(token: &Token<'_>) -> String {
    match token {
        Token::Open => "\"(\"".into(),
        Token::Close => "\")\"".into(),
        Token::Equal => "\"==\"".into(),
        Token::NotEqual => "\"!=\"".into(),
        Token::Path(names) => format!("\"{}\"", names.join(".")),
        Token::Number(number) => format!("\"{number}\""),
        Token::Text(text) => format!("{text:?}"),
        Token::Broken(_) | Token::End => "the end".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Expression, parse};
    use crate::filter::{MAX_COMPARISONS, MAX_DEPTH};

    /// The structure in one line: a comparison as `path op value`.
    fn shape(expression: &Expression) -> String {
        let list = |parts: &[Expression], word: &str| {
            format!("({})", parts.iter().map(shape).collect::<Vec<_>>().join(&format!(" {word} ")))
        };
        match expression {
            Expression::Any(parts) => list(parts, "or"),
            Expression::All(parts) => list(parts, "and"),
            Expression::Not(inner) => format!("!{}", shape(inner)),
            Expression::Comparison(Comparison { path, operator, value, .. }) => {
                format!("{} {operator:?} {value}", path.join("/")).trim_end().to_owned()
            }
        }
    }

    // What Consul 1.8.7 takes each of them for.
    #[test]
    fn structures() {
        for (text, expected) in [
            ("A == b", "A Equal b"),
            (" A\n!=\"b c\" ", "A NotEqual b c"),
            ("A.b[\"c.d\"] == e.f", "A/b/c.d Equal e.f"),
            ("A contains b", "A In b"),
            ("A not contains b", "A NotIn b"),
            ("A matches `^b`", "A Matches ^b"),
            ("A not matches b", "A NotMatches b"),
            ("A is empty", "A IsEmpty"),
            ("A is not empty", "A IsNotEmpty"),
            ("b in A", "A In b"),
            ("b not in A", "A NotIn b"),
            ("1.5 in A", "A In 1.5"),
            ("\"b\" not in A", "A NotIn b"),
            ("a[\"b c\"].d in A", "A In a.b c.d"),
            ("A == 1 or B == 2 and C == 3", "(A Equal 1 or (B Equal 2 and C Equal 3))"),
            ("(A == 1 or B == 2) and C == 3", "((A Equal 1 or B Equal 2) and C Equal 3)"),
            ("(A == 1) or (B == 2)", "(A Equal 1 or B Equal 2)"),
            ("not A == 1 and B == 2", "(!A Equal 1 and B Equal 2)"),
            ("not (A == 1 and B == 2)", "!(A Equal 1 and B Equal 2)"),
            ("not not A == 1", "!!A Equal 1"),
            ("((A == 1))", "A Equal 1"),
            ("not in A", "A In not"),
            ("in in A", "A In in"),
            ("not not in A", "!A In not"),
            ("not in in A", "!A In in"),
            ("A == and", "A Equal and"),
            ("not == x", "not Equal x"),
            ("is is empty", "is IsEmpty"),
        ] {
            assert_eq!(parse(text).as_ref().map(shape), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn errors_say_where_and_what() {
        for (text, expected) in [
            (" ", "1:2 (1): expected a selector, a value, \"not\" or \"(\", but the expression ends"),
            ("A", "1:2 (1): expected an operator (==, !=, in"),
            ("A = 1", "1:3 (2): a single \"=\""),
            ("A ==", "1:5 (4): expected a value, but the expression ends"),
            ("A == (", "1:6 (5): expected a value, found \"(\""),
            ("A is nothing", "1:6 (5): expected \"empty\", found \"nothing\""),
            ("A not b", "1:7 (6): expected \"in\", \"contains\" or \"matches\", found \"b\""),
            ("A AND b", "1:3 (2): expected an operator"),
            ("A == b c", "1:8 (7): expected \"and\", \"or\" or the end, found \"c\""),
            ("A == b or", "1:10 (9): expected a selector"),
            ("A == b or not", "1:14 (13): expected an operator"),
            ("A == b)", "1:7 (6): expected \"and\", \"or\" or the end, found \")\""),
            ("(A == b", "1:8 (7): Unmatched parentheses"),
            ("()", "1:2 (1): expected a selector"),
            ("A in 80", "1:6 (5): expected a selector (not quoted), found \"80\""),
            ("\"A\" == b", "1:5 (4): expected \"in\" or \"not in\" (a selector is not quoted), found \"==\""),
            ("A == 10.1.0.3", "1:10 (9): Invalid number literal"),
            ("A == web-1", "1:9 (8): what is no letter"),
            ("A == 1 and\nB = 2", "2:3 (13): a single"),
            ("not A", "1:6 (5): expected an operator"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn limits() {
        let nested = |depth: usize| format!("{}A == 1{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            parse(&nested(MAX_DEPTH + 1)).unwrap_err().to_string(),
            "1:66: more than 64 parentheses and negations within each other"
        );
        assert!(parse(&("not ".repeat(MAX_DEPTH) + "A == 1")).is_ok());
        // Each of them may be a value, too: that must not be tried again and again.
        assert!(parse(&("not ".repeat(MAX_DEPTH) + "A")).unwrap_err().to_string().starts_with("1:258 "));
        assert!(parse(&"not ".repeat(3000)).unwrap_err().to_string().contains("more than 64"));
        let chain = |length: usize| vec!["A == 1"; length].join(" and ");
        assert!(parse(&chain(MAX_COMPARISONS)).is_ok());
        let error = parse(&chain(MAX_COMPARISONS + 1)).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("more than 1024 comparisons in one expression"));
        assert!(parse(&" ".repeat(16 * 1024 + 1)).unwrap_err().to_string().contains("longer than 16384 bytes"));
    }
}
