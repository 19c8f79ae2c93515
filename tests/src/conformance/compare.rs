//! Holds what came back against what was recorded.
//!
//! Pure: an expectation, an observation and the bindings in, differences in words out. None means that it passes.

use serde_json::{Map, Value};

use super::bindings::Bindings;
use super::case::{Action, Step};
use super::diff::{Rules, line_set, pick, strings};
use super::mask;
use super::observe::Observation;
use super::text::{brief, plain};

/// Reads whose JSON is a map of a user's data at the top.
const EXACT_PATHS: [&str; 3] = ["/v1/agent/services", "/v1/agent/checks", "/v1/catalog/services"];

/// Every difference of a step's observation from its recorded expectation, and from the step's own bounds.
pub fn compare(bindings: &Bindings, step: &Step, seen: &Observation) -> Vec<String> {
    let Some(expected) = &step.expect else { return vec!["no expectation recorded".to_owned()] };
    differences(bindings, step, expected, seen, true)
}

/// The same for a `wait`: only what `until` names counts, and maps may hold more.
pub fn compare_until(bindings: &Bindings, step: &Step, until: &Map<String, Value>, seen: &Observation) -> Vec<String> {
    differences(bindings, step, until, seen, false)
}

fn differences(
    bindings: &Bindings,
    step: &Step,
    expected: &Map<String, Value>,
    seen: &Observation,
    exact: bool,
) -> Vec<String> {
    if let Some(error) = seen.view.get("error")
        && !expected.contains_key("error")
    {
        return vec![plain(error)];
    }
    let comparison = Comparison { bindings, step, seen, rules: rules(bindings, step, exact) };
    let only = |key: &String| step.only.as_ref().is_none_or(|only| only.contains(key));
    let mut out: Vec<String> =
        expected.iter().filter(|(key, _)| only(key)).flat_map(|(key, value)| comparison.part(key, value)).collect();
    if out.is_empty() {
        out.extend(comparison.additional_of_picked());
    }
    out.extend(comparison.bounds());
    out
}

fn rules<'a>(bindings: &'a Bindings, step: &Step, exact: bool) -> Rules<'a> {
    let target = match step.action() {
        Action::Http(line) => line.split(' ').next_back().unwrap_or_default(),
        _ => "",
    };
    let path = target.split('?').next().unwrap_or_default();
    Rules {
        bindings,
        ordered: step.ordered.or((path == "/v1/catalog/services").then_some(false)),
        exact_top: exact && (EXACT_PATHS.contains(&path) || step.exact),
    }
}

struct Comparison<'a> {
    bindings: &'a Bindings,
    step: &'a Step,
    seen: &'a Observation,
    rules: Rules<'a>,
}

