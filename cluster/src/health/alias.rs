//! Checks that follow others: those of a service or node. Here what is seen becomes an outcome. Pure.
//!
//! A check that follows checks which follow others looks through them at what they all rest on, each once: so that a
//! circle settles, and nobody repeats what somebody says of somebody.

use std::{collections::BTreeSet, sync::Arc};

use super::Outcome;
use crate::{
    catalog::{
        NodeEntry,
        model::{Check, Status},
    },
    local::{Records, definition::CheckSpec, fold},
};

/// The kind of check that follows others.
pub(super) const KIND: &str = "alias";

/// Whether a check follows what is registered on the agent of the node `own` itself.
pub(super) fn is_local(spec: &CheckSpec, own: &str) -> bool {
    spec.alias_node.is_empty() || spec.alias_node.eq_ignore_ascii_case(own)
}

/// What a check of this agent is that follows others here. `key` is its folded id, `own` the node's name, `node` are the
/// checks of the node as a whole, which concern every service.
pub(super) fn local(table: &Records, node: &[Arc<Check>], key: &str, spec: &CheckSpec, own: &str) -> Outcome {
    let mut looked = Looked {
        table,
        own,
        seen: BTreeSet::from([key.to_owned()]),
        services: BTreeSet::new(),
        worst: Worst::default(),
    };
    looked.follow(spec);
    node.iter().for_each(|check| looked.look(check));
    looked.worst.outcome()
}

/// What a check is that follows what is on another node; `entry` is what the catalog has of it.
pub(super) fn remote(entry: Option<&NodeEntry>, spec: &CheckSpec) -> Outcome {
    let Some(entry) = entry else {
        return Outcome::new(Status::Critical, format!("Node {} could not be found", spec.alias_node));
    };
    let service = spec.alias_service.as_str();
    if !service.is_empty() && entry.service(service).is_none() {
        return missing(service, &entry.node.name);
    }
    let mut worst = Worst::default();
    entry.checks_of("").for_each(|check| worst.add(check));
    if !service.is_empty() {
        entry.checks_of(service).for_each(|check| worst.add(check));
    }
    worst.outcome()
}

fn missing(service: &str, node: &str) -> Outcome {
    Outcome::new(Status::Critical, format!("Service {service} could not be found on node {node}"))
}

/// A walk over this agent's checks.
struct Looked<'a> {
    table: &'a Records,
    own: &'a str,
    /// Folded ids of checks and of services that were looked at.
    seen: BTreeSet<String>,
    services: BTreeSet<String>,
    worst: Worst,
}

impl Looked<'_> {
    /// Looks at what a check follows. Each service is gone through once: what is left to do grows less with every step.
    fn follow(&mut self, spec: &CheckSpec) {
        let id = spec.alias_service.as_str();
        if id.is_empty() || !self.services.insert(fold(id)) {
            return;
        }
        let key = fold(id);
        if self.table.service(&key).is_none() {
            let Outcome { status, output, .. } = missing(id, self.own);
            return self.worst.take(status, output);
        }
        let checks: Vec<Arc<Check>> = self.table.checks_of(&key).cloned().collect();
        checks.iter().for_each(|check| self.look(check));
    }

    fn look(&mut self, check: &Check) {
        let key = fold(&check.id);
        let table = self.table;
        if !self.seen.insert(key.clone()) {
            return;
        }
        match table.specs().get(&key).filter(|spec| spec.kind() == KIND && is_local(spec, self.own)) {
            Some(spec) => self.follow(spec),
            None => self.worst.add(check),
        }
    }
}

/// The worst of what was seen, and the first of that kind.
#[derive(Default)]
struct Worst {
    any: bool,
    found: Option<(Status, String)>,
}

impl Worst {
    fn add(&mut self, check: &Check) {
        self.any = true;
        if matches!(check.status, Status::Critical | Status::Warning) {
            // What follows others says already whom.
            let output = match check.kind.as_str() {
                KIND => check.output.clone(),
                _ => format!("Aliased check {:?} failing: {}", check.name, check.output),
            };
            self.take(check.status.clone(), output);
        }
    }

    fn take(&mut self, status: Status, output: String) {
        self.any = true;
        let is_worse = match &self.found {
            None => true,
            Some((known, _)) => *known == Status::Warning && status == Status::Critical,
        };
        if is_worse {
            self.found = Some((status, output));
        }
    }

