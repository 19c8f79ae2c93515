//! One test a rule.

use super::*;

#[test]
fn a_registration_is_seen_by_every_query() {
    let mut log = Log::default();
    log.register(
        node("n1", "10.0.0.1").service("w1", "web", &["a"]).check("up", "", "passing").check("c", "w1", "warning"),
    );
    let state = &log.state;
    assert_eq!(state.nodes().value.len(), 1);
    assert_eq!(state.services(&[]).value, [("web".into(), vec!["a".to_owned()])]);
    let web = state.service("WEB").value.expect("web");
    let instance = &web.instances[0];
    assert_eq!(instance.checks.iter().map(|check| &*check.id).collect::<Vec<_>>(), ["up", "c"]);
    assert_eq!(instance.status, Status::Warning);
    assert_eq!((web.answerable().len(), web.passing().len()), (1, 0));
    assert_eq!(state.service_checks("web").value.len(), 1);
    assert_eq!(state.node_checks("N1").value.len(), 2);
    assert_eq!(state.checks_in_state(Some(&Status::Warning)).value.len(), 1);
}
