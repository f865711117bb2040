//! The maps, as tables: what is written, and in which order.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use netboot_common::limit::Limits;
use netboot_common::maps::{
    HostEntry, HostKey, HostValue, InterfaceKey, InterfaceValue, Template, TemplateKey,
};
use netboot_common::stats::{Lane, Note, Outcome};

use rustix::io::Errno;
use serde::Serialize;

use super::Error;

/// The maps that the programs read.
#[expect(missing_debug_implementations, reason = "aya's arrays have none")]
pub struct KernelTables {
    interfaces: HashMap<MapData, InterfaceKey, InterfaceValue>,
    hosts: HashMap<MapData, HostKey, HostEntry>,
    templates: HashMap<MapData, TemplateKey, Template>,
    limits: Array<MapData, Limits>,
    /// The budgets that were asked for last.
    wanted: Limits,
    room: Room,
}

/// How full the table of hosts is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Room {
    pub entries: u64,
    pub max: u64,
    /// Entries that found no room since the table was filled.
    pub refused: u64,
}

impl Room {
    /// Four fifths are in use: whoever can make room should.
    pub fn is_scarce(&self) -> bool {
        self.entries * 5 >= self.max * 4
    }
}

const BPF_NOEXIST: u64 = 1;

pub(super) fn is(error: &MapError, errno: Errno) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Numbers of scopes and groups, as templates, hosts and interfaces name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumbersInUse {
    pub scopes: HashSet<u16>,
    pub groups: HashSet<u16>,
}

/// One entry's new state.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Put(HostKey, HostValue),
    Remove(HostKey),
    /// The lease of `ip` is over: where the table has it, `instead` comes in its place.
    Withdraw {
        key: HostKey,
        ip: Ipv4Addr,
        instead: Option<HostValue>,
    },
}

