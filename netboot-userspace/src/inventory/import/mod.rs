//! Hosts from other programs' files. Pure: text in; out come hosts, and whatever could not be taken, each with its place.
//!
//! **Invariant:** an entry is taken whole or refused; what a host here has no field for is named in a notice.

pub mod bootcfg;
mod csv;
pub(super) mod dnsmasq;
mod isc;
mod json;
mod kea;
pub(super) mod livebootp;
mod native;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use std::fmt;
use std::sync::Arc;

use super::entry::{HostEntry, HostPatch};
use super::{Boot, Conflict, Host, Snapshot};

/// A format that hosts are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `dhcp-host=` lines of a dnsmasq.conf, or the bare lines of a `dhcp-hostsfile`.
    Dnsmasq,
    /// The reservations of a Kea configuration, of any part of one, or a bare list of them.
    Kea,
    /// The host declarations of a dhcpd.conf.
    Isc,
    /// The host blocks of LiveBOOTP's `config.yml`.
    Livebootp,
    /// Groups that select one machine, and the machines of the days before groups: bootcfg and matchbox.
    Bootcfg,
    /// Comma-separated values under a line of headings.
    Csv,
    /// A list of hosts with our own keys.
    Json,
    /// The same, as in `hosts.d/`.
    Yaml,
}

/// One file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path, as it is to be shown.
    pub name: String,
    pub text: String,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub file: Arc<str>,
    /// From 1; 0: the file as a whole.
    pub line: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A host, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub entry: HostEntry,
    pub at: At,
}

/// An entry that can't be taken, or something of one that a host here has no field for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub at: At,
    /// Which host, as far as it is known.
    pub host: String,
    pub reason: String,
}

/// What was found in the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub hosts: Vec<Imported>,
    pub refused: Vec<Remark>,
    pub notices: Vec<Remark>,
    pub carries: Carries,
}

/// What of a host a file can say at all. What it can say, and does not, a host does not have; what it says, it has; the rest
/// is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carries {
    pub fields: Vec<Field>,
    pub labels: Labels,
}

/// The fields of a host but its name and labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Macs,
    ClientId,
    Uuid,
    Circuit,
    Duid,
    Serial,
    Ip,
    Ip6,
    Profile,
    Boot,
    Cmdline,
    Options,
    VendorOptions,
    BootFiles,
    Metadata,
    SshAuthorizedKeys,
    PxeMenu,
}

impl Field {
    pub const ALL: [Self; 17] = [
        Self::Macs,
        Self::ClientId,
        Self::Uuid,
        Self::Circuit,
        Self::Duid,
        Self::Serial,
        Self::Ip,
        Self::Ip6,
        Self::Profile,
        Self::Boot,
        Self::Cmdline,
        Self::Options,
        Self::VendorOptions,
        Self::BootFiles,
        Self::Metadata,
        Self::SshAuthorizedKeys,
        Self::PxeMenu,
    ];
}

/// Which labels a file can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// Those that it says are there; others may be, too.
    #[default]
    Open,
    /// These.
    Keys(Vec<String>),
    /// All of them.
    All,
}

impl Carries {
    fn new(fields: &[Field]) -> Self {
        Self { fields: fields.to_vec(), labels: Labels::Open }
    }

    fn identities(&self) -> bool {
        let identities = [Field::Macs, Field::ClientId, Field::Uuid, Field::Circuit, Field::Duid];
        identities.iter().any(|identity| self.fields.contains(identity))
    }

    /// What the host of this entry is to be changed to.
    pub fn patch(&self, entry: &HostEntry) -> HostPatch {
        let has = |field| self.fields.contains(&field);
        let HostEntry {
            macs, client_id, uuid, circuit, duid, ip, ip6, profile, boot, cmdline, labels, ..
        } = entry.clone();
        let HostEntry { options, vendor_options, boot_files, pxe_menu, .. } = entry.clone();
        let HostEntry { serial, metadata, ssh_authorized_keys: keys, .. } = entry.clone();
        let known = labels.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        let gone = match &self.labels {
            Labels::Keys(keys) => keys.as_slice(),
            _ => &[],
        };
        let relabel = gone.iter().map(|key| (key.clone(), None)).chain(known).collect();
        let all = self.labels == Labels::All;
        HostPatch {
            macs: (has(Field::Macs) || !macs.is_empty()).then_some(macs),
            client_id: (has(Field::ClientId) || client_id.is_some()).then_some(client_id),
            uuid: (has(Field::Uuid) || uuid.is_some()).then_some(uuid),
            circuit: (has(Field::Circuit) || circuit.is_some()).then_some(circuit),
            duid: (has(Field::Duid) || duid.is_some()).then_some(duid),
            serial: (has(Field::Serial) || serial.is_some()).then_some(serial),
            ip: (has(Field::Ip) || ip.is_some()).then_some(ip),
            ip6: (has(Field::Ip6) || ip6.is_some()).then_some(ip6),
            profile: (has(Field::Profile) || profile.is_some()).then_some(profile),
            boot: (has(Field::Boot) || boot != Boot::default()).then_some(boot),
            cmdline: (has(Field::Cmdline) || !cmdline.is_empty()).then_some(cmdline),
            relabel: if all { Default::default() } else { relabel },
            labels: all.then_some(labels),
            options: (has(Field::Options) || !options.is_empty()).then_some(options),
            vendor_options: (has(Field::VendorOptions) || !vendor_options.is_empty())
                .then_some(vendor_options),
            boot_files: (has(Field::BootFiles) || !boot_files.is_empty()).then_some(boot_files),
            metadata: (has(Field::Metadata) || !metadata.is_empty()).then_some(metadata),
            ssh_authorized_keys: (has(Field::SshAuthorizedKeys) || !keys.is_empty()).then_some(keys),
            pxe_menu: (has(Field::PxeMenu) || pxe_menu.is_some()).then_some(pxe_menu),
            ..HostPatch::default()
        }
    }
}

