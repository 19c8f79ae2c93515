//! Scripts: who may run them, what their ends mean, and that nothing of them stays.

use rustix::process::Signal;
use serde_json::{Value, json};
use usher_tests::{
    agent::{Agent, Builder},
    backends::script::{DIE, FLOOD, FORK, HANG, MUCH, PASS, Script, WARN},
    binary::is_ours,
    poll::eventually,
};

use crate::checks::{answered, becomes, definition, id, register};

fn enabled() -> Agent {
    Builder::dev().config(json!({"enable_script_checks": true})).start()
}

fn runs(script: &Script) -> Value {
    json!({"Args": [script.path()], "Interval": "1s", "Timeout": "1s"})
}

#[test]
fn scripts_are_off_unless_switched_on() {
    let script = Script::new(PASS);
    let folder = tempfile::tempdir().unwrap();
    let in_file = json!({"service": {"name": "filed", "check": {"args": [script.path()], "interval": "1s"}}});
    std::fs::write(folder.path().join("web.json"), in_file.to_string()).unwrap();
    let with_file =
        |settings| Builder::dev().flag(&format!("-config-dir={}", folder.path().display())).config(settings);

    let agent = Builder::dev().start();
    let refused = agent.put("/v1/agent/service/register", &definition("web", runs(&script)));
    assert_ne!(refused.status, 200);
    assert!(refused.text().contains("Scripts are disabled on this agent"), "{}", refused.text());
    assert_eq!(agent.get("/v1/agent/services").json(), json!({}));
    let ended = with_file(json!({})).refused();
    assert!(
        (ended.out() + &ended.err()).contains("Scripts are disabled on this agent"),
        "{}{}",
        ended.out(),
        ended.err()
    );

    // Files may, requests may not.
    let local = with_file(json!({"enable_local_script_checks": true})).start();
    answered(&local, "filed");
    let refused = local.put("/v1/agent/service/register", &definition("web", runs(&script)));
    assert!(refused.text().contains("Scripts are disabled on this agent from remote calls"), "{}", refused.text());
    let runs = script.runs();
    eventually("it runs", || if script.runs() > runs { Ok(()) } else { Err(()) });
}

/// What was registered while programs were allowed is not run by an agent that does not allow them.
#[test]
fn scripts_that_are_switched_off_are_not_run_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let script = Script::new(PASS);
    let mut agent = Builder::server(data.path()).config(json!({"enable_script_checks": true})).start();
    register(&agent, "web", runs(&script));
    answered(&agent, "web");
    agent.signal(Signal::TERM);
    agent.wait();
    let runs = script.runs();
    let agent = Builder::server(data.path()).config(json!({"enable_local_script_checks": true})).start();
    if is_ours() {
        let check = becomes(&agent, "web", "critical");
        let output = check["Output"].as_str().unwrap_or_default();
        assert!(output.contains("Scripts are disabled on this agent from remote calls"), "{check}");
    }
    assert_eq!(script.runs(), runs);
}

#[test]
fn ends_are_judged() {
    let agent = enabled();
    let missing = json!({"Args": ["/nowhere/at/all"], "Interval": "1s", "Status": "passing"});
    register(&agent, "missing", missing);
    let scripts = [
        ("warn", Script::new(WARN), "warning"),
        ("die", Script::new(DIE), "critical"),
        ("much", Script::new(MUCH), "passing"),
    ];
    for (name, script, _) in &scripts {
        register(&agent, name, runs(script));
    }
    for (name, script, expected) in &scripts {
        eventually("it ran", || if script.runs() > 0 { Ok(()) } else { Err(*name) });
        let output = becomes(&agent, name, expected)["Output"].clone();
        let length = output.as_str().map_or(0, str::len);
        assert!(length < 5_000, "{name}: {length} bytes");
    }
    becomes(&agent, "missing", "critical");
}

#[test]
fn nothing_of_a_script_outlives_its_time() {
    let agent = enabled();
    let scripts = [("hang", Script::new(HANG)), ("fork", Script::new(FORK)), ("flood", Script::new(FLOOD))];
    for (name, script) in &scripts {
        let mut check = runs(script);
        check["Status"] = json!("passing");
        register(&agent, name, check);
    }
    for (name, _) in &scripts {
        let output = becomes(&agent, name, "critical")["Output"].clone();
        assert!(output.as_str().is_some_and(|output| output.len() < 5_000), "{name}: {output}");
        let gone = agent.http().put(&format!("/v1/agent/check/deregister/{}", id(name)), &json!({})).unwrap();
        assert_eq!(gone.status, 200, "{}", gone.text());
    }
    let forked = &scripts[1].1;
    assert!(forked.forked() >= 2, "it had children");
    eventually("no child is left", || match forked.children() {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
    // Neither what sleeps nor what floods goes on.
    eventually("the agent has no child", || match children_of(agent.id()) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

/// The command lines of the children of a process, of all its threads.
fn children_of(process: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_task =
        |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("children")).ok();
    let ids: String = tasks.filter_map(of_task).collect::<Vec<_>>().join(" ");
    let line = |id: &str| std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    ids.split_whitespace().map(line).collect()
}
