//! Checks from the report or run to the catalog, with consensus stood in for by a catalog that applies at once. Most run
//! in virtual time; what looks for itself at a socket does not.

use std::path::Path;

use super::*;
use crate::{
    agent::identity::OwnNode,
    local::{self, Source, definition::ServiceDefinition, tests::FakeConsensus, validate::ScriptPolicy},
};

struct Host {
    local: Arc<Local>,
    health: Health,
    consensus: Arc<FakeConsensus>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Host {
    async fn start(data_dir: Option<&Path>, consensus: &Arc<FakeConsensus>, options: Options) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let node = OwnNode { name: "n1".to_owned(), address: "10.0.0.1".to_owned(), ..OwnNode::default() };
        let data_dir = data_dir.map(Path::to_owned);
        let scripts = ScriptPolicy { from_config: true, from_api: true };
        let update_interval = options.update_interval;
        let of_local = local::Options { node, server: true, scripts, data_dir: data_dir.clone(), update_interval };
        let catalog = consensus.catalog().clone();
        let local = Local::start(of_local, catalog, consensus.clone(), &tasks, stop.clone()).await.unwrap();
        let health = Health::start(local.clone(), options, data_dir, &tasks, stop.clone()).await;
        tasks.spawn(local::run_telling(local.clone(), stop.clone()));
        Self { local, health, consensus: consensus.clone(), tasks, stop }
    }

    async fn new() -> Self {
        Self::start(None, &Arc::default(), Options::default()).await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn register(&self, id: &str, checks: Vec<CheckSpec>) {
        let definition =
            ServiceDefinition { id: id.to_owned(), name: "web".to_owned(), checks, ..ServiceDefinition::default() };
        let kept = self.local.keep_service(definition, Source::Api, false).await.unwrap();
        self.health.begin_anew(kept.checks()).await;
        kept.push().await;
    }

    async fn report(&self, id: &str, status: Status, output: &str) {
        self.health.report(id, status, output.to_owned()).await.unwrap();
    }

    /// A check as this agent shows it.
    fn shown(&self, id: &str) -> String {
        self.local.state().checks.get(id).map_or_else(|| "gone".to_owned(), |check| describe(check))
    }

    /// A check as the catalog shows it.
    fn told(&self, id: &str) -> String {
        let state = self.consensus.catalog().state();
        let check = state.node_entry("n1").and_then(|entry| entry.check(id).cloned());
        check.map_or_else(|| "gone".to_owned(), |check| describe(&check))
    }

    async fn until_told(&self, id: &str, expected: &str) {
        until(|| self.told(id) == expected).await;
    }
}

fn describe(check: &crate::catalog::model::Check) -> String {
    format!("{} {}", check.status.as_str(), check.output).trim_end().to_owned()
}

/// Polls. In virtual time the pauses cost nothing.
async fn until(condition: impl Fn() -> bool) {
    let polled = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), polled).await.expect("it never came to that");
}

fn ttl(id: &str, seconds: u64) -> CheckSpec {
    CheckSpec {
        id: id.to_owned(),
        name: id.to_owned(),
        ttl: Some(Duration::from_secs(seconds)),
        ..CheckSpec::default()
    }
}

fn after(seconds: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_secs(seconds))
}

