//! Nobody sees the past after the present: Monotonic Reads of D. Terry et al., "Session Guarantees for Weakly Consistent
//! Replicated Data" (1994). It holds of every agent's own catalog for as long as its process lives: of a server's, and of
//! the parts a client is sent, whichever server sends them.

use crate::simulation::shared::Shared;

pub(in crate::simulation) fn check(shared: &Shared) -> Vec<String> {
    let acknowledged = shared.acknowledged();
    let index_of = |key, value| acknowledged.iter().find(|(_, write)| **write == (key, value)).map(|(index, _)| *index);
    let mut violations = Vec::new();
    for ((host, life, key), values) in shared.everything_seen() {
        // Removals have no value of their own, and what was never acknowledged has no known place.
        let places = values.into_iter().filter(|value| value.is_some());
        let places: Vec<_> = places.filter_map(|value| Some((value, index_of(key, value)?))).collect();
        if let Some([(newer, _), (older, _)]) = places.array_windows().find(|[one, other]| one.1 > other.1) {
            violations.push(format!(
                "monotonic reads: host {host} (start {life}) saw register {key} as {newer:?} and then as the older {older:?}"
            ));
        }
    }
    violations
}
