//! Names of others: questions passed on to the recursors, and host names in the catalog followed to their addresses.
//!
//! Off the hot path: part of an errand.
//!
//! ```text
//!   question ─► cache ─► under way already? ─► recursors, one after the other ─► cache ─► all who wait for it
//!                 └► fresh: at once      └► wait for that one
//! ```
//!
//! | rule | here |
//! |---|---|
//! | recursors in order, or in random order; each has `recursor_timeout` | `Inner::ask` |
//! | one that was silent three times running is asked last for 10 s | [`standing`] |
//! | NOERROR and NXDOMAIN are passed on as they came; other codes, and silence, try the next | `Inner::ask` |
//! | the same transport as the client's, unencrypted; a cut reply over UDP is asked for again over TCP | [`exchange`] |
//! | larger than the client takes: its question and TC | [`reply`] |
//! | all failed: SERVFAIL with RA | `errand` |
//! | answers are kept, and sent out of date if `recursor_stale_max` allows it and nobody answers | [`cache`] |
//! | a recursor that leads back to us is left out | [`own`], [`looping`], [`probe`] |
//! | a question that comes back to us all the same waits for itself, and is not sent again | [`flights`] |
//! | a host name is asked for the addresses that are wanted; by Consul's letter for A alone | [`Recursors::find`] |

mod cache;
mod exchange;
mod flights;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod looping;
pub(crate) mod own;
mod probe;
mod question;
mod records;
mod reply;
mod standing;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::Message,
    rr::{Name as HickoryName, RData},
};
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    cache::{Cache, Limits, Look},
    exchange::AskError,
    flights::{Flights, Landed, Waiting},
    looping::Watch,
    question::{Asker, Question},
    standing::Standing,
};
use crate::{
    answer::chase::{Outside, OutsideData},
    client::Transport,
    policy::Policy,
    wire::qname::QName,
};

/// Most questions under way to one recursor; the next recursor is tried beyond.
const ASKED_MAX: usize = 512;
/// How long a client waits for a new answer where there is an old one (RFC 8767 section 5).
const CLIENT_PATIENCE: Duration = Duration::from_millis(1800);
/// Longest a question may be under way, whatever the recursors' timeouts: nobody waits for it any more.
const FLIGHT_MAX: Duration = Duration::from_secs(15);

/// The settings that decide who is asked, and what is kept: if one changes, all begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    recursors: Vec<SocketAddr>,
    timeout: Duration,
    random: bool,
    limits: Limits,
}

impl Settings {
    fn of(policy: &Policy) -> Self {
        Self {
            recursors: policy.recursors.clone(),
            timeout: policy.recursor_timeout,
            random: policy.recursor_random,
            limits: Limits { entries: policy.recursor_cache_size, stale_max: policy.recursor_stale_max },
        }
    }
}

/// The recursors, what they answered, and what they are being asked. Dropped, it asks nobody any more.
pub(crate) struct Recursors {
    inner: Arc<Inner>,
    _ended_with_this: DropGuard,
}

struct Inner {
    settings: Settings,
    upstreams: Vec<Upstream>,
    cache: Mutex<Cache>,
    flights: Arc<Flights>,
    ending: CancellationToken,
    /// Tells the one who probes that a probe is due.
    due: Notify,
    runtime: Handle,
}

/// One recursor.
struct Upstream {
    address: SocketAddr,
    permits: Semaphore,
    watch: Mutex<Watch>,
    standing: Mutex<Standing>,
}

impl Recursors {
    /// Recursors by this policy, until `ending`. What is to be done runs in `runtime`.
    pub(crate) fn new(policy: &Policy, ending: &CancellationToken, runtime: Handle) -> Self {
        let settings = Settings::of(policy);
        let now = Instant::now();
        let upstream = |address: &SocketAddr| Upstream {
            address: *address,
            permits: Semaphore::new(ASKED_MAX),
            watch: Mutex::new(Watch::new(now)),
            standing: Mutex::default(),
        };
        let ending = ending.child_token();
        let inner = Arc::new(Inner {
            upstreams: settings.recursors.iter().map(upstream).collect(),
            cache: Mutex::new(Cache::new(settings.limits)),
            flights: Arc::default(),
            ending: ending.clone(),
            due: Notify::new(),
            runtime,
            settings,
        });
        Self { inner, _ended_with_this: ending.drop_guard() }
    }

