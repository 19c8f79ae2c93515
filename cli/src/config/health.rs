//! How this agent runs checks: the keys about them, checked together. They count from the start of the agent: a reload
//! tells that a changed one waits for the next. `discard_check_output` alone counts from then on.

use std::{path::PathBuf, time::Duration};

use usher_cluster::{
    health::{Options, options::Tls},
    local::definition::OUTPUT_MAX_BYTES,
};

use super::{ConfigError, duration, raw::Raw};

/// No check's service is removed sooner after it turned critical.
const DEREGISTER_MIN: Duration = Duration::from_secs(1);

/// Makes the options of everything merged.
pub(super) fn build(raw: &Raw) -> Result<Options, ConfigError> {
    Ok(Options {
        output_max_size: output_max_size(raw.check_output_max_size)?,
        // What is negative is nothing, as with Consul.
        update_interval: duration::from_nanos(raw.check_update_interval),
        discard_output: raw.discard_check_output,
        deregister_min: duration::from_nanos(raw.check_deregister_interval_min).max(DEREGISTER_MIN),
        tls: tls(raw)?,
    })
}

fn output_max_size(value: i64) -> Result<usize, ConfigError> {
    let invalid = |text: String| ConfigError::Invalid(text);
    if value < 1 {
        return Err(invalid(
            "check_output_max_size must be positive, to discard check output use the discard_check_output flag".into(),
        ));
    }
    match u32::try_from(value) {
        Ok(size) if size <= OUTPUT_MAX_BYTES => Ok(size as usize),
        _ => Err(invalid(format!("check_output_max_size cannot be {value}. Must be at most {OUTPUT_MAX_BYTES}"))),
    }
}

/// The agent's certificates count for checks only where that is asked for.
fn tls(raw: &Raw) -> Result<Tls, ConfigError> {
    if !raw.enable_agent_tls_for_checks {
        return Ok(Tls::default());
    }
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let identity = match (path(&raw.cert_file), path(&raw.key_file)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err(alone("cert_file", "key_file")),
        (None, Some(_)) => return Err(alone("key_file", "cert_file")),
    };
    let server_name = raw.server_name.clone();
    Ok(Tls { ca_file: path(&raw.ca_file), ca_path: path(&raw.ca_path), identity, server_name })
}

fn alone(given: &str, missing: &str) -> ConfigError {
    ConfigError::Invalid(format!("{given} is of no use to enable_agent_tls_for_checks without {missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> Raw {
        Raw { check_output_max_size: 4096, ..Raw::default() }
    }

    #[test]
    fn limits_of_output() {
        for (value, valid) in
            [(-1, false), (0, false), (1, true), (1 << 20, true), ((1 << 20) + 1, false), (i64::MAX, false)]
        {
            let built = build(&Raw { check_output_max_size: value, ..raw() });
            assert_eq!(built.is_ok(), valid, "{value}");
            assert!(built.is_ok() || built.is_err_and(|error| error.to_string().contains("check_output_max_size")));
        }
    }

    #[test]
    fn nothing_is_removed_within_a_second() {
        let second = Duration::from_secs(1);
        for (nanoseconds, expected) in [(-5, second), (0, second), (5_000_000_000, 5 * second)] {
            let built = build(&Raw { check_deregister_interval_min: nanoseconds, ..raw() }).unwrap();
            assert_eq!(built.deregister_min, expected, "{nanoseconds}");
        }
    }

    #[test]
    fn certificates_count_where_it_is_asked_for() {
        let files = |cert: &str, key: &str, enabled| Raw {
            ca_file: "ca.pem".into(),
            cert_file: cert.into(),
            key_file: key.into(),
            enable_agent_tls_for_checks: enabled,
            ..raw()
        };
        assert_eq!(build(&files("c", "", false)).unwrap().tls, Tls::default());
        let tls = build(&files("c", "k", true)).unwrap().tls;
        assert_eq!(tls.identity, Some(("c".into(), "k".into())));
        assert_eq!((tls.ca_file, tls.ca_path), (Some("ca.pem".into()), None));
        assert!(build(&files("", "", true)).unwrap().tls.identity.is_none());
        for (cert, key) in [("c", ""), ("", "k")] {
            let error = build(&files(cert, key, true)).unwrap_err().to_string();
            assert!(error.contains("cert_file") && error.contains("key_file"), "{error}");
        }
    }
}