impl KernelTables {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let limits = ebpf.take_map("LIMITS").ok_or(Error::Object { what: "LIMITS" })?;
        let limits = Array::try_from(limits).map_err(|source| Error::Map { map: "LIMITS", source })?;
        let hosts = match ebpf.map("HOSTS") {
            Some(Map::HashMap(hosts)) => hosts,
            _ => return Err(Error::Object { what: "HOSTS" }),
        };
        // Of the map that is there, which may be an earlier server's.
        let max = hosts.info().map_err(|source| Error::Map { map: "HOSTS", source })?.max_entries().into();
        Ok(Self {
            limits,
            wanted: Limits::NONE,
            room: Room { max, ..Room::default() },
            interfaces: take(ebpf, "INTERFACES")?,
            hosts: take(ebpf, "HOSTS")?,
            templates: take(ebpf, "TEMPLATES")?,
        })
    }

    /// Makes the tables hold exactly this, and the budgets that they were to have. New entries are written before old ones go, templates before the hosts and interfaces
    /// that lead to them: at each moment a reply is made of parts that belong together, or not made here. What finds no room is
    /// left to userspace.
    pub fn replace(
        &mut self,
        interfaces: &[(InterfaceKey, InterfaceValue)],
        hosts: &[(HostKey, HostValue)],
        templates: &[(TemplateKey, Template)],
    ) -> Result<(), Error> {
        self.limit(self.wanted)?;
        let left_templates = fill(&mut self.templates, "TEMPLATES", templates)?;
        let is_new = self.hosts.keys().next().is_none();
        let beyond = self.put_all(hosts, is_new)?;
        let left_interfaces = fill(&mut self.interfaces, "INTERFACES", interfaces)?;
        prune(&mut self.interfaces, "INTERFACES", interfaces)?;
        // A table that was empty holds nothing but these, and was counted as it was filled: to list a million takes its time.
        if !is_new {
            self.room.entries = prune(&mut self.hosts, "HOSTS", hosts)? as u64;
        }
        prune(&mut self.templates, "TEMPLATES", templates)?;
        // Old entries stood in their way, or there are too many.
        self.room.refused = 0;
        warn_of("TEMPLATES", &fill(&mut self.templates, "TEMPLATES", &left_templates)?);
        warn_of("HOSTS", &self.put_all(&beyond, false)?);
        warn_of("INTERFACES", &fill(&mut self.interfaces, "INTERFACES", &left_interfaces)?);
        Ok(())
    }

    /// Those for which there was no room. Reservations first: leases are renewed by userspace as well.
    fn put_all(
        &mut self,
        hosts: &[(HostKey, HostValue)],
        is_new: bool,
    ) -> Result<Vec<(HostKey, HostValue)>, Error> {
        let mut beyond = Vec::new();
        let (leases, reservations): (Vec<_>, Vec<_>) =
            hosts.iter().copied().partition(|(_, value)| value.dynamic());
        for (key, value) in reservations.into_iter().chain(leases) {
            // What is right already is not written: a reader may have it in its hands.
            if !is_new && self.hosts.get(&key, 0).is_ok_and(|there| there.promise == value) {
                continue;
            }
            match self.put(key, value) {
                Err(Error::Full { .. }) => beyond.push((key, value)),
                other => other?,
            }
        }
        Ok(beyond)
    }

    /// Makes the table of interfaces hold exactly this.
    pub fn replace_interfaces(&mut self, interfaces: &[(InterfaceKey, InterfaceValue)]) -> Result<(), Error> {
        let left = fill(&mut self.interfaces, "INTERFACES", interfaces)?;
        prune(&mut self.interfaces, "INTERFACES", interfaces)?;
        fill(&mut self.interfaces, "INTERFACES", &left).map(|left| warn_of("INTERFACES", &left))
    }

    /// Makes the table of templates hold exactly this: first the old ones go, to make room.
    pub fn replace_templates(&mut self, templates: &[(TemplateKey, Template)]) -> Result<(), Error> {
        prune(&mut self.templates, "TEMPLATES", templates)?;
        fill(&mut self.templates, "TEMPLATES", templates).map(|left| warn_of("TEMPLATES", &left))
    }

    /// The numbers that the tables hold: of a server that was killed, until they are replaced.
    pub fn numbers_in_use(&self) -> NumbersInUse {
        let mut used = NumbersInUse::default();
        for key in self.templates.keys().filter_map(Result::ok) {
            used.scopes.insert(key.scope());
            used.groups.insert(key.group());
        }
        used.groups.extend(self.hosts.iter().filter_map(Result::ok).map(|(_, host)| host.promise.group()));
        let interfaces = self.interfaces.iter().filter_map(Result::ok);
        used.scopes
            .extend(interfaces.flat_map(|(_, value)| [false, true].map(|relayed| value.scope(relayed))));
        used
    }

    /// More templates, beside those that are there.
    pub fn add_templates(&mut self, templates: &[(TemplateKey, Template)]) -> Result<(), Error> {
        fill(&mut self.templates, "TEMPLATES", templates).map(|left| warn_of("TEMPLATES", &left))
    }

    /// The budgets of clients and relay agents.
    pub fn limit(&mut self, limits: Limits) -> Result<(), Error> {
        self.wanted = limits;
        self.limits.set(0, limits, 0).map_err(|source| Error::Map { map: "LIMITS", source })
    }

    /// One host's change: the next DISCOVER sees it.
    pub fn change(&mut self, change: Change) -> Result<(), Error> {
        match change {
            Change::Put(key, value) => self.put(key, value),
            Change::Remove(key) => self.remove(key),
            Change::Withdraw { key, ip, instead } => match self.hosts.get(&key, 0) {
                Ok(there) if there.promise.dynamic() && there.promise.yiaddr == ip.octets() => {
                    match instead {
                        Some(value) => self.put(key, value),
                        None => self.remove(key),
                    }
                }
                Ok(_) | Err(MapError::KeyNotFound) => Ok(()),
                Err(source) => Err(Error::Map { map: "HOSTS", source }),
            },
        }
    }

    /// A full table takes no new key. It forgets none for it: userspace answers those that it does not have.
    fn put(&mut self, key: HostKey, value: HostValue) -> Result<(), Error> {
        let entry = HostEntry::new(value);
        match self.hosts.insert(key, entry, BPF_NOEXIST) {
            Ok(()) => self.room.entries += 1,
            Err(error) if is(&error, Errno::EXIST) => {
                // What the host has used up it has used up: a write gives it nothing.
                let even = self.hosts.get(&key, 0).map_or(entry.even, |there| there.even);
                let entry = HostEntry { even, ..entry };
                self.hosts.insert(key, entry, 0).map_err(|source| Error::Map { map: "HOSTS", source })?;
            }
            Err(error) if is(&error, Errno::TOOBIG) => {
                self.room.refused += 1;
                return Err(Error::Full { max: self.room.max });
            }
            Err(source) => return Err(Error::Map { map: "HOSTS", source }),
        }
        Ok(())
    }

    fn remove(&mut self, key: HostKey) -> Result<(), Error> {
        match self.hosts.remove(&key) {
            Ok(()) => self.room.entries = self.room.entries.saturating_sub(1),
            Err(MapError::KeyNotFound) => {}
            Err(error) if is(&error, Errno::NOENT) => {}
            Err(source) => return Err(Error::Map { map: "HOSTS", source }),
        }
        Ok(())
    }

    /// How full the table of hosts is.
    pub fn room(&self) -> Room {
        self.room
    }
}

