//! LiveBOOTP: a block for each host, under `hosts`.

use super::{Exported, quoted};
use crate::inventory::entry::HostEntry;
use crate::inventory::import::{Field, livebootp};

pub(super) fn write(hosts: &[HostEntry], out: &mut Exported) {
    let blocks: Vec<String> = hosts.iter().filter_map(|host| block(host, out)).collect();
    out.text =
        if blocks.is_empty() { "hosts: {}\n".to_owned() } else { format!("hosts:\n{}", blocks.concat()) };
}

fn block(host: &HostEntry, out: &mut Exported) -> Option<String> {
    let Some(mac) = out.only_mac(host) else {
        out.leave_out(host, "LiveBOOTP knows hosts by MAC only");
        return None;
    };
    out.lose_all_but(host, &[Field::Macs, Field::Ip, Field::Cmdline]);
    out.lose_labels(host, |key, _| livebootp::LABELS.contains(&key));
    let cmdline = Some(host.cmdline.as_str()).filter(|cmdline| !cmdline.is_empty());
    let own = [
        ("hardware-ethernet", Some(mac)),
        ("fixed-address", host.ip.as_deref()),
        ("cmdline-append", cmdline),
    ];
    let labels = livebootp::LABELS.map(|key| (key, host.labels.get(key).map(String::as_str)));
    let pairs = own.into_iter().chain(labels).filter_map(|(key, value)| Some((key, value?)));
    let lines: String = pairs.map(|(key, value)| format!("    {key}: {}\n", quoted(value))).collect();
    Some(format!("  {}:\n{lines}", quoted(&host.name)))
}
