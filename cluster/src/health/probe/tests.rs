//! What is common to all kinds.

use super::{dial::DialError, names::NameError, stream::OpenError, *};

#[test]
fn what_this_host_lacks_says_nothing_of_what_is_checked() {
    let of = |code: Errno| io::Error::from_raw_os_error(code.raw_os_error());
    let connect = |code| DialError::Connect { network: "tcp", address: ([127, 0, 0, 1], 1).into(), source: of(code) };
    let refused = failed("it failed".to_owned(), &OpenError::from(connect(Errno::CONNREFUSED)));
    assert_eq!(refused, critical("it failed".to_owned()));
    let lookup =
        |code| DialError::Lookup { network: "tcp", host: "db".to_owned(), source: NameError::Io(of(code).into()) };
    for code in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
        assert!(failed(String::new(), &OpenError::from(connect(code))).inconclusive, "{code}");
        assert!(failed(String::new(), &lookup(code)).inconclusive, "{code}");
        assert!(failed(String::new(), &of(code)).inconclusive, "{code}");
    }
    assert!(!failed(String::new(), &lookup(Errno::NETUNREACH)).inconclusive);
}
