//! The table of members: records and liveness put together into serf's statuses, and two members that cannot both be
//! told apart.
//!
//! ```text
//!   foca alive  + here, left, forgotten -> alive (a living one refutes that it has left)
//!   foca alive  + leaving               -> leaving
//!   foca down   + here                  -> failed
//!   foca down   + leaving, left         -> left
//!   foca down   + forgotten             -> not shown, kept as a tombstone
//! ```
//!
//! A record of another process than foca speaks of waits for its counterpart: the member is shown as before meanwhile.
//! Pure; shared with foca, which hands over the records that arrive in datagrams.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use foca::{BroadcastHandler, Invalidates, State};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{
    codec::WireError,
    identity::Identity,
    record::{Record, Standing},
};
use crate::membership::{Member, MemberStatus};

/// Records of further members are not taken.
pub(super) const MEMBERS_MAX: usize = 20_000;
/// A record nobody says anything of the liveness of is kept this long.
const UNKNOWN_KEPT: Duration = Duration::from_secs(60);
/// Conflicts told apart in the log; further ones are not logged.
const CONFLICTS_MAX: usize = 256;

/// Everything known of the members of a pool.
#[derive(Debug)]
pub(super) struct Table {
    own: Record,
    own_status: MemberStatus,
    /// When it is: foca hands over records without saying so.
    now: Instant,
    entries: BTreeMap<SocketAddr, Entry>,
    /// Whether something arrived since the last [`Table::refresh`].
    changed: bool,
    /// A record about this process that it did not write: what it must exceed.
    disputed: Option<u32>,
    /// A process at this address that started later than this one thinks it did.
    outranked: Option<u64>,
    /// Who a name belongs to while several claim it.
    holders: BTreeMap<String, SocketAddr>,
    /// Which conflicts were logged.
    conflicts: BTreeSet<(SocketAddr, SocketAddr)>,
}

/// One member.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: Arc<Record>,
    /// [`MemberStatus::None`] is not shown.
    pub(super) status: MemberStatus,
    /// Since when it has this status.
    pub(super) since: Instant,
    /// Whether `since` was told by somebody who knew it before.
    told: bool,
}

/// Two members that claim one name or one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    /// What they both claim, for a person.
    pub(super) claim: String,
    /// Who had it first.
    pub(super) holder: SocketAddr,
    /// Who wants it, too.
    pub(super) claimant: SocketAddr,
}

/// How long those who are gone are remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembrance {
    /// Failed ones.
    pub(super) failed: Duration,
    /// Those that left, and tombstones.
    pub(super) left: Duration,
}

impl Remembrance {
    pub(super) fn of(&self, standing: Standing) -> Duration {
        if standing == Standing::Here { self.failed } else { self.left }
    }
}

impl Table {
    pub(super) fn new(own: Record, now: Instant) -> Self {
        Self {
            own,
            own_status: MemberStatus::Alive,
            now,
            entries: BTreeMap::new(),
            changed: false,
            disputed: None,
            outranked: None,
            holders: BTreeMap::new(),
            conflicts: BTreeSet::new(),
        }
    }

    /// This member's own record.
    pub(super) fn own(&self) -> &Record {
        &self.own
    }

