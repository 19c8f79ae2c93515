//! Small servers that the agent of a case may ask, each in threads of this process, ended when dropped.

pub(super) mod dns_upstream;
pub(super) mod http_target;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, net::TcpStream};

/// How often a server looks whether it is to end, and how long a silent client keeps a thread.
const LOOK: Duration = Duration::from_millis(100);
const SILENT: Duration = Duration::from_secs(5);

/// Accepts connections until told to end; each is served in a thread of its own.
#[derive(Debug)]
struct Acceptor {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    fn start(port: u16, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let ended = Arc::new(AtomicBool::new(false));
        let (flag, serve) = (Arc::clone(&ended), Arc::new(serve));
        let thread = thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::park_timeout(LOOK);
                    continue;
                };
                let serve = Arc::clone(&serve);
                thread::spawn(move || {
                    let ready = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(SILENT)));
                    if ready.is_ok() {
                        serve(stream);
                    }
                });
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
