//! `usher dns`: what DNS answers, and why.

use std::process::ExitCode;

use serde::Deserialize;

use super::{CommandError, ask, client, error::Doing};
use crate::{
    client::{Client, flags::HttpFlags},
    output::{Output, columns::columns},
};

/// Look into the answers of DNS
///
/// Example:
///     usher dns explain web.service.consul SRV
#[derive(clap::Subcommand, Debug)]
#[command(verbatim_doc_comment)]
#[expect(missing_docs, reason = "clap shows what stands at the arguments")]
pub enum Command {
    Explain(ExplainArgs),
}

/// Tell how a DNS question is answered, and why
///
/// Asks the agent's own DNS, as a program on the agent's host would, and prints the whole way of the question: how its name
/// was read, which instances were looked at, who was left out and why, and the reply.
///
/// Example:
///     usher dns explain web.service.consul SRV
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct ExplainArgs {
    /// The name that is asked for, such as web.service.consul.
    #[arg(value_name = "name")]
    name: String,
    /// The type of the question. The default is A.
    #[arg(value_name = "type", default_value = "A", hide_default_value = true)]
    kind: String,
    /// Ask as over TCP.
    #[arg(long)]
    tcp: bool,
    #[command(flatten)]
    http: HttpFlags,
}

impl Command {
    /// Runs the command.
    pub fn run(self, out: &mut Output) -> Result<ExitCode, CommandError> {
        match self {
            Self::Explain(args) => ask(explain(&args, &client(&args.http)?, out)),
        }
    }
}

async fn explain(args: &ExplainArgs, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let mut request = client.agent("/v1/agent/dns/explain").with("name", &args.name).with("type", &args.kind);
    if args.tcp {
        request = request.present("tcp");
    }
    let explanation: Explanation = client.get(request).await.doing("Error explaining")?;
    out.line(text(&explanation))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Explanation {
    question: String,
    read_as: String,
    steps: Vec<String>,
    instances: Vec<Considered>,
    reply: Vec<String>,
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Considered {
    node: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    address: String,
    port: i64,
    answerable: bool,
    why: String,
}

fn text(explanation: &Explanation) -> String {
    let mut lines = vec![format!("Question:  {}", explanation.question), format!("Read as:   {}", explanation.read_as)];
    lines.extend(explanation.steps.iter().map(|step| format!("           {step}")));
    if !explanation.instances.is_empty() {
        lines.push(String::new());
        let mut rows = vec![["Node", "ID", "Address", "Answerable", "Why"].map(str::to_owned).to_vec()];
        rows.extend(explanation.instances.iter().map(row));
        lines.push(columns(rows));
    }
    lines.push(String::new());
    lines.push("Reply:".to_owned());
    lines.extend(explanation.reply.iter().map(|line| format!("    {line}")));
    if let Some(reason) = &explanation.reason {
        lines.push(format!("Reason:    {reason}"));
    }
    lines.join("\n")
}

fn row(considered: &Considered) -> Vec<String> {
    let Considered { node, service_id, address, port, answerable, why } = considered;
    let answerable = if *answerable { "yes" } else { "no" };
    vec![node.clone(), service_id.clone(), format!("{address}:{port}"), answerable.to_owned(), why.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_laid_out() {
        let instance = |id: &str, answerable, why: &str| Considered {
            node: "n1".into(),
            service_id: id.into(),
            address: "10.0.0.1".into(),
            port: 80,
            answerable,
            why: why.into(),
        };
        let explanation = Explanation {
            question: "web.service.consul. A".into(),
            read_as: "instances of service \"web\"".into(),
            steps: vec!["1 of 2 instances may be answered".into()],
            instances: vec![instance("a", true, "weight 1"), instance("b", false, "critical: check \"x\"")],
            reply: vec!["No Error aa".into(), "answer web.service.consul. 0 A 10.0.0.1".into()],
            reason: None,
        };
        let wanted = "\
Question:  web.service.consul. A
Read as:   instances of service \"web\"
           1 of 2 instances may be answered

Node  ID  Address      Answerable  Why
n1    a   10.0.0.1:80  yes         weight 1
n1    b   10.0.0.1:80  no          critical: check \"x\"

Reply:
    No Error aa
    answer web.service.consul. 0 A 10.0.0.1";
        assert_eq!(text(&explanation), wanted);
    }
}
