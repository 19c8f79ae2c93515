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
    assert_eq!(error.to_string(), "Failed to register check \"x\": ServiceID \"nosuch\" does not exist");
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
fn what_was_kept_is_restored_and_orphans_are_dropped_once_the_files_are_read() {
    let stored = |spec: CheckSpec| StoredCheck { spec, status: Status::Warning, output: "hm".to_owned() };
    let services = vec![StoredService { definition: service("a", "web", &[]) }];
    let of_file = ["extra", "both", "_service_maintenance:filed"].map(|id| stored(check(id, "filed")));
    let mut checks = vec![stored(check("x", "a")), stored(check("n", "")), stored(check("O", "gone"))];
    checks.extend(of_file);
    let mut records = Records::restore("n1", services, checks, ScriptPolicy::default());
    assert_eq!(shown(&records), ["a:x", ":n"]);
    let effect = records.apply(reload(vec![service("filed", "web", &["own", "both"])], vec![], true)).unwrap();
    assert_eq!(files(&effect), ["-check o", "-check both"]);
    assert_eq!(shown(&records), ["a:x", "filed:_service_maintenance:filed,both,extra,own", ":n"]);
    let check = records.check("extra").unwrap();
    assert_eq!((check.status.clone(), check.output.as_str()), (Status::Warning, "hm"));
    let effect = records.apply(reload(vec![service("filed", "web", &["own", "both"])], vec![], true)).unwrap();
    assert_eq!(files(&effect), [""; 0]);
    let check = records.check("x").unwrap();
    assert_eq!((check.status.clone(), check.output.as_str()), (Status::Warning, "hm"));
}

#[test]
fn programs_that_may_no_longer_be_run_are_not() {
    let spec = CheckSpec { args: vec!["true".to_owned()], ..check("x", "a") };
    let restored = |from_api| {
        let stored = StoredCheck { spec: spec.clone(), status: Status::Passing, output: String::new() };
        let services = vec![StoredService { definition: service("a", "web", &[]) }];
        let scripts = ScriptPolicy { from_config: true, from_api };
        Records::restore("n1", services, vec![stored], scripts)
    };
    assert!(restored(true).specs().contains_key("x"));
    let records = restored(false);
    assert!(!records.specs().contains_key("x"), "nobody runs it");
    let check = records.check("x").unwrap();
    assert_eq!(check.status, Status::Critical);
    assert!(check.output.starts_with("Scripts are disabled on this agent from remote calls"), "{}", check.output);
}

fn maintain(service_id: Option<&str>, enable: bool, reason: &str) -> Operation {
    let (service_id, reason) = (service_id.map(str::to_owned), reason.to_owned());
    Operation::SetMaintenance { service_id, enable, reason, token: String::new() }
}

#[test]
fn maintenance_is_a_check_that_lasts_until_it_is_ended() {
    let mut records = after(vec![config(service("Web", "web", &["x"])), maintain(Some("WEB"), true, "upgrade")]);
    let id = "_service_maintenance:Web";
    let seen = |records: &Records| {
        let check = records.shown().checks.get(id).unwrap();
        [&check.name, &check.notes, check.status.as_str(), &check.kind, &check.service_name].map(str::to_owned)
    };
    let expected = ["Service Maintenance Mode", "upgrade", "critical", "maintenance", "web"];
    assert_eq!(seen(&records), expected);
    let effect = records.apply(maintain(Some("web"), true, "again")).unwrap();
    assert_eq!((files(&effect), seen(&records)[1].as_str()), (vec![], "upgrade"), "being there it keeps its reason");
    records.apply(reload(vec![service("Web", "web", &["y"])], vec![], false)).unwrap();
    records.apply(api(service("Web", "web", &["z"]), true)).unwrap();
    assert_eq!(shown(&records), ["Web:_service_maintenance:Web,z"]);
    assert_eq!(seen(&records), expected);
    let effect = records.apply(maintain(Some("web"), false, "")).unwrap();
    assert_eq!(files(&effect), ["-check _service_maintenance:web"]);
    assert_eq!(effect.targets, [Target::Service("web".to_owned())]);
    assert_eq!(files(&records.apply(maintain(Some("web"), false, "")).unwrap()), [""; 0]);
    assert_eq!(shown(&records), ["Web:z"]);
}

