//! Names that were removed, with the index of their removal, so that a blocking query on a missing name has an index
//! that never goes back and does not move with other names.

use imbl::{HashMap, OrdSet};

use super::key::Key;

/// Most names remembered. Beyond it the oldest are forgotten together: from then on every unknown name answers at
/// least the index the last forgotten one was removed at, which may let a query on it return once without need.
pub(super) const MOST: usize = 4096;

/// The removed names of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    by_name: HashMap<Key, u64>,
    by_index: OrdSet<(u64, Key)>,
    floor: u64,
}

impl Gone {
    /// The index a query on a missing `name` (folded) continues from; 0 if nothing was ever removed.
    pub(super) fn index(&self, name: &str) -> u64 {
        self.by_name.get(name).copied().unwrap_or(self.floor)
    }

    /// The highest index of a name that was forgotten.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    /// Each name with its index, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.by_index.iter().map(|(index, name)| (name, *index))
    }

    /// `name` was removed at `index`.
    pub(super) fn insert(&mut self, name: Key, index: u64) {
        if let Some(old) = self.by_name.insert(name.clone(), index) {
            self.by_index.remove(&(old, name.clone()));
        }
        self.by_index.insert((index, name));
        while self.by_index.len() > MOST {
            let Some((index, name)) = self.by_index.remove_min() else { return };
            self.by_name.remove(&name);
            self.floor = self.floor.max(index);
        }
    }

    /// `name` is there again.
    pub(super) fn remove(&mut self, name: &Key) {
        if let Some(index) = self.by_name.remove(name) {
            self.by_index.remove(&(index, name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_answers_its_own_index_until_it_is_forgotten() {
        let mut gone = Gone::default();
        assert_eq!(gone.index("a"), 0);
        gone.insert("a".into(), 3);
        gone.insert("b".into(), 4);
        assert_eq!((gone.index("a"), gone.index("b"), gone.index("c")), (3, 4, 0));
        gone.insert("a".into(), 5);
        assert_eq!(gone.index("a"), 5);
        gone.remove(&"a".into());
        assert_eq!(gone.index("a"), 0);
        assert_eq!(gone.iter().collect::<Vec<_>>(), [(&Key::from("b"), 4)]);
    }

    #[test]
    fn the_table_is_bounded_and_no_index_goes_back() {
        let mut gone = Gone::default();
        let mut index = 0;
        for number in 0..MOST + 10 {
            index += 1;
            gone.insert(format!("s{number}").into(), index);
        }
        assert_eq!(gone.iter().count(), MOST);
        assert_eq!(gone.index("s0"), 10, "forgotten: the floor, not less than its removal at 1");
        assert_eq!(gone.index("s9"), 10);
        assert_eq!(gone.index("s10"), 11, "still known");
    }
}
