//! A recursor to be scripted: what it replies is said by the test, and what it was asked is told.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "for tests alone"
)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::{JoinHandle, JoinSet},
};

/// A question as it was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    pub packet: Vec<u8>,
    pub tcp: bool,
}

impl Heard {
    /// The name that was asked for, in its letters, dots between the labels.
    pub fn name(&self) -> String {
        name(&self.packet)
    }
}

/// The name a packet asks for.
pub fn name(packet: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while packet[at] != 0 {
        let end = at + 1 + usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..end]).into_owned());
        at = end;
    }
    labels.join(".")
}

type Script = dyn Fn(&Heard) -> Option<Vec<u8>> + Send + Sync;

/// A recursor on a port of its own, over UDP and TCP. Dropped, it is there no more.
pub struct Upstream {
    pub address: SocketAddr,
    script: Arc<Mutex<Arc<Script>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
    held: Arc<Mutex<Vec<(Heard, SocketAddr)>>>,
    socket: Arc<UdpSocket>,
    serving: [JoinHandle<()>; 2],
}

impl Upstream {
    /// Replies what `script` says, and to questions whether it leads back to the agent that it does not know.
    pub async fn new(script: impl Fn(&Heard) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (Arc::new(socket), listener);
            }
        };
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(script)));
        let (heard, held) = (Arc::<Mutex<Vec<Heard>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (by_udp, scripted, hearing, holding) = (socket.clone(), script.clone(), heard.clone(), held.clone());
        let udp = tokio::spawn(async move {
            let mut packet = vec![0; 65_535];
            while let Ok((length, from)) = by_udp.recv_from(&mut packet).await {
                let heard = Heard { packet: packet[..length].to_vec(), tcp: false };
                if is_probe(&heard.packet) {
                    by_udp.send_to(&reply(&heard.packet, 3, &[]), from).await.unwrap();
                    continue;
                }
                hearing.lock().unwrap().push(heard.clone());
                let script = scripted.lock().unwrap().clone();
                match script(&heard) {
                    Some(reply) => _ = by_udp.send_to(&reply, from).await.unwrap(),
                    None => holding.lock().unwrap().push((heard, from)),
                }
            }
        });
        let (scripted, hearing) = (script.clone(), heard.clone());
        let tcp = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (scripted, hearing) = (scripted.clone(), hearing.clone());
                connections.spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut packet = vec![0; length.into()];
                        stream.read_exact(&mut packet).await.unwrap();
                        let heard = Heard { packet, tcp: true };
                        hearing.lock().unwrap().push(heard.clone());
                        let script = scripted.lock().unwrap().clone();
                        let Some(reply) = script(&heard) else { return };
                        stream.write_u16(reply.len().try_into().unwrap()).await.unwrap();
                        stream.write_all(&reply).await.unwrap();
                    }
                });
            }
        });
        Self { address: socket.local_addr().unwrap(), script, heard, held, socket, serving: [udp, tcp] }
    }

    /// Replies what this says from now on.
    pub fn now(&self, script: impl Fn(&Heard) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Replies to all over UDP that got no reply.
    pub async fn reply_late(&self, script: impl Fn(&Heard) -> Vec<u8>) {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        for (heard, from) in held {
            self.socket.send_to(&script(&heard), from).await.unwrap();
        }
    }

    /// What was asked so far: names, with `tcp` behind those over TCP.
    pub fn heard(&self) -> Vec<String> {
        let name = |heard: &Heard| if heard.tcp { format!("{} tcp", heard.name()) } else { heard.name() };
        self.heard.lock().unwrap().iter().map(name).collect()
    }

    /// The last question.
    pub fn last(&self) -> Heard {
        self.heard.lock().unwrap().last().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

/// Whether a packet is the agent's question whether a recursor leads back to it.
pub fn is_probe(packet: &[u8]) -> bool {
    packet.len() > 12 && name(packet).ends_with(".usher-loop.internal")
}

/// A reply to `packet`: its question, this code, and records as bytes: each of the answer, with the OPT record of the
/// question behind them.
pub fn reply(packet: &[u8], code: u8, answers: &[Vec<u8>]) -> Vec<u8> {
    sections(packet, code, answers, &[])
}

/// The same with records of the authority.
pub fn sections(packet: &[u8], code: u8, answers: &[Vec<u8>], authority: &[Vec<u8>]) -> Vec<u8> {
    let name: usize = name(packet).split('.').map(|label| label.len() + 1).sum();
    let (question, opt) = packet.split_at(12 + name + 1 + 4);
    let mut reply = question.to_vec();
    reply[2] |= 0x80;
    reply[3] |= 0x80 | code;
    reply[6..8].copy_from_slice(&u16::try_from(answers.len()).unwrap().to_be_bytes());
    reply[9] = authority.len().try_into().unwrap();
    [reply, answers.concat(), authority.concat(), opt.to_vec()].concat()
}

/// An address of the name that was asked for.
pub fn a(last: u8, ttl: u32) -> Vec<u8> {
    [&[0xc0, 12, 0, 1, 0, 1][..], &ttl.to_be_bytes(), &[0, 4, 192, 0, 2, last]].concat()
}

/// The start of the root's zone: a negative answer may be kept for `minimum` seconds.
pub fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
    let timers = [1, 2, 3, 4, minimum].map(u32::to_be_bytes).concat();
    [&[0, 0, 6, 0, 1][..], &ttl.to_be_bytes(), &[0, 22, 0, 0], &timers].concat()
}

/// Cuts a reply: its question, and TC.
pub fn cut(packet: &[u8]) -> Vec<u8> {
    let mut reply = reply(packet, 0, &[]);
    reply[2] |= 2;
    reply
}
