//! Filter expressions (`?filter=`): Consul's language, checked against what a list holds.
//!
//! ```text
//!   text ─► lexer ─► parse ─► Expression ─► field (selectors, types, values) ─► Filter<T> ─► which items stay
//! ```
//!
//! - [`lexer`], [`parse`]: the language. Every error says where.
//! - [`field`]: what selectors may lead to, and from an expression to a predicate.
//!
//! Pure. A filter is made once a request and works on the values themselves; nothing is turned into JSON for it. Whoever
//! has a list says which selectors its items have.

mod error;
mod field;
mod lexer;
mod parse;
mod pattern;

use self::field::Predicate;
pub use self::{
    error::FilterError,
    field::{ByName, Each, Field, Fields, Part},
};

/// Bytes of an expression; a longer one is refused. It comes in the head of a request, which is hardly longer.
const MAX_LENGTH: usize = 16 * 1024;
/// Parentheses and negations within each other; more are refused.
const MAX_DEPTH: usize = 64;
/// Comparisons in one expression; more are refused, so that a list costs only so much an item.
const MAX_COMPARISONS: usize = 1024;
/// Regular expressions in one expression; more are refused.
const MAX_PATTERNS: usize = 32;
/// Bytes one compiled regular expression may take; a larger one is refused.
const MAX_PATTERN_SIZE: usize = 1 << 20;

/// Decides which items of a list stay.
pub struct Filter<T>(Option<Predicate<T>>);

impl<T: 'static> Filter<T> {
    /// Compiles an expression for items with the given selectors; without text everything stays.
    pub fn compile(text: &str, fields: Fields<T>) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let expression = parse::parse(text)?;
        field::compile(&expression, text, fields).map(|predicate| Self(Some(predicate)))
    }

    /// Whether the item stays.
    pub fn keeps(&self, item: &T) -> bool {
        self.0.as_ref().is_none_or(|predicate| predicate(item))
    }

    /// Leaves in `items` those that stay; `item` says what of each is looked at.
    pub fn retain<X>(&self, items: &mut Vec<X>, item: impl Fn(&X) -> &T) {
        if let Some(predicate) = &self.0 {
            items.retain(|each| predicate(item(each)));
        }
    }
}
