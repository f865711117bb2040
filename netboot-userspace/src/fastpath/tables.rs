//! The maps, as tables: what is written, and in which order.

use std::collections::BTreeMap;
use std::collections::HashSet;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use netboot_common::limit::Limits;
use netboot_common::maps::{HostKey, HostValue, InterfaceKey, InterfaceValue, Template, TemplateKey};
use netboot_common::stats::{Lane, Outcome};

use super::Error;

/// The maps that the programs read.
#[expect(missing_debug_implementations, reason = "aya's arrays have none")]
pub struct KernelTables {
    interfaces: HashMap<MapData, InterfaceKey, InterfaceValue>,
    hosts: HashMap<MapData, HostKey, HostValue>,
    templates: HashMap<MapData, TemplateKey, Template>,
    limits: Array<MapData, Limits>,
}

/// One entry's new state.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Put(HostKey, HostValue),
    Remove(HostKey),
}

impl KernelTables {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let limits = ebpf.take_map("LIMITS").ok_or(Error::Object { what: "LIMITS" })?;
        let limits = Array::try_from(limits).map_err(|source| Error::Map { map: "LIMITS", source })?;
        Ok(Self {
            limits,
            interfaces: take(ebpf, "INTERFACES")?,
            hosts: take(ebpf, "HOSTS")?,
            templates: take(ebpf, "TEMPLATES")?,
        })
    }

    /// Makes the tables hold exactly this. New entries are written before old ones go, templates before the hosts and interfaces
    /// that lead to them: at each moment a reply is made of parts that belong together, or not made here. What finds no room is
    /// left to userspace.
    pub fn replace(
        &mut self,
        interfaces: &[(InterfaceKey, InterfaceValue)],
        hosts: &[(HostKey, HostValue)],
        templates: &[(TemplateKey, Template)],
    ) -> Result<(), Error> {
        let left_templates = fill(&mut self.templates, "TEMPLATES", templates)?;
        let left_hosts = fill(&mut self.hosts, "HOSTS", hosts)?;
        let left_interfaces = fill(&mut self.interfaces, "INTERFACES", interfaces)?;
        prune(&mut self.interfaces, "INTERFACES", interfaces)?;
        prune(&mut self.hosts, "HOSTS", hosts)?;
        prune(&mut self.templates, "TEMPLATES", templates)?;
        // Old entries stood in their way, or there are too many.
        warn_of("TEMPLATES", &fill(&mut self.templates, "TEMPLATES", &left_templates)?);
        warn_of("HOSTS", &fill(&mut self.hosts, "HOSTS", &left_hosts)?);
        warn_of("INTERFACES", &fill(&mut self.interfaces, "INTERFACES", &left_interfaces)?);
        Ok(())
    }

    /// More templates, beside those that are there.
    pub fn add_templates(&mut self, templates: &[(TemplateKey, Template)]) -> Result<(), Error> {
        fill(&mut self.templates, "TEMPLATES", templates).map(|left| warn_of("TEMPLATES", &left))
    }

    /// The budgets of clients and relay agents.
    pub fn limit(&mut self, limits: Limits) -> Result<(), Error> {
        self.limits.set(0, limits, 0).map_err(|source| Error::Map { map: "LIMITS", source })
    }

    /// One host's change: the next DISCOVER sees it.
    pub fn change(&mut self, change: Change) -> Result<(), Error> {
        match change {
            Change::Put(key, value) => self.hosts.insert(key, value, 0),
            Change::Remove(key) => match self.hosts.remove(&key) {
                Err(MapError::KeyNotFound) => Ok(()),
                Err(MapError::SyscallError(error))
                    if error.io_error.kind() == std::io::ErrorKind::NotFound =>
                {
                    Ok(())
                }
                other => other,
            },
        }
        .map_err(|source| Error::Map { map: "HOSTS", source })
    }

    /// Hosts in the map.
    pub fn hosts_len(&self) -> usize {
        self.hosts.keys().filter_map(Result::ok).count()
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
            Err(error) if is_full(&error) => left.push((*key, *value)),
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

/// E2BIG: no entry more.
fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.kind() == std::io::ErrorKind::ArgumentListTooLong)
}

fn prune<K: aya::Pod + Eq + std::hash::Hash, V: aya::Pod>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
    keep: &[(K, V)],
) -> Result<(), Error> {
    let keep: HashSet<K> = keep.iter().map(|(key, _)| *key).collect();
    let keys: Vec<K> =
        map.keys().collect::<Result<_, _>>().map_err(|source| Error::Map { map: name, source })?;
    for key in keys.into_iter().filter(|key| !keep.contains(key)) {
        map.remove(&key).map_err(|source| Error::Map { map: name, source })?;
    }
    Ok(())
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

    /// One counter, summed over all CPUs.
    pub fn read(&self, lane: Lane, outcome: Outcome) -> Result<u64, Error> {
        let values = self.counters.get(&lane.counter(outcome), 0);
        let values = values.map_err(|source| Error::Map { map: "COUNTERS", source })?;
        Ok(values.iter().sum())
    }

    /// All of one lane that are not zero, by name: `answered_offer`, `unknown_host`, …
    pub fn lane(&self, lane: Lane) -> Result<BTreeMap<String, u64>, Error> {
        let mut counters = BTreeMap::new();
        for outcome in (0..Outcome::COUNT).filter_map(Outcome::from_index) {
            let count = self.read(lane, outcome)?;
            if count > 0 {
                counters.insert(name(outcome), count);
            }
        }
        Ok(counters)
    }
}

/// A counter's name in `status` and in metrics.
pub fn name(outcome: Outcome) -> String {
    match outcome {
        Outcome::Answered(kind) => format!("answered_{}", kind.name()),
        Outcome::Left(leave) => leave.name().to_owned(),
    }
}
