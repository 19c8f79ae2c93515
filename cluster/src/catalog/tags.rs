//! The tags of a service's instances, counted, so that their union is ready and follows each instance's change.

use std::sync::Arc;

/// Each tag with the number of times instances carry it, ordered by tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TagCounts {
    counts: Vec<(Arc<str>, u32)>,
}

impl TagCounts {
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.counts.iter().map(|(tag, _)| &**tag)
    }

    /// Counts `tags` in; says whether one of them is new.
    pub(super) fn add(&mut self, tags: &[String]) -> bool {
        let mut new = false;
        for tag in tags {
            match self.counts.binary_search_by(|(known, _)| (**known).cmp(tag)) {
                Ok(place) => {
                    if let Some((_, count)) = self.counts.get_mut(place) {
                        *count = count.saturating_add(1);
                    }
                }
                Err(place) => {
                    self.counts.insert(place, (Arc::from(tag.as_str()), 1));
                    new = true;
                }
            }
        }
        new
    }

    /// Counts `tags` out; says whether one of them is gone.
    pub(super) fn remove(&mut self, tags: &[String]) -> bool {
        let mut gone = false;
        for tag in tags {
            let Ok(place) = self.counts.binary_search_by(|(known, _)| (**known).cmp(tag)) else { continue };
            let Some((_, count)) = self.counts.get_mut(place) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(place);
                gone = true;
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(list: &[&str]) -> Vec<String> {
        list.iter().map(|&tag| tag.to_owned()).collect()
    }

    #[test]
    fn a_tag_stays_until_its_last_holder_goes() {
        let mut counts = TagCounts::default();
        assert!(counts.add(&tags(&["b", "a"])));
        assert!(!counts.add(&tags(&["b"])), "known already");
        assert_eq!(counts.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(!counts.remove(&tags(&["b"])), "one holder is left");
        assert_eq!(counts.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(counts.remove(&tags(&["b", "unknown"])));
        assert_eq!(counts.iter().collect::<Vec<_>>(), ["a"]);
    }
}
