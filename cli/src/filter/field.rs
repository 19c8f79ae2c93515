//! What selectors may lead to, and from the structure of an expression to a predicate.
//!
//! A type has a table of its fields ([`Fields`]); a field within another type ([`Part`], [`Each`], [`ByName`]) names that
//! type's table. A selector is followed through the tables once; what comes of it asks an item directly.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::{
    MAX_PATTERN_SIZE, MAX_PATTERNS,
    error::{FilterError, Position},
    parse::{Comparison, Expression, Operator},
    pattern,
};
use crate::values::{go_bool, go_literal};

/// Whether an item stays.
pub(super) type Predicate<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

/// The fields of a type, by the name a selector has for them.
pub type Fields<T> = &'static [(&'static str, Field<T>)];

/// What a name leads to.
pub enum Field<T: 'static> {
    /// A text.
    Text(fn(&T) -> &str),
    /// A whole number.
    Number(fn(&T) -> i64),
    /// A yes or no.
    Truth(fn(&T) -> bool),
    /// A list of texts.
    Texts(fn(&T) -> &[String]),
    /// Texts by key.
    Pairs(fn(&T) -> &BTreeMap<String, String>),
    /// Something with fields of its own.
    Inner(&'static dyn Inner<T>),
}

/// Something within `T` that has fields of its own.
pub trait Inner<T>: Sync {
    /// The predicate for what is left of a selector.
    fn predicate(&self, question: Question<'_>) -> Result<Predicate<T>, FilterError>;
}

/// One part: the selector goes on in it.
pub struct Part<T: 'static, U: 'static> {
    /// The part.
    pub get: fn(&T) -> &U,
    /// Its fields.
    pub fields: Fields<U>,
}

/// A list: the selector goes on in its elements, and it is enough that one of them answers it.
pub struct Each<T: 'static, U: 'static> {
    /// The list.
    pub get: fn(&T) -> &[Arc<U>],
    /// The fields of an element.
    pub fields: Fields<U>,
}

/// Parts by key: the selector names the key, and goes on in what is there.
pub struct ByName<T: 'static, U: 'static> {
    /// The map.
    pub get: fn(&T) -> &BTreeMap<String, U>,
    /// The fields of a part.
    pub fields: Fields<U>,
}

/// A comparison, and how much of its selector has been followed.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    comparison: &'a Comparison,
    text: &'a str,
    followed: usize,
}

/// Makes a predicate of an expression.
pub(super) fn compile<T: 'static>(
    expression: &Expression,
    text: &str,
    fields: Fields<T>,
) -> Result<Predicate<T>, FilterError> {
    if patterns(expression) > MAX_PATTERNS {
        return Err(FilterError::TooManyPatterns);
    }
    build(expression, text, fields)
}

fn patterns(expression: &Expression) -> usize {
    match expression {
        Expression::Any(parts) | Expression::All(parts) => parts.iter().map(patterns).sum(),
        Expression::Not(inner) => patterns(inner),
        Expression::Comparison(comparison) => {
            usize::from(matches!(comparison.operator, Operator::Matches | Operator::NotMatches))
        }
    }
}

fn build<T: 'static>(expression: &Expression, text: &str, fields: Fields<T>) -> Result<Predicate<T>, FilterError> {
    let all = |parts: &[Expression]| parts.iter().map(|part| build(part, text, fields)).collect::<Result<Vec<_>, _>>();
    Ok(match expression {
        Expression::Any(parts) => {
            let parts = all(parts)?;
            Box::new(move |item| parts.iter().any(|part| part(item)))
        }
        Expression::All(parts) => {
            let parts = all(parts)?;
            Box::new(move |item| parts.iter().all(|part| part(item)))
        }
        Expression::Not(inner) => {
            let inner = build(inner, text, fields)?;
            Box::new(move |item| !inner(item))
        }
        Expression::Comparison(comparison) => follow(fields, Question { comparison, text, followed: 0 })?,
    })
}

/// Follows one name of the selector.
fn follow<T: 'static>(fields: Fields<T>, question: Question<'_>) -> Result<Predicate<T>, FilterError> {
    let Some(name) = question.name() else {
        return Err(question.invalid_operator("it has parts, and only those can be compared"));
    };
    let Some((_, field)) = fields.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = fields.iter().map(|(known, _)| *known).collect();
        return Err(question.invalid_selector(format!("there are {}", known.join(", "))));
    };
    field.predicate(question.next())
}

