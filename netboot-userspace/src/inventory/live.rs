//! The inventory that is in force: readers take a snapshot and never wait; a change is durable first, then visible, then
//! announced, all before its caller hears of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::entry::{HostEntry, HostPatch};
use super::{Conflict, Host, Snapshot};
use crate::store::{self, Store};

/// `origin` of hosts that live in the store.
pub const STORE: &str = "store";

/// A change by CLI or API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new host; a fault if the name is taken.
    Add(HostEntry),
    /// In place of what has this name in the store; a fault if there is none.
    Replace(HostEntry),
    /// Some fields of the one with this name.
    Patch(String, HostPatch),
    /// A fault if there is none.
    Remove(String),
}

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
    #[error(transparent)]
    Store(#[from] store::Error),
}

fn lines(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

type Listener = Box<dyn Fn(&Arc<Snapshot>, &Arc<Snapshot>) + Send + Sync>;
type SiteRule = Box<dyn Fn(&Host) -> Result<(), String> + Send + Sync>;

/// The inventory in force, and the way to change it.
pub struct Live {
    store: Arc<Store>,
    current: RwLock<Arc<Snapshot>>,
    /// Holding it is the right to change `current`.
    turn: Mutex<()>,
    listeners: RwLock<Vec<Listener>>,
    rule: SiteRule,
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
    /// A stored host that the configuration now contradicts is left out (it stays in the store): the second value has
    /// a line for each, to be shown to a person.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn open(
        store: Arc<Store>,
        configured: Snapshot,
        rule: impl Fn(&Host) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<(Self, Vec<String>), store::Error> {
        let mut snapshot = configured;
        let mut notices = Vec::new();
        for (name, entry) in store.hosts::<HostEntry>()? {
            if let Err(refused) = insert(&mut snapshot, &entry, &rule) {
                notices.push(format!("host {name} of the store is left out: {refused}"));
            }
        }
        let current = RwLock::new(Arc::new(snapshot));
        let live = Self {
            store,
            current,
            turn: Mutex::default(),
            listeners: RwLock::default(),
            rule: Box::new(rule),
        };
        Ok((live, notices))
    }

    /// The inventory of this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has `listener(old, new)` called after each change, in the thread that makes it, before it is answered.
    pub fn on_change(&self, listener: impl Fn(&Arc<Snapshot>, &Arc<Snapshot>) + Send + Sync + 'static) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Makes a change: durable, then visible, then announced to every listener. Answers the inventory before and after.
    ///
    /// # Errors
    /// Why; nothing has changed then.
    pub fn apply(&self, change: Change) -> Result<(Arc<Snapshot>, Arc<Snapshot>), Refused> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.snapshot();
        let mut new = Snapshot::clone(&old);
        let (name, entry) = match change {
            Change::Add(entry) => (entry.name.clone(), Some(entry)),
            Change::Replace(entry) => {
                take_out(&mut new, &entry.name)?;
                (entry.name.clone(), Some(entry))
            }
            Change::Patch(name, patch) => {
                let entry = HostEntry::from(&*take_out(&mut new, &name)?);
                (name, Some(patch.apply(entry)))
            }
            Change::Remove(name) => {
                take_out(&mut new, &name)?;
                (name, None)
            }
        };
        if let Some(entry) = &entry {
            insert(&mut new, entry, &self.rule)?;
        }
        self.store.put_hosts(&[(name.as_str(), entry.as_ref())])?;
        let new = Arc::new(new);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        for listener in self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
            listener(&old, &new);
        }
        Ok((old, new))
    }
}

/// Removes a host of the store.
fn take_out(snapshot: &mut Snapshot, name: &str) -> Result<Arc<Host>, Refused> {
    let host = snapshot.remove(name).ok_or_else(|| Refused::Unknown(name.to_owned()))?;
    if host.origin == STORE {
        return Ok(host);
    }
    Err(Refused::File { name: name.to_owned(), origin: host.origin.clone() })
}

fn insert(
    snapshot: &mut Snapshot,
    entry: &HostEntry,
    rule: &(impl Fn(&Host) -> Result<(), String> + ?Sized),
) -> Result<(), Refused> {
    let host = entry.check(STORE).map_err(Refused::Invalid)?;
    rule(&host).map_err(|fault| Refused::Invalid(vec![fault]))?;
    snapshot.insert(Arc::new(host)).map_err(Refused::Conflict)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(name: &str, mac: &str, ip: &str) -> HostEntry {
        HostEntry { name: name.into(), macs: vec![mac.into()], ip: Some(ip.into()), ..HostEntry::default() }
    }

    fn open(dir: &std::path::Path) -> Live {
        let store = Arc::new(Store::open(dir).unwrap());
        let filed = entry("filed", "52:54:00:00:00:ff", "10.0.0.255").check("hosts.yaml:3").unwrap();
        let configured = Snapshot::new(vec![filed], Vec::new()).unwrap();
        let rule = |host: &Host| match host.ip {
            Some(ip) if ip.octets()[0] != 10 => Err(format!("{ip} is outside")),
            _ => Ok(()),
        };
        let (live, notices) = Live::open(store, configured, rule).unwrap();
        assert!(notices.is_empty(), "{notices:?}");
        live
    }

    #[test]
    fn a_change_is_announced_visible_and_durable() {
        let dir = tempfile::tempdir().unwrap();
        {
            let live = open(dir.path());
            let heard = Arc::new(Mutex::new(Vec::new()));
            let ear = heard.clone();
            live.on_change(move |old, new| {
                ear.lock().unwrap().push((old.hosts().count(), new.hosts().count()));
            });
            live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
            let patch = HostPatch {
                ip: Some(Some("10.0.0.2".into())),
                macs: Some(vec!["52:54:00:00:00:02".into()]),
                ..HostPatch::default()
            };
            live.apply(Change::Patch("a".into(), patch)).unwrap();
            let (old, new) = live.apply(Change::Add(entry("b", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
            assert_eq!((old.hosts().count(), new.hosts().count()), (2, 3));
            assert_eq!(*heard.lock().unwrap(), [(1, 2), (2, 2), (2, 3)]);
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
            (Change::Add(entry("b", "52:54:00:00:00:02", "11.0.0.2")), "11.0.0.2 is outside"),
            (Change::Replace(entry("c", "52:54:00:00:00:02", "10.0.0.2")), "there is no host c"),
            (Change::Remove("c".into()), "there is no host c"),
            (Change::Remove("filed".into()), "comes from hosts.yaml:3"),
        ];
        for (change, want) in cases {
            let error = live.apply(change.clone()).unwrap_err().to_string();
            assert!(error.contains(want), "{change:?}: {error}");
            assert_eq!(live.snapshot().hosts().count(), 2);
            assert_eq!(live.store.hosts::<HostEntry>().unwrap().len(), 1);
        }
    }
}
