//! Replays the recorded cases, one test a file: `cargo test -p usher-tests --test conformance -- dns_many`.
//!
//! A failure names the file, the step with its number, and the difference. What waits for a later part stands in
//! `testdata/conformance/pending.json`. Where the letter of the RFCs asks for something else than Consul does, the file is
//! replayed twice: with `dns_config { compat = "consul" }`, where all of it must pass, and without, where exactly the
//! steps listed in `testdata/conformance/compat.json` must differ. `USHER_BIN` replays against another binary, and
//! `USHER_PENDING=off` lets every step count.

use usher_tests::binary::usher;
use usher_tests::conformance::case::Case;
use usher_tests::conformance::pending::{self, Pending};
use usher_tests::conformance::recorded;
use usher_tests::conformance::run::run;

fn replay(name: &str) {
    let mut case = Case::load(name).unwrap_or_else(|error| panic!("{error:#}"));
    let pending = pending::of(name).unwrap_or_else(|error| panic!("{error:#}"));
    if let Some(differing) = pending::by_default(name).unwrap_or_else(|error| panic!("{error:#}")) {
        check(name, &case, &differing);
        case.keep_to_consul();
    }
    check(name, &case, &pending);
}

fn check(name: &str, case: &Case, pending: &Pending) {
    let report = run(usher(), case, pending);
    assert!(report.is_good(), "testdata/conformance/cases/{name}.json ({})\n{report}", case.name);
    eprintln!("{name}: {} steps passed", report.passed);
}

macro_rules! files {
    ($($name:ident)*) => {
        const FILES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*
    };
}

files! {
    cli_agent_state cli_basic cli_catalog cli_kv cli_services cli_validate cli_wide
    dns_a_record_limit dns_addr dns_agent_state dns_alt_domain dns_datacenter dns_domain dns_edns dns_health
    dns_many dns_meta_txt dns_names dns_negative dns_no_compression dns_node dns_only_passing dns_ptr dns_query
    dns_raw dns_recursor dns_service_address dns_soa dns_tags_rfc2782 dns_truncate dns_ttl dns_udp_answer_limit
    dns_weights
    event
    http_agent_check http_agent_check_run http_agent_config http_agent_health http_agent_reports http_agent_self
    http_agent_service
    http_agent_service_bad http_agent_service_checks http_agent_ttl_maint http_blocking http_catalog_read
    http_catalog_register http_config http_health_read http_near http_translate http_ways
    kv_basic kv_blocking kv_cas kv_limits
    operator
    query
    session session_lock session_ttl
    snapshot
    txn_kv
}

#[test]
fn every_recorded_file_is_replayed() {
    let mut listed: Vec<&str> = FILES.to_vec();
    listed.sort_unstable();
    assert_eq!(listed, recorded(), "the files listed here are those in testdata/conformance/cases");
}

#[test]
fn the_pending_list_names_what_is_there() {
    let list = pending::load().unwrap_or_else(|error| panic!("{error:#}"));
    pending::check(&list).unwrap_or_else(|error| panic!("pending.json: {error:#}"));
    let list = pending::load_compat().unwrap_or_else(|error| panic!("{error:#}"));
    pending::check(&list).unwrap_or_else(|error| panic!("compat.json: {error:#}"));
}
