//! The differences between an expected value, which may hold masks, and what came.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::bindings::Bindings;
use super::mask;
use super::text::brief;

/// Objects that are maps of a user's data: a further key is a difference.
const EXACT_KEYS: [&str; 7] =
    ["Meta", "NodeMeta", "ServiceMeta", "Services", "TaggedAddresses", "ServiceTaggedAddresses", "Header"];

/// How the values of one step are compared.
pub(super) struct Rules<'a> {
    pub(super) bindings: &'a Bindings,
    /// Lists in order; when not said, lists of plain values are and lists of objects are not.
    pub(super) ordered: Option<bool>,
    /// The top is a map of a user's data.
    pub(super) exact_top: bool,
}

impl Rules<'_> {
    /// The differences between two JSON bodies.
    pub(super) fn json(&self, expected: &Value, actual: &Value) -> Vec<String> {
        self.value(expected, actual, "", self.exact_top)
    }

    fn value(&self, expected: &Value, actual: &Value, path: &str, exact: bool) -> Vec<String> {
        let differs = || vec![format!("{}: want {}, got {}", named(path), brief(expected, 100), brief(actual, 100))];
        let same = match expected {
            Value::String(text) => match self.special(text, actual) {
                Some(same) => same,
                None => actual == expected,
            },
            Value::Object(map) => match actual.as_object() {
                Some(actual) => return self.object(map, actual, path, exact),
                None => return vec![format!("{}: want an object, got {}", named(path), brief(actual, 100))],
            },
            Value::Array(list) => match actual.as_array() {
                Some(actual) => return self.list(list, actual, path),
                None => return vec![format!("{}: want a list, got {}", named(path), brief(actual, 100))],
            },
            // 1 is 1.0, but large integers are compared exactly.
            Value::Number(number) if number.is_f64() || actual.is_f64() => number.as_f64() == actual.as_f64(),
            Value::Number(_) | Value::Bool(_) | Value::Null => expected == actual,
        };
        if same { Vec::new() } else { differs() }
    }

    /// Whether a value is one that a mask stands for; `None` when the text is no mask.
    fn special(&self, text: &str, actual: &Value) -> Option<bool> {
        match text {
            "<any>" => return Some(true),
            "<list>" => return Some(actual.as_array().is_some_and(|list| !list.is_empty())),
            "<object>" => return Some(actual.is_object()),
            "<bool>" => return Some(actual.is_boolean()),
            "<num>" if actual.is_number() => return Some(true),
            "<uint>" if actual.is_number() => return Some(actual.is_u64()),
            "<pos>" if actual.is_number() => return Some(actual.as_u64().is_some_and(|number| number > 0)),
            _ => {}
        }
        if !mask::has_mask(text) {
            return None;
        }
        if let (Some(port), Some(number)) = (mask::port_of(self.bindings, text), actual.as_u64()) {
            return Some(number == u64::from(port));
        }
        Some(actual.as_str().is_some_and(|actual| mask::matches(self.bindings, text, actual)))
    }

    fn object(
        &self,
        expected: &Map<String, Value>,
        actual: &Map<String, Value>,
        path: &str,
        exact: bool,
    ) -> Vec<String> {
        let mut out = Vec::new();
        for (key, value) in expected {
            let inner = format!("{path}.{key}");
            match actual.get(key) {
                Some(actual) => out.extend(self.value(value, actual, &inner, EXACT_KEYS.contains(&key.as_str()))),
                None => out.push(format!("{inner}: missing, want {}", brief(value, 100))),
            }
        }
        if exact {
            for (key, value) in actual {
                if !expected.contains_key(key) {
                    out.push(format!("{path}.{key}: not expected: {}", brief(value, 60)));
                }
            }
        }
        out
    }

    fn list(&self, expected: &[Value], actual: &[Value], path: &str) -> Vec<String> {
        if expected.len() != actual.len() {
            let names = |list: &[Value]| brief(&list.iter().map(entry_name).collect(), 90);
            return vec![format!(
                "{}: want {} entries, got {} (want {}, got {})",
                named(path),
                expected.len(),
                actual.len(),
                names(expected),
                names(actual)
            )];
        }
        let plain = !expected.iter().any(|item| item.is_object() || item.is_array());
        if !self.ordered.unwrap_or(plain) {
            return self.unordered(expected, actual, path);
        }
        let pairs = expected.iter().zip(actual).enumerate();
        pairs.flat_map(|(at, (want, got))| self.value(want, got, &format!("{path}[{at}]"), false)).collect()
    }

    /// Pairs expected with actual entries so that as many as possible agree; what is left over is told with the fewest
    /// differences.
    fn unordered(&self, expected: &[Value], actual: &[Value], path: &str) -> Vec<String> {
        let costs: Vec<Vec<Vec<String>>> = expected
            .iter()
            .map(|want| {
                let path = format!("{path}[{}]", super::text::plain(&entry_name(want)));
                actual.iter().map(|got| self.value(want, got, &path, false)).collect()
            })
            .collect();
        let mut owners = vec![None; actual.len()];
        let left: Vec<usize> =
            (0..expected.len()).filter(|&want| !place(want, &costs, &mut owners, &mut HashSet::new())).collect();
        let mut free: Vec<usize> = (0..actual.len()).filter(|&got| owners[got].is_none()).collect();
        let mut out = Vec::new();
        for want in left {
            let Some(best) = free.iter().copied().min_by_key(|&got| costs[want][got].len()) else { break };
            out.extend(costs[want][best].iter().cloned());
            free.retain(|&got| got != best);
        }
        out
    }
}

