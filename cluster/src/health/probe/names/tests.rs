//! Names as two files and resolvers that answer, lie low and change their mind have them.

use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use tempfile::TempDir;
use tokio::{net::UdpSocket, time::timeout};

use super::*;
use crate::health::probe::testing::{AMPLE, SHORT};

/// A resolver that knows `web.*` by one address and `hang*` not at all; and how often it was asked.
async fn resolver(ip: Ipv4Addr) -> (u16, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
    let (port, asked) = (socket.local_addr().expect("bound").port(), Arc::<AtomicUsize>::default());
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            let query = question.queries[0].clone();
            count.fetch_add(1, Ordering::Relaxed);
            let name = query.name().to_string();
            if name.starts_with("hang") {
                continue;
            }
            let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
            answer.add_queries(question.queries.clone());
            match name.starts_with("web.") {
                true if query.query_type() == RecordType::A => {
                    let record = Record::from_rdata(query.name().clone(), 300, RData::A(A(ip)));
                    answer.add_answer(record);
                }
                true => {}
                false => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            let _ = socket.send_to(&answer.to_vec().expect("writable"), peer).await;
        }
    });
    (port, asked)
}

/// The two files, and who reads them.
fn names(folder: &TempDir, port: u16, resolv_conf: &str, hosts: &str) -> &'static Names {
    let files = [("resolv.conf", resolv_conf), ("hosts", hosts)].map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    });
    let [resolv_conf, hosts] = files;
    Box::leak(Box::new(Names::new(resolv_conf, hosts, Some(port))))
}

#[tokio::test]
async fn hosts_come_first_then_resolvers_and_what_nobody_knows_is_said() {
    let ip = Ipv4Addr::new(10, 0, 0, 1);
    let (port, asked) = resolver(ip).await;
    let folder = tempfile::tempdir().expect("made");
    let names = names(&folder, port, "nameserver 127.0.0.1\nsearch example\n", "10.0.0.9 db my_db\n::9 db\n");
    let both: [IpAddr; 2] = [[10, 0, 0, 9].into(), "::9".parse().expect("an address")];
    assert_eq!(names.addresses("DB").await.expect("known"), both);
    assert_eq!(names.addresses("my_db").await.expect("known"), [IpAddr::from([10, 0, 0, 9])]);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(names.addresses("web").await.expect("found in the domain that is searched"), [IpAddr::from(ip)]);
    let so_far = asked.load(Ordering::Relaxed);
    assert_eq!(names.addresses("web").await.expect("known"), [IpAddr::from(ip)]);
    assert!(asked.load(Ordering::Relaxed) <= so_far + 1, "what has an address is kept for its time");
    assert!(matches!(names.addresses("no.such.name").await, Err(NameError::Unknown)));
}

#[tokio::test]
async fn names_nobody_answers_for_hold_up_no_other() {
    let (port, _) = resolver(Ipv4Addr::LOCALHOST).await;
    let folder = tempfile::tempdir().expect("made");
    let names = names(&folder, port, "nameserver 127.0.0.1\n", "");
    let hanging: Vec<_> =
        (0..200).map(|n| tokio::spawn(async move { names.addresses(&format!("hang{n}.example.")).await })).collect();
    for n in 0..20 {
        let found = timeout(AMPLE, names.addresses(&format!("web.{n}.example."))).await.expect("it answers");
        assert_eq!(found.expect("known"), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }
    assert!(hanging.iter().all(|it| !it.is_finished()), "they are waited for still");
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_files_are_read_again_when_they_changed() {
    let folder = tempfile::tempdir().expect("made");
    let names = names(&folder, 1, "nameserver 127.0.0.1\n", "10.0.0.1 db\n");
    assert_eq!(names.addresses("db").await.expect("known"), [IpAddr::from([10, 0, 0, 1])]);
    fs::write(&names.hosts, "10.0.0.2 db\n").expect("written");
    let later = SystemTime::now() + Duration::from_secs(10);
    fs::File::open(&names.hosts).and_then(|file| file.set_modified(later)).expect("touched");
    assert_eq!(names.addresses("db").await.expect("known"), [IpAddr::from([10, 0, 0, 1])], "not at every lookup");
    names.current.lock().as_mut().expect("read").looked -= LOOK;
    assert_eq!(names.addresses("db").await.expect("known"), [IpAddr::from([10, 0, 0, 2])]);
}

#[tokio::test]
async fn a_resolver_that_refuses_or_is_silent_is_told() {
    let folder = tempfile::tempdir().expect("made");
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
    let port = silent.local_addr().expect("bound").port();
    let names = names(&folder, port, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", "");
    assert!(timeout(SHORT, names.addresses("web.example.")).await.is_err(), "it is waited for");
    let failed = timeout(AMPLE, names.addresses("web.example.")).await.expect("not for ever");
    assert!(matches!(failed, Err(NameError::Timeout)), "{failed:?}");
}
