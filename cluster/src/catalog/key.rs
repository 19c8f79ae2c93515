//! Keys: names as the catalog compares them, without regard to ASCII case.
//!
//! Tables hold folded (lower-case) keys that entries share; values keep the case they were registered with. Comparing
//! two unfolded names copies neither.

use std::{borrow::Cow, cmp::Ordering, sync::Arc};

/// A folded name, shared by everything that refers to it.
pub(super) type Key = Arc<str>;

/// `name` in the form tables use; copied only if it has upper-case letters.
pub(super) fn fold(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

/// `name` as a key of its own.
pub(super) fn key(name: &str) -> Key {
    Arc::from(fold(name))
}

/// The order of two names as keys.
pub(super) fn cmp_folded(left: &str, right: &str) -> Ordering {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    left.bytes().map(lower).cmp(right.bytes().map(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_and_comparing_agree() {
        let names = ["", "a", "A", "ab", "aB", "b", "B-1", "b-1", "b_1", "Ä", "ä", "[", "z", "Z"];
        for left in names {
            for right in names {
                assert_eq!(cmp_folded(left, right), fold(left).cmp(&fold(right)), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn a_folded_name_is_not_copied() {
        assert!(matches!(fold("web-1"), Cow::Borrowed("web-1")));
        assert_eq!(fold("Web-1Ä"), "web-1Ä");
    }
}
