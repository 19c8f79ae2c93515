//! The table of this agent's registrations, and what each change of it means for the files and for the catalog. Pure.
//!
//! ```text
//!   Operation ─► Records::apply ─► Effect { files to write or remove, targets to synchronise }
//! ```
//!
//! A clone shares everything, so that a change can be tried on a clone, made durable, and only then published.
//! Ids are compared without regard to ASCII case, as in the catalog, and shown as they were given.

mod maintenance;
mod reload;
mod results;

use std::{collections::HashSet, sync::Arc};

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    maintenance::NODE as MAINTENANCE_OF_NODE,
    results::{CheckResult, Noted},
};
use super::{
    LocalError, LocalState, Source, build,
    build::fold,
    definition::{CheckSpec, ServiceDefinition},
    validate::{self, ScriptPolicy},
};
use crate::catalog::model::{Check, Service, Status};

/// Which checks there are, by their folded ids: what is to be run, without results.
pub(crate) type Specs = OrdMap<String, Arc<CheckSpec>>;

/// What is synchronised with the catalog in one step: its id is folded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// The node's own facts.
    Node,
    /// A service with its checks.
    Service(String),
    /// A check of the node.
    Check(String),
}

/// A service as its file keeps it. Its checks have files of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredService {
    pub(crate) definition: ServiceDefinition,
}

/// A check as its file keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredCheck {
    pub(crate) spec: CheckSpec,
    /// The result it had when it was registered.
    pub(crate) status: Status,
    pub(crate) output: String,
}

/// A change of a file, by the folded id of what it keeps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FileChange {
    WriteService(String, Box<StoredService>),
    WriteCheck(String, Box<StoredCheck>),
    RemoveService(String),
    RemoveCheck(String),
}

/// A change of the table.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    RegisterService {
        definition: Box<ServiceDefinition>,
        source: Source,
        replace_existing_checks: bool,
    },
    RegisterCheck {
        spec: Box<CheckSpec>,
        source: Source,
    },
    DeregisterService {
        id: String,
    },
    DeregisterCheck {
        id: String,
    },
    /// Another writer's tags of a service that allows it.
    AdoptTags {
        id: String,
        tags: Vec<String>,
    },
    /// A service, or the node, goes into maintenance or comes out of it.
    SetMaintenance {
        service_id: Option<String>,
        enable: bool,
        reason: String,
        token: String,
    },
    /// A service whose check has been critical for too long is removed, if that is still so.
    Reap {
        check: String,
        spec: Arc<CheckSpec>,
    },
    /// What configuration files declare now. `keep_api` is whether registrations by the API outlast it.
    Reload {
        services: Vec<ServiceDefinition>,
        checks: Vec<CheckSpec>,
        keep_api: bool,
    },
}

/// What a change comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Effect {
    /// Whether what was named was there; registrations are always.
    pub(crate) known: bool,
    pub(crate) files: Vec<FileChange>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Clone, Debug)]
struct KeptService {
    source: Source,
    token: String,
    service: Arc<Service>,
    /// Folded ids of its checks.
    checks: Vec<String>,
}

#[derive(Clone, Debug)]
struct KeptCheck {
    source: Source,
    spec: Arc<CheckSpec>,
    check: Arc<Check>,
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    node: Arc<str>,
    services: OrdMap<String, KeptService>,
    checks: OrdMap<String, KeptCheck>,
    /// The definitions of `checks` again, so that who runs them sees at once that a result changed none.
    specs: Specs,
    /// Checks that were kept and whose services are not here yet; none after the files were read.
    waiting: Vec<Waiting>,
    shown: Arc<LocalState>,
}

/// A check as it was kept, and whether it may be run.
#[derive(Clone, Debug)]
struct Waiting {
    stored: StoredCheck,
    runs: bool,
}

impl Records {
    /// An empty table of the node `node`.
    pub(crate) fn new(node: &str) -> Self {
        Self {
            node: Arc::from(node),
            services: OrdMap::new(),
            checks: OrdMap::new(),
            specs: OrdMap::new(),
            waiting: Vec::new(),
            shown: Arc::default(),
        }
    }

