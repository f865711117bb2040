#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::inventory::Snapshot;
use crate::inventory::identity::{Duid, Uuid};
use crate::inventory::import::{self, Source};
use crate::inventory::menu::MenuEntry;
use crate::inventory::typed::Typed;

const FORMATS: [(Format, import::Format); 8] = [
    (Format::Dnsmasq, import::Format::Dnsmasq),
    (Format::Kea, import::Format::Kea),
    (Format::Kea6, import::Format::Kea),
    (Format::Isc, import::Format::Isc),
    (Format::Livebootp, import::Format::Livebootp),
    (Format::Csv, import::Format::Csv),
    (Format::Json, import::Format::Json),
    (Format::Yaml, import::Format::Yaml),
];

/// What a format has place for; `None`: for nothing of this host. Written down here once more, from the formats' own
/// documents.
fn carried(format: Format, host: &HostEntry) -> Option<HostEntry> {
    let HostEntry { name, macs, client_id, circuit, duid, ip, ip6, cmdline, labels, .. } = host.clone();
    let first = macs.first().cloned();
    let labels = |keep: fn(&str, &str) -> bool| -> BTreeMap<_, _> {
        labels.iter().filter(|(key, value)| keep(key, value)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let entry = match format {
        Format::Json | Format::Yaml => return Some(host.clone()),
        Format::Csv => {
            let (pxe_menu, metadata, ssh_authorized_keys) = Default::default();
            return Some(HostEntry { pxe_menu, metadata, ssh_authorized_keys, ..host.clone() });
        }
        Format::Dnsmasq => {
            let number = name.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let time = number.bytes().all(|b| b.is_ascii_digit())
                && !number.is_empty()
                && name.len() <= number.len() + 1;
            let unit = name.ends_with(|c: char| c.is_ascii_digit() || "smhdwSMHDW".contains(c));
            let address = name.chars().all(|c| c.is_ascii_digit() || c == '.');
            if time && unit || address || name == "infinite" || name == "ignore" {
                return None;
            }
            let tag = |key: &str, value: &str| {
                value.is_empty()
                    && !key.is_empty()
                    && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            };
            let labels = labels(tag);
            // One `id:` for both; dnsmasq itself tells them apart by the version that the client speaks.
            let looks = |id: &String| {
                id.starts_with("00:0") && ["1", "2", "3", "4"].contains(&&id[4..5]) && id.len() > 6
            };
            let v6 = ip6.is_some() || ip.is_none();
            let client_id = client_id.filter(|id| !(looks(id) && v6));
            let duid = duid.filter(|id| client_id.is_none() && looks(id) && v6);
            HostEntry { name, macs, client_id, duid, ip, ip6, labels, ..HostEntry::default() }
        }
        Format::Kea => {
            let circuit = circuit.filter(|_| first.is_none() && client_id.is_none());
            let client_id = client_id.filter(|_| first.is_none());
            HostEntry {
                name,
                macs: first.into_iter().collect(),
                client_id,
                circuit,
                ip,
                ..HostEntry::default()
            }
        }
        Format::Kea6 => {
            let first = first.filter(|_| duid.is_none());
            HostEntry { name, macs: first.into_iter().collect(), duid, ip6, ..HostEntry::default() }
        }
        Format::Isc => HostEntry {
            name,
            macs: first.into_iter().collect(),
            client_id,
            duid: duid.filter(|_| circuit.is_none()),
            circuit,
            ip,
            ip6,
            ..HostEntry::default()
        },
        Format::Livebootp => {
            let labels = labels(|key, _| ["image-name", "ssh-authorized-keys"].contains(&key));
            let macs = first.into_iter().collect();
            HostEntry { name, macs, ip, cmdline, labels, ..HostEntry::default() }
        }
    };
    let others = [&entry.client_id, &entry.circuit, &entry.duid];
    let known = !entry.macs.is_empty() || others.iter().any(|identity| identity.is_some());
    known.then_some(entry)
}

fn identifiers() -> impl Strategy<Value = String> {
    let bytes = prop_oneof![
        "[a-zA-Z0-9/._,:\"'# -]{2,12}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 2..20),
    ];
    bytes.prop_map(|bytes| Identifier(bytes).to_string())
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key =
        prop_oneof!["[a-z]{1,4}", "image-name|ssh-authorized-keys", "\\PC{0,4}", " ?[#,;:\"=\n é]{1,3} ?"];
    let value =
        prop_oneof![Just(String::new()), "[a-z0-9]{1,4}", "[ ,;:\"'\\\\#=\t\r\n\u{85}\u{1}é😀-]{0,6}"];
    prop::collection::btree_map(key, value, 0..4)
}

/// Options, vendor options, boot files and a menu: any of these.
fn settings() -> impl Strategy<Value = (Typed, Typed, BTreeMap<String, String>, Option<MenuEntry>)> {
    const OPTIONS: [(&str, &[&str]); 6] = [
        ("ntp-servers", &["10.0.0.1", "10.0.0.2"]),
        ("domain-name", &["a,b \"c\""]),
        ("domain-search", &["names:a.example", "b.example"]),
        ("252", &["text:http://wpad/x,y"]),
        ("224", &["hex:01:02"]),
        ("classless-static-routes", &["10.0.0.0/8 via 10.1.0.1", "0.0.0.0/0 via 10.1.0.2"]),
    ];
    const VENDOR: [(&str, &[&str]); 2] = [("1", &["ips:10.0.0.1", "10.0.0.2"]), ("241", &["text:acs"])];
    const FILES: [(&str, &str); 2] = [("bios", "lpxelinux.0"), ("efi-x64", "http://h/x,y.efi")];
    let typed = |all: &'static [(&str, &[&str])]| {
        let some = prop::sample::subsequence(all.to_vec(), 0..=all.len());
        some.prop_map(|some| some.into_iter().map(|(key, values)| (key.to_owned(), values.into())).collect())
    };
    let files = prop::sample::subsequence(FILES.to_vec(), 0..=2);
    let files = files.prop_map(|some| some.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
    let menu = r#"{ "prompt": "F8: \"a\\b\" #", "timeout": "3s", "items": [
        { "title": "Disk, here: x", "local": true }, { "title": "I", "profile": "p" }, { "title": "L", "boot_file": "x" }
    ] }"#;
    let menu: MenuEntry = serde_json::from_str(menu).unwrap();
    (typed(&OPTIONS), typed(&VENDOR), files, prop::option::of(Just(menu)))
}