    /// It is `now`, until it is said otherwise.
    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Changes this member's own record, which becomes a later version of it.
    pub(super) fn change_own(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.own);
        self.own.version = self.own.version.saturating_add(1);
        self.changed = true;
    }

    pub(super) fn set_own_status(&mut self, status: MemberStatus) {
        self.own_status = status;
        self.changed = true;
    }

    /// The record and status of the member at `address`.
    pub(super) fn entry(&self, address: SocketAddr) -> Option<&Entry> {
        self.entries.get(&address)
    }

    /// Everybody else, tombstones included.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&SocketAddr, &Entry)> {
        self.entries.iter()
    }

    /// Who is shown under `name`.
    pub(super) fn named(&self, name: &str) -> Option<&Entry> {
        let holder = self.holders.get(name).and_then(|address| self.entries.get(address));
        let shown = |entry: &&Entry| entry.status != MemberStatus::None && entry.record.name == name;
        holder.filter(shown).or_else(|| self.entries.values().find(shown))
    }

    pub(super) fn has_changed(&self) -> bool {
        self.changed || self.disputed.is_some() || self.outranked.is_some()
    }

    /// What a record about this process that it did not write makes it exceed.
    pub(super) fn take_disputed(&mut self) -> Option<u32> {
        self.disputed.take()
    }

    /// When another process at this address is said to have started, if that is later than this one.
    pub(super) fn take_outranked(&mut self) -> Option<u64> {
        self.outranked.take()
    }

    /// Takes a record; whether it says anything new.
    pub(super) fn offer(&mut self, record: Record) -> bool {
        if record.address == self.own.address {
            self.hear_of_own(&record);
            return false;
        }
        let is_full = self.entries.len() >= MEMBERS_MAX;
        match self.entries.get_mut(&record.address) {
            Some(entry) if entry.record.precedence() >= record.precedence() => return false,
            Some(entry) => entry.record = Arc::new(record),
            None if is_full => return false,
            None => {
                let entry =
                    Entry { status: MemberStatus::None, since: self.now, told: false, record: Arc::new(record) };
                self.entries.insert(entry.record.address, entry);
            }
        }
        self.changed = true;
        true
    }

    /// Somebody who knew the member before says since when it is what it is.
    pub(super) fn tell_since(&mut self, address: SocketAddr, since: Instant) {
        if let Some(entry) = self.entries.get_mut(&address).filter(|entry| entry.status == MemberStatus::None) {
            (entry.since, entry.told) = (since, true);
        }
    }

    pub(super) fn remove(&mut self, address: SocketAddr) {
        self.changed |= self.entries.remove(&address).is_some();
    }

    /// Puts records and liveness together. Says whose record is missing.
    pub(super) fn refresh<'a>(
        &mut self,
        liveness: impl Iterator<Item = &'a foca::Member<Identity>>,
    ) -> BTreeSet<SocketAddr> {
        self.changed = false;
        let liveness: BTreeMap<SocketAddr, (u64, bool)> = liveness
            .map(|member| (member.id().address, (member.id().started, member.state() != State::Down)))
            .collect();
        for (address, entry) in &mut self.entries {
            let status = status(&entry.record, liveness.get(address).copied(), entry.status);
            if status == entry.status {
                continue;
            }
            if !std::mem::take(&mut entry.told) || is_active(status) {
                entry.since = self.now;
            }
            entry.status = status;
        }
        let is_missing = |address: &SocketAddr, started: u64| {
            *address != self.own.address && self.entries.get(address).is_none_or(|entry| entry.record.started < started)
        };
        liveness
            .into_iter()
            .filter(|(address, (started, active))| *active && is_missing(address, *started))
            .map(|(address, _)| address)
            .collect()
    }

    /// Everybody who is shown, ordered by name, and the conflicts nobody was told of yet. Of several under one name the
    /// living one is shown, and of several living ones the one that had it first; the others are not.
    pub(super) fn view(&mut self) -> (Vec<Member>, Vec<Conflict>) {
        let mut chosen: BTreeMap<String, SocketAddr> = BTreeMap::new();
        let mut ids: BTreeMap<String, SocketAddr> = BTreeMap::new();
        let (mut conflicts, mut superseded) = (Vec::new(), Vec::new());
        for address in self.in_order_of_claim() {
            let Some(entry) = self.entries.get(&address).filter(|it| it.status != MemberStatus::None) else { continue };
            let record = entry.record.clone();
            let own_name = (record.name == self.own.name).then_some(self.own.address);
            let own_id = (record.id == self.own.id && !record.id.is_empty()).then_some(self.own.address);
            let by_name = own_name.or_else(|| chosen.get(&record.name).copied());
            let by_id = own_id.or_else(|| ids.get(&record.id).copied()).filter(|_| is_active(entry.status));
            let claim = match (by_name, by_id) {
                (Some(holder), _) => Some((holder, format!("name '{}'", record.name))),
                (None, Some(holder)) => Some((holder, format!("id {}", record.id))),
                (None, None) => None,
            };
            match claim {
                Some((holder, claim)) if is_active(entry.status) => {
                    conflicts.push(Conflict { claim, holder, claimant: address });
                }
                Some((holder, _)) if holder == self.own.address || self.is_active_at(holder) => {
                    superseded.push(address)
                }
                Some(_) => {}
                None => {
                    if is_active(entry.status) && !record.id.is_empty() {
                        ids.insert(record.id.clone(), address);
                    }
                    chosen.insert(record.name.clone(), address);
                }
            }
        }
        for address in superseded {
            self.supersede(address);
        }
        conflicts.retain(|it| self.conflicts.len() < CONFLICTS_MAX && self.conflicts.insert((it.holder, it.claimant)));
        let mut members = vec![member(&self.own, self.own_status)];
        members.extend(
            chosen.values().filter_map(|address| self.entries.get(address)).map(|it| member(&it.record, it.status)),
        );
        members.sort_by(|a, b| a.name.cmp(&b.name));
        self.holders = chosen;
        (members, conflicts)
    }

    /// Who claims what is claimed already, of those that are active.
    pub(super) fn conflict_of(&self, claimant: &Record) -> Option<Conflict> {
        let claimed = |holder: &Record| {
            let claim = if holder.address == claimant.address {
                return None;
            } else if holder.name == claimant.name {
                format!("name '{}'", holder.name)
            } else if holder.id == claimant.id && !holder.id.is_empty() {
                format!("id {}", holder.id)
            } else {
                return None;
            };
            Some(Conflict { claim, holder: holder.address, claimant: claimant.address })
        };
        claimed(&self.own)
            .or_else(|| self.entries.values().filter(|it| is_active(it.status)).find_map(|it| claimed(&it.record)))
    }

    /// Who is to be forgotten now.
    pub(super) fn expired(&self, remembrance: Remembrance) -> Vec<SocketAddr> {
        let is_expired = |entry: &Entry| {
            let kept = match (entry.status, entry.record.standing) {
                (MemberStatus::Alive | MemberStatus::Leaving, _) => return false,
                (MemberStatus::None, Standing::Here | Standing::Leaving) => UNKNOWN_KEPT,
                (MemberStatus::Failed, _) => remembrance.failed,
                (MemberStatus::Left | MemberStatus::None, _) => remembrance.left,
            };
            self.now.saturating_duration_since(entry.since) >= kept
        };
        self.entries.iter().filter(|(_, entry)| is_expired(entry)).map(|(address, _)| *address).collect()
    }

    /// Active ones before others, holders of their name before others, those heard of later before others.
    fn in_order_of_claim(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.entries.keys().copied().collect();
        addresses.sort_by_cached_key(|address| {
            let entry = self.entries.get(address);
            let active = entry.is_some_and(|entry| is_active(entry.status));
            let holds = entry.is_some_and(|entry| self.holders.get(&entry.record.name) == Some(address));
            let started = entry.map(|entry| entry.record.started);
            let order = if active { started } else { started.map(|started| u64::MAX - started) };
            (!active, !holds, order, *address)
        });
        addresses
    }

    fn is_active_at(&self, address: SocketAddr) -> bool {
        self.entries.get(&address).is_some_and(|entry| is_active(entry.status))
    }

    /// Its name lives on elsewhere: only a tombstone stays.
    fn supersede(&mut self, address: SocketAddr) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.record = Arc::new(Record { standing: Standing::Forgotten, ..(*entry.record).clone() });
            entry.status = MemberStatus::None;
        }
    }

    fn hear_of_own(&mut self, record: &Record) {
        if record.started > self.own.started {
            self.outranked = self.outranked.max(Some(record.started));
        } else if record.precedence() > self.own.precedence() {
            self.disputed = self.disputed.max(Some(record.version));
        }
    }
}

