//! ISC dhcpd: a host declaration for each host.

use super::{Exported, hex, plain};
use crate::inventory::entry::HostEntry;
use crate::inventory::import::Field;

pub(super) fn write(host: &HostEntry, out: &mut Exported) {
    let known = [&host.client_id, &host.circuit, &host.duid].iter().any(|identity| identity.is_some());
    if host.macs.is_empty() && !known {
        return out.leave_out(host, "dhcpd knows hosts by MAC, client identifier, circuit and DUID only");
    }
    let value = |id: &String| plain(id).map_or_else(|| hex(id), |text| format!("\"{text}\""));
    let mac = out.only_mac(host).map(|mac| format!("hardware ethernet {mac}"));
    let client_id = host.client_id.as_ref().map(|id| format!("option dhcp-client-identifier {}", value(id)));
    let circuit =
        host.circuit.as_ref().map(|id| format!("host-identifier option agent.circuit-id {}", value(id)));
    // A host of dhcpd has one identifier by option.
    let duid = host.duid.as_ref().filter(|_| circuit.is_none());
    let mut kept = vec![Field::Macs, Field::ClientId, Field::Circuit, Field::Ip, Field::Ip6];
    kept.extend(duid.map(|_| Field::Duid));
    let duid = duid.map(|duid| format!("host-identifier option dhcp6.client-id {}", hex(duid)));
    let ip6 = host.ip6.as_ref().map(|ip| format!("fixed-address6 {ip}"));
    let ip = host.ip.as_ref().map(|ip| format!("fixed-address {ip}"));
    let statements = [mac, client_id, circuit, duid, ip, ip6].into_iter().flatten();
    let lines: String = statements.map(|statement| format!("  {statement};\n")).collect();
    out.text.push_str(&format!("host {} {{\n{lines}}}\n", host.name));
    out.lose_all_but(host, &kept);
    out.lose_labels(host, |_, _| false);
}