impl Comparison<'_> {
    fn part(&self, key: &str, expected: &Value) -> Vec<String> {
        let dns = matches!(self.step.action(), Action::Dns(_));
        match (key, expected) {
            ("headers", Value::Object(headers)) => {
                headers.iter().filter_map(|(name, value)| self.header(name, value)).collect()
            }
            ("len", _) => self.length(expected),
            ("answer" | "authority" | "additional" | "question", _) if dns => {
                let seen = strings(self.seen.view.get(key));
                match expected {
                    Value::Object(some) => pick(self.bindings, key, some, &seen),
                    _ => line_set(self.bindings, key, &strings(Some(expected)), &seen),
                }
            }
            ("stdout" | "stderr", _) => self.output(key, expected),
            ("text", Value::String(text)) => self.text(text),
            ("json", _) => match self.seen.view.get("json") {
                Some(json) => self.rules.json(expected, json),
                None => vec![format!("body: want JSON, got {}", self.body())],
            },
            ("bytes", Value::String(some)) if some == "<some>" => {
                if self.seen.raw.is_empty() {
                    vec!["body: empty".to_owned()]
                } else {
                    Vec::new()
                }
            }
            _ => self.field(key, expected),
        }
    }

    fn header(&self, name: &str, expected: &Value) -> Option<String> {
        let seen = self.seen.header(name);
        let Value::String(expected) = expected else {
            return seen.map(|seen| format!("header {name}: want none, got {seen}"));
        };
        let Some(seen) = seen else { return Some(format!("header {name}: missing, want {expected}")) };
        let base = |text: &str| text.split(';').next().unwrap_or_default().trim().to_owned();
        let same = match name {
            "Allow" if words(expected) == words(seen) => true,
            "Content-Type" if base(expected) == base(seen) => true,
            _ => mask::matches(self.bindings, expected, seen),
        };
        (!same).then(|| format!("header {name}: want {expected}, got {seen}"))
    }

    fn length(&self, expected: &Value) -> Vec<String> {
        let length = match self.seen.view.get("json") {
            Some(Value::Array(list)) => Some(list.len()),
            Some(Value::Object(map)) => Some(map.len()),
            _ => None,
        };
        if length.map(|length| length as u64) == expected.as_u64() {
            return Vec::new();
        }
        vec![format!(
            "want {expected} entries, got {}",
            length.map_or_else(|| self.body(), |length| length.to_string())
        )]
    }

    fn output(&self, key: &str, expected: &Value) -> Vec<String> {
        let Some(seen) = self.seen.view.get(key) else { return vec![format!("{key}: missing")] };
        let seen = strings(Some(seen));
        match expected {
            Value::String(some) if some == "<some>" => {
                if seen.is_empty() {
                    vec![format!("{key}: empty")]
                } else {
                    Vec::new()
                }
            }
            Value::Object(has) => {
                let all = seen.join("\n");
                let lacks = |part: &&String| !mask::found_in(self.bindings, part, &all);
                let parts = strings(has.get("has"));
                parts.iter().filter(lacks).map(|part| format!("{key}: lacks {part:?}")).collect()
            }
            _ if self.step.unordered => line_set(self.bindings, key, &strings(Some(expected)), &seen),
            _ => self.lines(key, &strings(Some(expected)), &seen),
        }
    }

    fn lines(&self, key: &str, expected: &[String], seen: &[String]) -> Vec<String> {
        let mut out = Vec::new();
        if expected.len() != seen.len() {
            out.push(format!("{key}: want {} lines, got {}", expected.len(), seen.len()));
        }
        for (at, want) in expected.iter().enumerate() {
            let got = seen.get(at);
            if !got.is_some_and(|got| got == want || mask::matches(self.bindings, want, got)) {
                let got = got.map_or_else(|| "nothing".to_owned(), |got| format!("{got:?}"));
                out.push(format!("{key} line {}: want {want:?}, got {got}", at + 1));
            }
        }
        out
    }

    fn text(&self, expected: &str) -> Vec<String> {
        let seen = self.seen.view.get("text").and_then(Value::as_str);
        if seen.is_some_and(|seen| mask::matches(self.bindings, expected, seen)) {
            return Vec::new();
        }
        vec![format!("body: want {}, got {}", brief(&expected.into(), 100), self.body())]
    }

    fn field(&self, key: &str, expected: &Value) -> Vec<String> {
        let seen = self.seen.view.get(key).unwrap_or(&Value::Null);
        let same = match expected {
            Value::String(text) if mask::has_mask(text) => {
                !seen.is_null() && mask::matches(self.bindings, text, &plain(seen))
            }
            _ => seen == expected || (seen.is_number() && seen.as_f64() == expected.as_f64()),
        };
        if same { Vec::new() } else { vec![format!("{key}: want {}, got {}", brief(expected, 100), brief(seen, 100))] }
    }

    /// The body in whatever form it was seen.
    fn body(&self) -> String {
        let forms = ["text", "json", "stdout", "hex", "bytes"];
        let seen = forms.iter().find_map(|form| self.seen.view.get(*form));
        brief(seen.unwrap_or(&Value::Null), 100)
    }

    /// Where SRV records are some of many, the addresses beside them must be those of the ones chosen.
    fn additional_of_picked(&self) -> Vec<String> {
        let answer = strings(self.seen.view.get("answer"));
        if self.step.pick.is_none() || !answer.iter().any(|line| line.contains(" SRV ")) {
            return Vec::new();
        }
        let targets: Vec<&str> = answer.iter().filter_map(|line| line.split(' ').next_back()).collect();
        strings(self.seen.view.get("additional"))
            .iter()
            .filter(|line| {
                !line.contains(" TXT ") && !line.split(' ').next().is_some_and(|name| targets.contains(&name))
            })
            .map(|line| format!("additional: {line} is no target of the answer"))
            .collect()
    }

    /// The step's own bounds: time, index and size.
    fn bounds(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some((least, most)) = self.step.elapsed {
            let seconds = self.seen.elapsed.as_secs_f64();
            if !(least..=most).contains(&seconds) {
                out.push(format!("took {seconds:.2}s, want {least} to {most}s"));
            }
        }
        if let Some(rule) = &self.step.index {
            out.extend(self.index(rule));
        }
        if let Some(most) = self.step.max_size
            && self.seen.size > most
        {
            out.push(format!("answer of {} bytes, want at most {most}", self.seen.size));
        }
        out
    }

    fn index(&self, rule: &str) -> Option<String> {
        let (operator, name) = rule.split_once(' ')?;
        let seen: Option<i64> = self.seen.header("X-Consul-Index").and_then(|text| text.parse().ok());
        let saved: Option<i64> = self.bindings.vars.get(name).map_or(Some(-1), |saved| saved.text().parse().ok());
        let (Some(seen), Some(saved)) = (seen, saved) else { return Some("no X-Consul-Index".to_owned()) };
        let holds = match operator {
            ">" => seen > saved,
            "=" => seen == saved,
            ">=" => seen >= saved,
            "<" => seen < saved,
            other => return Some(format!("no such comparison: {other}")),
        };
        (!holds).then(|| format!("X-Consul-Index {seen}, want {operator} {saved}"))
    }
}

