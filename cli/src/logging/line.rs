//! One log event as a line of text or JSON, in the form Consul 1.8 prints.
//!
//! ```text
//!     2026-11-22T10:20:28.123Z [INFO]  agent: Started DNS server: address=127.0.0.1:8600 network=udp
//! ```
//!
//! Pure: the time is passed in. Control characters are escaped, so that nothing a client sends can forge a line.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// Fields of one event that are kept; more are left out.
const MAX_FIELDS: usize = 32;

/// What an event says, taken out of `tracing`.
#[derive(Debug, Default)]
pub(super) struct Record {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Record {
    /// Reads an event's message and fields.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut record = Self::default();
        event.record(&mut record);
        record
    }

    fn add(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
        } else if self.fields.len() < MAX_FIELDS {
            self.fields.push((field.name(), value));
        }
    }

    /// The line for people.
    pub(super) fn text(&self, time: Timestamp, level: Level, module: &str) -> String {
        let mut line = format!("    {time:.3} {:<7} {module}: ", format!("[{level}]"));
        escape(&mut line, &self.message);
        for (number, (name, value)) in self.fields.iter().enumerate() {
            line.push_str(if number == 0 { ": " } else { " " });
            line.push_str(&field_name(name));
            line.push('=');
            match value {
                Value::String(text) => quote(&mut line, text),
                other => {
                    let _infallible = write!(line, "{other}");
                }
            }
        }
        line
    }

    /// The line for programs.
    pub(super) fn json(&self, time: Timestamp, level: Level, module: &str) -> String {
        let mut object = Map::new();
        object.insert("@level".into(), level.as_str().to_ascii_lowercase().into());
        object.insert("@message".into(), self.message.clone().into());
        object.insert("@module".into(), module.into());
        object.insert("@timestamp".into(), format!("{time:.6}").into());
        for (name, value) in &self.fields {
            object.insert(field_name(name), value.clone());
        }
        Value::Object(object).to_string()
    }
}

/// Rust's names have underscores where the log has hyphens (`last-leader`).
fn field_name(name: &str) -> String {
    name.replace('_', "-")
}

fn quote(line: &mut String, text: &str) {
    if !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
        line.push_str(text);
        return;
    }
    line.push('"');
    escape(line, &text.replace('\\', "\\\\").replace('"', "\\\""));
    line.push('"');
}

fn escape(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            '\r' => line.push_str("\\r"),
            c if c.is_control() => {
                let _infallible = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}

/// The module a line shows for an event's target: our own modules and those of libraries by the part of the agent they
/// serve. A target written out (`agent.http`) is kept.
pub(super) fn module(target: &str) -> &str {
    const NAMES: [(&str, &str); 13] = [
        ("usher_cluster::raft", "agent.server.raft"),
        ("usher_cluster::leader", "agent.server"),
        ("usher_cluster::membership", "agent.server.serf.lan"),
        ("usher_cluster::catalog", "agent.fsm"),
        ("usher_cluster::local", "agent"),
        ("usher_cluster", "agent"),
        ("usher_dns", "agent.dns"),
        ("usher::http", "agent.http"),
        ("usher", "agent"),
        ("openraft", "agent.server.raft"),
        ("hickory_resolver", "agent.checks"),
        ("hickory", "agent.dns"),
        ("redb", "agent.server.raft"),
    ];
    if target == "agent" || target.starts_with("agent.") {
        return target;
    }
    NAMES.iter().find(|(prefix, _)| target.starts_with(prefix)).map_or("agent", |(_, name)| name)
}

/// Whether an event's target is one of ours; libraries talk too much to be heard below a warning.
pub(super) fn is_own(target: &str) -> bool {
    target == "agent" || target.starts_with("agent.") || target.starts_with("usher")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str, fields: &[(&'static str, Value)]) -> Record {
        Record { message: message.into(), fields: fields.to_vec() }
    }

    fn noon() -> Timestamp {
        Timestamp::from_millisecond(1_795_342_828_123).unwrap()
    }

    #[test]
    fn lines_look_as_consul_prints_them() {
        let started = record("Started DNS server", &[("address", "127.0.0.1:8600".into()), ("network", "udp".into())]);
        assert_eq!(
            started.text(noon(), Level::INFO, "agent"),
            "    2026-11-22T10:20:28.123Z [INFO]  agent: Started DNS server: address=127.0.0.1:8600 network=udp"
        );
        let plain = record("votes", &[("needed", 1.into()), ("last_leader", "".into()), ("why", "a \"b\"".into())]);
        assert_eq!(
            plain.text(noon(), Level::DEBUG, "agent.server.raft"),
            "    2026-11-22T10:20:28.123Z [DEBUG] agent.server.raft: votes: needed=1 last-leader= why=\"a \\\"b\\\"\""
        );
        assert_eq!(
            record("no fields", &[]).text(noon(), Level::ERROR, "agent"),
            "    2026-11-22T10:20:28.123Z [ERROR] agent: no fields"
        );
    }

    #[test]
    fn json_carries_the_same() {
        let line =
            record("hello", &[("last_leader", "".into()), ("term", 2.into())]).json(noon(), Level::WARN, "agent");
        assert_eq!(
            line,
            "{\"@level\":\"warn\",\"@message\":\"hello\",\"@module\":\"agent\",\
             \"@timestamp\":\"2026-11-22T10:20:28.123000Z\",\"last-leader\":\"\",\"term\":2}"
        );
    }

    #[test]
    fn nothing_can_forge_a_line() {
        let line = record("a\nb", &[("name", "x\n    2026 [INFO]".into()), ("bell", "\u{7}".into())]).text(
            noon(),
            Level::INFO,
            "agent",
        );
        assert_eq!(line.lines().count(), 1);
        assert!(line.ends_with("agent: a\\nb: name=\"x\\n    2026 [INFO]\" bell=\"\\u0007\""), "{line}");
    }

    #[test]
    fn modules_by_target() {
        for (target, expected) in [
            ("agent.http", "agent.http"),
            ("usher_cluster::raft::store", "agent.server.raft"),
            ("usher_cluster::agent", "agent"),
            ("usher_dns::serve", "agent.dns"),
            ("openraft::core", "agent.server.raft"),
            ("hyper::proto", "agent"),
        ] {
            assert_eq!(module(target), expected, "{target}");
        }
        assert!(is_own("usher::http") && is_own("agent") && !is_own("agents") && !is_own("openraft::core"));
    }
}
