//! dnsmasq: `dhcp-host=` lines among others, or the bare lines of a `dhcp-hostsfile`.
//!
//! `[hwaddr][,id:client][,set:tag][,address][,[address6]][,name][,lease time][,ignore]` in any order, as dnsmasq(8) has it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::values::{self, NAMELESS};
use super::{Field, Sheet};
use crate::inventory::entry::{self, HostEntry};
use crate::inventory::identity::{Duid, Identifier};

pub(super) fn read(text: &str, sheet: &mut Sheet<'_>) {
    let options =
        text.lines().any(|line| option(without_comment(line)).is_some_and(|(_, value)| value.is_some()));
    let mut others: Vec<(usize, &str)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, without_comment(line));
        match option(line) {
            _ if line.is_empty() => {}
            Some(("dhcp-host", Some(value))) => host(value, number, sheet),
            Some((name, value)) if options => {
                elsewhere(name, value.unwrap_or_default(), number, sheet);
                others.push((number, name));
            }
            _ if options => sheet.refuse(number, "", "is no option of a dnsmasq.conf"),
            _ => host(line, number, sheet),
        }
    }
    if let Some((line, first)) = others.first() {
        let count = others.len();
        sheet.notice(*line, "", format!("{count} other options, from `{first}` on: only hosts are read"));
    }
    sheet.carries_of_its_versions(&[Field::Macs, Field::ClientId, Field::Ip]);
}

/// Files in which there may be more hosts.
fn elsewhere(name: &str, value: &str, line: usize, sheet: &mut Sheet<'_>) {
    const FILES: [&str; 6] =
        ["dhcp-hostsfile", "dhcp-hostsdir", "conf-file", "conf-dir", "read-ethers", "servers-file"];
    if FILES.contains(&name) {
        sheet.notice(line, "", format!("{name} {value}: what is in there is not read; import it, too"));
    }
}

/// `name=value` or `name`, where the name looks like an option's.
fn option(line: &str) -> Option<(&str, Option<&str>)> {
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
        None => (line, None),
    };
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    plain.then_some((name, value))
}

/// A `#` begins a comment at the start of a line and behind a space, but not between quotes.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut space) = (false, true);
    for (at, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if space && !quoted => return line[..at].trim(),
            _ => {}
        }
        space = character.is_whitespace();
    }
    line.trim()
}

fn host(line: &str, number: usize, sheet: &mut Sheet<'_>) {
    let mut found = Found::default();
    let tokens: Vec<&str> = line.split(',').map(|token| token.trim().trim_matches('"')).collect();
    let taken = tokens.iter().filter(|token| !token.is_empty()).try_for_each(|token| found.token(token));
    found.tell_duid();
    let name = tokens.iter().find(|token| is_name(token)).copied().unwrap_or_default();
    if let Err(reason) = taken.and_then(|()| found.whole()) {
        return sheet.refuse(number, name, reason);
    }
    let nameless = values::name(&mut found.entry);
    for notice in found.notices.into_iter().chain(nameless.then(|| NAMELESS.to_owned())) {
        sheet.notice(number, &found.entry.name, notice);
    }
    sheet.host(number, found.entry);
}

/// What the tokens of one line have said so far.
#[derive(Default)]
struct Found {
    entry: HostEntry,
    notices: Vec<String>,
}

impl Found {
    fn token(&mut self, token: &str) -> Result<(), String> {
        if let Some((kind, value)) = token.split_once(':')
            && ["id", "set", "net", "tag"].contains(&kind)
        {
            return self.named(kind, value);
        }
        if token.starts_with('[') {
            self.address6(token)?;
        } else if token.contains(':') || token.contains('*') {
            self.entry.macs.push(hardware(token)?);
        } else if token.parse::<Ipv4Addr>().is_ok() {
            once(&mut self.entry.ip, "address", token)?;
        } else if token == "ignore" {
            return Err(
                "`ignore` gives a machine no address at all: a host here always gets one; leave it out, \
                        or set `unknown: ignore`"
                    .to_owned(),
            );
        } else if is_time(token) {
            // A reservation never goes to another machine: that is what `infinite` asks for.
            if token != "infinite" {
                self.notices.push(format!("{token}: the time of a lease is its subnet's"));
            }
        } else if is_address(token) {
            return Err(format!("{token} is no IPv4 address"));
        } else if self.entry.name.is_empty() {
            self.entry.name = token.to_owned();
        } else {
            return Err(format!("{:?} and {token:?} are two names", self.entry.name));
        }
        Ok(())
    }