/// Reads the files. Each host that is given back is right in itself, and no two of them contradict each other.
pub fn read(format: Format, sources: &[Source]) -> Reading {
    let mut reading = Reading::default();
    for source in sources {
        let mut sheet = Sheet { file: source.name.as_str().into(), reading: &mut reading };
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
        match format {
            Format::Dnsmasq => dnsmasq::read(text, &mut sheet),
            Format::Kea => kea::read(text, &mut sheet),
            Format::Isc => isc::read(text, &mut sheet),
            Format::Livebootp => livebootp::read(text, &mut sheet),
            Format::Bootcfg => bootcfg::read(text, &mut sheet),
            Format::Csv => csv::read(text, &mut sheet),
            Format::Json => native::read_json(text, &mut sheet),
            Format::Yaml => native::read_yaml(text, &mut sheet),
        }
    }
    reading.settled()
}

/// Where a format's reader puts what it finds in one file.
struct Sheet<'a> {
    file: Arc<str>,
    reading: &'a mut Reading,
}

impl Sheet<'_> {
    fn host(&mut self, line: usize, entry: HostEntry) {
        let at = self.at(line);
        self.reading.hosts.push(Imported { entry, at });
    }

    fn refuse(&mut self, line: usize, host: &str, reason: impl Into<String>) {
        let (at, host, reason) = (self.at(line), host.to_owned(), reason.into());
        self.reading.refused.push(Remark { at, host, reason });
    }

    fn notice(&mut self, line: usize, host: &str, reason: impl Into<String>) {
        let (at, host, reason) = (self.at(line), host.to_owned(), reason.into());
        self.reading.notices.push(Remark { at, host, reason });
    }

    fn carries(&mut self, fields: &[Field]) {
        self.reading.carries = Carries::new(fields);
    }

    /// The same of a format whose files are of IPv4, of IPv6, or of both: a file of one says nothing of the other. To be asked
    /// when all hosts were read.
    fn carries_of_its_versions(&mut self, v4: &[Field]) {
        let any = |of: fn(&HostEntry) -> bool| self.reading.hosts.iter().any(|host| of(&host.entry));
        let is_v6 = any(|entry| entry.duid.is_some() || entry.ip6.is_some());
        let is_v4 =
            !is_v6 || any(|entry| entry.ip.is_some() || entry.client_id.is_some() || entry.circuit.is_some());
        let v4 = v4.iter().filter(|_| is_v4);
        let v6 = [Field::Duid, Field::Ip6].iter().filter(|_| is_v6);
        self.carries(&v4.chain(v6).copied().collect::<Vec<_>>());
    }

    fn at(&self, line: usize) -> At {
        At { file: self.file.clone(), line }
    }
}

impl Reading {
    /// Checks each host for itself, and all of them together. Those that pass are as they would be shown.
    fn settled(mut self) -> Self {
        let mut together = Snapshot::default();
        let mut hosts = Vec::with_capacity(self.hosts.len());
        for Imported { entry, at } in std::mem::take(&mut self.hosts) {
            match settle(&entry, &at, &self.carries, &mut together) {
                Ok(Settled::New(entry)) => hosts.push(Imported { entry: *entry, at }),
                Ok(Settled::Same(origin)) => {
                    let reason = format!("is there already, the same, at {origin}");
                    self.notices.push(Remark { at, host: entry.name, reason });
                }
                Err(reason) => self.refused.push(Remark { at, host: entry.name, reason }),
            }
        }
        self.hosts = hosts;
        self.refused.sort_by(|a, b| a.at.cmp(&b.at));
        self.notices.sort_by(|a, b| a.at.cmp(&b.at));
        self
    }
}

enum Settled {
    New(Box<HostEntry>),
    /// Where it was found before.
    Same(String),
}

fn settle(entry: &HostEntry, at: &At, carries: &Carries, together: &mut Snapshot) -> Result<Settled, String> {
    let origin = at.to_string();
    // What says nothing of identities may be meant for hosts that are there already.
    let host = if carries.identities() { entry.check(&origin) } else { entry.read(&origin) };
    let host = host.map_err(|faults| faults.join("; "))?;
    let checked = HostEntry::from(&host);
    // Whether there is such a profile, the server knows.
    let host = Host { profile: None, ..host };
    match together.host(&host.name) {
        Some(first) if **first == (Host { origin: first.origin.clone(), ..host.clone() }) => {
            Ok(Settled::Same(first.origin.clone()))
        }
        _ => match together.insert(Arc::new(host)) {
            Ok(()) => Ok(Settled::New(Box::new(checked))),
            Err(conflicts) => Err(contradictions(together, &conflicts)),
        },
    }
}

/// Each with the place of the host that was there first.
fn contradictions(together: &Snapshot, conflicts: &[Conflict]) -> String {
    let text = |conflict: &Conflict| match conflict.fault.first().and_then(|name| together.host(name)) {
        Some(first) => format!("{}, at {}", conflict.fault, first.origin),
        None => conflict.fault.to_string(),
    };
    conflicts.iter().map(text).collect::<Vec<_>>().join("; ")
}
