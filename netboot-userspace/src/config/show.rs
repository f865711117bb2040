//! The configuration as it is in force, defaults included.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use netboot_common::class::Class;

use super::{
    Cache, Checked, Deadlines, DhcpMode, Https, Interface, KernelFiles, Livebootp, Option82, Rule, Subnet,
    Subnet6, Tftp, Unknown, Upstream, XdpMode, breaker,
};
use crate::inventory::entry::{HostEntry, profile_json};
use crate::inventory::group::group_json;

/// As JSON, with the keys of `netboot.yaml`.
pub fn show(config: &Checked) -> Value {
    let mut value = json!({
        "interfaces": config.interfaces.iter().map(interface).collect::<Vec<_>>(),
        "subnets": config.subnets.iter().map(subnet).chain(config.subnets6.iter().map(subnet6)).collect::<Vec<_>>(),
        "unknown": match config.unknown { Unknown::Boot => "boot", Unknown::Ignore => "ignore" },
        "default_profile": config.default_profile,
        "http": {
            "listen": config.http.listen,
            "workers": config.http.workers,
            "index": config.http.index,
            "pace": config.http.pace,
            "https": config.http.https.as_ref().map(https),
        },
        "tftp": tftp(&config.tftp),
        "assets": assets(config),
        "livebootp": config.livebootp.as_ref().map(livebootp),
        "matchbox": { "data": config.matchbox.data, "key_ring": config.matchbox.key_ring },
        "ipxe": config.ipxe,
        "paths": {
            "state": config.paths.state,
            "control": config.paths.control,
            "pins": config.paths.pins,
        },
        "authoritative": config.authoritative,
        "domain": config.domain,
        "probe": config.probe.map_or_else(|| "off".to_owned(), |wait| format!("{}ms", wait.as_millis())),
        "breaker": breaker::show(config.breaker),
        "templates": config.templates,
        "profiles": config.profiles.iter().map(profile_json).collect::<Vec<_>>(),
        "groups": config.groups.iter().map(group_json).collect::<Vec<_>>(),
        "hosts": config.hosts.iter().map(HostEntry::from).collect::<Vec<_>>(),
    });
    config.settings.show_in(&mut value);
    value
}

fn https(https: &Https) -> Value {
    let Https { listen, certificate, key, dhe, kernel } = https;
    let kernel = if *kernel { "auto" } else { "off" };
    json!({ "listen": listen, "certificate": certificate, "key": key, "dhe": dhe, "kernel": kernel })
}

fn livebootp(livebootp: &Livebootp) -> Value {
    let Livebootp { config, images, ssh_authorized_keys, .. } = livebootp;
    json!({ "config": config, "images": images, "ssh_authorized_keys": ssh_authorized_keys })
}

fn assets(config: &Checked) -> Value {
    let upstream = |upstream: &Upstream| {
        let Deadlines { connect, read, total, least } = upstream.deadlines;
        json!({
            "prefix": format!("/assets/{}", upstream.prefix),
            "url": upstream.url(),
            "ca": upstream.ca,
            "allow_private": upstream.allow_private,
            "digests": upstream.digests,
            "digest_files": upstream.digest_files,
            "digest_required": upstream.digest_required,
            "check_after": format!("{}s", upstream.check_after.as_secs()),
            "most": upstream.most,
            "connections": upstream.connections,
            "connect": format!("{}s", connect.as_secs()),
            "read": format!("{}s", read.as_secs()),
            "total": format!("{}s", total.as_secs()),
            "least": least,
        })
    };
    let Cache { size, keep_free, upstreams } = &config.cache;
    let upstreams: Vec<Value> = upstreams.iter().map(upstream).collect();
    json!({ "folder": config.assets, "cache": size, "keep_free": keep_free, "upstreams": upstreams })
}

fn kernel_files(files: &KernelFiles) -> Value {
    match files {
        KernelFiles::Auto => json!("auto"),
        KernelFiles::Off => json!("off"),
        KernelFiles::Only(names) => json!(names),
    }
}

fn interface(interface: &Interface) -> Value {
    let mut value = interface.subnets.first().map_or_else(|| json!({}), subnet);
    value["subnets"] = interface.subnets.iter().skip(1).map(subnet).collect();
    value["name"] = json!(interface.name);
    value["vlan"] = json!(interface.vlan);
    value["dhcp"] = json!(interface.dhcp.name());
    value["xdp"] = json!(interface.xdp.name());
    value["option_82"] = json!(interface.option_82.name());
    value["subnet_selection"] = json!(if interface.subnet_selection { "allow" } else { "ignore" });
    value["dhcp6"] = json!(interface.v6.mode.name());
    if let Some(v6) = &interface.v6.subnet {
        value["preference6"] = json!(interface.v6.preference);
        value["rapid_commit6"] = json!(interface.v6.rapid_commit);
        merge(&mut value, subnet6(v6));
    }
    value
}

fn merge(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

fn subnet(subnet: &Subnet) -> Value {
    let mut value = json!({
        "subnet": subnet.to_string(),
        "range": subnet.pools.iter().map(range).collect::<Vec<_>>(),
        "exclude": subnet.excluded.iter().map(range).collect::<Vec<_>>(),
        "router": subnet.router,
        "dns": subnet.dns,
        "lease": format!("{}s", subnet.lease.as_secs()),
        "relays": subnet.relays,
    });
    subnet.settings.show_in(&mut value);
    value
}

fn subnet6(subnet: &Subnet6) -> Value {
    json!({
        "subnet6": subnet.to_string(),
        "range6": subnet.range.map(|(first, last)| format!("{first}-{last}")),
        "dns6": subnet.dns,
        "lease6": format!("{}s", subnet.lease.as_secs()),
    })
}

fn tftp(tftp: &Tftp) -> Value {
    let upload = tftp.upload.as_ref().map(|upload| {
        json!({
            "folder": upload.folder,
            "most": upload.most,
            "keep_free": upload.keep_free,
            "files_per_client": upload.files_per_client,
        })
    });
    let rule =
        |rule: &Rule| json!({ "name": rule.name, "class": rule.class.map(Class::name), "file": rule.file });
    json!({
        "root": tftp.root,
        "listen": tftp.listen,
        "one_port": tftp.one_port,
        "ports": tftp.ports.as_ref().map(|ports| format!("{}-{}", ports.start(), ports.end())),
        "blksize": tftp.blksize,
        "windowsize": tftp.windowsize,
        "rollover": tftp.rollover,
        "transfers_per_client": tftp.transfers_per_client,
        "kernel": kernel_files(&tftp.kernel),
        "upload": upload,
        "map": tftp.map.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn range((first, last): &(Ipv4Addr, Ipv4Addr)) -> String {
    format!("{first}-{last}")
}

impl DhcpMode {
    /// As `netboot.yaml` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Proxy => "proxy",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

impl XdpMode {
    /// As `netboot.yaml` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
        }
    }
}

impl Option82 {
    /// As `netboot.yaml` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Trust => "trust",
        }
    }
}
