//! What configuration files declare now replaces what they declared before; what is the same stays as it is. Pure.

use std::collections::HashSet;

use super::{
    super::{
        build,
        build::fold,
        definition::{CheckSpec, ServiceDefinition},
    },
    Effect, LocalError, Records, Source, maintenance,
};

impl Records {
    /// Replaces what files declared before. On an error half of it may be done: it is tried on a clone.
    pub(super) fn reload(
        &mut self,
        services: &[ServiceDefinition],
        checks: Vec<CheckSpec>,
        keep_api: bool,
        effect: &mut Effect,
    ) -> Result<(), LocalError> {
        let services_now: HashSet<String> = services.iter().map(|it| fold(build::service_id(it))).collect();
        let checks_now: HashSet<String> = services
            .iter()
            .flat_map(build::checks)
            .chain(checks.iter().cloned())
            .map(|spec| fold(if spec.id.is_empty() { &spec.name } else { &spec.id }))
            .collect();
        let goes = |source: Source| source == Source::Config || !keep_api;
        let gone: Vec<String> = self
            .services
            .iter()
            .filter(|(key, kept)| goes(kept.source) && !services_now.contains(*key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.remove_service(&key, effect);
        }
        let gone: Vec<String> = self
            .checks
            .iter()
            .filter(|(key, kept)| goes(kept.source) && !checks_now.contains(*key) && !maintenance::is_one(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.remove_check(&key, effect);
        }
        for definition in services {
            self.register_service(definition, Source::Config, false, effect);
        }
        for spec in checks {
            self.register_check(spec, Source::Config, effect)?;
        }
        Ok(())
    }
}