#[tokio::test(start_paused = true)]
async fn a_report_counts_until_its_time_has_passed() {
    let host = Host::new().await;
    host.register("a", vec![ttl("c", 10)]).await;
    host.report("C", Status::Passing, "fine").await;
    assert_eq!(host.shown("c"), "passing fine");
    host.until_told("c", "passing fine").await;
    after(9).await;
    host.report("c", Status::Passing, "fine").await;
    after(9).await;
    assert_eq!(host.shown("c"), "passing fine");
    after(2).await;
    let expired = "critical TTL expired (last output before timeout follows): fine";
    assert_eq!(host.shown("c"), expired);
    host.until_told("c", expired).await;
    host.report("c", Status::Warning, "back").await;
    host.until_told("c", "warning back").await;
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_checks_with_a_ttl_take_reports() {
    let host = Host::new().await;
    host.local.set_maintenance(None, true, "", "").await.unwrap();
    for id in ["nosuch", "_node_maintenance"] {
        let refused = host.health.report(id, Status::Passing, String::new()).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("CheckID \"{id}\" does not have associated TTL"));
    }
    let health = host.health.clone();
    host.register("a", vec![ttl("c", 10)]).await;
    host.stop().await;
    assert_eq!(health.report("c", Status::Passing, String::new()).await, Err(ReportError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn renewals_that_say_nothing_new_cost_no_write_and_no_command() {
    const CHECKS: usize = 10_000;
    let host = Host::new().await;
    let ids: Vec<String> = (0..CHECKS).map(|n| format!("c{n}")).collect();
    for (n, of_one) in ids.chunks(50).enumerate() {
        host.register(&format!("s{n}"), of_one.iter().map(|id| ttl(id, 30)).collect()).await;
    }
    let first = ids.iter().map(|id| host.health.report(id, Status::Passing, "fine".to_owned()));
    futures_util::future::try_join_all(first).await.unwrap();
    until(|| ids.iter().all(|id| host.told(id) == "passing fine")).await;
    let (table, writes) = (host.local.table(), host.consensus.writes());
    for _ in 0..4 {
        after(10).await;
        for id in &ids {
            host.report(id, Status::Passing, "fine").await;
        }
    }
    assert!(Arc::ptr_eq(&table, &host.local.table()), "the writer had nothing to do");
    assert_eq!(host.consensus.writes(), writes);
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_results_are_one_command() {
    let host = Host::new().await;
    let ids: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
    host.register("a", ids.iter().map(|id| ttl(id, 30)).collect()).await;
    host.register("b", vec![ttl("other", 30)]).await;
    let writes = host.consensus.writes();
    let reports = ids.iter().map(|id| host.health.report(id, Status::Passing, String::new()));
    futures_util::future::try_join_all(reports).await.unwrap();
    until(|| ids.iter().all(|id| host.told(id) == "passing")).await;
    assert!(host.consensus.writes() - writes <= 4, "{}", host.consensus.writes() - writes);
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn time_in_which_this_process_stood_still_is_given_back() {
    let host = Host::new().await;
    host.register("a", vec![ttl("c", 10)]).await;
    host.report("c", Status::Passing, "").await;
    after(5).await;
    // The clock goes on and nobody runs.
    tokio::time::advance(Duration::from_secs(60)).await;
    after(3).await;
    assert_eq!(host.shown("c"), "passing");
    after(8).await;
    assert_eq!(host.shown("c"), "critical TTL expired");
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fell_into_such_a_time_is_repeated_before_it_counts() {
    let host = Host::new().await;
    // Takes connections and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = CheckSpec {
        id: "h".to_owned(),
        name: "h".to_owned(),
        http: format!("http://{}/", listener.local_addr().unwrap()),
        interval: Some(Duration::from_secs(1000)),
        timeout: Some(Duration::from_secs(10)),
        status: Some(Status::Passing),
        ..CheckSpec::default()
    };
    host.register("a", vec![silent]).await;
    after(1).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    after(5).await;
    assert_eq!(host.shown("h"), "passing");
    after(6).await;
    assert!(host.shown("h").starts_with("critical"), "{}", host.shown("h"));
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_reports_are_taken_and_told_later() {
    let host = Host::new().await;
    host.register("a", vec![ttl("c", 100), ttl("d", 100)]).await;
    host.consensus.set_leaderless(true);
    host.report("c", Status::Passing, "one").await;
    host.report("d", Status::Passing, "once").await;
    assert_eq!(host.shown("c"), "passing one");
    after(20).await;
    host.report("c", Status::Warning, "two").await;
    assert_eq!((host.shown("c").as_str(), host.told("c").as_str()), ("warning two", "critical"));
    host.consensus.set_leaderless(false);
    host.until_told("c", "warning two").await;
    host.until_told("d", "passing once").await;
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn results_of_what_the_catalog_lost_bring_it_back() {
    let host = Host::new().await;
    host.register("a", vec![ttl("c", 100)]).await;
    let gone = crate::catalog::command::Deregistration {
        node: "n1".to_owned(),
        service_id: "a".to_owned(),
        check_id: String::new(),
    };
    let gone = crate::catalog::command::Command::Deregister(gone);
    local::Proposer::propose(&*host.consensus, gone).await.unwrap();
    host.report("c", Status::Passing, "").await;
    host.until_told("c", "passing").await;
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn flapping_floods_nobody_and_ends_as_it_is() {
    let host = Host::new().await;
    host.register("a", vec![ttl("c", 1000)]).await;
    let writes = host.consensus.writes();
    for n in 0..1_000 {
        let status = if n % 2 == 0 { Status::Passing } else { Status::Critical };
        host.report("c", status, "").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    host.report("c", Status::Warning, "").await;
    host.until_told("c", "warning").await;
    let told = host.consensus.writes() - writes;
    assert!((10..=24).contains(&told), "{told} commands for a thousand changes in ten seconds");
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn words_alone_are_told_later_and_comparisons_leave_them() {
    let host = Host::new().await;
    host.register("a", vec![ttl("c", 10_000)]).await;
    host.report("c", Status::Passing, "one").await;
    host.until_told("c", "passing one").await;
    host.report("c", Status::Passing, "two").await;
    host.local.compare_all().await.unwrap();
    after(140).await;
    assert_eq!((host.shown("c").as_str(), host.told("c").as_str()), ("passing two", "passing one"));
    after(320).await;
    assert_eq!(host.told("c"), "passing two");
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_critical_for_too_long_goes() {
    let host = Host::new().await;
    let doomed = |id: &str| CheckSpec {
        deregister_critical_service_after: Some(Duration::from_secs(30)),
        status: Some(Status::Passing),
        ..ttl(id, 10)
    };
    host.register("a", vec![doomed("c"), ttl("d", 1000)]).await;
    host.register("b", vec![doomed("e")]).await;
    after(39).await;
    assert_eq!(host.shown("c"), "critical TTL expired");
    host.report("e", Status::Passing, "").await;
    after(1).await;
    until(|| !host.local.has_service("a")).await;
    assert_eq!((host.told("c").as_str(), host.told("d").as_str()), ("gone", "gone"));
    assert!(host.local.has_service("b"));
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn registering_again_begins_the_time_anew_and_leaves_the_rest() {
    let host = Host::new().await;
    host.register("a", vec![ttl("c", 10)]).await;
    host.report("c", Status::Passing, "").await;
    after(6).await;
    host.register("a", vec![ttl("c", 10)]).await;
    after(9).await;
    assert_eq!(host.shown("c"), "passing", "its time began anew");
    after(2).await;
    assert_eq!(host.shown("c"), "critical TTL expired");
    host.register("a", vec![ttl("c", 10)]).await;
    assert_eq!(host.shown("c"), "critical TTL expired", "it says itself that it is well");
    host.report("c", Status::Passing, "").await;
    after(6).await;
    host.register("a", vec![ttl("c", 9)]).await;
    after(6).await;
    assert_eq!(host.shown("c"), "passing", "it has its time from the change on");
    after(4).await;
    assert_eq!(host.shown("c"), "critical TTL expired");
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_follows_others_follows_their_reports() {
    let host = Host::new().await;
    let alias =
        CheckSpec { id: "f".to_owned(), name: "f".to_owned(), alias_service: "a".to_owned(), ..CheckSpec::default() };
    host.register("a", vec![ttl("c", 1000)]).await;
    host.register("b", vec![alias]).await;
    until(|| host.shown("f") == "critical Aliased check \"c\" failing:").await;
    host.report("c", Status::Passing, "").await;
    host.until_told("f", "passing All checks passing.").await;
    host.local.set_maintenance(Some("a"), true, "", "").await.unwrap();
    host.until_told("f", "critical Aliased check \"Service Maintenance Mode\" failing:").await;
    host.local.deregister_service("a").await.unwrap();
    until(|| host.shown("f") == "critical Service a could not be found on node n1").await;
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn output_is_limited_or_not_kept_at_all() {
    let host = Host::start(None, &Arc::default(), Options { output_max_size: 4, ..Options::default() }).await;
    host.register("a", vec![ttl("c", 10), CheckSpec { output_max_size: Some(2), ..ttl("d", 10) }]).await;
    host.report("c", Status::Passing, "12345").await;
    host.report("d", Status::Passing, "12345").await;
    assert_eq!(host.shown("c"), "passing 1234 ... (captured 4 of 5 bytes)");
    assert_eq!(host.shown("d"), "passing 12 ... (captured 2 of 5 bytes)");
    host.stop().await;
    let host = Host::start(None, &Arc::default(), Options { discard_output: true, ..Options::default() }).await;
    host.register("a", vec![ttl("c", 10)]).await;
    host.report("c", Status::Passing, "12345").await;
    assert_eq!(host.shown("c"), "passing");
    host.stop().await;
}

#[tokio::test]
async fn what_was_known_is_known_after_a_restart() {
    let (directory, consensus) = (tempfile::tempdir().unwrap(), Arc::default());
    let start = || Host::start(Some(directory.path()), &consensus, Options::default());
    let host = start().await;
    host.register("a", vec![ttl("c", 1000), ttl("d", 1000)]).await;
    host.report("c", Status::Passing, "one").await;
    host.report("c", Status::Passing, "two").await;
    host.report("d", Status::Warning, "hm").await;
    host.stop().await;

    let host = start().await;
    assert_eq!((host.shown("c").as_str(), host.shown("d").as_str()), ("passing two", "warning hm"));
    host.local.deregister_check("d").await.unwrap();
    host.stop().await;

    let host = start().await;
    assert_eq!((host.shown("c").as_str(), host.shown("d").as_str()), ("passing two", "gone"));
    host.register("a", vec![ttl("d", 1000)]).await;
    assert_eq!(host.shown("d"), "critical", "what was removed is not remembered");
    host.stop().await;
}

#[tokio::test]
async fn who_could_not_report_for_too_long_is_critical_after_a_restart() {
    let (directory, consensus) = (tempfile::tempdir().unwrap(), Arc::default());
    let start = || Host::start(Some(directory.path()), &consensus, Options::default());
    let host = start().await;
    host.register("a", vec![ttl("short", 10), ttl("long", 10_000)]).await;
    host.report("short", Status::Passing, "fine").await;
    host.report("long", Status::Passing, "fine").await;
    host.stop().await;
    journal::tests::age(directory.path(), 60);

    let host = start().await;
    let expired = "critical TTL expired (last output before timeout follows): fine";
    assert_eq!((host.shown("short").as_str(), host.shown("long").as_str()), (expired, "passing fine"));
    host.report("short", Status::Passing, "").await;
    assert_eq!(host.shown("short"), "passing");
    host.stop().await;
}

#[tokio::test]
async fn a_report_that_was_acknowledged_is_written() {
    let (directory, consensus) = (tempfile::tempdir().unwrap(), Arc::default());
    let host = Host::start(Some(directory.path()), &consensus, Options::default()).await;
    host.register("a", vec![ttl("c", 1000)]).await;
    for status in [Status::Passing, Status::Critical, Status::Warning].into_iter().cycle().take(30) {
        host.report("c", status.clone(), "").await;
        let kept = journal::read(directory.path()).results;
        assert_eq!(kept.get("c").map(|kept| kept.status.clone()), Some(status));
    }
    host.stop().await;
}

#[tokio::test]
async fn who_never_said_anything_new_has_missed_its_time_as_well() {
    let (directory, consensus) = (tempfile::tempdir().unwrap(), Arc::default());
    let start = || Host::start(Some(directory.path()), &consensus, Options::default());
    let host = start().await;
    host.register("a", vec![CheckSpec { status: Some(Status::Passing), ..ttl("c", 10) }]).await;
    host.report("c", Status::Passing, "").await;
    until(|| journal::read(directory.path()).results.contains_key("c")).await;
    host.stop().await;
    journal::tests::age(directory.path(), 60);
    let host = start().await;
    assert_eq!(host.shown("c"), "critical TTL expired");
    host.stop().await;
}

/// When programs were heard last is known to about a second, and the clock may be another one after a restart.
#[tokio::test]
async fn nobody_is_ill_for_what_the_clock_does_not_tell() {
    let (directory, consensus) = (tempfile::tempdir().unwrap(), Arc::default());
    let start = || Host::start(Some(directory.path()), &consensus, Options::default());
    for seconds in [1, -3600] {
        let host = start().await;
        host.register("a", vec![ttl("c", 1)]).await;
        host.report("c", Status::Critical, "").await;
        host.report("c", Status::Passing, "").await;
        host.stop().await;
        journal::tests::age(directory.path(), seconds);
        let host = start().await;
        assert_eq!(host.shown("c"), "passing", "{seconds}");
        host.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn to_register_a_lease_is_to_renew_it() {
    let host = Host::new().await;
    let register = async || {
        let definition = ServiceDefinition {
            name: "web".to_owned(),
            lease: Some(Duration::from_secs(10)),
            ..ServiceDefinition::default()
        };
        let kept = host.local.keep_service(definition, Source::Api, false).await.unwrap();
        host.health.begin_anew(kept.checks()).await;
        kept.push().await;
    };
    register().await;
    after(9).await;
    register().await;
    after(9).await;
    assert_eq!(host.shown("lease:web"), "passing");
    after(2).await;
    assert_eq!(host.shown("lease:web"), "critical TTL expired");
    register().await;
    host.until_told("lease:web", "passing").await;
    after(9).await;
    assert_eq!(host.shown("lease:web"), "passing");
    after(2).await;
    assert_eq!(host.shown("lease:web"), "critical TTL expired");
    host.stop().await;
}

#[tokio::test]
async fn a_check_that_looks_for_itself_is_run_and_judged() {
    let host = Host::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tcp = CheckSpec {
        id: "t".to_owned(),
        name: "t".to_owned(),
        tcp: address.clone(),
        interval: Some(Duration::from_millis(100)),
        failures_before_critical: 3,
        ..CheckSpec::default()
    };
    host.register("a", vec![tcp]).await;
    until(|| host.told("t").starts_with("passing")).await;
    drop(listener);
    until(|| host.told("t").starts_with("critical")).await;
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    until(|| host.told("t").starts_with("passing")).await;
    drop(listener);
    host.stop().await;
}

/// Were there one kind of place, the last two would never get one: those before them hang for ten minutes.
#[tokio::test]
async fn what_hangs_does_not_hold_up_the_rest() {
    let host = Host::new().await;
    let (silent, held) = (tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::<Mutex<Vec<_>>>::default());
    let hanging = |number| CheckSpec {
        id: format!("h{number}"),
        name: "h".to_owned(),
        http: format!("http://{}/", silent.local_addr().unwrap()),
        interval: Some(Duration::from_secs(1)),
        timeout: Some(Duration::from_secs(600)),
        ..CheckSpec::default()
    };
    host.register("a", (0..300).map(hanging).collect()).await;
    let here = held.clone();
    let holding = tokio::spawn(async move {
        while let Ok(connection) = silent.accept().await {
            here.lock().push(connection);
        }
    });
    let started = tempfile::tempdir().unwrap();
    let stuck = |number| CheckSpec {
        id: format!("s{number}"),
        name: "s".to_owned(),
        args: ["sh", "-c", "touch $0/$$; exec sleep 600", started.path().to_str().unwrap()].map(str::to_owned).into(),
        interval: Some(Duration::from_secs(1)),
        timeout: Some(Duration::from_secs(600)),
        ..CheckSpec::default()
    };
    host.register("b", (0..80).map(stuck).collect()).await;
    until(|| held.lock().len() >= 256 && std::fs::read_dir(started.path()).unwrap().count() >= 64).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let well = CheckSpec {
        id: "t".to_owned(),
        name: "t".to_owned(),
        tcp: listener.local_addr().unwrap().to_string(),
        interval: Some(Duration::from_millis(100)),
        ..CheckSpec::default()
    };
    let program = CheckSpec {
        id: "p".to_owned(),
        name: "p".to_owned(),
        args: vec!["true".to_owned()],
        interval: Some(Duration::from_millis(100)),
        ..CheckSpec::default()
    };
    host.register("c", vec![well, program]).await;
    until(|| host.told("t").starts_with("passing") && host.told("p").starts_with("passing")).await;
    drop(listener);
    until(|| host.told("t").starts_with("critical")).await;
    holding.abort();
    host.stop().await;
}
