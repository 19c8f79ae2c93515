//! `dns`: asks a resolver a question; passes while the answer holds what it must.
//!
//! `dns` is the name, `dns_type` the type (`A` where it says nothing), `dns_server` the resolver's address (port 53 where
//! it names none). With `dns_expect` every value in it must be among the answer's records of that type, written as in a
//! zone file; without, one record of the type is enough. Names are compared without regard to case and to a dot at their
//! end, addresses as addresses. Records of other types (aliases on the way) are not looked at.
//!
//! The question goes over UDP, again every second while nobody answers, and over TCP when the answer did not fit.

mod ask;
mod compare;

use std::net::IpAddr;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType},
};

use super::{
    Limit, Outcome, ProbeError, critical,
    dial::{HostPort, HostPortError},
    failed, passing,
};
use crate::local::definition::CheckSpec;

const PORT: u16 = 53;

/// A question and what its answer must hold.
pub(super) struct Dns {
    server: HostPort,
    name: Name,
    kind: RecordType,
    /// In the form in which they are compared.
    expected: Box<[String]>,
    output_max: usize,
}

impl Dns {
    pub(super) fn parse(spec: &CheckSpec, output_max: usize) -> Result<Self, ProbeError> {
        let server =
            server(&spec.dns_server).map_err(|error| ProbeError::field("DNSServer", &spec.dns_server, error))?;
        let mut name = Name::from_str_relaxed(&spec.dns).map_err(|error| ProbeError::field("DNS", &spec.dns, error))?;
        name.set_fqdn(true);
        let kind = match spec.dns_type.to_ascii_uppercase().as_str() {
            "" => RecordType::A,
            "ANY" | "AXFR" | "IXFR" | "OPT" | "TSIG" | "ZERO" => return Err(unknown_type(spec)),
            known => known.parse().map_err(|_| unknown_type(spec))?,
        };
        if spec.dns_expect.iter().any(String::is_empty) {
            return Err(ProbeError::field("DNSExpect", "", "no record says nothing"));
        }
        let expected = spec.dns_expect.iter().map(|value| compare::normal(kind, value)).collect();
        Ok(Self { server, name, kind, expected, output_max })
    }

    pub(super) async fn run(&self, limit: Limit) -> Outcome {
        match self.ask(limit).await {
            Ok(answer) => self.judge(&answer),
            Err(error) => failed(format!("{}: {error}", self.question()), &error),
        }
    }

    fn question(&self) -> String {
        format!("DNS {} {} @{}", self.name, self.kind, self.server)
    }

    fn judge(&self, answer: &Message) -> Outcome {
        let question = self.question();
        let code = answer.metadata.response_code;
        if code != ResponseCode::NoError {
            return critical(format!("{question}: {}", format!("{code:?}").to_ascii_uppercase()));
        }
        let records = answer.answers.iter().filter(|record| record.record_type() == self.kind);
        let mut found: Vec<String> =
            records.map(|record| compare::normal(self.kind, &record.data.to_string())).collect();
        // Resolvers turn their answers; what is said of the same records is the same.
        found.sort_unstable();
        found.dedup();
        let shown = self.shown(&found);
        if found.is_empty() {
            return critical(format!("{question}: no record of this type"));
        }
        let missing: Vec<&str> =
            self.expected.iter().filter(|value| !found.contains(value)).map(String::as_str).collect();
        if missing.is_empty() {
            return passing(format!("{question}: {shown}"));
        }
        critical(format!("{question}: {shown}; missing: {}", missing.join(", ")))
    }

    fn shown(&self, found: &[String]) -> String {
        let mut shown = found.join(", ");
        let end = (0..=self.output_max.min(shown.len())).rev().find(|end| shown.is_char_boundary(*end));
        shown.truncate(end.unwrap_or(0));
        shown
    }
}

fn unknown_type(spec: &CheckSpec) -> ProbeError {
    ProbeError::field("DNSType", &spec.dns_type, "it is no type that can be asked for")
}

fn server(given: &str) -> Result<HostPort, HostPortError> {
    if given.parse::<IpAddr>().is_ok() {
        return Ok(HostPort::new(given, PORT));
    }
    match HostPort::parse(given) {
        Err(HostPortError::NoPort) if !given.is_empty() => HostPort::parse(&format!("{given}:{PORT}")),
        read => read,
    }
}

#[cfg(test)]
mod tests;
