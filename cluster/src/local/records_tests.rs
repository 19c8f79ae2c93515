//! Changes of the table: what is shown, kept and synchronised after each.

use std::time::Duration;

use super::*;

fn service(id: &str, name: &str, checks: &[&str]) -> ServiceDefinition {
    ServiceDefinition {
        id: id.to_owned(),
        name: name.to_owned(),
        checks: checks.iter().map(|id| check(id, "")).collect(),
        ..ServiceDefinition::default()
    }
}

fn check(id: &str, service_id: &str) -> CheckSpec {
    CheckSpec {
        id: id.to_owned(),
        name: "c".to_owned(),
        service_id: service_id.to_owned(),
        ttl: Some(Duration::from_secs(1)),
        ..CheckSpec::default()
    }
}

fn api(definition: ServiceDefinition, replace_existing_checks: bool) -> Operation {
    Operation::RegisterService { definition: Box::new(definition), source: Source::Api, replace_existing_checks }
}

fn config(definition: ServiceDefinition) -> Operation {
    Operation::RegisterService {
        definition: Box::new(definition),
        source: Source::Config,
        replace_existing_checks: false,
    }
}

fn alone(spec: CheckSpec) -> Operation {
    Operation::RegisterCheck { spec: Box::new(spec), source: Source::Api }
}

fn reload(services: Vec<ServiceDefinition>, checks: Vec<CheckSpec>, keep_api: bool) -> Operation {
    Operation::Reload { services, checks, keep_api }
}

fn gone(id: &str) -> Operation {
    Operation::DeregisterService { id: id.to_owned() }
}

fn after(operations: Vec<Operation>) -> Records {
    let mut records = Records::new("n1");
    for operation in operations {
        records.apply(operation).unwrap();
    }
    records
}

/// What is shown, as `service:check,check` and node checks as `:check`.
fn shown(records: &Records) -> Vec<String> {
    let state = records.shown();
    let checks_of = |id: &str| {
        let own = state.checks.values().filter(|check| check.service_id == id);
        own.map(|check| check.id.clone()).collect::<Vec<_>>().join(",")
    };
    let mut all: Vec<String> = state.services.keys().map(|id| format!("{id}:{}", checks_of(id))).collect();
    if !checks_of("").is_empty() {
        all.push(format!(":{}", checks_of("")));
    }
    all
}

/// Which files are written (`+`) and removed (`-`).
fn files(effect: &Effect) -> Vec<String> {
    let name = |change: &FileChange| match change {
        FileChange::WriteService(key, _) => format!("+service {key}"),
        FileChange::WriteCheck(key, _) => format!("+check {key}"),
        FileChange::RemoveService(key) => format!("-service {key}"),
        FileChange::RemoveCheck(key) => format!("-check {key}"),
    };
    effect.files.iter().map(name).collect()
}

#[test]
fn what_is_registered_is_shown_by_service() {
    let cases: [(Vec<Operation>, &[&str]); 9] = [
        (vec![api(service("a", "web", &["x", "y"]), false)], &["a:x,y"]),
        (vec![api(service("a", "web", &["x"]), false), api(service("a", "web", &["y"]), false)], &["a:x,y"]),
        (vec![api(service("a", "web", &["x"]), false), api(service("a", "web", &["y"]), true)], &["a:y"]),
        (vec![api(service("a", "web", &["x"]), false), api(service("a", "web", &[]), true)], &["a:"]),
        (vec![api(service("a", "web", &["x"]), false), gone("a")], &[]),
        (vec![api(service("a", "web", &["x"]), false), api(service("b", "web", &["x"]), false)], &["a:", "b:x"]),
        (vec![api(service("a", "web", &["x"]), false), alone(check("x", "")), gone("A")], &[":x"]),
        (vec![api(service("Web", "web", &["X"]), false), api(service("web", "web", &["x"]), false)], &["web:x"]),
        (vec![api(service("a", "web", &[]), false), alone(check("x", "A")), alone(check("n", ""))], &["a:x", ":n"]),
    ];
    for (operations, expected) in cases {
        let told = format!("{operations:?}");
        assert_eq!(shown(&after(operations)), expected, "{told}");
    }
}

#[test]
fn only_what_the_api_registered_is_kept_and_only_when_it_differs() {
    let mut records = Records::new("n1");
    let mut files_of = |operation| files(&records.apply(operation).unwrap());
    let none: [&str; 0] = [];
    assert_eq!(files_of(config(service("c", "web", &["cx"]))), none);
    assert_eq!(files_of(api(service("a", "web", &["x"]), false)), ["+service a", "+check x"]);
    assert_eq!(files_of(api(service("a", "web", &["x"]), false)), none);
    assert_eq!(files_of(api(service("a", "other", &["x"]), false)), ["+service a"]);
    assert_eq!(files_of(api(service("a", "other", &["y"]), true)), ["-check x", "+check y"]);
    assert_eq!(files_of(config(service("a", "web", &["y"]))), ["-service a", "-check y"]);
    assert_eq!(files_of(gone("a")), none);
    assert_eq!(files_of(alone(check("n", ""))), ["+check n"]);
    assert_eq!(files_of(Operation::DeregisterCheck { id: "N".to_owned() }), ["-check n"]);
}

