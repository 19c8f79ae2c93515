//! From results to statuses: thresholds, flapping, and removal of what stays critical.

use serde_json::json;
use usher_tests::{
    agent::Builder,
    backends::http::{Http, Mode},
    binary::is_ours,
    poll::eventually,
};

use crate::checks::{answered, becomes, is_gone, log_index, long_ttl, moved_by, not_answered, register, report};

#[test]
fn a_few_bad_results_do_not_count() {
    let agent = Builder::dev().start();
    let server = Http::start();
    register(&agent, "web", json!({"HTTP": server.url("/"), "Interval": "1s", "FailuresBeforeCritical": 3}));
    answered(&agent, "web");
    let before = moved_by(&agent, "web");
    // One or two bad ones in a row are less than three.
    server.set(Mode::Cycle(vec![500, 200, 500, 500, 200]));
    let count = server.count();
    eventually("two rounds", || if server.count() >= count + 7 { Ok(()) } else { Err(server.count()) });
    assert_eq!(moved_by(&agent, "web"), before);
    server.status(200);
    let count = server.count();
    eventually("a good one", || if server.count() > count + 1 { Ok(()) } else { Err(server.count()) });
    let count = server.count();
    server.status(500);
    not_answered(&agent, "web");
    assert!(server.count() >= count + 3, "it took {} results", server.count() - count);
}

#[test]
fn a_few_good_results_do_not_count() {
    let agent = Builder::dev().start();
    let server = Http::start();
    server.set(Mode::Cycle(vec![500, 200, 200]));
    register(&agent, "web", json!({"HTTP": server.url("/"), "Interval": "1s", "SuccessBeforePassing": 3}));
    becomes(&agent, "web", "critical");
    let before = moved_by(&agent, "web");
    let count = server.count();
    eventually("two rounds", || if server.count() >= count + 6 { Ok(()) } else { Err(server.count()) });
    assert_eq!(moved_by(&agent, "web"), before);
    server.status(500);
    let count = server.count();
    eventually("a bad one", || if server.count() > count + 1 { Ok(()) } else { Err(server.count()) });
    let count = server.count();
    server.status(200);
    answered(&agent, "web");
    assert!(server.count() >= count + 3, "it took {} results", server.count() - count);
}

#[test]
fn a_warning_may_come_before() {
    if !is_ours() {
        return; // with Consul 1.11
    }
    let agent = Builder::dev().start();
    let server = Http::start();
    let check = json!({
        "HTTP": server.url("/"), "Interval": "1s", "FailuresBeforeWarning": 1, "FailuresBeforeCritical": 4,
    });
    register(&agent, "web", check);
    answered(&agent, "web");
    server.status(500);
    becomes(&agent, "web", "warning");
    becomes(&agent, "web", "critical");
}

#[test]
fn what_stays_critical_is_removed() {
    if !is_ours() {
        return; // Consul waits for a minute at least
    }
    let agent = Builder::dev().start();
    let (dead, alive) = (Http::start(), Http::start());
    for (name, server) in [("dead", &dead), ("alive", &alive)] {
        let check = json!({"HTTP": server.url("/"), "Interval": "1s", "DeregisterCriticalServiceAfter": "1s"});
        register(&agent, name, check);
        answered(&agent, name);
    }
    dead.down();
    is_gone(&agent, "dead");
    assert_eq!(agent.get("/v1/agent/checks").json().as_object().map_or(0, |checks| checks.len()), 1);
    answered(&agent, "alive");
}

/// A check that changes with every report costs the log no more than a few entries a second.
#[test]
fn flapping_does_not_flood_the_log() {
    if !is_ours() {
        return;
    }
    const REPORTS: u64 = 400;
    let agent = Builder::dev().start();
    register(&agent, "web", long_ttl());
    register(&agent, "db", long_ttl());
    report(&agent, "db", "pass", "");
    answered(&agent, "db");
    let before = log_index(&agent);
    for count in 0..REPORTS {
        report(&agent, "web", if count % 2 == 0 { "fail" } else { "pass" }, "");
    }
    let entries = log_index(&agent) - before;
    assert!(entries < REPORTS / 4, "{entries} entries for {REPORTS} reports");
    // The last one counts, and soon.
    answered(&agent, "web");
    report(&agent, "web", "fail", "");
    not_answered(&agent, "web");
}