    fn named(&mut self, kind: &str, value: &str) -> Result<(), String> {
        match kind {
            // Whatever it says, the MAC counts: here it always does.
            "id" if value == "*" => Ok(()),
            "id" => {
                let bytes = match value.contains(':') {
                    true => values::hex(value).ok_or_else(|| format!("id:{value} is not hex digits"))?,
                    false => value.as_bytes().to_vec(),
                };
                once(&mut self.entry.client_id, "client identifier", &values::identifier(bytes)?)
            }
            _ if value.is_empty() => Err(format!("{kind}: names nothing")),
            "tag" => Err(format!("applies only where the tag {value} is set: that can't be said here")),
            _ => {
                self.entry.labels.insert(value.to_owned(), String::new());
                Ok(())
            }
        }
    }

    /// `[2001:db8::21]`.
    fn address6(&mut self, token: &str) -> Result<(), String> {
        let text = token.trim_start_matches('[').trim_end_matches(']');
        let whole = |ip: &Ipv6Addr| ip.segments()[0] != 0;
        match text.parse::<Ipv6Addr>().ok().filter(whole) {
            Some(ip) => once(&mut self.entry.ip6, "IPv6 address", &ip.to_string()),
            None => Err(format!("{token} is a part of an address, or several: write one that is whole")),
        }
    }

    /// One word, `id:`, for DHCPv4's client identifier and for DHCPv6's DUID.
    fn tell_duid(&mut self) {
        let HostEntry { client_id, ip, ip6, .. } = &self.entry;
        let id = client_id.as_ref().and_then(|id| id.parse::<Identifier>().ok());
        if let Some(Identifier(id)) = id
            && is_duid(&id, ip.is_some(), ip6.is_some())
        {
            self.entry.client_id = None;
            self.entry.duid = Some(Duid(id).to_string());
        }
    }

    /// Whether this names a machine.
    fn whole(&self) -> Result<(), String> {
        let HostEntry { macs, client_id, duid, .. } = &self.entry;
        if macs.is_empty() && client_id.is_none() && duid.is_none() {
            return Err(
                "has no MAC and no client identifier: machines are not known here by the name that they \
                        give themselves"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Whether the `id:` of a host is a DUID: it looks like one (RFC 8415 section 11, RFC 6355), and the host is not one of IPv4 alone.
pub(in super::super) fn is_duid(id: &[u8], has_ip: bool, has_ip6: bool) -> bool {
    let looks = matches!(id, [0, 1..=4, ..]) && (3..=130).contains(&id.len());
    looks && (has_ip6 || !has_ip)
}

/// A MAC, with the hardware type in front of it or not.
fn hardware(token: &str) -> Result<String, String> {
    match token.split_once('-') {
        Some(("01" | "1", mac)) if mac.contains(':') => values::mac(mac),
        Some((kind, mac)) if mac.contains(':') => {
            Err(format!("{token} is of the hardware type {kind}: only Ethernet's, 1, is served"))
        }
        _ => values::mac(token),
    }
}

/// What is nothing else.
fn is_name(token: &str) -> bool {
    entry::host_name(token).is_ok() && !is_time(token) && !is_address(token) && token != "ignore"
}

fn once(field: &mut Option<String>, what: &str, value: &str) -> Result<(), String> {
    match field.replace(value.to_owned()) {
        Some(first) => Err(format!("{first} and {value} are two of what a host has one of: {what}")),
        None => Ok(()),
    }
}

/// `infinite`, seconds, or a number with a unit.
pub(in super::super) fn is_time(token: &str) -> bool {
    let digits = token.strip_suffix(['s', 'm', 'h', 'd', 'w', 'S', 'M', 'H', 'D', 'W']).unwrap_or(token);
    token == "infinite" || (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// What nobody would take for a name, right or wrong as an address.
pub(in super::super) fn is_address(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}