    fn outcome(self) -> Outcome {
        match self.found {
            Some((status, output)) => Outcome::new(status, output),
            None if self.any => Outcome::new(Status::Passing, "All checks passing.".to_owned()),
            None => Outcome::new(Status::Passing, "No checks found.".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        catalog::model::{Node, Service},
        local::{
            Source,
            definition::ServiceDefinition,
            records::{CheckResult, Operation},
        },
    };

    fn ttl(id: &str) -> CheckSpec {
        CheckSpec {
            id: id.to_owned(),
            name: id.to_uppercase(),
            ttl: Some(Duration::from_secs(1)),
            status: Some(Status::Passing),
            ..CheckSpec::default()
        }
    }

    fn alias(id: &str, service: &str) -> CheckSpec {
        CheckSpec {
            id: id.to_owned(),
            name: id.to_uppercase(),
            alias_service: service.to_owned(),
            ..CheckSpec::default()
        }
    }

    fn table(services: &[(&str, &[CheckSpec])], node: &[CheckSpec]) -> Records {
        let mut records = Records::new("n1");
        for (id, checks) in services {
            let definition = ServiceDefinition {
                id: (*id).to_owned(),
                name: "s".to_owned(),
                checks: checks.to_vec(),
                ..ServiceDefinition::default()
            };
            let definition = Box::new(definition);
            let operation =
                Operation::RegisterService { definition, source: Source::Api, replace_existing_checks: false };
            records.apply(operation).unwrap();
        }
        for spec in node {
            records.apply(Operation::RegisterCheck { spec: Box::new(spec.clone()), source: Source::Api }).unwrap();
        }
        records
    }

    fn set(records: &mut Records, key: &str, status: Status, output: &str) {
        let spec = records.specs().get(key).unwrap().clone();
        records.set_results([(key.to_owned(), CheckResult { spec, status, output: output.to_owned() })]);
    }

    fn shown(records: &Records, key: &str) -> String {
        let node = records.node_checks();
        let Outcome { status, output, .. } = local(records, &node, key, records.specs().get(key).unwrap(), "n1");
        format!("{}: {output}", status.as_str())
    }

    #[test]
    fn the_worst_of_what_is_followed_counts() {
        let mut records =
            table(&[("web", &[ttl("a"), ttl("b")]), ("x", &[alias("f", "WEB")]), ("e", &[alias("g", "none")])], &[]);
        assert_eq!(shown(&records, "f"), "passing: All checks passing.");
        assert_eq!(shown(&records, "g"), "critical: Service none could not be found on node n1");
        set(&mut records, "a", Status::Warning, "hm");
        assert_eq!(shown(&records, "f"), "warning: Aliased check \"A\" failing: hm");
        set(&mut records, "b", Status::Critical, "bad");
        assert_eq!(shown(&records, "f"), "critical: Aliased check \"B\" failing: bad");
        let empty = table(&[("web", &[]), ("x", &[alias("f", "web")])], &[]);
        assert_eq!(shown(&empty, "f"), "passing: No checks found.");
    }

    #[test]
    fn the_nodes_checks_count_but_not_the_check_itself() {
        let mut records = table(&[("web", &[ttl("a")])], &[alias("f", "web"), ttl("n")]);
        assert_eq!(shown(&records, "f"), "passing: All checks passing.");
        set(&mut records, "n", Status::Critical, "down");
        assert_eq!(shown(&records, "f"), "critical: Aliased check \"N\" failing: down");
    }

    #[test]
    fn circles_rest_on_what_they_all_rest_on() {
        let services: [(&str, &[CheckSpec]); 3] =
            [("a", &[alias("fb", "b")]), ("b", &[alias("fc", "c")]), ("c", &[alias("fa", "a"), ttl("t")])];
        let mut records = table(&services, &[]);
        for key in ["fa", "fb", "fc"] {
            assert_eq!(shown(&records, key), "passing: All checks passing.", "{key}");
        }
        set(&mut records, "t", Status::Critical, "bad");
        for key in ["fa", "fb", "fc"] {
            assert_eq!(shown(&records, key), "critical: Aliased check \"T\" failing: bad", "{key}");
        }
        let own = table(&[("a", &[alias("f", "a")])], &[]);
        assert_eq!(shown(&own, "f"), "passing: No checks found.");
    }

    #[test]
    fn another_node_is_followed_through_the_catalog() {
        let check = |id: &str, service_id: &str, status: Status, kind: &str| {
            let (id, service_id, kind) = (id.to_owned(), service_id.to_owned(), kind.to_owned());
            Arc::new(Check {
                name: id.clone(),
                id,
                service_id,
                status,
                kind,
                output: "o".to_owned(),
                ..Check::default()
            })
        };
        let node = Arc::new(Node { name: "n2".to_owned(), ..Node::default() });
        let web = Arc::new(Service { id: "web".to_owned(), name: "web".to_owned(), ..Service::default() });
        let entry = |checks: Vec<Arc<Check>>| NodeEntry::new(node.clone(), [web.clone()], checks);
        let follow = |service: &str, entry: Option<&NodeEntry>| {
            let Outcome { status, output, .. } =
                remote(entry, &CheckSpec { alias_node: "n2".to_owned(), ..alias("f", service) });
            format!("{}: {output}", status.as_str())
        };
        assert_eq!(follow("web", None), "critical: Node n2 could not be found");
        assert_eq!(follow("db", Some(&entry(vec![]))), "critical: Service db could not be found on node n2");
        let well = entry(vec![check("serfHealth", "", Status::Passing, "")]);
        assert_eq!(follow("web", Some(&well)), "passing: All checks passing.");
        let ill = entry(vec![check("c", "web", Status::Critical, "ttl"), check("o", "other", Status::Critical, "")]);
        assert_eq!(follow("WEB", Some(&ill)), "critical: Aliased check \"c\" failing: o");
        assert_eq!(follow("", Some(&ill)), "passing: No checks found.");
        let chain = entry(vec![check("c", "web", Status::Critical, KIND)]);
        assert_eq!(follow("web", Some(&chain)), "critical: o");
    }
}