fn words(list: &str) -> Vec<String> {
    let mut words: Vec<String> = list.split(',').map(|word| word.trim().to_uppercase()).collect();
    words.sort();
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn passes(step: Value, view: Value, headers: &[(&str, &str)]) -> bool {
        let step: Step = serde_json::from_value(step).unwrap();
        let mut bindings = Bindings::default();
        bindings.vars.insert("i".to_owned(), super::super::bindings::Var::Value(10.into()));
        let seen = Observation {
            view: view.as_object().unwrap().clone(),
            headers: headers.iter().map(|(name, value)| (name.to_lowercase(), (*value).to_owned())).collect(),
            raw: Vec::new(),
            elapsed: Duration::from_secs(1),
            size: 600,
        };
        compare(&bindings, &step, &seen).is_empty()
    }

    #[test]
    fn headers_follow_their_own_rules() {
        let step = |headers: Value| json!({"http": "GET /v1/x", "expect": {"headers": headers}});
        let table = [
            (json!({"Content-Type": "application/json"}), ("Content-Type", "application/json; charset=utf-8"), true),
            (json!({"Content-Type": "application/json"}), ("Content-Type", "text/plain"), false),
            (json!({"Allow": "GET,PUT"}), ("Allow", "put, get"), true),
            (json!({"Allow": "GET,PUT"}), ("Allow", "GET"), false),
            (json!({"X-Consul-Index": "<pos>"}), ("X-Consul-Index", "0"), false),
            (json!({"X-Cache": null}), ("X-Cache", "HIT"), false),
            (json!({"X-Cache": null}), ("X-Other", "HIT"), true),
            (json!({"X-Cache": "HIT"}), ("X-Other", "HIT"), false),
        ];
        for (expected, header, wanted) in table {
            assert_eq!(passes(step(expected.clone()), json!({}), &[header]), wanted, "{expected} {header:?}");
        }
    }

    #[test]
    fn the_bounds_of_a_step_count() {
        let table = [
            (json!({"elapsed": [0.5, 1.5]}), true),
            (json!({"elapsed": [1.5, 2.5]}), false),
            (json!({"index": "> i"}), true),
            (json!({"index": "= i"}), false),
            (json!({"index": "< i"}), false),
            (json!({"max_size": 600}), true),
            (json!({"max_size": 512}), false),
        ];
        for (bounds, wanted) in table {
            let mut step = json!({"http": "GET /v1/x", "expect": {}});
            step.as_object_mut().unwrap().extend(bounds.as_object().unwrap().clone());
            assert_eq!(passes(step, json!({}), &[("X-Consul-Index", "11")]), wanted, "{bounds}");
        }
    }

    #[test]
    fn outputs_are_compared_by_line_by_part_or_as_a_set() {
        let step = |more: Value, expected: Value| {
            let mut step = json!({"cli": ["members"], "expect": {"stdout": expected}});
            step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            step
        };
        let seen = json!({"stdout": ["a 1", "b 2"]});
        let table = [
            (step(json!({}), json!(["a <uint>", "b 2"])), true),
            (step(json!({}), json!(["b 2", "a 1"])), false),
            (step(json!({"unordered": true}), json!(["b 2", "a 1"])), true),
            (step(json!({}), json!(["a 1"])), false),
            (step(json!({}), json!({"has": ["b <uint>"]})), true),
            (step(json!({}), json!({"has": ["c"]})), false),
            (step(json!({}), json!("<some>")), true),
            (step(json!({"only": ["exit"]}), json!(["else"])), true),
        ];
        for (step, wanted) in table {
            assert_eq!(passes(step.clone(), seen.clone(), &[]), wanted, "{step}");
        }
    }

    #[test]
    fn an_error_is_the_only_difference_told() {
        let step = json!({"http": "GET /v1/x", "expect": {"status": 200}});
        assert!(!passes(step.clone(), json!({"error": "refused", "status": 200}), &[]));
        assert!(passes(step, json!({"status": 200}), &[]));
    }

    #[test]
    fn picked_srv_records_bring_their_own_addresses_only() {
        let expected = json!({"answer": {"count": 1, "of": ["<re:.* SRV .*:re>"]}});
        let step = json!({"dns": "web.service.consul SRV", "pick": {}, "expect": expected});
        let view = |owner: &str| {
            json!({
                "answer": ["web.service.consul. 0 SRV 1 1 80 n1.node.dc1.consul."],
                "additional": [format!("{owner} 0 A 10.0.0.1"), "n9.node.dc1.consul. 0 TXT \"a=b\""],
            })
        };
        assert!(passes(step.clone(), view("n1.node.dc1.consul."), &[]));
        assert!(!passes(step, view("n2.node.dc1.consul."), &[]));
    }
}
