//! The tasks of a member: one that owns the datagrams and the machine, one that takes connections, and short-lived ones
//! that ask and answer over TCP. Nothing slow happens in the first.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Pool,
    core::{Answer, Core, Output},
    envelope::{HEAD_BYTES, Stranger, Strangers},
    exchange::{Reply, Request},
    keyring::Keyring,
    stream::{AskError, FrameError, Frames},
};
use crate::{
    membership::Member,
    net::{TcpListener, TcpStream, UdpSocket},
};

/// Commands waiting; who has another waits.
pub(super) const COMMANDS_MAX: usize = 64;
/// Datagrams read at a time, before timers have their turn.
const DATAGRAMS_AT_ONCE: usize = 64;
/// Questions under way; further ones are not asked. They are asked again in time.
const ASKING_MAX: usize = 32;
/// Connections of others; further ones are closed at once.
const CONNECTIONS_MAX: usize = 128;
/// Of one address, so that one peer does not keep others out.
const CONNECTIONS_MAX_PER_PEER: usize = 32;
/// A whole exchange, from the first byte to the last.
const CONNECTION: Duration = Duration::from_secs(10);
/// How long whoever has a name first has to say so.
const WHO: Duration = Duration::from_millis(1500);

/// What is asked of the owner of the machine.
pub(super) enum Command {
    /// The question that joins.
    JoinRequest(oneshot::Sender<Request>),
    /// An answer came.
    Reply {
        from: SocketAddr,
        reply: Reply,
        done: Option<oneshot::Sender<()>>,
    },
    /// Nobody listens where something was asked.
    Nobody(SocketAddr),
    /// A question came.
    Answer(Box<Request>, oneshot::Sender<Answer>),
    /// Who is said to be there does not answer any more.
    Gone(SocketAddr, oneshot::Sender<()>),
    Leave(oneshot::Sender<()>),
    ForceLeave {
        name: String,
        prune: bool,
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// What all tasks of a member share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) pool: Pool,
    pub(super) cluster: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) frames: Frames,
    pub(super) keyring: Arc<Keyring>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) strangers: Arc<Strangers>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The task that owns the machine.
pub(super) struct Owner {
    pub(super) core: Core,
    pub(super) udp: UdpSocket,
    pub(super) shared: Shared,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) tags: watch::Receiver<BTreeMap<String, String>>,
    pub(super) members: watch::Sender<Arc<Vec<Member>>>,
    pub(super) asking: Arc<Semaphore>,
    /// Who waits until this member has left.
    pub(super) leaving: Vec<oneshot::Sender<()>>,
}