    /// What was kept. Programs of checks that were allowed once are not run where they no longer are: such a check is
    /// critical and says why. Checks of services that are not among these wait for the files to declare them.
    pub(crate) fn restore(
        node: &str,
        services: Vec<StoredService>,
        checks: Vec<StoredCheck>,
        scripts: ScriptPolicy,
    ) -> Self {
        let mut records = Self::new(node);
        for StoredService { definition } in services {
            records.put_service(&definition, Source::Api, &mut Effect::default());
        }
        for mut stored in checks {
            let refusal = validate::may_run(&stored.spec, Source::Api, scripts).err();
            if let Some(reason) = &refusal {
                tracing::warn!(target: "agent", "Check is not run: check={} error={reason}", stored.spec.id);
                (stored.status, stored.output) = (Status::Critical, reason.to_string());
            }
            let kept = Waiting { stored, runs: refusal.is_none() };
            if !records.put_stored(&kept, &mut Effect::default()) {
                records.waiting.push(kept);
            }
        }
        records
    }

    /// Puts back a check that was kept; `false`: its service is not here.
    fn put_stored(&mut self, Waiting { stored, runs }: &Waiting, effect: &mut Effect) -> bool {
        let result = Check { status: stored.status.clone(), output: stored.output.clone(), ..Check::default() };
        let put = self.put_check(stored.spec.clone(), Source::Api, Some(&result), effect);
        if put && !runs {
            self.specs.remove(&fold(&stored.spec.id));
        }
        put
    }

    /// What readers see.
    pub(crate) fn shown(&self) -> &Arc<LocalState> {
        &self.shown
    }

    /// Makes one change. On an error nothing has changed.
    pub(crate) fn apply(&mut self, operation: Operation) -> Result<Effect, LocalError> {
        let mut effect = Effect { known: true, ..Effect::default() };
        match operation {
            Operation::RegisterService { definition, source, replace_existing_checks } => {
                self.register_service(&definition, source, replace_existing_checks, &mut effect);
            }
            Operation::RegisterCheck { spec, source } => self.register_check(*spec, source, &mut effect)?,
            Operation::DeregisterService { id } => effect.known = self.remove_service(&fold(&id), &mut effect),
            Operation::DeregisterCheck { id } => effect.known = self.remove_check(&fold(&id), &mut effect),
            Operation::AdoptTags { id, tags } => effect.known = self.adopt_tags(&fold(&id), tags),
            Operation::SetMaintenance { service_id, enable, reason, token } => {
                self.set_maintenance(service_id.as_deref(), enable, &reason, &token, &mut effect)?;
            }
            Operation::Reap { check, spec } => effect.known = self.reap(&check, &spec, &mut effect),
            Operation::Reload { services, checks, keep_api } => {
                let mut next = self.clone();
                next.reload(&services, checks, keep_api, &mut effect)?;
                *self = next;
            }
        }
        effect.targets.sort_unstable();
        effect.targets.dedup();
        Ok(effect)
    }

    /// Which checks there are.
    pub(crate) fn specs(&self) -> &Specs {
        &self.specs
    }

    /// A service by its folded id.
    pub(crate) fn service(&self, key: &str) -> Option<&Arc<Service>> {
        self.services.get(key).map(|kept| &kept.service)
    }

    /// The checks of a service by its folded id.
    pub(crate) fn checks_of(&self, key: &str) -> impl Iterator<Item = &Arc<Check>> {
        let keys = self.services.get(key).map(|kept| kept.checks.as_slice()).unwrap_or_default();
        keys.iter().filter_map(|key| self.check(key))
    }

    /// A check by its folded id.
    pub(crate) fn check(&self, key: &str) -> Option<&Arc<Check>> {
        self.checks.get(key).map(|kept| &kept.check)
    }

    /// Folded ids of all services.
    pub(crate) fn service_keys(&self) -> impl Iterator<Item = &String> {
        self.services.keys()
    }

    /// Folded ids of the checks of the node itself.
    pub(crate) fn node_check_keys(&self) -> impl Iterator<Item = &String> {
        self.checks.iter().filter(|(_, kept)| kept.check.service_id.is_empty()).map(|(key, _)| key)
    }

