//! The `watches` of a configuration: each must make sense; what it looks at and is not built yet is warned of.
//!
//! Pure.

use super::{ConfigError, Warning, raw};
use crate::watch::{
    agent::Watching,
    spec::{Handler, Watch, WatchError},
};

/// The most watches of one agent: each holds a request open.
const WATCHES_MAX: usize = 100;

/// Checks every watch; errors name its place.
pub(super) fn watches(given: &[raw::Watch], warnings: &mut Vec<Warning>) -> Result<Vec<Watching>, ConfigError> {
    if given.len() > WATCHES_MAX {
        return Err(ConfigError::Invalid(format!("there are {} watches; the most are {WATCHES_MAX}", given.len())));
    }
    let mut watches = Vec::with_capacity(given.len());
    for (number, raw::Watch { what, handler }) in given.iter().enumerate() {
        let place = format!("watches[{number}]");
        let invalid = |error: WatchError| ConfigError::Invalid(format!("{place}{}: {error}", key(&error)));
        match Watch::new(what) {
            Ok(watch) => watches.push(Watching { watch, handler: Handler::new(handler).map_err(invalid)? }),
            Err(error @ WatchError::NotBuilt { .. }) => {
                warnings.push(Warning(format!("{place} has no effect: {error}")));
            }
            Err(error) => return Err(invalid(error)),
        }
    }
    Ok(watches)
}

/// The key an error is about, where it is one.
fn key(error: &WatchError) -> String {
    match error {
        WatchError::NoType | WatchError::Unsupported(_) => ".type".into(),
        WatchError::Missing(name) => format!(".{name}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::Mark;

    fn checked(given: serde_json::Value) -> (Result<Vec<Watching>, String>, Vec<String>) {
        let given: Vec<raw::Watch> = serde_json::from_value(given).unwrap();
        let mut warnings = Vec::new();
        let checked = watches(&given, &mut warnings).map_err(|error| error.to_string());
        (checked, warnings.into_iter().map(|Warning(text)| text).collect())
    }

    #[test]
    fn errors_name_the_place() {
        let good = json!({"type": "nodes", "args": ["true"]});
        for (bad, expected) in [
            (json!({}), "watches[1].type: Watch type must be specified"),
            (json!({"type": "bogus"}), "watches[1].type: Unsupported watch type: bogus"),
            (json!({"type": "service"}), "watches[1].service: Must specify a single service to watch"),
            (json!({"type": "nodes"}), "watches[1]: Must define a watch handler"),
            (json!({"type": "nodes", "state": "x"}), "watches[1]: Invalid parameters: [state]"),
        ] {
            let error = checked(json!([good, bad])).0.unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let many = vec![good; WATCHES_MAX + 1];
        assert_eq!(checked(json!(many)).0.unwrap_err(), "there are 101 watches; the most are 100");
    }

    #[test]
    fn what_is_not_built_is_left_out_and_told() {
        let (watches, warnings) = checked(json!([
            {"type": "key", "key": "a", "handler": "true"},
            {"type": "services", "handler": "true"},
        ]));
        assert_eq!(watches.unwrap().len(), 1);
        assert_eq!(
            warnings,
            [
                "watches[0] has no effect: watch type key needs the key-value store, which this version does not have yet"
            ]
        );
    }

    #[test]
    fn a_file_may_hold_one_tag_or_several_and_blocks() {
        let text = r#"
            watches = [
              { type = "service" service = "web" tag = "a" args = ["true"] },
              { type = "service" service = "web" tag = ["a", "b"] passingonly = true stale = true
                handler_type = "http"
                http_handler_config { path = "http://h/" timeout = "1s" header { X = ["y"] } } },
            ]"#;
        // With an address, so that it does not matter which ones the host has.
        let rest = "data_dir = \"/d\" bind_addr = \"127.0.0.1\"";
        let flags = crate::config::AgentFlags { hcl: vec![text.into(), rest.into()], ..Default::default() };
        let config = crate::config::load(&flags).unwrap();
        let requests: Vec<String> =
            config.watches.iter().map(|one| one.watch.request(&Mark::default()).target()).collect();
        let expected = ["/v1/health/service/web?tag=a", "/v1/health/service/web?tag=a&tag=b&passing=1&stale"];
        assert_eq!(requests, expected);
        let Some(Handler::Http(http)) = config.watches.get(1).map(|one| &one.handler) else { panic!("it is one") };
        assert_eq!((http.timeout.as_secs(), http.headers.get("X").map(Vec::len)), (1, Some(1)));
    }
}