/// One turn of bipartite matching: finds an actual entry for `want`, moving earlier pairs if need be.
fn place(want: usize, costs: &[Vec<Vec<String>>], owners: &mut [Option<usize>], seen: &mut HashSet<usize>) -> bool {
    for got in 0..owners.len() {
        if !costs[want][got].is_empty() || !seen.insert(got) {
            continue;
        }
        if owners[got].is_none_or(|owner| place(owner, costs, owners, seen)) {
            owners[got] = Some(want);
            return true;
        }
    }
    false
}

fn named(path: &str) -> &str {
    if path.is_empty() { "body" } else { path }
}

/// What an entry of a list is called in a message.
fn entry_name(entry: &Value) -> Value {
    let Value::Object(map) = entry else { return entry.clone() };
    let known = ["CheckID", "ServiceID", "ID", "Key", "Node", "Name"];
    if let Some(name) = known.iter().filter_map(|key| map.get(*key)).find(|value| value.is_string()) {
        return name.clone();
    }
    map.get("Service").and_then(|service| service.get("ID")).cloned().unwrap_or_else(|| "{..}".into())
}

/// Lines against lines, in any order, each as often as expected.
pub(super) fn line_set(bindings: &Bindings, what: &str, expected: &[String], actual: &[String]) -> Vec<String> {
    let mut left: Vec<&String> = actual.iter().collect();
    let mut missing = Vec::new();
    // Plain lines first, so that a mask does not take what a plain line needs.
    let mut wanted: Vec<&String> = expected.iter().collect();
    wanted.sort_by_key(|line| (mask::has_mask(line), line.as_str()));
    for line in wanted {
        let fits = |got: &&String| *got == line || (mask::has_mask(line) && mask::matches(bindings, line, got));
        match left.iter().position(fits) {
            Some(at) => {
                left.remove(at);
            }
            None => missing.push(line),
        }
    }
    let mut out = Vec::new();
    for (word, lines) in [("missing", missing), ("extra", left)] {
        if !lines.is_empty() {
            out.push(format!("{what}: {word} {}", listed(&lines, 4)));
        }
    }
    out
}