    /// The checks of the node itself.
    pub(crate) fn node_checks(&self) -> Vec<Arc<Check>> {
        let checks = self.checks.values().map(|kept| &kept.check);
        checks.filter(|check| check.service_id.is_empty()).cloned().collect()
    }

    /// Where a check is synchronised: with its service, or alone.
    pub(crate) fn target_of_check(&self, key: &str) -> Option<Target> {
        self.check(key).map(|check| target_of(check))
    }

    fn register_service(&mut self, definition: &ServiceDefinition, source: Source, replace: bool, effect: &mut Effect) {
        let key = self.put_service(definition, source, effect);
        let specs = build::checks(definition);
        if replace {
            let named: HashSet<String> = specs.iter().map(|spec| fold(&spec.id)).collect();
            let old = self.services.get(&key).map(|kept| kept.checks.clone()).unwrap_or_default();
            for check in old.iter().filter(|check| !named.contains(*check) && !maintenance::is_one(check)) {
                self.remove_check(check, effect);
            }
        }
        for spec in specs {
            self.put_check(spec, source, None, effect);
        }
    }

    fn register_check(&mut self, mut spec: CheckSpec, source: Source, effect: &mut Effect) -> Result<(), LocalError> {
        if spec.id.is_empty() {
            spec.id.clone_from(&spec.name);
        }
        let service_id = spec.service_id.clone();
        if self.put_check(spec, source, None, effect) { Ok(()) } else { Err(LocalError::UnknownService(service_id)) }
    }

    /// Adds or replaces a service without its checks; says its folded id.
    fn put_service(&mut self, definition: &ServiceDefinition, source: Source, effect: &mut Effect) -> String {
        let service = Arc::new(build::service(definition));
        let key = fold(&service.id);
        let old = self.services.get(&key).cloned();
        let unchanged = old
            .as_ref()
            .is_some_and(|old| old.source == source && old.token == definition.token && *old.service == *service);
        effect.targets.push(Target::Service(key.clone()));
        if unchanged {
            return key;
        }
        if source == Source::Api {
            let definition = ServiceDefinition { checks: Vec::new(), ..definition.clone() };
            effect.files.push(FileChange::WriteService(key.clone(), Box::new(StoredService { definition })));
        } else if old.as_ref().is_some_and(|old| old.source == Source::Api) {
            effect.files.push(FileChange::RemoveService(key.clone()));
        }
        let shown = Arc::make_mut(&mut self.shown);
        if let Some(old) = &old {
            shown.services.remove(&old.service.id);
        }
        shown.services.insert(service.id.clone(), service.clone());
        let checks = old.map(|old| old.checks).unwrap_or_default();
        self.services.insert(key.clone(), KeptService { source, token: definition.token.clone(), service, checks });
        self.refresh_checks_of(&key);
        key
    }

    /// Adds or replaces a check. A result known before outlasts the change. `false`: its service is not here.
    fn put_check(&mut self, mut spec: CheckSpec, source: Source, result: Option<&Check>, effect: &mut Effect) -> bool {
        let key = fold(&spec.id);
        let service_key = fold(&spec.service_id);
        let service = self.services.get(&service_key).map(|kept| kept.service.clone());
        if service.is_none() && !spec.service_id.is_empty() {
            return false;
        }
        if let Some(service) = &service {
            spec.service_id.clone_from(&service.id);
        }
        let old = self.checks.get(&key).cloned();
        // Consul shows no type for a check that stands alone in a configuration file.
        let kind = match spec.kind() {
            _ if source == Source::Config && service.is_none() => "",
            "" if maintenance::is_one(&key) => maintenance::KIND,
            kind => kind,
        };
        let spec = Arc::new(spec);
        // The same definition stays the same one, so that nobody who follows it is disturbed.
        let spec = old.as_ref().map(|old| &old.spec).filter(|old| **old == spec).cloned().unwrap_or(spec);
        let prior = result.or(old.as_ref().map(|old| old.check.as_ref()));
        let check = Arc::new(build::check(&self.node, &spec, kind, service.as_deref(), prior));
        effect.targets.push(target_of(&check));
        if old.as_ref().is_some_and(|old| old.source == source && Arc::ptr_eq(&old.spec, &spec) && *old.check == *check)
        {
            return true;
        }
        self.note_check_file(&key, &spec, source, &check, old.as_ref(), effect);
        if let Some(old) = &old {
            self.unlink_check(&key, old);
        }
        if let Some(kept) = self.services.get_mut(&service_key).filter(|_| service.is_some()) {
            kept.checks.push(key.clone());
        }
        Arc::make_mut(&mut self.shown).checks.insert(check.id.clone(), check.clone());
        if !self.specs.get(&key).is_some_and(|known| Arc::ptr_eq(known, &spec)) {
            self.specs.insert(key.clone(), spec.clone());
        }
        self.checks.insert(key, KeptCheck { source, spec, check });
        true
    }

