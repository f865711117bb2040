//! The inventory that is in force: readers take a snapshot and never wait; a change is durable first, then visible, then
//! announced, all before its caller hears of it.

mod objects;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::Serialize;

pub use self::objects::{Kind, OddObject};
pub use super::change::{Change, Changed};
use super::change::{Draft, NotTaken, Rule, draft};
use super::entry::HostEntry;
use super::group::{Group, Groups};
use super::revisions::{self, Fate, Name, Revisions};
use super::{Conflict, Host, Snapshot, left_out};
use crate::store::{self, Store};

/// `origin` of hosts that live in the store.
pub const STORE: &str = "store";

/// Why a change was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// One line per fault.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    #[error("there is no host {0}")]
    Unknown(String),
    #[error("{}", lines(.0))]
    Conflict(Vec<Conflict>),
    #[error("host {name} comes from {origin}: change it there")]
    File { name: String, origin: String },
    #[error("there is no {} {name}", .kind.name())]
    Missing { kind: Kind, name: String },
    #[error("{} {name} comes from {origin}: change it there", .kind.name())]
    Filed { kind: Kind, name: String, origin: String },
    #[error("{by} boots the profile {name}: give it another one first")]
    InUse { name: String, by: String },
    #[error("is changed twice in one batch: name each host once")]
    Twice,
    #[error(transparent)]
    NotMade(#[from] NotMade),
}

/// A change that was right, and could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It is stored and visible, but not every layer could follow.
    #[error("{0}")]
    NotInForce(String),
}

impl Refused {
    /// What is wrong, a line per fault, for one who knows which change it was.
    pub fn faults(&self) -> Vec<String> {
        match self {
            Self::Invalid(faults) => faults.clone(),
            Self::Conflict(conflicts) => {
                conflicts.iter().map(|conflict| conflict.fault.to_string()).collect()
            }
            other => vec![other.to_string()],
        }
    }
}

/// Why no change of a batch was made.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{} of the changes can't be made", .0.len())]
    Refused(Vec<NotTaken>),
    #[error(transparent)]
    NotMade(#[from] NotMade),
}

fn lines(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

type Listener = Box<dyn Fn(&[Changed]) -> Result<(), String> + Send + Sync>;
type GroupsListener = Box<dyn Fn(&Groups) + Send + Sync>;

/// What became of a batch of changes.
#[derive(Debug)]
pub struct Done {
    /// One for each change that was made, by its place in the batch; those that changed nothing among them.
    pub changed: Vec<(usize, Changed)>,
    pub not_taken: Vec<NotTaken>,
}

/// The inventory in force, and the way to change it.
pub struct Live {
    store: Arc<Store>,
    current: RwLock<Arc<Snapshot>>,
    /// Holding it is the right to change `current`.
    turn: Mutex<()>,
    listeners: RwLock<Vec<Listener>>,
    of_groups: RwLock<Vec<GroupsListener>>,
    rule: RwLock<Box<Rule>>,
    revisions: Arc<Revisions>,
}

/// What another configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconfigured {
    pub hosts: Counts,
    pub profiles: Counts,
    pub groups: Counts,
    /// Hosts, profiles and groups of the store that the configuration contradicts now: a line for each, to be shown to a person.
    pub left_out: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("current", &self.snapshot()).finish_non_exhaustive()
    }
}

impl Live {
    /// The configured inventory and the store's hosts, together. `rule` is what the site asks of a host set by CLI or
    /// API (`Checked::check_host`).
    ///
    /// A stored host that the configuration now contradicts is left out (it stays in the store, and in
    /// [`Snapshot::all_left_out`]): the second value has a line for each, to be shown to a person.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn open(
        store: Arc<Store>,
        configured: Snapshot,
        rule: impl Fn(&Host) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<(Self, Vec<String>), store::Error> {
        let (snapshot, notices) = with_stored(&store, configured, &rule)?;
        let current = RwLock::new(Arc::new(snapshot));
        let (turn, listeners, of_groups) = Default::default();
        let (rule, revisions) = (RwLock::new(Box::new(rule) as Box<Rule>), Arc::default());
        Ok((Self { store, current, turn, listeners, of_groups, rule, revisions }, notices))
    }