    /// Looks from now on whether they lead back to us, who are listening.
    pub(crate) fn watch(&self) {
        if !self.inner.upstreams.is_empty() {
            self.inner.runtime.spawn(probe::run(self.inner.clone()));
        }
    }

    /// Whether these are the recursors of this policy.
    pub(crate) fn are_of(&self, policy: &Policy) -> bool {
        self.inner.settings == Settings::of(policy)
    }

    /// The reply to the client's own question if it is known without asking; `Some(None)` if it is known that nobody
    /// answers. Does not wait.
    pub(crate) fn at_once(&self, packet: &[u8], transport: Transport) -> Option<Option<Vec<u8>>> {
        let question = Question::of_client(packet)?;
        match self.inner.known(&question).ok()? {
            Some(reply) => Some(reply::addressed(reply, &Asker::of(packet)?, transport)),
            None => Some(None),
        }
    }

    /// Passes the client's own question on; `None` if nobody answered it.
    pub(crate) async fn forward(&self, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let asker = Asker::of(packet)?;
        if self.inner.is_probe(&asker.name) {
            return reply::no_such_name(packet, &asker);
        }
        let found = self.inner.resolve(Question::of_client(packet)?, transport).await?;
        reply::addressed(found, &asker, transport)
    }

    /// The addresses of this type and the aliases the recursors have for a name (labels); nothing if none answers.
    pub(crate) async fn find(&self, name: &[u8], kind: u16) -> Vec<Outside> {
        let found = self.inner.resolve(Question::of_host(name, kind), Transport::Udp).await;
        found.map(|reply| records(&reply)).unwrap_or_default()
    }
}

impl Inner {
    /// The reply to a question, kept or new.
    async fn resolve(self: &Arc<Self>, question: Question, transport: Transport) -> Option<Vec<u8>> {
        let old = match self.known(&question) {
            Ok(known) => return known,
            Err(Unknown { old }) => old,
        };
        let asked = self.asked(question, transport);
        let Some(old) = old else { return asked.await.map(|reply| reply.to_vec()) };
        match timeout(CLIENT_PATIENCE, asked).await {
            Ok(Some(fresh)) => Some(fresh.to_vec()),
            // Those who ask go on meanwhile, and keep what they find.
            Ok(None) | Err(_) => Some(stale(old)),
        }
    }

    /// The reply that is kept, or `None` if it is known that nobody answers.
    fn known(&self, question: &Question) -> Result<Option<Vec<u8>>, Unknown> {
        let look = question.key.as_ref().map_or(Look::Miss, |key| self.cache.lock().look(key, Instant::now()));
        let hit = |found| {
            metrics::counter!("dns.recursor.cache_hit").increment(1);
            Ok(found)
        };
        match look {
            Look::Fresh(reply) => hit(Some(reply)),
            Look::Failed => hit(None),
            Look::StaleFailed(reply) => Ok(Some(stale(reply))),
            Look::Stale(reply) => Err(Unknown { old: Some(reply) }),
            Look::Miss => Err(Unknown { old: None }),
        }
    }

    /// The recursors' reply to a question, asked once for all who want it now.
    async fn asked(self: &Arc<Self>, question: Question, transport: Transport) -> Landed {
        metrics::counter!("dns.recursor.cache_miss").increment(1);
        let inner = self.clone();
        let of_flight = question.clone();
        let waiting = self.flights.join(&question, transport, |seat| {
            // A task of its own: who waits may give up without taking the answer from the others.
            self.runtime.spawn(async move {
                let asking = timeout(FLIGHT_MAX, inner.ask(&of_flight.query, transport));
                let answer = tokio::select! {
                    answer = asking => answer.unwrap_or(Answer::Failed),
                    () = inner.ending.cancelled() => Answer::NotAsked,
                };
                seat.land(inner.note(&of_flight, answer));
            });
        });
        waiting.map(Waiting::landed)?.await
    }