    fn note_check_file(
        &self,
        key: &str,
        spec: &CheckSpec,
        source: Source,
        check: &Check,
        old: Option<&KeptCheck>,
        effect: &mut Effect,
    ) {
        if source == Source::Api {
            let stored = StoredCheck { spec: spec.clone(), status: check.status.clone(), output: check.output.clone() };
            effect.files.push(FileChange::WriteCheck(key.to_owned(), Box::new(stored)));
        } else if old.is_some_and(|old| old.source == Source::Api) {
            effect.files.push(FileChange::RemoveCheck(key.to_owned()));
        }
    }

    fn remove_service(&mut self, key: &str, effect: &mut Effect) -> bool {
        let Some(kept) = self.services.get(key).cloned() else {
            return false;
        };
        effect.targets.push(Target::Service(key.to_owned()));
        if kept.source == Source::Api {
            effect.files.push(FileChange::RemoveService(key.to_owned()));
        }
        for check in &kept.checks {
            self.remove_check(check, effect);
        }
        self.services.remove(key);
        Arc::make_mut(&mut self.shown).services.remove(&kept.service.id);
        true
    }

    fn remove_check(&mut self, key: &str, effect: &mut Effect) -> bool {
        let Some(kept) = self.checks.get(key).cloned() else {
            return false;
        };
        effect.targets.push(target_of(&kept.check));
        if kept.source == Source::Api {
            effect.files.push(FileChange::RemoveCheck(key.to_owned()));
        }
        self.unlink_check(key, &kept);
        self.checks.remove(key);
        self.specs.remove(key);
        true
    }

    /// Takes a check out of its service's list and out of what is shown.
    fn unlink_check(&mut self, key: &str, kept: &KeptCheck) {
        if let Some(service) = self.services.get_mut(&fold(&kept.check.service_id)) {
            service.checks.retain(|check| check != key);
        }
        Arc::make_mut(&mut self.shown).checks.remove(&kept.check.id);
    }

    fn adopt_tags(&mut self, key: &str, tags: Vec<String>) -> bool {
        let Some(kept) = self.services.get_mut(key) else {
            return false;
        };
        let service = Arc::new(Service { tags, ..(*kept.service).clone() });
        kept.service = service.clone();
        Arc::make_mut(&mut self.shown).services.insert(service.id.clone(), service);
        self.refresh_checks_of(key);
        true
    }

    /// Shows the service's name and tags in its checks.
    fn refresh_checks_of(&mut self, key: &str) {
        let Some(kept) = self.services.get(key).cloned() else {
            return;
        };
        for check_key in &kept.checks {
            let Some(kept_check) = self.checks.get_mut(check_key) else { continue };
            let mut check = (*kept_check.check).clone();
            check.service_id.clone_from(&kept.service.id);
            check.service_name.clone_from(&kept.service.name);
            check.service_tags.clone_from(&kept.service.tags);
            kept_check.check = Arc::new(check);
            let check = kept_check.check.clone();
            Arc::make_mut(&mut self.shown).checks.insert(check.id.clone(), check);
        }
    }
}

fn target_of(check: &Check) -> Target {
    if check.service_id.is_empty() { Target::Check(fold(&check.id)) } else { Target::Service(fold(&check.service_id)) }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
