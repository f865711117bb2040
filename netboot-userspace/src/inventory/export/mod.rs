//! Hosts as other programs' files. Pure: hosts in; out come a text, and whatever the format has no place for.
//!
//! **Invariant:** what is in the text, `import` reads back as it was; what is not, is named.

mod csv;
mod dnsmasq;
mod isc;
mod kea;
mod livebootp;
mod native;
#[cfg(test)]
mod tests;

use super::entry::HostEntry;
use super::identity::Identifier;
use super::import::Field;
use super::{Boot, hostlist};

/// A format that hosts are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `dhcp-host=` lines.
    Dnsmasq,
    /// A list of reservations, as `"reservations": <?include "…"?>` takes it.
    Kea,
    /// The same for Kea's DHCPv6 server.
    Kea6,
    /// Host declarations.
    Isc,
    /// Host blocks of LiveBOOTP's `config.yml`.
    Livebootp,
    /// A line of headings, and a line for each host.
    Csv,
    /// A list of hosts with our own keys.
    Json,
    /// The same, as in `hosts.d/`.
    Yaml,
}

/// A file's text, and what of the hosts is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub text: String,
    pub lost: Vec<Lost>,
}

/// What the format has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub host: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// All of it; the reason.
    Host(String),
    /// One of its fields.
    Field(String),
}

/// Writes the hosts.
pub fn write(format: Format, hosts: &[HostEntry]) -> Exported {
    let mut out = Exported::default();
    match format {
        Format::Dnsmasq => hosts.iter().for_each(|host| dnsmasq::write(host, &mut out)),
        Format::Kea => kea::write(hosts, kea::v4, &mut out),
        Format::Kea6 => kea::write(hosts, kea::v6, &mut out),
        Format::Isc => hosts.iter().for_each(|host| isc::write(host, &mut out)),
        Format::Livebootp => livebootp::write(hosts, &mut out),
        Format::Csv => csv::write(hosts, &mut out),
        Format::Json => native::write_json(hosts, &mut out),
        Format::Yaml => native::write_yaml(hosts, &mut out),
    }
    out
}

impl Exported {
    /// What is lost, a line for each kind of loss, with the hosts that it befalls.
    pub fn losses(&self) -> Vec<String> {
        let mut kinds: Vec<(&What, Vec<&str>)> = Vec::new();
        let mut sorted: Vec<&Lost> = self.lost.iter().collect();
        sorted.sort_by_key(|lost| &lost.what);
        for Lost { host, what } in sorted {
            match kinds.last_mut() {
                Some((last, hosts)) if *last == what => hosts.push(host),
                _ => kinds.push((what, vec![host])),
            }
        }
        let line = |(what, hosts): (&What, Vec<&str>)| {
            let hosts = hostlist::fold_to(hosts, 200);
            match what {
                What::Host(reason) => format!("left out: {hosts}: {reason}"),
                What::Field(field) => format!("no place for {field}: {hosts}"),
            }
        };
        kinds.into_iter().map(line).collect()
    }

    /// Leaves a host out.
    fn leave_out(&mut self, host: &HostEntry, reason: &str) {
        self.lost.push(Lost { host: host.name.clone(), what: What::Host(reason.to_owned()) });
    }

    fn lose(&mut self, host: &HostEntry, field: impl Into<String>) {
        self.lost.push(Lost { host: host.name.clone(), what: What::Field(field.into()) });
    }

    /// Names what the host has of all fields but these.
    fn lose_all_but(&mut self, host: &HostEntry, kept: &[Field]) {
        for field in Field::ALL.iter().filter(|field| !kept.contains(field)) {
            let (name, there) = match field {
                Field::Macs => ("macs", !host.macs.is_empty()),
                Field::ClientId => ("client_id", host.client_id.is_some()),
                Field::Uuid => ("uuid", host.uuid.is_some()),
                Field::Circuit => ("circuit", host.circuit.is_some()),
                Field::Duid => ("duid", host.duid.is_some()),
                Field::Serial => ("serial", host.serial.is_some()),
                Field::Ip => ("ip", host.ip.is_some()),
                Field::Ip6 => ("ip6", host.ip6.is_some()),
                Field::Profile => ("profile", host.profile.is_some()),
                Field::Boot => ("boot", host.boot != Boot::default()),
                Field::Cmdline => ("cmdline", !host.cmdline.is_empty()),
                Field::Options => ("options", !host.options.is_empty()),
                Field::VendorOptions => ("vendor_options", !host.vendor_options.is_empty()),
                Field::BootFiles => ("boot_files", !host.boot_files.is_empty()),
                Field::Metadata => ("metadata", !host.metadata.is_empty()),
                Field::SshAuthorizedKeys => ("ssh_authorized_keys", !host.ssh_authorized_keys.is_empty()),
                Field::PxeMenu => ("pxe_menu", host.pxe_menu.is_some()),
            };
            if there {
                self.lose(host, name);
            }
        }
    }

    /// Names the labels that are not `kept`.
    fn lose_labels(&mut self, host: &HostEntry, kept: impl Fn(&str, &str) -> bool) {
        for (key, _) in host.labels.iter().filter(|(key, value)| !kept(key, value)) {
            self.lose(host, format!("the label {key}"));
        }
    }

    /// The first MAC, where a format has place for one.
    fn only_mac<'a>(&mut self, host: &'a HostEntry) -> Option<&'a str> {
        if host.macs.len() > 1 {
            self.lose(host, "more than one MAC");
        }
        host.macs.first().map(String::as_str)
    }
}

/// An identifier's bytes, as pairs of hex digits with colons between.
fn hex(identifier: &str) -> String {
    let pairs: Vec<String> = bytes(identifier).iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

fn bytes(identifier: &str) -> Vec<u8> {
    identifier.parse().map_or_else(|_| identifier.as_bytes().to_vec(), |Identifier(bytes)| bytes)
}

/// An identifier that is text, and only such text as needs no quotes or escapes anywhere.
fn plain(identifier: &str) -> Option<String> {
    let text = String::from_utf8(bytes(identifier)).ok()?;
    let ok = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    text.chars().all(ok).then_some(text)
}

/// A text in the double quotes that YAML and JSON share, with nothing in it but printable characters.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ if character.is_alphanumeric() => quoted.push(character),
            _ => {
                let units = character
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}"))
                    .collect::<String>();
                quoted.push_str(&units);
            }
        }
    }
    quoted + "\""
}