impl Owner {
    pub(super) fn asking() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(ASKING_MAX))
    }

    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let mut buffer = vec![0; 65_536];
        loop {
            // What came while this task was away is heard before it judges anybody.
            for _ in 0..DATAGRAMS_AT_ONCE {
                let Ok((length, sender)) = self.udp.try_recv_from(&mut buffer) else { break };
                self.on_datagram(sender.ip(), buffer.get(..length).unwrap_or_default());
            }
            self.core.on_time(Instant::now());
            self.perform();
            let due = self.core.next_due().unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(command) = self.commands.recv() => self.on_command(command),
                Ok(()) = self.tags.changed() => {
                    let tags = self.tags.borrow_and_update().clone();
                    self.core.set_tags(Instant::now(), tags);
                }
                received = self.udp.recv_from(&mut buffer) => match received {
                    Ok((length, sender)) => self.on_datagram(sender.ip(), buffer.get(..length).unwrap_or_default()),
                    Err(error) => {
                        say!(self.shared.pool, debug, "receiving: {error}");
                        // Whatever it is, it must not keep a processor busy.
                        sleep(Duration::from_millis(10)).await;
                    }
                },
                () = sleep_until(due) => {}
            }
        }
    }

    fn on_datagram(&mut self, sender: IpAddr, bytes: &[u8]) {
        match self.shared.frames.envelope.open(bytes) {
            Ok(opened) if !opened.refusal => self.core.on_datagram(Instant::now(), &opened.payload),
            Ok(_) => {}
            Err(reason) => {
                self.shared.strangers.log(Instant::now(), self.shared.pool, sender, reason);
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        let now = Instant::now();
        // Who asked may have gone meanwhile: then nobody waits for the answer.
        match command {
            Command::JoinRequest(answer) => {
                let _ = answer.send(self.core.join_request(now));
            }
            Command::Reply { from, reply, done } => {
                self.core.on_reply(now, from, reply);
                self.perform();
                if let Some(done) = done {
                    let _ = done.send(());
                }
            }
            Command::Nobody(address) => self.core.on_nobody(now, address),
            Command::Answer(request, answer) => {
                let _ = answer.send(self.core.answer(now, *request));
            }
            Command::Gone(address, done) => {
                self.core.declare_gone(now, address);
                let _ = done.send(());
            }
            Command::Leave(done) => {
                self.leaving.push(done);
                self.core.leave(now);
            }
            Command::ForceLeave { name, prune, done } => {
                let result = self.core.force_leave(now, &name, prune);
                self.perform();
                let _ = done.send(result);
            }
        }
    }

    fn perform(&mut self) {
        for output in self.core.take_outputs() {
            match output {
                Output::Datagram { to, payload } => {
                    let sealed = self.shared.frames.envelope.seal(payload);
                    // Datagrams may be lost: waiting for a full queue would make this member late for others.
                    if let Err(error) = self.udp.try_send_to(&sealed, to) {
                        say!(self.shared.pool, debug, "sending to {to}: {error}");
                    }
                }
                Output::Ask { to, request, deadline } => self.ask(to, request, deadline),
                Output::Members(members) => {
                    self.members.send_replace(members);
                }
                Output::Left => {
                    for done in self.leaving.drain(..) {
                        let _ = done.send(());
                    }
                }
            }
        }
    }

    fn ask(&self, to: SocketAddr, request: Request, deadline: Duration) {
        let Ok(permit) = self.asking.clone().try_acquire_owned() else {
            say!(self.shared.pool, debug, "{to} is not asked: too many questions are under way");
            return;
        };
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            let _permit = permit;
            let asked = shared.stop.run_until_cancelled(shared.frames.ask(to, &request, deadline)).await;
            match asked {
                Some(Ok(reply)) => {
                    let _ = shared.commands.send(Command::Reply { from: to, reply, done: None }).await;
                }
                Some(Err(error)) => {
                    say!(shared.pool, debug, "asking {to}: {error}");
                    if matches!(error, AskError::Nobody) {
                        let _ = shared.commands.send(Command::Nobody(to)).await;
                    }
                }
                None => {}
            }
        });
    }
}

/// Takes connections until the end.
pub(super) async fn accept(listener: TcpListener, shared: Shared) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let peers = Arc::new(Peers::default());
    loop {
        let (stream, peer) = match shared.stop.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                say!(shared.pool, debug, "accepting: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (Ok(permit), Some(seat)) = (connections.clone().try_acquire_owned(), peers.sit(peer.ip())) else {
            continue;
        };
        let shared = shared.clone();
        shared.tasks.clone().spawn(async move {
            let _held = (permit, seat);
            let served = timeout(CONNECTION, serve(stream, peer, &shared));
            match shared.stop.clone().run_until_cancelled(served).await {
                Some(Ok(Err(error))) => say!(shared.pool, debug, "answering {peer}: {error}"),
                Some(Err(_)) => say!(shared.pool, debug, "{peer} took too long"),
                Some(Ok(Ok(()))) | None => {}
            }
        });
    }
}

