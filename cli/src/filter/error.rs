//! Why an expression is no filter. The texts begin as Consul's do; the place is added.

use std::fmt;

use super::{MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, MAX_PATTERNS};

/// A place in an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// The place of the byte `offset` in `text`, counted as people do: from 1, in characters.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        Self { line: before.matches('\n').count() + 1, column: column + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

/// Why an expression is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is not in the language.
    #[error("{at} ({offset}): {problem}")]
    Syntax {
        /// Where it stops to be.
        at: Position,
        /// The same in bytes from the beginning.
        offset: usize,
        /// What is wrong there.
        problem: String,
    },
    /// It asks for something the items do not have.
    #[error("Selector \"{selector}\" is not valid (at {at}; {known})")]
    Selector {
        /// As far as nobody knows it.
        selector: String,
        /// Where it begins.
        at: Position,
        /// What could stand there.
        known: String,
    },
    /// What is asked does not go with the type.
    #[error("Invalid match operator \"{operator}\" for selector \"{selector}\" (at {at}; {possible})")]
    Operator {
        /// Consul's name of it.
        operator: &'static str,
        /// What it was used on.
        selector: String,
        /// Where that begins.
        at: Position,
        /// What can be asked.
        possible: &'static str,
    },
    /// A value is not of the type it is compared with.
    #[error("Failed to coerce value \"{value}\" for selector \"{selector}\": {problem} (at {at})")]
    Value {
        /// As given.
        value: String,
        /// What it is compared with.
        selector: String,
        /// What is wrong with it.
        problem: String,
        /// Where it stands.
        at: Position,
    },
    /// A regular expression cannot be used.
    #[error("Failed to compile regular expression \"{pattern}\": {problem} (at {at})")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        problem: String,
        /// Where it stands.
        at: Position,
    },
    /// It is too long.
    #[error("the expression is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// It is too deep.
    #[error("{at}: more than {MAX_DEPTH} parentheses and negations within each other")]
    TooDeep {
        /// Where it becomes that.
        at: Position,
    },
    /// It compares too much.
    #[error("more than {MAX_COMPARISONS} comparisons in one expression")]
    TooManyComparisons,
    /// It has too many regular expressions.
    #[error("more than {MAX_PATTERNS} regular expressions in one expression")]
    TooManyPatterns,
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn places_are_counted_in_characters() {
        let text = "ü == 1\nand x";
        let place = |offset| Position::of(text, offset).to_string();
        assert_eq!(place(0), "1:1");
        assert_eq!(place(3), "1:3");
        assert_eq!(place(8), "2:1");
        assert_eq!(place(12), "2:5");
        assert_eq!(place(99), "2:6");
    }
}
