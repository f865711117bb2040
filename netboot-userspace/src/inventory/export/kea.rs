//! Kea: a list of reservations, each with one identity, one to a line.

use super::{Exported, hex, quoted};
use crate::inventory::entry::HostEntry;
use crate::inventory::import::Field;

pub(super) fn write(hosts: &[HostEntry], out: &mut Exported) {
    let reservations: Vec<String> = hosts.iter().filter_map(|host| reservation(host, out)).collect();
    let lines: Vec<String> = reservations.iter().map(|reservation| format!("  {reservation}")).collect();
    out.text = if lines.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", lines.join(",\n")) };
}

fn reservation(host: &HostEntry, out: &mut Exported) -> Option<String> {
    let (client_id, circuit) = (host.client_id.as_deref(), host.circuit.as_deref());
    let mut lost = vec![Field::Uuid, Field::Profile, Field::Boot, Field::Cmdline];
    let (key, identity) = match (host.macs.first(), client_id, circuit) {
        (Some(_), ..) => {
            lost.extend([Field::ClientId, Field::Circuit]);
            ("hw-address", out.only_mac(host)?.to_owned())
        }
        (None, Some(id), _) => {
            lost.push(Field::Circuit);
            ("client-id", hex(id))
        }
        (None, None, Some(circuit)) => ("circuit-id", hex(circuit)),
        (None, None, None) => {
            out.leave_out(host, "Kea knows hosts by MAC, client identifier and circuit only");
            return None;
        }
    };
    out.lose_fields(host, &lost);
    out.lose_labels(host, |_, _| false);
    let ip = host.ip.iter().map(|ip| ("ip-address", ip));
    let pairs = [(key, &identity)].into_iter().chain(ip).chain([("hostname", &host.name)]);
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("\"{key}\": {}", quoted(value))).collect();
    Some(format!("{{ {} }}", pairs.join(", ")))
}
