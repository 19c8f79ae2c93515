//! `usher members`: the agents of a gossip pool as this agent sees them.

use std::{collections::BTreeMap, net::IpAddr, process::ExitCode};

use regex::Regex;

use super::{CommandError, Ignored, error::Doing};
use crate::{
    client::{Client, api::Member, flags::HttpFlags},
    output::{Output, columns::columns},
};

/// The exit code when no member is left to show.
const NO_MATCH: u8 = 2;

/// List the agents of the cluster
///
/// Shows every agent this agent knows of, with its address and whether it is alive. Exits with 2 when
/// there is none to show.
///
/// Examples:
///     usher members
///     usher members -status='alive|failed' -detailed
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Show all that a member tells of itself.
    #[arg(long)]
    detailed: bool,
    /// Show only members whose status matches this regular expression.
    #[arg(long, value_name = "pattern", default_value = ".*")]
    status: String,
    /// Show the servers of all datacenters (servers only).
    #[arg(long)]
    wan: bool,
    /// Show only members of this network segment, a thing of Consul's enterprise edition.
    #[arg(long, value_name = "name", default_value = "_all")]
    segment: String,
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let status = Regex::new(&args.status).map_err(|error| {
        // The last line says what is wrong, those before show where.
        let text = error.to_string();
        let problem = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        CommandError::Usage(format!("Failed to compile status regexp: {problem}: `{}`", args.status))
    })?;
    let request = client.agent("/v1/agent/members").with("segment", &args.segment);
    let request = if args.wan { request.with("wan", "1") } else { request };
    let members: Vec<Member> = client.get(request).await.doing("Error retrieving members")?;
    let rows = rows(members, &status);
    if rows.is_empty() {
        return Ok(ExitCode::from(NO_MATCH));
    }
    out.line(if args.detailed { detailed(&rows) } else { standard(&rows) })?;
    Ok(ExitCode::SUCCESS)
}

/// A member with what is not told in so many words.
struct Row {
    member: Member,
    status: &'static str,
    segment: String,
}

/// The members whose status matches, by segment and name.
fn rows(members: Vec<Member>, wanted: &Regex) -> Vec<Row> {
    let mut rows: Vec<Row> = members
        .into_iter()
        .map(|member| Row { status: status_name(member.status), segment: segment_of(&member), member })
        .filter(|row| wanted.is_match(row.status))
        .collect();
    rows.sort_by(|a, b| (&a.segment, &a.member.name).cmp(&(&b.segment, &b.member.name)));
    rows
}

/// Serf's numbers of states.
fn status_name(status: i64) -> &'static str {
    match status {
        1 => "alive",
        2 => "leaving",
        3 => "left",
        4 => "failed",
        _ => "none",
    }
}

/// Servers are in all segments, others in the one they name.
fn segment_of(member: &Member) -> String {
    match member.tags.get("segment").map(String::as_str).unwrap_or_default() {
        "" if member.tags.get("role").is_some_and(|role| role == "consul") => "<all>".into(),
        "" => "<default>".into(),
        named => named.into(),
    }
}

fn address_of(member: &Member) -> String {
    match member.addr.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{}", member.port),
        _ => format!("{}:{}", member.addr, member.port),
    }
}

fn standard(rows: &[Row]) -> String {
    let header = ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"].map(String::from);
    columns(std::iter::once(header).chain(rows.iter().map(standard_row)))
}

fn standard_row(row: &Row) -> [String; 8] {
    let member = &row.member;
    let tag = |name: &str| member.tags.get(name).cloned().unwrap_or_default();
    let kind = match tag("role").as_str() {
        "consul" => "server",
        "node" => "client",
        _ => {
            let empty = String::new;
            let name = member.name.clone();
            return [name, address_of(member), row.status.into(), "unknown".into(), empty(), empty(), empty(), empty()];
        }
    };
    let build = match tag("build").split(':').next().unwrap_or_default() {
        "" => "< 0.3".into(),
        build => build.to_owned(),
    };
    let (name, address) = (member.name.clone(), address_of(member));
    [name, address, row.status.into(), kind.into(), build, tag("vsn"), tag("dc"), row.segment.clone()]
}

fn detailed(rows: &[Row]) -> String {
    let header = ["Node", "Address", "Status", "Tags"].map(String::from);
    columns(std::iter::once(header).chain(rows.iter().map(detailed_row)))
}

fn detailed_row(row: &Row) -> [String; 4] {
    let mut tags: BTreeMap<&str, &str> =
        row.member.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    tags.insert("segment", &row.segment);
    let tags: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    [row.member.name.clone(), address_of(&row.member), row.status.into(), tags.join(",")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, addr: &str, status: i64, tags: &[(&str, &str)]) -> Member {
        let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Member { name: name.into(), addr: addr.into(), port: 8301, status, tags }
    }

    fn pool() -> Vec<Member> {
        vec![
            member("zeta", "10.0.0.1", 1, &[("role", "node"), ("build", "0.1.0:"), ("vsn", "2"), ("dc", "dc1")]),
            member(
                "alpha",
                "2001:db8::1",
                4,
                &[("role", "consul"), ("build", "0.1.0:ab"), ("vsn", "2"), ("segment", "")],
            ),
            member("beta", "10.0.0.3", 3, &[]),
            member("delta", "10.0.0.4", 2, &[("role", "node"), ("segment", "s1")]),
            member("gamma", "10.0.0.5", 9, &[("role", "other")]),
        ]
    }

    fn lines(text: &str) -> Vec<&str> {
        text.lines().collect()
    }

    // As Consul's command prints the same pool.
    #[test]
    fn standard_columns() {
        let rows = rows(pool(), &Regex::new(".*").unwrap());
        let expected = [
            "Node   Address             Status   Type     Build  Protocol  DC   Segment",
            "alpha  [2001:db8::1]:8301  failed   server   0.1.0  2              <all>",
            "beta   10.0.0.3:8301       left     unknown                        ",
            "gamma  10.0.0.5:8301       none     unknown                        ",
            "zeta   10.0.0.1:8301       alive    client   0.1.0  2         dc1  <default>",
            "delta  10.0.0.4:8301       leaving  client   < 0.3                 s1",
        ];
        assert_eq!(lines(&standard(&rows)), expected);
    }

    #[test]
    fn details() {
        let rows = rows(pool(), &Regex::new("fail|leaving").unwrap());
        let expected = [
            "Node   Address             Status   Tags",
            "alpha  [2001:db8::1]:8301  failed   build=0.1.0:ab,role=consul,segment=<all>,vsn=2",
            "delta  10.0.0.4:8301       leaving  role=node,segment=s1",
        ];
        assert_eq!(lines(&detailed(&rows)), expected);
    }
}