    /// Puts another configuration's hosts and profiles in the place of those in force, beside the store's hosts, as
    /// [`Live::open`] does. `switch` puts the rest of it into force, with the new inventory, before any other change is made.
    ///
    /// # Errors
    /// The store can't be read: nothing has changed then. Or `switch` could not follow.
    pub fn reconfigure(
        &self,
        configured: Snapshot,
        rule: impl Fn(&Host) -> Result<(), String> + Send + Sync + 'static,
        switch: impl FnOnce(&Snapshot) -> Result<(), String>,
    ) -> Result<Reconfigured, NotMade> {
        let _turn = self.turn();
        let (new, left_out) = with_stored(&self.store, configured, &rule)?;
        let (old, new) = (self.snapshot(), Arc::new(new));
        *self.rule.write().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        let switched = switch(&new).map_err(NotMade::NotInForce);
        let note =
            |kind| move |name: &str, fate| self.revisions.note(kind, Name::Text(name.to_owned()), fate);
        let (before, after) = (old.hosts().map(|h| (&h.name, h)), new.hosts().map(|h| (&h.name, h)));
        let hosts = compare(before, after, note(revisions::Kind::Host));
        let (before, after) = (old.profiles().map(|p| (&p.name, p)), new.profiles().map(|p| (&p.name, p)));
        let profiles = compare(before, after, note(revisions::Kind::Profile));
        let [before, after] = [&old, &new].map(|snapshot| {
            let by_name = |group: &Arc<Group>| (group.name.clone(), group.clone());
            snapshot.groups().iter().map(by_name).collect::<BTreeMap<_, _>>()
        });
        let groups = compare(before.iter(), after.iter(), note(revisions::Kind::Group));
        switched.map(|()| Reconfigured { hosts, profiles, groups, left_out })
    }

    /// The inventory of this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has changed of hosts and profiles, and of all else that whoever changes it notes there.
    pub fn revisions(&self) -> &Arc<Revisions> {
        &self.revisions
    }

