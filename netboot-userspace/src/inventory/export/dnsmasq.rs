//! dnsmasq: a `dhcp-host=` line for each host.

use super::{Exported, hex, plain};
use crate::inventory::entry::HostEntry;
use crate::inventory::import::{Field, dnsmasq};

pub(super) fn write(host: &HostEntry, out: &mut Exported) {
    let name = &host.name;
    if host.macs.is_empty() && host.client_id.is_none() {
        return out.leave_out(host, "dnsmasq knows hosts by MAC and client identifier only");
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
        .chain(host.client_id.as_ref().map(|id| format!("id:{}", plain(id).unwrap_or_else(|| hex(id)))))
        .chain(tags.map(|(key, _)| format!("set:{key}")))
        .chain(host.ip.clone())
        .chain([name.clone()])
        .collect();
    out.text.push_str(&format!("dhcp-host={}\n", words.join(",")));
    out.lose_fields(host, &[Field::Uuid, Field::Circuit, Field::Profile, Field::Boot, Field::Cmdline]);
    out.lose_labels(host, is_tag);
}
