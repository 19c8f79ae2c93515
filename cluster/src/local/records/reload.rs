//! What configuration files declare now replaces what they declared before; what is the same stays as it is. Pure.

use std::collections::HashSet;

use super::{
    super::{
        build,
        build::fold,
        definition::{CheckSpec, ServiceDefinition},
    },
    Effect, FileChange, LocalError, Records, Source, maintenance,
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
            let name = if spec.id.is_empty() { spec.name.clone() } else { spec.id.clone() };
            let registered = self.register_check(spec, Source::Config, effect);
            registered.map_err(|error| LocalError::Invalid(format!("Failed to register check \"{name}\": {error}")))?;
        }
        self.settle(effect);
        Ok(())
    }

    /// Now all services are here that there are: checks that were kept for others are forgotten.
    fn settle(&mut self, effect: &mut Effect) {
        for waiting in std::mem::take(&mut self.waiting) {
            let key = fold(&waiting.stored.spec.id);
            // Its file is as it was.
            let mut put = Effect::default();
            // What a file declares goes before what was kept under its name.
            if self.checks.contains_key(&key) || !self.put_stored(&waiting, &mut put) {
                effect.files.push(FileChange::RemoveCheck(key));
            }
            effect.targets.append(&mut put.targets);
        }
    }
}