    /// Has `listener` called with what differs after each change, in the thread that makes it, before it is answered.
    pub fn on_change(&self, listener: impl Fn(&[Changed]) -> Result<(), String> + Send + Sync + 'static) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Has `listener` called with all groups after each change of one, in the thread that makes it, before it is answered.
    pub fn on_regroup(&self, listener: impl Fn(&Groups) + Send + Sync + 'static) {
        self.of_groups.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Makes a change: durable, then visible, then announced to every listener. Answers the inventory before and after.
    ///
    /// # Errors
    /// Why; nothing has changed then.
    pub fn apply(&self, change: Change) -> Result<(Arc<Snapshot>, Arc<Snapshot>), Refused> {
        self.apply_if(change, |_| Ok(()))
    }

    /// The same, if `condition` holds of the inventory that it changes: nobody else changes it in between.
    ///
    /// # Errors
    /// Why, or what the condition says; nothing has changed then.
    pub fn apply_if<E: From<Refused>>(
        &self,
        change: Change,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<(Arc<Snapshot>, Arc<Snapshot>), E> {
        let _turn = self.turn();
        let old = self.snapshot();
        condition(&old)?;
        let mut draft = self.draft(&old, &[change]);
        if let Some(fault) = draft.not_taken.pop() {
            return Err(fault.why.into());
        }
        self.commit(draft).map_err(Refused::from)?;
        Ok((old, self.snapshot()))
    }

    /// Makes all of these changes at once, as one: in one transaction, and seen together.
    ///
    /// # Errors
    /// Every one that can't be made, or the store; nothing has changed then.
    pub fn apply_all(&self, changes: &[Change]) -> Result<Vec<(usize, Changed)>, Failed> {
        let _turn = self.turn();
        let draft = self.draft(&self.snapshot(), changes);
        if !draft.not_taken.is_empty() {
            return Err(Failed::Refused(draft.not_taken));
        }
        Ok(self.commit(draft)?.changed)
    }

    /// Makes those of these changes that can be made, at once, and names the others.
    ///
    /// # Errors
    /// The store can't be written; nothing has changed then.
    pub fn apply_fitting(&self, changes: &[Change]) -> Result<Done, NotMade> {
        let _turn = self.turn();
        self.commit(self.draft(&self.snapshot(), changes))
    }

    /// What these changes would do now. Does nothing.
    pub fn dry_run(&self, changes: &[Change]) -> Done {
        let Draft { changed, not_taken, .. } = self.draft(&self.snapshot(), changes);
        Done { changed, not_taken }
    }

    fn draft(&self, old: &Snapshot, changes: &[Change]) -> Draft {
        draft(old, changes, &**self.rule.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever calls it has the turn, and made the draft of the snapshot in force.
    fn commit(&self, draft: Draft) -> Result<Done, NotMade> {
        let Draft { snapshot, changed, not_taken } = draft;
        let differing: Vec<Changed> =
            changed.iter().map(|(_, changed)| changed).filter(|changed| changed.differs()).cloned().collect();
        if !differing.is_empty() {
            self.put(&differing)?;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
            let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
            // All of them hear of it, also behind one that could not follow.
            let faults: Vec<String> =
                listeners.iter().filter_map(|listener| listener(&differing).err()).collect();
            let named = differing.iter().filter_map(|changed| {
                let fate =
                    Fate::of(changed.old.is_some() || changed.left_out.is_some(), changed.new.is_some())?;
                Some((revisions::Kind::Host, Name::Text(changed.name().to_owned()), fate))
            });
            self.revisions.note_all(named);
            if !faults.is_empty() {
                return Err(NotMade::NotInForce(faults.join("; ")));
            }
        }
        Ok(Done { changed, not_taken })
    }

    /// One durable transaction.
    fn put(&self, changed: &[Changed]) -> Result<(), store::Error> {
        let entries: Vec<_> = changed
            .iter()
            .map(|changed| (changed.name(), changed.new.as_deref().map(HostEntry::from)))
            .collect();
        let entries: Vec<_> = entries.iter().map(|(name, entry)| (*name, entry.as_ref())).collect();
        self.store.put_hosts(&entries)
    }
}

/// The configured inventory with the store's hosts, and a line for each that was left out.
fn with_stored(
    store: &Store,
    configured: Snapshot,
    rule: &Rule,
) -> Result<(Snapshot, Vec<String>), store::Error> {
    let snapshot = left_out::join(objects::join(configured, store)?, store.hosts()?, rule);
    let objects = snapshot.odd_objects().map(OddObject::notice);
    let notices = objects.chain(snapshot.all_left_out().map(|left_out| left_out.notice())).collect();
    Ok((snapshot, notices))
}

/// By name: both come in the same order. `each` hears of what differs.
fn compare<'a, T: PartialEq + 'a>(
    old: impl Iterator<Item = (&'a String, T)>,
    new: impl Iterator<Item = (&'a String, T)>,
    each: impl Fn(&str, Fate),
) -> Counts {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    let mut counts = Counts::default();
    loop {
        let (order, name) = match (old.peek(), new.peek()) {
            (None, None) => return counts,
            (Some((a, _)), None) => (Ordering::Less, *a),
            (None, Some((b, _))) => (Ordering::Greater, *b),
            (Some((a, _)), Some((b, _))) => (a.cmp(b), (*a).min(*b)),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let (count, fate) = match order {
            Ordering::Less => (&mut counts.removed, Fate::Removed),
            Ordering::Greater => (&mut counts.added, Fate::Added),
            Ordering::Equal if before == after => continue,
            Ordering::Equal => (&mut counts.changed, Fate::Changed),
        };
        *count += 1;
        each(name, fate);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::inventory::entry::HostPatch;

    fn entry(name: &str, mac: &str, ip: &str) -> HostEntry {
        HostEntry { name: name.into(), macs: vec![mac.into()], ip: Some(ip.into()), ..HostEntry::default() }
    }

    fn open(dir: &std::path::Path) -> Live {
        let store = Arc::new(Store::open(dir).unwrap());
        let filed = entry("filed", "52:54:00:00:00:ff", "10.0.0.255").check("hosts.yaml:3").unwrap();
        let configured = Snapshot::new(vec![filed], Vec::new()).unwrap();
        let (live, notices) = Live::open(store, configured, inside).unwrap();
        assert!(notices.is_empty(), "{notices:?}");
        live
    }

    fn inside(host: &Host) -> Result<(), String> {
        match host.ip {
            Some(ip) if ip.octets()[0] != 10 => Err(format!("ip: {ip} is outside")),
            _ => Ok(()),
        }
    }

    #[test]
    fn a_change_is_announced_visible_and_durable() {
        let dir = tempfile::tempdir().unwrap();
        {
            let live = open(dir.path());
            let heard = Arc::new(Mutex::new(Vec::new()));
            let ear = heard.clone();
            live.on_change(move |changed| {
                let name = |host: &Option<Arc<Host>>| host.as_ref().map(|host| host.name.clone());
                let names = changed.iter().map(|changed| (name(&changed.old), name(&changed.new)));
                ear.lock().unwrap().extend(names);
                Ok(())
            });
            live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
            let patch = HostPatch {
                ip: Some(Some("10.0.0.2".into())),
                macs: Some(vec!["52:54:00:00:00:02".into()]),
                ..HostPatch::default()
            };
            live.apply(Change::Patch("a".into(), patch)).unwrap();
            let (old, new) = live.apply(Change::Add(entry("b", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
            assert_eq!((old.hosts().len(), new.hosts().len()), (2, 3));
            let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
            assert_eq!(*heard.lock().unwrap(), [(None, a.clone()), (a.clone(), a), (None, b)]);
        }
        let live = open(dir.path());
        let snapshot = live.snapshot();
        assert_eq!(snapshot.host_by_ip([10, 0, 0, 2].into()).unwrap().name, "a");
        assert_eq!(snapshot.host("b").unwrap().origin, STORE);
        live.apply(Change::Remove("a".into())).unwrap();
        assert!(live.snapshot().host_by_ip([10, 0, 0, 2].into()).is_none());
    }

    #[test]
    fn a_refused_change_changes_nothing_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let live = open(dir.path());
        live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
        let cases = [
            (Change::Add(entry("a", "52:54:00:00:00:02", "10.0.0.2")), "host a is there already, from store"),
            (
                Change::Add(entry("b", "52:54:00:00:00:01", "10.0.0.2")),
                "has the MAC 52:54:00:00:00:01 of host a",
            ),
            (Change::Add(entry("b", "52:54:00:00:00:02", "10.0.0.1")), "has the address 10.0.0.1 of host a"),
            (Change::Add(entry("b", "52:54:00:00:00", "10.0.0.2")), "not a MAC address"),
            (Change::Add(entry("b b", "52:54:00:00:00:02", "10.0.0.2")), "not a host name"),
            (Change::Add(entry("b", "52:54:00:00:00:02", "11.0.0.2")), "ip: 11.0.0.2 is outside"),
            (Change::Put(entry("filed", "52:54:00:00:00:02", "10.0.0.2")), "comes from hosts.yaml:3"),
            (Change::Patch("c".into(), HostPatch::default()), "there is no host c"),
            (Change::Remove("c".into()), "there is no host c"),
            (Change::Remove("filed".into()), "comes from hosts.yaml:3"),
        ];
        for (change, want) in cases {
            let error = live.apply(change.clone()).unwrap_err().to_string();
            assert!(error.contains(want), "{change:?}: {error}");
            assert_eq!(live.snapshot().hosts().len(), 2);
            assert_eq!(live.store.hosts::<HostEntry>().unwrap().len(), 1);
        }
    }

    #[test]
    fn another_configuration_keeps_the_stores_hosts_and_leaves_out_those_that_contradict_it() {
        let dir = tempfile::tempdir().unwrap();
        let live = open(dir.path());
        live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
        live.apply(Change::Add(entry("b", "52:54:00:00:00:02", "10.0.0.2"))).unwrap();
        let new = |mac, ip| vec![entry("new", mac, ip).check("hosts.yaml:9").unwrap()];
        let configured = Snapshot::new(new("52:54:00:00:00:03", "10.0.0.2"), Vec::new()).unwrap();
        let seen = Mutex::new(0);
        let reconfigured = live.reconfigure(
            configured,
            |_| Ok(()),
            |snapshot| {
                *seen.lock().unwrap() = snapshot.hosts().len();
                Ok(())
            },
        );
        let Reconfigured { hosts, left_out, .. } = reconfigured.unwrap();
        assert_eq!(hosts, Counts { added: 1, changed: 0, removed: 2 }, "filed and b are gone, new is there");
        assert_eq!(left_out.len(), 1);
        assert!(
            left_out[0].contains("host b of the store") && left_out[0].contains("host new"),
            "{left_out:?}"
        );
        assert_eq!((*seen.lock().unwrap(), live.snapshot().hosts().len()), (2, 2));
        // The new rule is in force, too.
        live.apply(Change::Add(entry("far", "52:54:00:00:00:04", "11.0.0.4"))).unwrap();
        // And back: what was left out is there again.
        let hosts = live.reconfigure(Snapshot::default(), |_| Ok(()), |_| Ok(())).unwrap().hosts;
        assert_eq!(hosts, Counts { added: 1, changed: 0, removed: 1 });
        assert!(live.snapshot().host("b").is_some());
    }

    #[test]
    fn a_batch_is_one_change() {
        let dir = tempfile::tempdir().unwrap();
        let live = open(dir.path());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        live.on_change(move |changed| {
            ear.lock().unwrap().push(changed.len());
            Ok(())
        });
        let (a, b) =
            (entry("a", "52:54:00:00:00:01", "10.0.0.1"), entry("b", "52:54:00:00:00:02", "10.0.0.2"));
        live.apply_all(&[Change::Add(a.clone()), Change::Add(b.clone())]).unwrap();
        // Two machines change places; what stays as it is, is not announced.
        let (a, b) = (HostEntry { name: "b".into(), ..a }, HostEntry { name: "a".into(), ..b });
        let filed = Change::Merge("filed".into(), HostPatch::default());
        let changed = live.apply_all(&[Change::Put(a), Change::Put(b), filed]).unwrap();
        assert_eq!(
            changed.iter().map(|(_, changed)| changed.differs()).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert_eq!(live.snapshot().host_by_ip([10, 0, 0, 1].into()).unwrap().name, "b");
        live.apply_all(&[Change::Remove("a".into()), Change::Remove("b".into())]).unwrap();
        assert_eq!(*heard.lock().unwrap(), [2, 2, 2]);
        assert_eq!(live.store.hosts::<HostEntry>().unwrap(), []);
    }

    #[test]
    fn a_batch_with_a_fault_changes_nothing_or_only_what_fits() {
        let dir = tempfile::tempdir().unwrap();
        let live = open(dir.path());
        live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
        let moved = HostPatch { ip: Some(Some("11.0.0.1".into())), ..HostPatch::default() };
        let changes = [
            Change::Add(entry("c", "52:54:00:00:00:03", "10.0.0.3")),
            // It would have to leave its place for b, and has nowhere to go.
            Change::Patch("a".into(), moved),
            Change::Add(entry("b", "52:54:00:00:00:02", "10.0.0.1")),
            Change::Remove("c".into()),
            Change::Remove("d".into()),
        ];
        let faults = |not_taken: &[NotTaken]| -> Vec<(usize, String)> {
            not_taken.iter().map(|fault| (fault.index, fault.why.faults().join("; "))).collect()
        };
        let want = [
            (1, "ip: 11.0.0.1 is outside"),
            (2, "host b has the address 10.0.0.1 of host a"),
            (3, "is changed twice in one batch: name each host once"),
            (4, "there is no host d"),
        ];
        let want = want.map(|(index, text)| (index, text.to_owned()));
        let Err(Failed::Refused(refused)) = live.apply_all(&changes) else { panic!("it must be refused") };
        assert_eq!(faults(&refused), want);
        assert_eq!(faults(&live.dry_run(&changes).not_taken), want);
        assert_eq!(live.snapshot().hosts().len(), 2);
        let done = live.apply_fitting(&changes).unwrap();
        assert_eq!(faults(&done.not_taken), want);
        assert_eq!(done.changed.len(), 1);
        assert!(live.snapshot().host("c").is_some());
        assert_eq!(live.store.hosts::<HostEntry>().unwrap().len(), 2);
    }

    /// A store whose hosts are a (the MAC of a configured host) and b (an address outside), as the configuration is now.
    fn with_left_out(dir: &std::path::Path) -> Live {
        let stored =
            [entry("a", "52:54:00:00:00:ff", "10.0.0.1"), entry("b", "52:54:00:00:00:02", "11.0.0.2")];
        let stored = stored.each_ref().map(|entry| (entry.name.as_str(), Some(entry)));
        let store = Arc::new(Store::open(dir).unwrap());
        store.put_hosts(&stored).unwrap();
        let filed = entry("filed", "52:54:00:00:00:ff", "10.0.0.255").check("hosts.yaml:3").unwrap();
        let configured = Snapshot::new(vec![filed], Vec::new()).unwrap();
        let (live, notices) = Live::open(store, configured, inside).unwrap();
        let want = ["has the MAC 52:54:00:00:00:ff of host filed", "ip: 11.0.0.2 is outside"];
        assert_eq!(notices.len(), 2);
        for (notice, want) in notices.iter().zip(want) {
            assert!(notice.contains(want) && notice.contains("netboot host remove"), "{notice}");
        }
        live
    }

    fn names_left_out(live: &Live) -> Vec<String> {
        live.snapshot().all_left_out().map(|left_out| left_out.entry.name.clone()).collect()
    }

    #[test]
    fn a_stored_host_that_is_left_out_can_be_repaired_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let live = with_left_out(dir.path());
        assert_eq!((live.snapshot().hosts().len(), names_left_out(&live)), (1, vec!["a".into(), "b".into()]));

        let cmdline = HostPatch { cmdline: Some("quiet".into()), ..HostPatch::default() };
        let refused = live.apply(Change::Patch("b".into(), cmdline)).unwrap_err();
        assert_eq!(refused.to_string(), "ip: 11.0.0.2 is outside");
        let refused = live.apply(Change::Add(entry("b", "52:54:00:00:00:03", "10.0.0.3"))).unwrap_err();
        assert!(
            refused.to_string().contains("there already, from the store, where it is left out"),
            "{refused}"
        );
        assert_eq!(names_left_out(&live), ["a", "b"]);

        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        live.on_change(move |changed| {
            ear.lock().unwrap().extend(changed.to_vec());
            Ok(())
        });
        let moved = HostPatch { ip: Some(Some("10.0.0.2".into())), ..HostPatch::default() };
        let changes = [Change::Patch("b".into(), moved), Change::Remove("a".into())];
        live.apply_all(&changes).unwrap();
        let snapshot = live.snapshot();
        assert_eq!(
            snapshot.host_by_ip([10, 0, 0, 2].into()).unwrap().macs[0].to_string(),
            "52:54:00:00:00:02"
        );
        assert!(snapshot.host("a").is_none() && names_left_out(&live).is_empty());
        let heard: Vec<_> =
            heard.lock().unwrap().iter().map(|c| (c.name().to_owned(), c.new.is_some())).collect();
        assert_eq!(heard, [("b".to_owned(), true), ("a".to_owned(), false)]);
        let stored = live.store.hosts::<HostEntry>().unwrap();
        assert_eq!(
            stored.iter().map(|(name, entry)| (name.as_str(), entry.ip.as_deref())).collect::<Vec<_>>(),
            [("b", Some("10.0.0.2"))]
        );
        assert!(
            live.apply(Change::Remove("a".into())).unwrap_err().to_string().contains("there is no host a")
        );
    }

    #[test]
    fn a_stored_host_whose_name_is_a_configured_ones_is_removed_and_the_other_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let twin = entry("filed", "52:54:00:00:00:01", "10.0.0.1");
        store.put_hosts(&[("filed", Some(&twin))]).unwrap();
        drop(store);
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let filed = entry("filed", "52:54:00:00:00:ff", "10.0.0.255").check("hosts.yaml:3").unwrap();
        let configured = Snapshot::new(vec![filed], Vec::new()).unwrap();
        let (live, _) = Live::open(store, configured, inside).unwrap();
        assert_eq!(names_left_out(&live), ["filed"]);
        let patch =
            Change::Patch("filed".into(), HostPatch { cmdline: Some("x".into()), ..HostPatch::default() });
        assert!(live.apply(patch).unwrap_err().to_string().contains("comes from hosts.yaml:3"));
        live.apply(Change::Remove("filed".into())).unwrap();
        assert_eq!(live.snapshot().host("filed").unwrap().origin, "hosts.yaml:3");
        assert_eq!((names_left_out(&live), live.store.hosts::<HostEntry>().unwrap()), (vec![], vec![]));
    }

    #[test]
    fn a_merge_adds_or_changes_only_what_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let live = open(dir.path());
        let merge = |macs: &str| HostPatch { macs: Some(vec![macs.into()]), ..HostPatch::default() };
        live.apply(Change::Merge("a".into(), merge("52:54:00:00:00:01"))).unwrap();
        let local = HostPatch { boot: Some(crate::inventory::Boot::Local), ..HostPatch::default() };
        live.apply(Change::Patch("a".into(), local)).unwrap();
        live.apply(Change::Merge("a".into(), merge("52:54:00:00:00:02"))).unwrap();
        let snapshot = live.snapshot();
        let host = snapshot.host("a").unwrap();
        assert_eq!(
            (host.macs[0].to_string().as_str(), host.boot),
            ("52:54:00:00:00:02", crate::inventory::Boot::Local)
        );
    }

    #[test]
    fn a_change_that_a_layer_could_not_follow_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let live = open(dir.path());
        live.on_change(|_| Err("the map is full".to_owned()));
        let refused = live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap_err();
        assert_eq!(refused.to_string(), "the map is full");
        assert!(live.snapshot().host("a").is_some(), "it is stored all the same");
    }
}
