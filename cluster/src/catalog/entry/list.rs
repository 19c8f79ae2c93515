//! What a node has of one kind, in order: cheap to copy with one of them changed, however many there are.
//!
//! A persistent B-tree of shared things that is asked by their ids, so that no key is stored beside them. A vector of
//! the kind that is cheap to copy was slower by far where it matters: things come and go in its middle.

use std::{cmp::Ordering, fmt, marker::PhantomData, sync::Arc};

use equivalent::{Comparable, Equivalent};
use imbl::{OrdSet, ordset};

use super::super::{
    key::cmp_folded,
    model::{Check, Service},
};

/// What a list is ordered by: two ids, compared without regard to ASCII case. The second decides where the first is the
/// same.
pub trait Order<T> {
    /// Where `thing` stands.
    fn place(thing: &T) -> Place<'_>;
}

/// Where a thing stands in a list.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a>(&'a str, &'a str);

impl<'a> Place<'a> {
    /// The place of the one that stands at `id`.
    pub(super) fn of(id: &'a str) -> Self {
        Self(id, "")
    }

    /// The place of `second` among those of `first`.
    pub(super) fn within(first: &'a str, second: &'a str) -> Self {
        Self(first, second)
    }

    fn cmp(self, other: Place<'_>) -> Ordering {
        cmp_folded(self.0, other.0).then_with(|| cmp_folded(self.1, other.1))
    }
}

/// By the thing's own id.
#[derive(Clone, Copy, Debug)]
pub struct ById;

impl Order<Service> for ById {
    fn place(service: &Service) -> Place<'_> {
        Place::of(&service.id)
    }
}

impl Order<Check> for ById {
    fn place(check: &Check) -> Place<'_> {
        Place::of(&check.id)
    }
}

/// By the instance a check belongs to, then by its id.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByInstance;

impl Order<Check> for ByInstance {
    fn place(check: &Check) -> Place<'_> {
        Place::within(&check.service_id, &check.id)
    }
}

/// Things of one kind in order. A copy shares them and almost everything else.
pub struct List<T, O = ById>(OrdSet<Listed<T, O>>);

impl<T, O: Order<T>> List<T, O> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in order.
    pub fn iter(&self) -> Iter<'_, T, O> {
        Iter(self.0.iter())
    }

    /// The one at `place`.
    pub(super) fn get(&self, place: Place<'_>) -> Option<&Arc<T>> {
        self.0.get(&place).map(|listed| &listed.0)
    }

    /// Those at `place` and after it, in order.
    pub(super) fn from(&self, place: Place<'_>) -> impl Iterator<Item = &Arc<T>> {
        self.0.range::<_, Place<'_>>(place..).map(|listed| &listed.0)
    }

    /// Adds a thing, or replaces the one at its place.
    pub(super) fn put(&mut self, thing: Arc<T>) {
        self.0.insert(Listed(thing, PhantomData));
    }

    /// Takes out the one at `place`, if there is one.
    pub(super) fn remove(&mut self, place: Place<'_>) {
        self.0.remove(&place);
    }
}

impl<T, O: Order<T>> FromIterator<Arc<T>> for List<T, O> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(things: I) -> Self {
        Self(things.into_iter().map(|thing| Listed(thing, PhantomData)).collect())
    }
}

impl<'a, T, O: Order<T>> IntoIterator for &'a List<T, O> {
    type IntoIter = Iter<'a, T, O>;
    type Item = &'a Arc<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T, O> Clone for List<T, O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, O> Default for List<T, O> {
    fn default() -> Self {
        Self(OrdSet::new())
    }
}

impl<T: PartialEq, O: Order<T>> PartialEq for List<T, O> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0) || self.iter().eq(other.iter())
    }
}

impl<T: fmt::Debug, O: Order<T>> fmt::Debug for List<T, O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// The things of a list in order.
pub struct Iter<'a, T, O>(ordset::Iter<'a, Listed<T, O>, imbl::shared_ptr::DefaultSharedPtr>);

impl<'a, T, O: Order<T>> Iterator for Iter<'a, T, O> {
    type Item = &'a Arc<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|listed| &listed.0)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T, O: Order<T>> ExactSizeIterator for Iter<'_, T, O> {}

/// A thing that is compared by its place.
struct Listed<T, O>(Arc<T>, PhantomData<O>);

impl<T, O> Clone for Listed<T, O> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T, O: Order<T>> Ord for Listed<T, O> {
    fn cmp(&self, other: &Self) -> Ordering {
        O::place(&self.0).cmp(O::place(&other.0))
    }
}

impl<T, O: Order<T>> PartialOrd for Listed<T, O> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T, O: Order<T>> PartialEq for Listed<T, O> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T, O: Order<T>> Eq for Listed<T, O> {}

impl<T, O: Order<T>> Equivalent<Listed<T, O>> for Place<'_> {
    fn equivalent(&self, listed: &Listed<T, O>) -> bool {
        self.compare(listed).is_eq()
    }
}

impl<T, O: Order<T>> Comparable<Listed<T, O>> for Place<'_> {
    fn compare(&self, listed: &Listed<T, O>) -> Ordering {
        self.cmp(O::place(&listed.0))
    }
}
