//! Log Matching: D. Ongaro and J. Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended version,
//! 2014), figure 3: "if two logs contain an entry with the same index and term, then the logs are identical in all
//! entries up through the given index".
//!
//! Judged on what is on the disks, as far as they still have it.

use std::collections::BTreeMap;

use crate::raft::simulated::{Held, SimulatedDisk};

/// Compares every two disks.
pub(in crate::simulation) fn check(disks: &[SimulatedDisk]) -> Result<(), String> {
    let logs: Vec<_> = disks.iter().map(SimulatedDisk::entries).collect();
    for (number, one) in logs.iter().enumerate() {
        for (distance, other) in logs[number + 1..].iter().enumerate() {
            if let Some((index, term)) = mismatch(one, other) {
                let other = number + 1 + distance;
                return Err(format!(
                    "log matching: hosts {number} and {other} differ before or at entry {index} of term {term}"
                ));
            }
        }
    }
    Ok(())
}

/// An entry of both logs by index and term, at or before which they differ.
fn mismatch(one: &[Held], other: &[Held]) -> Option<(u64, u64)> {
    let others: BTreeMap<u64, &Held> = other.iter().map(|held| (held.0, held)).collect();
    let mut differs = false;
    // From the front: once two entries of one index differ, no later pair may have the same term.
    for held in one {
        let Some(twin) = others.get(&held.0) else { continue };
        differs |= *twin != held;
        if differs && twin.1 == held.1 {
            return Some((held.0, held.1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_may_end_differently_but_not_meet_again() {
        let log = |entries: &[(u64, u32)]| -> Vec<Held> {
            entries.iter().zip(1..).map(|((term, sum), index)| (index, *term, *sum)).collect()
        };
        let one = log(&[(1, 1), (1, 2), (2, 3)]);
        assert_eq!(mismatch(&one, &log(&[(1, 1), (1, 2), (2, 3), (2, 4)])), None);
        assert_eq!(mismatch(&one, &log(&[(1, 1), (1, 2), (3, 9)])), None, "an end not yet cut off");
        assert_eq!(mismatch(&one, &one[1..]), None, "what was dropped is not compared");
        assert_eq!(mismatch(&one, &log(&[(1, 1), (1, 7), (2, 3)])), Some((2, 1)), "one entry, two contents");
        assert_eq!(mismatch(&one, &log(&[(1, 1), (3, 7), (2, 3)])), Some((3, 2)), "the same after a difference");
    }
}