fn take<K: aya::Pod, V: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, Error> {
    let map = ebpf.take_map(name).ok_or(Error::Object { what: name })?;
    HashMap::try_from(map).map_err(|source| Error::Map { map: name, source })
}

/// Writes what is not there as it should be: an entry that stays is not replaced under its readers. Gives back what finds no room.
fn fill<K: aya::Pod, V: aya::Pod + PartialEq>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
    entries: &[(K, V)],
) -> Result<Vec<(K, V)>, Error> {
    let mut left = Vec::new();
    let is_new = map.keys().next().is_none();
    for (key, value) in entries {
        if !is_new && map.get(key, 0).is_ok_and(|there| there == *value) {
            continue;
        }
        match map.insert(key, value, 0) {
            Ok(()) => {}
            Err(error) if is(&error, Errno::TOOBIG) => left.push((*key, *value)),
            Err(source) => return Err(Error::Map { map: name, source }),
        }
    }
    Ok(left)
}

fn warn_of<T>(map: &str, left: &[T]) {
    if !left.is_empty() {
        tracing::warn!(
            "the kernel's table {map} is full: {} of its entries are left to userspace",
            left.len()
        );
    }
}

/// How many are left.
fn prune<K: aya::Pod + Eq + std::hash::Hash, V: aya::Pod, T>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
    keep: &[(K, T)],
) -> Result<usize, Error> {
    let keep: HashSet<K> = keep.iter().map(|(key, _)| *key).collect();
    let keys: Vec<K> =
        map.keys().collect::<Result<_, _>>().map_err(|source| Error::Map { map: name, source })?;
    let (kept, gone): (Vec<K>, Vec<K>) = keys.into_iter().partition(|key| keep.contains(key));
    for key in gone {
        map.remove(&key).map_err(|source| Error::Map { map: name, source })?;
    }
    Ok(kept.len())
}

/// What the programs counted.
#[expect(missing_debug_implementations, reason = "aya's per-CPU arrays have none")]
pub struct Counters {
    counters: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let map = ebpf.take_map("COUNTERS").ok_or(Error::Object { what: "COUNTERS" })?;
        Ok(Self {
            counters: PerCpuArray::try_from(map).map_err(|source| Error::Map { map: "COUNTERS", source })?,
        })
    }

    /// One counter ([`Outcome::index`], [`Note::index`]), summed over all CPUs.
    pub fn read(&self, lane: Lane, index: u32) -> Result<u64, Error> {
        let values = self.counters.get(&lane.counter(index), 0);
        let values = values.map_err(|source| Error::Map { map: "COUNTERS", source })?;
        Ok(values.iter().sum())
    }

    /// All of one lane that are not zero, by name: `answered_offer`, `unknown_host`, …
    pub fn lane(&self, lane: Lane) -> Result<BTreeMap<String, u64>, Error> {
        let mut counters = BTreeMap::new();
        for (index, name) in (0..Outcome::COUNT).filter_map(|index| Some((index, name(index)?))) {
            let count = self.read(lane, index)?;
            if count > 0 {
                counters.insert(name, count);
            }
        }
        Ok(counters)
    }
}

/// The name of the counter with this index in `status` and in metrics; `None` for spare ones.
pub fn name(index: u32) -> Option<String> {
    match Outcome::from_index(index) {
        Some(Outcome::Answered(kind)) => Some(format!("answered_{}", kind.name())),
        Some(Outcome::Left(leave)) => Some(leave.name().to_owned()),
        None => Note::ALL.into_iter().find(|note| note.index() == index).map(|note| note.name().to_owned()),
    }
}
