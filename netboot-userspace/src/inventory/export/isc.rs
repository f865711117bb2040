//! ISC dhcpd: a host declaration for each host.

use super::{Exported, hex, plain};
use crate::inventory::entry::HostEntry;
use crate::inventory::import::Field;

pub(super) fn write(host: &HostEntry, out: &mut Exported) {
    if host.macs.is_empty() && host.client_id.is_none() && host.circuit.is_none() {
        return out.leave_out(host, "dhcpd knows hosts by MAC, client identifier and circuit only");
    }
    let value = |id: &String| plain(id).map_or_else(|| hex(id), |text| format!("\"{text}\""));
    let mac = out.only_mac(host).map(|mac| format!("hardware ethernet {mac}"));
    let client_id = host.client_id.as_ref().map(|id| format!("option dhcp-client-identifier {}", value(id)));
    let circuit =
        host.circuit.as_ref().map(|id| format!("host-identifier option agent.circuit-id {}", value(id)));
    let ip = host.ip.as_ref().map(|ip| format!("fixed-address {ip}"));
    let statements = [mac, client_id, circuit, ip].into_iter().flatten();
    let lines: String = statements.map(|statement| format!("  {statement};\n")).collect();
    out.text.push_str(&format!("host {} {{\n{lines}}}\n", host.name));
    out.lose_fields(host, &[Field::Uuid, Field::Profile, Field::Boot, Field::Cmdline]);
    out.lose_labels(host, |_, _| false);
}
