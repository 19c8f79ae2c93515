//! Sends the probes by which recursors that lead back to us are found: when each is due is said by [`super::looping`].

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{Inner, exchange, looping, question::Question};
use crate::client::Transport;

/// How long to wait for a probe's reply, whatever `recursor_timeout`: a question that goes round is back long before.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Probes until the end.
pub(super) async fn run(inner: Arc<Inner>) {
    let ending = inner.ending.clone();
    tokio::select! {
        () = probing(&inner) => {}
        () = ending.cancelled() => {}
    }
}

async fn probing(inner: &Arc<Inner>) {
    loop {
        let due: Vec<Option<Instant>> = inner.upstreams.iter().map(|upstream| upstream.watch.lock().due()).collect();
        let now = Instant::now();
        let mut probes = JoinSet::new();
        for (at, _) in due.iter().enumerate().filter(|(_, due)| due.is_some_and(|due| due <= now)) {
            probes.spawn(probe(inner.clone(), at));
        }
        if !probes.is_empty() {
            while probes.join_next().await.is_some() {}
            continue;
        }
        let next = due.into_iter().flatten().min();
        let rest = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = rest => {}
            () = inner.due.notified() => {}
        }
    }
}

async fn probe(inner: Arc<Inner>, at: usize) {
    let Some(upstream) = inner.upstreams.get(at) else { return };
    let token = rand::random();
    upstream.watch.lock().sent(token, Instant::now());
    let query = Question::of_probe(&looping::name(token)).query;
    let wait = inner.settings.timeout.min(WAIT_MAX);
    let recursor = upstream.address;
    if let Err(error) = exchange::ask(recursor, &query, Transport::Udp, wait).await {
        tracing::debug!(%recursor, %error, "no answer to the question whether this recursor leads back to this agent");
    }
    if upstream.watch.lock().ended() {
        tracing::info!(%recursor, "questions to this recursor no longer come back to this agent");
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use parking_lot::Mutex;
    use tokio::{net::UdpSocket, runtime::Handle};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{policy::Policy, recurse::Recursors};

    const SECOND: Duration = Duration::from_secs(1);

    /// When the virtual clock says so, a probe is sent; what comes of it is seen by who would be asked.
    #[tokio::test(start_paused = true)]
    async fn a_recursor_is_left_out_as_long_as_its_probes_come_back() {
        let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let policy = Policy { recursors: vec![upstream.local_addr().unwrap()], ..Policy::default() };
        let ending = CancellationToken::new();
        let recursors = Arc::new(Recursors::new(&policy, &ending, Handle::current()));
        let (probes, loops) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(true)));
        let (leading_back, counting, still) = (recursors.clone(), probes.clone(), loops.clone());
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = upstream.recv_from(&mut packet).await {
                *counting.lock() += 1;
                let packet = packet.get_mut(..length).unwrap();
                let reply = if *still.lock() {
                    leading_back.forward(packet, Transport::Udp).await.unwrap()
                } else {
                    packet[2] |= 0x80;
                    packet.to_vec()
                };
                upstream.send_to(&reply, from).await.unwrap();
            }
        });
        let seen = |seconds: u32| async move { tokio::time::sleep(SECOND * seconds).await };
        assert_eq!(recursors.inner.in_order().len(), 1);
        recursors.watch();
        seen(1).await;
        assert_eq!((recursors.inner.in_order().len(), *probes.lock()), (0, 1));
        seen(28).await;
        assert_eq!((recursors.inner.in_order().len(), *probes.lock()), (0, 1), "not before its time");
        seen(2).await;
        assert_eq!((recursors.inner.in_order().len(), *probes.lock()), (0, 2), "it still does");
        *loops.lock() = false;
        seen(31).await;
        assert_eq!((recursors.inner.in_order().len(), *probes.lock()), (1, 3), "taken back");
        seen(600).await;
        assert_eq!(*probes.lock(), 3, "and left alone");
        ending.cancel();
    }
}
