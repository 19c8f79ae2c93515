//! Definitions from files. Reading and checking them is the configuration's business: the same files may be given to an
//! agent.

use std::path::PathBuf;

use usher_cluster::local::definition::ServiceDefinition;

use crate::{commands::error::CommandError, config, output::Output};

/// The services that stand in files and folders, in order; what is worth telling about them is told.
pub fn definitions(paths: &[PathBuf], out: &mut Output) -> Result<Vec<ServiceDefinition>, CommandError> {
    let (services, warnings) = config::services(paths)?;
    for warning in warnings {
        out.problem(warning.to_string());
    }
    Ok(services)
}
