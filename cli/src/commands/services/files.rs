//! Definitions from files. Reading and checking them is the configuration's business: the same files may be given to an
//! agent.

use std::{path::PathBuf, slice};

use usher_cluster::local::definition::ServiceDefinition;

use crate::{commands::error::CommandError, config, output::Output};

/// The services that stand in files and folders, in order; what is worth telling about them is told.
pub fn definitions(paths: &[PathBuf], out: &mut Output) -> Result<Vec<ServiceDefinition>, CommandError> {
    read(paths, true, out)
}

/// Their ids alone: to remove a service no more is needed.
pub fn ids(paths: &[PathBuf], out: &mut Output) -> Result<Vec<String>, CommandError> {
    let services = read(paths, false, out)?;
    Ok(services.into_iter().map(|service| if service.id.is_empty() { service.name } else { service.id }).collect())
}

fn read(paths: &[PathBuf], to_register: bool, out: &mut Output) -> Result<Vec<ServiceDefinition>, CommandError> {
    let mut all = Vec::new();
    for path in paths {
        let (services, warnings) = config::services(slice::from_ref(path), to_register)?;
        for warning in warnings {
            out.problem(warning.to_string());
        }
        all.extend(services);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use super::*;
    use crate::commands::services::body::registration;

    fn read(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            paths.push(path);
        }
        let mut out = Output::new(io::sink(), io::sink());
        let prefix = format!("{}/", folder.path().display());
        match definitions(&paths, &mut out) {
            Ok(services) => Ok(services.iter().map(|service| registration(service).to_string()).collect()),
            Err(error) => Err(error.to_string().replace(&prefix, "")),
        }
    }

    #[test]
    fn several_services_of_several_files() {
        let many = r#"{"services": [{"name": "m1", "port": 1}, {"name": "m2"}], "service": {"name": "m3"}}"#;
        let hcl = "service {\n  name = \"hcl\"\n  checks = [{ttl = \"1h\"}]\n}\ndata_dir = \"x\"\n";
        let read = read(&[("many.json", many), ("svc.hcl", hcl)]).unwrap();
        // Whether default weights are told is the reader's choice.
        let read: Vec<String> =
            read.iter().map(|body| body.replace(r#","Weights":{"Passing":1,"Warning":1}"#, "")).collect();
        let expected = [
            r#"{"Name":"m1","Port":1}"#,
            r#"{"Name":"m2"}"#,
            r#"{"Name":"m3"}"#,
            r#"{"Name":"hcl","Checks":[{"TTL":"1h0m0s"}]}"#,
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn to_remove_services_their_ids_are_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(
            &path,
            r#"{"services": [{"id": "a1"}, {"name": "b", "check": {"tcp": "x"}}, {"name": "c", "id": "c1"}]}"#,
        )
        .unwrap();
        let mut out = Output::new(io::sink(), io::sink());
        assert_eq!(ids(&[path], &mut out).unwrap(), ["a1", "b", "c1"]);
    }

    #[test]
    fn errors_name_file_and_key() {
        let table = [
            ("unk.json", r#"{"service": {"name": "a", "bogus": 1}}"#, "invalid config key service.bogus"),
            ("typ.json", r#"{"service": {"name": "a", "port": "x"}}"#, "service.port"),
            ("top.hcl", "bogus = 1\n", "invalid config key bogus"),
            ("none.json", r#"{"services": [{"name": "a"}, {"port": 1}]}"#, "service number 2: Missing service name"),
            (
                "chk.json",
                r#"{"service": {"name": "a", "check": {"tcp": "x:1"}}}"#,
                "service \"a\": Invalid check: Interval",
            ),
            ("bad.json", "{", "EOF"),
        ];
        for (name, text, key) in table {
            let error = read(&[("good.json", r#"{"service": {"name": "a"}}"#), (name, text)]).unwrap_err();
            assert!(error.starts_with("Error: ") && error.contains(name) && error.contains(key), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