impl<T: 'static> Field<T> {
    fn predicate(&self, question: Question<'_>) -> Result<Predicate<T>, FilterError> {
        if let Self::Inner(inner) = self {
            return inner.predicate(question);
        }
        if let Self::Pairs(get) = self {
            return pairs(*get, question);
        }
        question.end("it has no parts")?;
        Ok(match self {
            Self::Text(get) => {
                let (get, test) = (*get, question.of_text()?);
                Box::new(move |item| test.holds(get(item)))
            }
            Self::Number(get) => {
                let (get, (value, equal)) = (*get, question.equality(go_literal, "==, !=")?);
                Box::new(move |item| (get(item) == value) == equal)
            }
            Self::Truth(get) => {
                let read = |text: &str| go_bool(text).ok_or_else(|| "it is neither true nor false".to_owned());
                let (get, (value, equal)) = (*get, question.equality(read, "==, !=")?);
                Box::new(move |item| (get(item) == value) == equal)
            }
            Self::Texts(get) => {
                let (get, test) = (*get, question.of_many()?);
                Box::new(move |item| {
                    let texts = get(item);
                    test.holds(texts.is_empty(), |value| texts.iter().any(|text| text == value))
                })
            }
            Self::Pairs(_) | Self::Inner(_) => return Err(question.invalid_selector("it has no parts".into())),
        })
    }
}

/// A map of texts: its keys, or one of its values.
fn pairs<T: 'static>(
    get: fn(&T) -> &BTreeMap<String, String>,
    question: Question<'_>,
) -> Result<Predicate<T>, FilterError> {
    let Some(key) = question.name().map(str::to_owned) else {
        let test = question.of_many()?;
        return Ok(Box::new(move |item| {
            let map = get(item);
            test.holds(map.is_empty(), |value| map.contains_key(value))
        }));
    };
    let question = question.next();
    question.end("it has no parts")?;
    let (test, of_nothing) = (question.of_text()?, question.comparison.operator.of_nothing());
    Ok(Box::new(move |item| get(item).get(&key).map_or(of_nothing, |text| test.holds(text))))
}

impl<T, U> Inner<T> for Part<T, U> {
    fn predicate(&self, question: Question<'_>) -> Result<Predicate<T>, FilterError> {
        let (get, inner) = (self.get, follow(self.fields, question)?);
        Ok(Box::new(move |item| inner(get(item))))
    }
}

impl<T, U> Inner<T> for Each<T, U> {
    fn predicate(&self, question: Question<'_>) -> Result<Predicate<T>, FilterError> {
        let get = self.get;
        if question.name().is_none() {
            let wanted = question.emptiness()?;
            return Ok(Box::new(move |item| get(item).is_empty() == wanted));
        }
        let inner = follow(self.fields, question)?;
        Ok(Box::new(move |item| get(item).iter().any(|element| inner(element))))
    }
}

impl<T, U> Inner<T> for ByName<T, U> {
    fn predicate(&self, question: Question<'_>) -> Result<Predicate<T>, FilterError> {
        let get = self.get;
        let Some(key) = question.name().map(str::to_owned) else {
            let test = question.of_many()?;
            return Ok(Box::new(move |item| {
                let map = get(item);
                test.holds(map.is_empty(), |value| map.contains_key(value))
            }));
        };
        let (inner, of_nothing) = (follow(self.fields, question.next())?, question.comparison.operator.of_nothing());
        Ok(Box::new(move |item| get(item).get(&key).map_or(of_nothing, &inner)))
    }
}

