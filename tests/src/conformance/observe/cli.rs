//! A command: its files, environment and input, and what it printed and ended with.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{Observation, drop_keys, http};
use crate::command::{self, Plan};
use crate::conformance::case::{Step, View};
use crate::conformance::text::plain;
use crate::conformance::world::World;

/// How long a command may take.
const TIMEOUT: f64 = 15.0;

pub(super) fn observe(world: &mut World, step: &Step, words: &[Value]) -> anyhow::Result<Observation> {
    write_files(world, step)?;
    let mut command = Command::new(world.binary());
    command.args(words.iter().map(|word| plain(&world.bindings.value(word))));
    command.current_dir(world.folder()).env_clear().envs(world.environment());
    for (name, value) in &step.env {
        match value {
            Some(value) => command.env(name, world.bindings.text(value)),
            None => command.env_remove(name),
        };
    }
    let plan = Plan {
        stdin: world.bindings.text(&step.stdin).into_bytes(),
        interrupt_after: step.signal_after.map(Duration::from_secs_f64),
        timeout: Some(Duration::from_secs_f64(step.timeout.unwrap_or(TIMEOUT))),
    };
    let ended = thread::scope(|scope| {
        http::meanwhile(scope, &world.bindings, &world.http(), &step.during);
        command::run(&mut command, &plan)
    });
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => return Ok(Observation::error(error.to_string())),
    };
    let mut seen = Observation { elapsed: ended.elapsed, raw: ended.stdout.clone(), ..Observation::default() };
    seen.set("exit", ended.code);
    match (step.view, serde_json::from_slice(&ended.stdout)) {
        (Some(View::Json), Ok(json)) => seen.set("json", drop_keys(json)),
        (Some(View::Exact), _) => seen.set("text", ended.out()),
        _ => seen.set("stdout", normal_lines(&ended.out())),
    }
    seen.set("stderr", normal_lines(&ended.err()));
    Ok(seen)
}

fn write_files(world: &World, step: &Step) -> anyhow::Result<()> {
    for (name, content) in &step.files {
        let path = world.folder().join(name);
        if content.is_null() {
            fs::remove_file(path)?;
            continue;
        }
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, plain(&world.bindings.value(content)))?;
    }
    Ok(())
}

/// Lines with runs of blanks as one, without empty lines around, and without the column of an enterprise feature.
fn normal_lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut lines: Vec<String> = lines.skip_while(String::is_empty).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    if lines.first().is_some_and(|head| head.split(' ').next_back() == Some("Segment")) {
        for line in &mut lines {
            if let Some((kept, _)) = line.rsplit_once(' ') {
                *line = kept.to_owned();
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_without_their_layout() {
        assert_eq!(normal_lines("\n a   b \n\n c\n\n"), ["a b", "", "c"]);
        assert_eq!(normal_lines("Node  Segment\nn1    <all>\n"), ["Node", "n1"]);
        assert_eq!(normal_lines(""), Vec::<String>::new());
    }
}
