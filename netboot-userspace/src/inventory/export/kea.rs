//! Kea: a list of reservations, each with one identity, one to a line.

use super::{Exported, hex, quoted};
use crate::inventory::entry::HostEntry;
use crate::inventory::import::Field;

/// A reservation's keys in front of its name, each with its value as JSON; and the fields that are in it.
type Reservation = (Vec<(&'static str, String)>, Vec<Field>);

pub(super) fn write(
    hosts: &[HostEntry],
    reservation: impl Fn(&HostEntry, &mut Exported) -> Option<Reservation>,
    out: &mut Exported,
) {
    let mut lines = Vec::new();
    for host in hosts {
        let Some((mut pairs, kept)) = reservation(host, out) else { continue };
        out.lose_all_but(host, &kept);
        out.lose_labels(host, |_, _| false);
        pairs.push(("hostname", quoted(&host.name)));
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        lines.push(format!("  {{ {} }}", pairs.join(", ")));
    }
    out.text = if lines.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", lines.join(",\n")) };
}

/// Of the DHCPv4 server.
pub(super) fn v4(host: &HostEntry, out: &mut Exported) -> Option<Reservation> {
    let (client_id, circuit) = (host.client_id.as_deref(), host.circuit.as_deref());
    let (key, identity, field) = match (host.macs.first(), client_id, circuit) {
        (Some(_), ..) => ("hw-address", out.only_mac(host)?.to_owned(), Field::Macs),
        (None, Some(id), _) => ("client-id", hex(id), Field::ClientId),
        (None, None, Some(circuit)) => ("circuit-id", hex(circuit), Field::Circuit),
        (None, None, None) => {
            out.leave_out(host, "Kea knows hosts by MAC, client identifier and circuit only");
            return None;
        }
    };
    let ip = host.ip.iter().map(|ip| ("ip-address", quoted(ip)));
    Some(([(key, quoted(&identity))].into_iter().chain(ip).collect(), vec![field, Field::Ip]))
}

/// Of the DHCPv6 server.
pub(super) fn v6(host: &HostEntry, out: &mut Exported) -> Option<Reservation> {
    let (key, identity, field) = match (&host.duid, host.macs.first()) {
        (Some(duid), _) => ("duid", hex(duid), Field::Duid),
        (None, Some(_)) => ("hw-address", out.only_mac(host)?.to_owned(), Field::Macs),
        (None, None) => {
            out.leave_out(host, "Kea knows hosts of DHCPv6 by DUID and MAC only");
            return None;
        }
    };
    let ip = host.ip6.iter().map(|ip| ("ip-addresses", format!("[{}]", quoted(ip))));
    Some(([(key, quoted(&identity))].into_iter().chain(ip).collect(), vec![field, Field::Ip6]))
}