/// Some of many: `{"count": N or [least, most], "of": [patterns]}`.
pub(super) fn pick(bindings: &Bindings, what: &str, expected: &Map<String, Value>, actual: &[String]) -> Vec<String> {
    let size = |value: &Value| value.as_u64().unwrap_or_default() as usize;
    let (least, most) = match expected.get("count") {
        Some(Value::Array(range)) => (size(&range[0]), size(&range[1])),
        Some(count) => (size(count), size(count)),
        None => (0, usize::MAX),
    };
    let patterns = strings(expected.get("of"));
    let mut out = Vec::new();
    if !(least..=most).contains(&actual.len()) {
        let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
        out.push(format!("{what}: want {wanted} records, got {}", actual.len()));
    }
    let fits = |line: &&String| !patterns.iter().any(|pattern| mask::matches(bindings, pattern, line));
    let strange: Vec<&String> = actual.iter().filter(fits).collect();
    if !strange.is_empty() {
        out.push(format!("{what}: not one of the expected: {}", listed(&strange, 3)));
    }
    if actual.iter().collect::<HashSet<_>>().len() != actual.len() {
        out.push(format!("{what}: a record is there twice"));
    }
    out
}

/// The texts of a list.
pub(super) fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().map(super::text::plain).collect()
}

fn listed(lines: &[&String], limit: usize) -> String {
    let shown: Vec<&str> = lines.iter().take(limit).map(|line| line.as_str()).collect();
    let more = if lines.len() > limit { format!(" ... ({} in all)", lines.len()) } else { String::new() };
    shown.join("; ") + &more
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(expected: Value, actual: Value) -> usize {
        let bindings = Bindings::default();
        Rules { bindings: &bindings, ordered: None, exact_top: false }.json(&expected, &actual).len()
    }

    #[test]
    fn values_are_compared_by_the_rules_of_the_cases() {
        let table = [
            // Further keys are allowed, but not in maps of a user's data.
            (json!({"a": 1}), json!({"a": 1, "b": 2}), 0),
            (json!({"Meta": {"a": "1"}}), json!({"Meta": {"a": "1", "b": "2"}}), 1),
            (json!({"a": 1}), json!({}), 1),
            // null, [] and {} are three things; a number is not a text, true is not 1.
            (json!(null), json!([]), 1),
            (json!([]), json!({}), 1),
            (json!({}), json!(null), 1),
            (json!("1"), json!(1), 1),
            (json!(true), json!(1), 1),
            (json!(1), json!(1.0), 0),
            // Lists: plain values in order, objects in any.
            (json!([1, 2]), json!([2, 1]), 2),
            (json!([{"ID": "a"}, {"ID": "b"}]), json!([{"ID": "b"}, {"ID": "a"}]), 0),
            (json!([{"ID": "a"}, {"ID": "b"}]), json!([{"ID": "b"}, {"ID": "b"}]), 1),
            (json!([{"ID": "<any-string>"}, {"ID": "b"}]), json!([{"ID": "b"}, {"ID": "a"}]), 0),
            (json!([1]), json!([1, 1]), 1),
            // Masks.
            (json!("<uint>"), json!(7), 0),
            (json!("<uint>"), json!(-7), 1),
            (json!("<uint>"), json!("7"), 0),
            (json!("<pos>"), json!(0), 1),
            (json!("<num>"), json!(-0.5), 0),
            (json!("<bool>"), json!(0), 1),
            (json!("<list>"), json!([]), 1),
            (json!("<object>"), json!({}), 0),
            (json!("<any>"), json!(null), 0),
        ];
        for (expected, actual, wanted) in table {
            assert_eq!(differences(expected.clone(), actual.clone()), wanted, "{expected} against {actual}");
        }
    }

    #[test]
    fn lines_are_a_set_with_counts() {
        let bindings = Bindings::default();
        let lines = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let differ = |want: &[&str], got: &[&str]| line_set(&bindings, "answer", &lines(want), &lines(got)).len();
        assert_eq!(differ(&["a", "b <uint>"], &["b 1", "a"]), 0);
        assert_eq!(differ(&["a"], &["a", "a"]), 1);
        assert_eq!(differ(&["a", "<word>"], &["a", "b c"]), 2);
        let many = json!({"count": 2, "of": ["a <uint>"]});
        let picked = |got: &[&str]| pick(&bindings, "answer", many.as_object().unwrap(), &lines(got)).len();
        assert_eq!(picked(&["a 1", "a 2"]), 0);
        assert_eq!(picked(&["a 1", "a 1"]), 1);
        assert_eq!(picked(&["a 1", "b 2"]), 1);
        assert_eq!(picked(&["a 1"]), 1);
    }
}