    /// Keeps what came of a question.
    fn note(&self, question: &Question, answer: Answer) -> Landed {
        let now = Instant::now();
        match answer {
            Answer::Came(reply) => {
                question.key.iter().for_each(|key| self.cache.lock().keep(key, &reply, now));
                Some(reply.into())
            }
            Answer::Failed => {
                question.key.iter().for_each(|key| self.cache.lock().fail(key, now));
                None
            }
            Answer::NotAsked => None,
        }
    }

    /// Asks one recursor after the other.
    async fn ask(&self, query: &[u8], transport: Transport) -> Answer {
        let mut answer = Answer::NotAsked;
        for upstream in self.in_order() {
            let Ok(_permit) = upstream.permits.try_acquire() else { continue };
            let recursor = upstream.address;
            let asked = exchange::ask(recursor, query, transport, self.settings.timeout).await;
            match &asked {
                Ok(_) => upstream.standing.lock().replied(),
                Err(AskError::Silent(_)) => upstream.standing.lock().was_silent(Instant::now()),
                // It costs no time.
                Err(AskError::Io(_) | AskError::Unrelated) => {}
            }
            match asked {
                Ok(reply) if reply::is_answer(&reply) => return Answer::Came(reply),
                Ok(reply) => tracing::debug!(%recursor, code = reply::code(&reply), "recursor has no answer"),
                Err(error) => tracing::debug!(%recursor, %error, "recursor failed"),
            }
            answer = Answer::Failed;
            metrics::counter!("dns.recursor.failed", "recursor" => recursor.to_string()).increment(1);
            if upstream.watch.lock().failed(Instant::now()) {
                self.due.notify_one();
            }
        }
        answer
    }

    /// The recursors in the order to ask them, without those that lead back to us; those that are silent last.
    fn in_order(&self) -> Vec<&Upstream> {
        let mut upstreams: Vec<&Upstream> =
            self.upstreams.iter().filter(|upstream| !upstream.watch.lock().loops()).collect();
        if self.settings.random {
            upstreams.shuffle(&mut rand::rng());
        }
        let now = Instant::now();
        upstreams.sort_by_cached_key(|upstream| upstream.standing.lock().goes_last(now));
        upstreams
    }

    /// Whether a question is one of our probes, which has gone round. Those of other agents are passed on: that is how
    /// agents that are each other's recursors find out.
    fn is_probe(&self, name: &QName) -> bool {
        let Some(token) = looping::token(name) else { return false };
        let now = Instant::now();
        let came_back = self.upstreams.iter().find_map(|one| Some((one, one.watch.lock().reached_us(token, now)?)));
        let Some((upstream, news)) = came_back else { return false };
        if news {
            self.due.notify_one();
            tracing::warn!(
                recursor = %upstream.address,
                "questions to this recursor come back to this agent, leaving it out until they no longer do"
            );
        }
        true
    }
}

/// What came of asking.
enum Answer {
    /// A reply to be passed on.
    Came(Vec<u8>),
    /// Nobody answered.
    Failed,
    /// Nobody was asked: all were busy or left out, or the end came.
    NotAsked,
}

/// Recursors have to be asked.
struct Unknown {
    /// An answer that is out of date.
    old: Option<Vec<u8>>,
}

fn stale(reply: Vec<u8>) -> Vec<u8> {
    metrics::counter!("dns.recursor.stale").increment(1);
    reply
}

fn records(reply: &[u8]) -> Vec<Outside> {
    let Ok(message) = Message::from_vec(reply) else { return Vec::new() };
    let records = message.answers.iter().filter_map(|record| {
        let data = match &record.data {
            RData::A(address) => OutsideData::A(address.0),
            RData::AAAA(address) => OutsideData::Aaaa(address.0),
            RData::CNAME(target) => OutsideData::Cname(labels(&target.0)?),
            _ => return None,
        };
        Some(Outside { owner: labels(&record.name)?, ttl: record.ttl, data })
    });
    records.collect()
}

fn labels(name: &HickoryName) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for label in name.iter() {
        out.push(u8::try_from(label.len()).ok()?);
        out.extend_from_slice(label);
    }
    Some(out)
}