/// Metadata, and public keys: any of these.
fn first_boot() -> impl Strategy<Value = (Map<String, Value>, Vec<String>)> {
    const METADATA: [(&str, &str); 7] = [
        ("text", r#""a: \"b\" # é\n""#),
        ("number", "-7.25"),
        ("digits", r#""0017""#),
        ("truth", "true"),
        ("word", r#""true""#),
        ("none", "null"),
        ("a: b", r#"{ "list": [1, "2", { "deep": [] }], "": {} }"#),
    ];
    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q";
    let some = prop::sample::subsequence(METADATA.to_vec(), 0..=METADATA.len());
    let read = |(key, json): (&str, &str)| (key.to_owned(), serde_json::from_str(json).unwrap());
    let metadata = some.prop_map(move |some| some.into_iter().map(read).collect());
    let key = "[a-z\"#: ]{0,5}x".prop_map(|comment| format!("ssh-ed25519 {KEY} {comment}"));
    (metadata, prop::collection::vec(key, 0..3))
}

fn hosts() -> impl Strategy<Value = Vec<HostEntry>> {
    let name = prop_oneof![
        "[a-z][a-z0-9]{0,5}(-[a-z]{1,3})?(\\.[a-z]{2})?",
        "[0-9]{1,3}[smhdwx]?|infinite|ignore|10\\.0\\.0\\.1|1\\.2|null|true|0x12|1e3|Host"
    ];
    let macs = prop::collection::vec("(02|52)(:[0-9a-f]{2}){5}", 0..3);
    let boot = prop_oneof![Just(Boot::Profile), Just(Boot::Local), Just(Boot::Once), Just(Boot::Ignore)];
    let uuid = any::<[u8; 16]>().prop_map(|bytes| Uuid(bytes).to_string());
    let ip = any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string());
    let duid = prop_oneof![
        prop::collection::vec(any::<u8>(), 3..12),
        prop::collection::vec(any::<u8>(), 1..12).prop_map(|rest| [&[0, 3], rest.as_slice()].concat()),
    ];
    let duid = duid.prop_map(|bytes| Duid(bytes).to_string());
    let ip6 = any::<[u8; 15]>().prop_map(|rest| {
        let octets: Vec<u8> = std::iter::once(0x20).chain(rest).collect();
        std::net::Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap()).to_string()
    });
    let identities = (
        macs,
        prop::option::of(identifiers()),
        prop::option::of(uuid),
        prop::option::of(identifiers()),
        prop::option::of(duid),
        prop::option::of("[A-Z0-9][ -~é]{0,4}[A-Z0-9]"),
        prop::option::of(ip),
        prop::option::of(ip6),
    );
    let cmdline = "|[a-z=,\"'\\\\#:{}$-]{1,8}( [a-z0-9=é]{1,5})?";
    let rest = (prop::option::of("[a-z.-]{1,8}"), boot, cmdline, labels(), settings(), first_boot());
    let host = (name, identities, rest).prop_map(|(name, identities, rest)| {
        let (macs, client_id, uuid, circuit, duid, serial, ip, ip6) = identities;
        let (profile, boot, cmdline, labels, settings, (metadata, ssh_authorized_keys)) = rest;
        let (options, vendor_options, boot_files, pxe_menu) = settings;
        HostEntry {
            name,
            macs,
            client_id,
            uuid,
            circuit,
            duid,
            serial,
            ip,
            ip6,
            profile,
            boot,
            cmdline,
            labels,
            metadata,
            ssh_authorized_keys,
            options,
            vendor_options,
            boot_files,
            pxe_menu,
        }
    });
    prop::collection::vec(host, 0..6).prop_map(|hosts| {
        let mut together = Snapshot::default();
        let mut fits = |host: &HostEntry| {
            let checked = host.check("test").ok()?;
            together.insert(Arc::new(crate::inventory::Host { profile: None, ..checked.clone() })).ok()?;
            Some(HostEntry::from(&checked))
        };
        hosts.iter().filter_map(&mut fits).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_exported_is_imported_as_it_was_and_what_is_lost_is_named(hosts in hosts()) {
        for (format, back) in FORMATS {
            let exported = write(format, &hosts);
            let reading = import::read(back, &[Source { name: "x".into(), text: exported.text.clone() }]);
            prop_assert_eq!(&reading.refused, &[], "{}", exported.text);
            let want: Vec<HostEntry> = hosts.iter().filter_map(|host| carried(format, host)).collect();
            let got: Vec<HostEntry> = reading.hosts.into_iter().map(|host| host.entry).collect();
            prop_assert_eq!(got, want, "{}", exported.text);
            let lost: BTreeSet<&String> = exported.lost.iter().map(|lost| &lost.host).collect();
            let differing = hosts.iter().filter(|host| carried(format, host).as_ref() != Some(host));
            prop_assert_eq!(lost, differing.map(|host| &host.name).collect::<BTreeSet<_>>());
        }
    }
}

fn full() -> HostEntry {
    HostEntry {
        name: "node1".into(),
        macs: vec!["52:54:00:12:34:56".into(), "52:54:00:12:34:57".into()],
        client_id: Some("port-7".into()),
        uuid: Some("00112233-4455-6677-8899-aabbccddeeff".into()),
        circuit: Some("0x0004000a0007".into()),
        ip: Some("10.0.0.1".into()),
        profile: Some("debian".into()),
        boot: Boot::Local,
        cmdline: "console=ttyS0".into(),
        labels: [("red", ""), ("rack", "7"), ("image-name", "nginx/1")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        ..HostEntry::default()
    }
}

#[test]
fn each_format_looks_as_its_program_wants_it() {
    let cases = [
        (Format::Dnsmasq, "dhcp-host=52:54:00:12:34:56,52:54:00:12:34:57,id:port-7,set:red,10.0.0.1,node1\n"),
        (
            Format::Kea,
            "[\n  { \"hw-address\": \"52:54:00:12:34:56\", \"ip-address\": \"10.0.0.1\", \"hostname\": \"node1\" }\n]\n",
        ),
        (
            Format::Isc,
            "host node1 {\n  hardware ethernet 52:54:00:12:34:56;\n  option dhcp-client-identifier \"port-7\";\n  \
             host-identifier option agent.circuit-id 00:04:00:0a:00:07;\n  fixed-address 10.0.0.1;\n}\n",
        ),
        (
            Format::Livebootp,
            "hosts:\n  \"node1\":\n    hardware-ethernet: \"52:54:00:12:34:56\"\n    fixed-address: \"10.0.0.1\"\n    \
             cmdline-append: \"console=ttyS0\"\n    image-name: \"nginx/1\"\n",
        ),
        (
            Format::Csv,
            "name,mac,ip,ip6,profile,client_id,uuid,circuit,duid,serial,boot,cmdline,label:image-name,label:rack,label:red\n\
             node1,52:54:00:12:34:56 52:54:00:12:34:57,10.0.0.1,,debian,port-7,00112233-4455-6677-8899-aabbccddeeff,\
             0x0004000a0007,,,local,console=ttyS0,nginx/1,7,\"\"\n",
        ),
        (
            Format::Yaml,
            "- name: \"node1\"\n  macs: [\"52:54:00:12:34:56\", \"52:54:00:12:34:57\"]\n  client_id: \"port-7\"\n  \
             uuid: \"00112233-4455-6677-8899-aabbccddeeff\"\n  circuit: \"0x0004000a0007\"\n  ip: \"10.0.0.1\"\n  \
             profile: \"debian\"\n  boot: \"local\"\n  cmdline: \"console=ttyS0\"\n  \
             labels: {\"image-name\": \"nginx/1\", \"rack\": \"7\", \"red\": \"\"}\n",
        ),
    ];
    for (format, want) in cases {
        assert_eq!(write(format, &[full()]).text, want);
    }
}

#[test]
fn hosts_of_ipv6_look_as_each_program_wants_them() {
    let host = HostEntry {
        name: "six".into(),
        duid: Some("00:03:00:01:52:54:00:12:34:56".into()),
        ip6: Some("2001:db8::21".into()),
        options: [("ntp-servers".to_owned(), ["10.0.0.1", "10.0.0.2"].as_slice().into())].into(),
        boot_files: [("bios".to_owned(), "x".to_owned())].into(),
        ..HostEntry::default()
    };
    let cases = [
        (Format::Dnsmasq, "dhcp-host=id:00:03:00:01:52:54:00:12:34:56,[2001:db8::21],six\n"),
        (
            Format::Kea6,
            "[\n  { \"duid\": \"00:03:00:01:52:54:00:12:34:56\", \"ip-addresses\": [\"2001:db8::21\"], \"hostname\": \"six\" }\n]\n",
        ),
        (
            Format::Isc,
            "host six {\n  host-identifier option dhcp6.client-id 00:03:00:01:52:54:00:12:34:56;\n  fixed-address6 2001:db8::21;\n}\n",
        ),
        (
            Format::Csv,
            "name,mac,ip,ip6,profile,client_id,uuid,circuit,duid,serial,boot,cmdline,boot_file:bios,option:ntp-servers\n\
             six,,,2001:db8::21,,,,,00:03:00:01:52:54:00:12:34:56,,,,x,\"10.0.0.1,10.0.0.2\"\n",
        ),
        (
            Format::Yaml,
            "- name: \"six\"\n  duid: \"00:03:00:01:52:54:00:12:34:56\"\n  ip6: \"2001:db8::21\"\n  \
             options: {\"ntp-servers\": [\"10.0.0.1\", \"10.0.0.2\"]}\n  boot_files: {\"bios\": \"x\"}\n",
        ),
    ];
    for (format, want) in cases {
        assert_eq!(write(format, std::slice::from_ref(&host)).text, want);
    }
    assert_eq!(
        write(Format::Kea, &[host]).losses(),
        ["left out: six: Kea knows hosts by MAC, client identifier and circuit only"]
    );
}

#[test]
fn what_is_lost_is_named_with_its_hosts() {
    let uuid = |name: &str| HostEntry { name: name.into(), uuid: full().uuid, ..HostEntry::default() };
    let exported =
        write(Format::Kea, &[full(), HostEntry { name: "node2".into(), ..full() }, uuid("a1"), uuid("a2")]);
    let want = [
        "left out: a[1-2]: Kea knows hosts by MAC, client identifier and circuit only",
        "no place for boot: node[1-2]",
        "no place for circuit: node[1-2]",
        "no place for client_id: node[1-2]",
        "no place for cmdline: node[1-2]",
        "no place for more than one MAC: node[1-2]",
        "no place for profile: node[1-2]",
        "no place for the label image-name: node[1-2]",
        "no place for the label rack: node[1-2]",
        "no place for the label red: node[1-2]",
        "no place for uuid: node[1-2]",
    ];
    assert_eq!(exported.losses(), want);
}