async fn serve(mut stream: TcpStream, peer: SocketAddr, shared: &Shared) -> Result<(), FrameError> {
    let opened = match shared.frames.read(&mut stream).await {
        Ok(opened) if opened.refusal => return Ok(()),
        Ok(opened) => opened,
        Err(FrameError::Stranger(reason)) => {
            shared.strangers.log(Instant::now(), shared.pool, peer.ip(), reason);
            // Who does not speak gossip at all is not answered.
            if reason != Stranger::Garbage {
                let refusal = shared.frames.envelope.refuse(&shared.refusal(reason));
                shared.frames.write(&mut stream, refusal).await?;
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let request = Request::decode(&opened.payload)?;
    let reply = match request {
        Request::Keys(_) if !opened.encrypted => {
            Reply::Refused("keys are not spoken of in the clear: gossip is not encrypted".to_owned())
        }
        Request::Keys(operation) => {
            let keyring = shared.keyring.clone();
            match crate::blocking::run(move || keyring.apply(&operation)).await {
                Ok(answer) => Reply::Keys(answer),
                Err(error) => Reply::Refused(format!("the operation failed: {error}")),
            }
        }
        request => match shared.answer(request).await {
            Some(reply) => reply,
            None => return Ok(()),
        },
    };
    let sealed = shared.frames.envelope.seal(reply.encode());
    debug_assert!(sealed.len() > HEAD_BYTES);
    shared.frames.write(&mut stream, sealed).await?;
    Ok(())
}

impl Shared {
    /// Has the machine answer, asking others first where it wants that. `None` when it has stopped.
    async fn answer(&self, request: Request) -> Option<Reply> {
        let mut request = Box::new(request);
        // A newcomer can be in the way of two at most, by name and by id; each is asked once.
        for _ in 0..3 {
            let (sender, answer) = oneshot::channel();
            self.commands.send(Command::Answer(request, sender)).await.ok()?;
            match answer.await.ok()? {
                Answer::Reply(reply) => return Some(reply),
                Answer::AskFirst { holder, expected, refusal, again } => {
                    match self.frames.ask(holder, &Request::Who, WHO).await {
                        Ok(reply) if reply == expected => return Some(Reply::Refused(refusal)),
                        other => say!(
                            self.pool,
                            info,
                            "{holder} does not answer to its name, {other:?}: another member takes it"
                        ),
                    }
                    let (sender, done) = oneshot::channel();
                    self.commands.send(Command::Gone(holder, sender)).await.ok()?;
                    done.await.ok()?;
                    request = again;
                }
            }
        }
        Some(Reply::Refused("others claim to be the same member".to_owned()))
    }

    /// Why a stranger is refused, for the stranger.
    fn refusal(&self, reason: Stranger) -> String {
        let name = &self.name;
        match reason {
            Stranger::Cluster if self.cluster.is_empty() => format!("'{name}' is not part of this cluster"),
            Stranger::Cluster => format!("'{name}' is part of another datacenter, '{}'", self.cluster),
            Stranger::Version(version) => {
                format!("'{name}' does not speak version {version} of gossip: one of the two agents is older")
            }
            Stranger::Clear => format!("'{name}' encrypts gossip and what came is in the clear: the key is missing"),
            Stranger::Encrypted => format!("'{name}' does not encrypt gossip and what came is encrypted"),
            Stranger::Key => format!("'{name}' does not know the key that was used to encrypt: the keys differ"),
            Stranger::Garbage => format!("'{name}' does not understand what came"),
        }
    }
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Peers {
    seats: parking_lot::Mutex<std::collections::HashMap<IpAddr, usize>>,
}

struct Seat {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    fn sit(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let mut seats = self.seats.lock();
        let taken = seats.entry(peer).or_default();
        if *taken >= CONNECTIONS_MAX_PER_PEER {
            return None;
        }
        *taken += 1;
        Some(Seat { peers: self.clone(), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.peers.seats.lock();
        if let Some(taken) = seats.get_mut(&self.peer) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.peer);
            }
        }
    }
}
