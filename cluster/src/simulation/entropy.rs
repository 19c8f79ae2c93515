//! Where a simulation's randomness comes from: one seed, for everything.
//!
//! Whatever wants randomness (our code, openraft's election timeouts, foca's choice of whom to probe, the order in which
//! tokio polls branches, the hashers of maps) asks the operating system for a first seed, through `getrandom`. This file
//! puts its own in front of it: on a thread that has been given a seed it answers from that seed, on any other thread it
//! asks the system. A thread that is started for one simulation, in a process that is started for it, therefore sees the
//! same randomness whenever the seed is the same.
//!
//! On Linux only: elsewhere simulations run, but a seed does not replay them.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's randomness follows from `seed`. To be called before the thread has drawn any.
pub(super) fn seed(seed: u64) {
    STATE.set(Some(seed));
}

/// SplitMix64: every state is visited once, so that no seed is a bad one.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Fills `buffer` from this thread's seed, if it has one.
fn fill(buffer: &mut [u8]) -> bool {
    let Some(mut state) = STATE.get() else {
        return false;
    };
    for chunk in buffer.chunks_mut(8) {
        let bytes = next(&mut state).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    STATE.set(Some(state));
    true
}

/// Stands in for the C library's function of that name in the test binary of this crate.
///
/// # Safety
/// As of the C library's: `buffer` has room for `length` bytes.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    if STATE.get().is_some() {
        // SAFETY: the caller says that there is room for `length` bytes; they are written before they are read.
        fill(unsafe { std::slice::from_raw_parts_mut(buffer, length) });
        return length as isize;
    }
    // SAFETY: the arguments are the caller's, for the system call this function is named after.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    fn drawn(seed: Option<u64>) -> (u64, u64, uuid::Uuid) {
        let draw = move || {
            if let Some(number) = seed {
                super::seed(number);
            }
            (rand::random(), RandomState::new().hash_one("x"), uuid::Uuid::new_v4())
        };
        std::thread::spawn(draw).join().unwrap()
    }

    #[test]
    fn a_seeded_thread_draws_the_same_and_others_do_not() {
        assert_eq!(drawn(Some(1)), drawn(Some(1)));
        assert_ne!(drawn(Some(1)), drawn(Some(2)));
        assert_ne!(drawn(None), drawn(None));
    }
}