#[test]
fn maintenance_goes_with_its_service_and_is_restored() {
    let mut records = after(vec![api(service("a", "web", &[]), false), maintain(Some("a"), true, "")]);
    let effect = records.apply(maintain(None, true, "")).unwrap();
    let Some(FileChange::WriteCheck(_, stored)) = effect.files.first() else { panic!("{effect:?}") };
    let restored = Records::restore("n1", vec![], vec![(**stored).clone()], ScriptPolicy::default());
    for records in [&records, &restored] {
        let check = records.shown().checks.get("_node_maintenance").unwrap();
        assert_eq!((check.name.as_str(), check.kind.as_str()), ("Node Maintenance Mode", "maintenance"));
        assert!(check.notes.starts_with("Maintenance mode is enabled for this node, but no reason"), "{}", check.notes);
    }
    records.apply(gone("a")).unwrap();
    assert_eq!(shown(&records), [":_node_maintenance"]);
    let refused = records.apply(maintain(Some("a"), true, "")).unwrap_err();
    assert_eq!(refused.to_string(), "No service registered with ID \"a\"");
}

fn result(records: &Records, key: &str, status: Status, output: &str) -> (String, CheckResult) {
    let spec = records.specs().get(key).unwrap().clone();
    (key.to_owned(), CheckResult { spec, status, output: output.to_owned() })
}

#[test]
fn results_change_no_definition_and_changes_of_others_disturb_none() {
    let mut records = after(vec![api(service("a", "web", &["x", "y"]), false)]);
    let before = records.specs().clone();
    let noted = records
        .set_results([result(&records, "x", Status::Passing, "fine"), result(&records, "y", Status::Critical, "bad")]);
    let noted: Vec<_> = noted.iter().map(|noted| (noted.key.as_str(), noted.status)).collect();
    assert_eq!(noted, [("x", true), ("y", false)]);
    assert!(records.specs().ptr_eq(&before));
    assert_eq!(records.shown().checks.get("x").unwrap().output, "fine");
    records.apply(api(service("a", "web", &["x", "y"]), false)).unwrap();
    assert!(records.specs().ptr_eq(&before), "the same again is the same");
    records.apply(api(service("a", "other", &["x", "z"]), true)).unwrap();
    let (old, new) = (before.get("x").unwrap(), records.specs().get("x").unwrap());
    assert!(Arc::ptr_eq(old, new), "whatever else changes");
    assert_eq!(records.specs().keys().collect::<Vec<_>>(), ["x", "z"]);
    assert_eq!(records.check("x").unwrap().status, Status::Passing);
}

#[test]
fn a_result_of_another_definition_counts_no_more() {
    let mut records = after(vec![api(service("a", "web", &["x"]), false)]);
    let late = result(&records, "x", Status::Passing, "");
    let slower = CheckSpec { ttl: Some(Duration::from_secs(9)), ..check("x", "a") };
    records.apply(alone(slower)).unwrap();
    assert_eq!(records.set_results([late.clone()]), []);
    records.apply(gone("a")).unwrap();
    assert_eq!(records.set_results([late]), []);
}

#[test]
fn only_what_is_critical_still_takes_its_service_with_it() {
    let mut records = after(vec![api(service("a", "web", &["x"]), false), alone(check("n", ""))]);
    let reap = |records: &mut Records, key: &str| {
        let spec = records.specs().get(key).unwrap().clone();
        records.apply(Operation::Reap { check: key.to_owned(), spec }).unwrap().known
    };
    let passing = result(&records, "x", Status::Passing, "");
    records.set_results([passing]);
    assert!(!reap(&mut records, "x"));
    assert!(!reap(&mut records, "n"), "a check of the node takes nothing with it");
    let critical = result(&records, "x", Status::Critical, "");
    records.set_results([critical]);
    assert!(reap(&mut records, "x"));
    assert_eq!(shown(&records), [":n"]);
}
