//! dnsmasq: a `dhcp-host=` line for each host.

use super::{Exported, bytes, hex, plain};
use crate::inventory::entry::HostEntry;
use crate::inventory::import::{Field, dnsmasq};

pub(super) fn write(host: &HostEntry, out: &mut Exported) {
    let name = &host.name;
    // One `id:` for both versions, and dnsmasq.rs of `import` says how it is told which.
    let is_duid = |id: &String| dnsmasq::is_duid(&bytes(id), host.ip.is_some(), host.ip6.is_some());
    let client_id = host.client_id.as_ref().filter(|id| !is_duid(id));
    let duid = host.duid.as_ref().filter(|id| client_id.is_none() && is_duid(id));
    if host.macs.is_empty() && client_id.is_none() && duid.is_none() {
        return out.leave_out(host, "dnsmasq knows hosts by MAC, client identifier and DUID only");
    }
    if dnsmasq::is_time(name) || name == "ignore" || dnsmasq::is_address(name) {
        return out.leave_out(host, "dnsmasq takes the name for something else");
    }
    let is_tag = |key: &str, value: &str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        value.is_empty() && !key.is_empty() && key.chars().all(ok)
    };
    let tags = host.labels.iter().filter(|(key, value)| is_tag(key, value));
    let words: Vec<String> = (host.macs.iter().cloned())
        .chain(client_id.or(duid).map(|id| format!("id:{}", plain(id).unwrap_or_else(|| hex(id)))))
        .chain(tags.map(|(key, _)| format!("set:{key}")))
        .chain(host.ip.clone())
        .chain(host.ip6.as_ref().map(|ip| format!("[{ip}]")))
        .chain([name.clone()])
        .collect();
    out.text.push_str(&format!("dhcp-host={}\n", words.join(",")));
    let mut kept = vec![Field::Macs, Field::Ip, Field::Ip6];
    kept.extend(client_id.map(|_| Field::ClientId));
    kept.extend(duid.map(|_| Field::Duid));
    out.lose_all_but(host, &kept);
    out.lose_labels(host, is_tag);
}