impl<'a> Question<'a> {
    /// The name to follow.
    fn name(&self) -> Option<&'a str> {
        self.comparison.path.get(self.followed).map(String::as_str)
    }

    fn next(self) -> Self {
        Self { followed: self.followed + 1, ..self }
    }

    /// No further name may follow.
    fn end(&self, why: &str) -> Result<(), FilterError> {
        if self.name().is_some() { Err(self.invalid_selector(why.to_owned())) } else { Ok(()) }
    }

    fn selector(&self) -> String {
        self.comparison.path.join(".")
    }

    fn invalid_selector(&self, known: String) -> FilterError {
        let followed = self.comparison.path.get(..=self.followed).unwrap_or(&self.comparison.path);
        FilterError::Selector { selector: followed.join("."), at: self.at(self.comparison.path_at), known }
    }

    fn invalid_operator(&self, possible: &'static str) -> FilterError {
        let operator = self.comparison.operator.name();
        FilterError::Operator { operator, selector: self.selector(), at: self.at(self.comparison.path_at), possible }
    }

    fn at(&self, offset: usize) -> Position {
        Position::of(self.text, offset)
    }

    /// The question asked of a text.
    fn of_text(&self) -> Result<TextTest, FilterError> {
        let value = || self.comparison.value.clone();
        Ok(match self.comparison.operator {
            Operator::Equal => TextTest::Equal(value(), true),
            Operator::NotEqual => TextTest::Equal(value(), false),
            Operator::In => TextTest::Contains(value(), true),
            Operator::NotIn => TextTest::Contains(value(), false),
            Operator::Matches => TextTest::Matches(self.pattern()?, true),
            Operator::NotMatches => TextTest::Matches(self.pattern()?, false),
            Operator::IsEmpty | Operator::IsNotEmpty => {
                return Err(self.invalid_operator("a text can be compared by ==, !=, in, contains, matches"));
            }
        })
    }

    fn pattern(&self) -> Result<Regex, FilterError> {
        let given = &self.comparison.value;
        let built = pattern::translated(given).and_then(|translated| {
            let mut builder = RegexBuilder::new(&translated);
            builder.size_limit(MAX_PATTERN_SIZE).dfa_size_limit(MAX_PATTERN_SIZE);
            builder.build().map_err(|error| why(&error))
        });
        built.map_err(|problem| FilterError::Pattern {
            pattern: given.clone(),
            problem,
            at: self.at(self.comparison.value_at),
        })
    }

    /// The question asked of a list or of the keys of a map.
    fn of_many(&self) -> Result<ManyTest, FilterError> {
        Ok(match self.comparison.operator {
            Operator::In => ManyTest::Contains(self.comparison.value.clone(), true),
            Operator::NotIn => ManyTest::Contains(self.comparison.value.clone(), false),
            Operator::IsEmpty => ManyTest::Empty(true),
            Operator::IsNotEmpty => ManyTest::Empty(false),
            _ => return Err(self.invalid_operator("a list can be asked by in, contains, is empty")),
        })
    }

    /// Whether a list is asked to be empty.
    fn emptiness(&self) -> Result<bool, FilterError> {
        match self.comparison.operator {
            Operator::IsEmpty => Ok(true),
            Operator::IsNotEmpty => Ok(false),
            _ => Err(self.invalid_operator("a list of objects can be asked by is empty, or for a part of one")),
        }
    }

    /// A value of another type than text, and whether it has to be equal.
    fn equality<V>(
        &self,
        read: impl Fn(&str) -> Result<V, String>,
        possible: &'static str,
    ) -> Result<(V, bool), FilterError> {
        let equal = match self.comparison.operator {
            Operator::Equal => true,
            Operator::NotEqual => false,
            _ => return Err(self.invalid_operator(possible)),
        };
        let value = read(&self.comparison.value).map_err(|problem| FilterError::Value {
            value: self.comparison.value.clone(),
            selector: self.selector(),
            problem,
            at: self.at(self.comparison.value_at),
        })?;
        Ok((value, equal))
    }
}

/// What a regular expression's error says, without the drawing around it.
fn why(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it takes more than {limit} bytes"),
        error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

/// A question to a text; with `false` its opposite.
enum TextTest {
    Equal(String, bool),
    Contains(String, bool),
    Matches(Regex, bool),
}

impl TextTest {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Equal(value, wanted) => (text == value) == *wanted,
            Self::Contains(value, wanted) => text.contains(value.as_str()) == *wanted,
            Self::Matches(pattern, wanted) => pattern.is_match(text) == *wanted,
        }
    }
}

/// A question to many texts; with `false` its opposite.
enum ManyTest {
    Contains(String, bool),
    Empty(bool),
}

impl ManyTest {
    fn holds(&self, empty: bool, contains: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Contains(value, wanted) => contains(value) == *wanted,
            Self::Empty(wanted) => empty == *wanted,
        }
    }
}
