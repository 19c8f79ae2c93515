//! The simulations CI runs, and the one that replays a seed.
//!
//! Each runs in a process of its own (this test binary, told to run [`one`]), as many at once as there are processors.
//! `USHER_SIM_SEEDS` says how many seeds, `USHER_SIM_FIRST` which is the first. For [`one`] `USHER_SIM_TRACE` names a file
//! for the whole trace, and `USHER_SIM_LOG` says what of the log is printed (such as `info` or `simulation=debug,info`).

use std::{
    env, fs,
    process::{Command, Output},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Bug, Setup, entropy, log, world};

/// Seeds CI runs.
const SEEDS: u64 = 15;
/// The lines of the trace a failure shows.
const LAST_LINES: usize = 60;
/// What two equal runs must log alike: what we say, and every packet. What openraft says has clock times in it.
const OURS: &str = "agent=info,turmoil=trace";
/// Deep enough for the search of an order of several hundred calls.
const STACK: usize = 256 * 1024 * 1024;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn replay(seed: u64, bug: Option<Bug>) -> String {
    let bug = bug.map_or(String::new(), |bug| format!("USHER_SIM_BUG={bug:?} "));
    format!(
        "{bug}USHER_SIM_SEED={seed} cargo test -p usher-cluster --lib simulation::runs::one -- --exact --ignored --nocapture"
    )
}

/// Runs one seed in a process of its own.
fn run(seed: u64, bug: Option<Bug>, trace: Option<&std::path::Path>) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["simulation::runs::one", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("USHER_SIM_SEED", seed.to_string()).env_remove("USHER_SIM_BUG").env_remove("USHER_SIM_TRACE");
    if let Some(bug) = bug {
        command.env("USHER_SIM_BUG", format!("{bug:?}"));
    }
    if let Some(trace) = trace {
        command.env("USHER_SIM_TRACE", trace);
    }
    command.output().unwrap()
}

/// Runs `count` seeds from `first` on, several at once, until `stop` says so of one that is over; gives those over.
fn run_many(first: u64, count: u64, bug: Option<Bug>, stop: impl Fn(&Output) -> bool + Sync) -> Vec<(u64, Output)> {
    let next = AtomicU64::new(first);
    let over = parking_lot::Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let output = run(seed, bug, None);
                    if stop(&output) {
                        next.store(first + count, Ordering::Relaxed);
                    }
                    over.lock().push((seed, output));
                }
            });
        }
    });
    over.into_inner()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn clusters_keep_their_promises_whatever_happens() {
    let first = number("USHER_SIM_FIRST").unwrap_or(0);
    let over = run_many(first, number("USHER_SIM_SEEDS").unwrap_or(SEEDS), None, |_| false);
    let failed: Vec<_> = over.iter().filter(|(_, output)| !output.status.success()).collect();
    for (seed, output) in &failed {
        println!("seed {seed}:\n{}\nreplay it with\n  {}\n", text(output), replay(*seed, None));
    }
    let seeds: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    assert!(seeds.is_empty(), "of {} seeds these fail: {seeds:?}", over.len());
}

#[test]
fn equal_seeds_make_equal_runs() {
    let directory = tempfile::tempdir().unwrap();
    let traces: Vec<Vec<u8>> = ["one", "other"]
        .into_iter()
        .map(|name| {
            let trace = directory.path().join(name);
            let output = run(1, None, Some(&trace));
            assert!(output.status.success(), "{}", text(&output));
            fs::read(trace).unwrap()
        })
        .collect();
    assert!(traces[0].len() > 10_000, "a trace of {} bytes", traces[0].len());
    let lines = |trace: &[u8]| String::from_utf8_lossy(trace).lines().map(str::to_owned).collect::<Vec<_>>();
    let pairs = lines(&traces[0]).into_iter().zip(lines(&traces[1]));
    if let Some((place, (one, other))) = pairs.enumerate().find(|(_, (one, other))| one != other) {
        panic!("line {place} differs:\n{one}\n{other}");
    }
    assert_eq!(traces[0], traces[1]);
}

/// Whether some seed finds a bug that was put back.
fn finds(bug: Bug, seeds: u64, violation: &str) {
    let is_found = |output: &Output| text(output).contains(violation);
    let over = run_many(1, seeds, Some(bug), is_found);
    let found = over.iter().find(|(_, output)| is_found(output));
    assert!(found.is_some(), "none of {seeds} seeds finds {bug:?}; the first says\n{}", text(&over[0].1));
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    finds(Bug::AcknowledgeBeforeSync, 40, "VIOLATED");
}

#[test]
fn a_vote_that_is_not_kept_is_found() {
    finds(Bug::ForgetVote, 40, "VIOLATED");
}

#[test]
fn a_watcher_that_is_not_told_of_a_snapshot_is_found() {
    finds(Bug::SilentSnapshot, 40, "watchers: ");
}

/// Replays `USHER_SIM_SEED`.
#[test]
#[ignore = "one simulation, to be told its seed"]
fn one() {
    let seed = number("USHER_SIM_SEED").unwrap_or(0);
    let bug = env::var("USHER_SIM_BUG").ok().map(|name| Bug::named(&name).expect("the name of a bug"));
    let trace = env::var("USHER_SIM_TRACE").ok();
    let filter = env::var("USHER_SIM_LOG").ok();
    log::note_panics();
    match &filter {
        Some(filter) => log::listen(filter, true),
        None if trace.is_some() => log::listen(OURS, false),
        None => {}
    }
    let run = move || {
        entropy::seed(seed);
        super::set_bug(bug);
        world::run(&Setup::of(seed))
    };
    let report = std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().unwrap();
    if let Some(path) = trace {
        fs::write(path, report.trace.join("\n")).unwrap();
    }
    println!("seed {seed}: {}", report.summary);
    if report.violations.is_empty() {
        return;
    }
    let skipped = report.trace.len().saturating_sub(LAST_LINES);
    println!("the last of {} lines of the trace:\n{}", report.trace.len(), report.trace[skipped..].join("\n"));
    panic!("VIOLATED with seed {seed}: {}\nreplay it with\n  {}", report.violations.join("\n"), replay(seed, bug));
}
