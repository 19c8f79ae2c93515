//! Some of a service's instances, kept as positions in the list of all: short to copy when the list changes.

use std::sync::Arc;

use super::Instance;

/// Positions of the selected, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Positions(Vec<u32>);

impl Positions {
    /// Selects the instance at `position`, or does not.
    pub(super) fn mark(&mut self, position: usize, wanted: bool) {
        let position = small(position);
        match (self.0.binary_search(&position), wanted) {
            (Err(place), true) => self.0.insert(place, position),
            (Ok(place), false) => drop(self.0.remove(place)),
            _ => {}
        }
    }

    /// An instance came in at `position`, not selected yet.
    pub(super) fn make_room(&mut self, position: usize) {
        let from = small(position);
        for position in self.0.iter_mut().rev().take_while(|position| **position >= from) {
            *position += 1;
        }
    }

    /// The instance at `position` is gone.
    pub(super) fn close_gap(&mut self, position: usize) {
        self.mark(position, false);
        let from = small(position);
        for position in self.0.iter_mut().rev().take_while(|position| **position > from) {
            *position -= 1;
        }
    }
}

/// A position in 32 bits. No service comes near as many instances: they would not fit into memory.
fn small(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// Some of a service's instances, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    instances: &'a [Arc<Instance>],
    positions: &'a [u32],
}

impl<'a> Selection<'a> {
    pub(super) fn new(instances: &'a [Arc<Instance>], positions: &'a Positions) -> Self {
        Self { instances, positions: &positions.0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The one at that place among the selected.
    pub fn get(&self, place: usize) -> Option<&'a Arc<Instance>> {
        let position = *self.positions.get(place)?;
        self.instances.get(usize::try_from(position).ok()?)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a Arc<Instance>> + use<'a> {
        let instances = self.instances;
        self.positions.iter().filter_map(move |position| instances.get(usize::try_from(*position).ok()?))
    }
}