pub(super) fn is_active(status: MemberStatus) -> bool {
    matches!(status, MemberStatus::Alive | MemberStatus::Leaving)
}

/// The status of a member whose process started at `liveness.0` and is alive (`liveness.1`) for all foca knows.
fn status(record: &Record, liveness: Option<(u64, bool)>, before: MemberStatus) -> MemberStatus {
    let gone = match record.standing {
        Standing::Here => MemberStatus::Failed,
        Standing::Leaving | Standing::Left => MemberStatus::Left,
        Standing::Forgotten => MemberStatus::None,
    };
    match liveness {
        Some((started, true)) if started == record.started && record.standing == Standing::Leaving => {
            MemberStatus::Leaving
        }
        Some((started, true)) if started == record.started => MemberStatus::Alive,
        Some((started, false)) if started == record.started => gone,
        // A later process came and went without a word.
        Some((started, false)) if started > record.started && before != MemberStatus::Left => MemberStatus::Failed,
        Some(_) => before,
        None if record.standing == Standing::Here => MemberStatus::None,
        None => gone,
    }
}

fn member(record: &Record, status: MemberStatus) -> Member {
    Member {
        name: record.name.clone(),
        address: record.address.ip(),
        port: record.address.port(),
        tags: record.tags.clone(),
        status,
    }
}

/// The table as foca's handler of broadcasts.
#[derive(Clone, Debug)]
pub(super) struct SharedTable(Arc<Mutex<Table>>);

impl SharedTable {
    pub(super) fn new(own: Record, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Table::new(own, now))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }
}

/// Which broadcast a later one replaces.
pub(super) struct About(SocketAddr);

impl Invalidates for About {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl BroadcastHandler<Identity> for SharedTable {
    type Key = About;
    type Error = WireError;

    fn receive_item(&mut self, data: &[u8], sender: Option<&Identity>) -> Result<Option<About>, WireError> {
        let record = Record::decode(data)?;
        let mut table = self.lock();
        let about = About(record.address);
        // What this member says of itself is always worth telling.
        if sender.is_none() && record.address == table.own.address {
            return Ok(Some(about));
        }
        Ok(table.offer(record).then_some(about))
    }
}