#[test]
fn every_change_names_what_the_catalog_must_follow() {
    let mut records = Records::new("n1");
    let mut targets_of = |operation| records.apply(operation).unwrap().targets;
    assert_eq!(targets_of(api(service("A", "web", &["x"]), false)), [Target::Service("a".to_owned())]);
    assert_eq!(targets_of(alone(check("N", ""))), [Target::Check("n".to_owned())]);
    assert_eq!(targets_of(alone(check("y", "a"))), [Target::Service("a".to_owned())]);
    assert_eq!(targets_of(Operation::DeregisterCheck { id: "y".to_owned() }), [Target::Service("a".to_owned())]);
    assert_eq!(targets_of(gone("a")), [Target::Service("a".to_owned())]);
    assert_eq!(targets_of(gone("a")), []);
}

#[test]
fn a_check_of_an_unknown_service_is_refused_and_changes_nothing() {
    let mut records = after(vec![config(service("a", "web", &[]))]);
    let error = records.apply(alone(check("x", "nosuch"))).unwrap_err();
    assert_eq!(error.to_string(), "ServiceID \"nosuch\" does not exist");
    let error = records.apply(reload(vec![service("b", "web", &[])], vec![check("x", "nosuch")], true)).unwrap_err();
    assert_eq!(error.to_string(), "ServiceID \"nosuch\" does not exist");
    assert_eq!(shown(&records), ["a:"]);
}

#[test]
fn a_reload_replaces_what_files_declared() {
    let start = || {
        after(vec![
            config(service("old", "web", &["ox"])),
            config(service("both", "web", &["bx", "by"])),
            api(service("api", "web", &["ax"]), false),
            alone(check("bz", "both")),
        ])
    };
    let declared = || vec![service("both", "web", &["bx"]), service("new", "web", &[])];
    let mut kept = start();
    kept.apply(reload(declared(), vec![check("n", "")], true)).unwrap();
    assert_eq!(shown(&kept), ["api:ax", "both:bx,bz", "new:", ":n"]);
    let mut forgotten = start();
    forgotten.apply(reload(declared(), vec![], false)).unwrap();
    assert_eq!(shown(&forgotten), ["both:bx", "new:"]);
    let mut emptied = start();
    emptied.apply(reload(vec![], vec![], true)).unwrap();
    assert_eq!(shown(&emptied), ["api:ax"]);
}

#[test]
fn results_outlast_a_registration_and_a_reload() {
    let passing = |id: &str| CheckSpec { status: Some(Status::Passing), ..check(id, "") };
    let status = |records: &Records| records.check("x").unwrap().status.clone();
    let first = ServiceDefinition { checks: vec![passing("x")], ..service("a", "web", &[]) };
    let mut records = after(vec![config(first), config(service("a", "web", &["x"]))]);
    assert_eq!(status(&records), Status::Passing);
    records.apply(reload(vec![service("a", "web", &["x"])], vec![], true)).unwrap();
    assert_eq!(status(&records), Status::Passing);
}

#[test]
fn checks_show_their_service_as_it_is_now() {
    let tagged = ServiceDefinition { tags: vec!["t".to_owned()], ..service("a", "other", &[]) };
    let mut records = after(vec![api(service("a", "web", &["x"]), false), api(tagged, false)]);
    let seen = |records: &Records| {
        let check = records.shown().checks.get("x").unwrap().clone();
        (check.service_name.clone(), check.service_tags.join(","))
    };
    assert_eq!(seen(&records), ("other".to_owned(), "t".to_owned()));
    records.apply(Operation::AdoptTags { id: "a".to_owned(), tags: vec!["u".to_owned()] }).unwrap();
    assert_eq!(seen(&records), ("other".to_owned(), "u".to_owned()));
    assert_eq!(records.service("a").unwrap().tags, ["u"]);
}

#[test]
fn the_type_of_a_check_is_shown_as_consul_does() {
    let kind = |operations| after(operations).shown().checks.get("x").unwrap().kind.clone();
    assert_eq!(kind(vec![alone(check("x", ""))]), "ttl");
    assert_eq!(kind(vec![config(service("a", "web", &["x"]))]), "ttl");
    assert_eq!(kind(vec![reload(vec![], vec![check("x", "")], true)]), "");
}

#[test]
fn what_was_kept_is_restored_and_orphans_are_dropped() {
    let stored = |spec: CheckSpec| StoredCheck { spec, status: Status::Warning, output: "hm".to_owned() };
    let services = vec![StoredService { definition: service("a", "web", &[]) }];
    let checks = vec![stored(check("x", "a")), stored(check("n", "")), stored(check("O", "gone"))];
    let (records, orphans) = Records::restore("n1", services, checks);
    assert_eq!(shown(&records), ["a:x", ":n"]);
    assert_eq!(orphans, [FileChange::RemoveCheck("o".to_owned())]);
    let check = records.check("x").unwrap();
    assert_eq!((check.status.clone(), check.output.as_str()), (Status::Warning, "hm"));
}
