//! Files as they are found in the field, and as they should not be.

#![allow(clippy::unwrap_used)]

mod others;
mod samples;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What a file gives, with the words that each remark must have in it.
struct Case<'a> {
    format: Format,
    file: &'a str,
    text: &'a str,
    hosts: Value,
    refused: &'a [(usize, &'a str)],
    notices: &'a [(usize, &'a str)],
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self { format: Format::Dnsmasq, file: "file", text: "", hosts: json!([]), refused: &[], notices: &[] }
    }
}

fn read_one(format: Format, file: &str, text: &str) -> Reading {
    read(format, &[Source { name: file.to_owned(), text: text.to_owned() }])
}

/// The entry's JSON, without what is as it would be by itself.
fn short(entry: &HostEntry) -> Value {
    let mut value = json!(entry);
    let object = value.as_object_mut().unwrap();
    object.retain(|key, value| {
        !(key == "boot" && *value == json!("profile") || key == "macs" && *value == json!([]))
    });
    value
}

fn check(case: &Case<'_>) {
    let Reading { hosts, refused, notices, .. } = read_one(case.format, case.file, case.text);
    let hosts: Vec<Value> = hosts.iter().map(|host| short(&host.entry)).collect();
    assert_eq!(json!(hosts), case.hosts, "{}\n{refused:#?}", case.text);
    for (found, want) in [(&refused, case.refused), (&notices, case.notices)] {
        let lines: Vec<usize> = found.iter().map(|remark| remark.at.line).collect();
        let wanted: Vec<usize> = want.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, wanted, "{}\n{found:#?}", case.text);
        for (remark, (_, words)) in found.iter().zip(want) {
            assert!(remark.reason.contains(words), "{words:?} is not in {remark:?}");
        }
    }
}

/// One line of dnsmasq, and its host or the reason why there is none.
#[test]
fn dnsmasq_lines_of_every_kind() {
    const MAC: &str = "52:54:00:00:00:01";
    let host = |fields: Value| {
        let mut host = json!({ "macs": [MAC], "name": "a" });
        host.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Ok(host)
    };
    let cases: [(&str, Result<Value, &str>); 40] = [
        ("MAC,10.0.0.1,a,infinite", host(json!({ "ip": "10.0.0.1" }))),
        ("MAC,a", host(json!({}))),
        ("a , MAC , 10.0.0.1", host(json!({ "ip": "10.0.0.1" }))),
        ("MAC,52:54:0:0:0:2,a", host(json!({ "macs": [MAC, "52:54:00:00:00:02"] }))),
        ("01-MAC,a", host(json!({}))),
        ("MAC,id:*,a", host(json!({}))),
        ("MAC,id:01:2:ab,a", host(json!({ "client_id": "01:02:ab" }))),
        ("MAC,id:port-7,a", host(json!({ "client_id": "port-7" }))),
        ("MAC,id:0x6162,a", host(json!({ "client_id": "30:78:36:31:36:32" }))),
        (
            "id:marjorie,a,10.0.0.60",
            host(json!({ "macs": null, "client_id": "marjorie", "ip": "10.0.0.60" })),
        ),
        ("MAC,set:red,net:blue,a", host(json!({ "labels": { "blue": "", "red": "" } }))),
        ("MAC,a.example.org", host(json!({ "name": "a.example.org" }))),
        ("MAC,a,45m", host(json!({}))),
        ("MAC,a,3600", host(json!({}))),
        ("MAC,\"a\"", host(json!({}))),
        ("MAC,a,[fd00::1],10.0.0.1", host(json!({ "ip": "10.0.0.1", "ip6": "fd00::1" }))),
        ("MAC,10.0.0.1", host(json!({ "name": "host-525400000001", "ip": "10.0.0.1" }))),
        ("52:54:00:*:*:*,a", Err("wildcards")),
        ("*:*:*:*:*:*,id:x,a", Err("wildcards")),
        ("MAC,ignore", Err("`ignore` gives a machine no address")),
        ("id:*,a", Err("has no MAC and no client identifier")),
        ("a,10.0.0.1", Err("has no MAC and no client identifier")),
        (
            "id:00:01:00:01:16:d2,a,[1234::5]",
            Ok(json!({ "name": "a", "duid": "00:01:00:01:16:d2", "ip6": "1234::5" })),
        ),
        ("id:00:01:00:01:16:d2,a", Ok(json!({ "name": "a", "duid": "00:01:00:01:16:d2" }))),
        (
            "id:00:01:00:01:16:d2,a,10.0.0.1",
            Ok(json!({ "name": "a", "client_id": "00:01:00:01:16:d2", "ip": "10.0.0.1" })),
        ),
        ("id:01:52:54,a,[1234::5]", Ok(json!({ "name": "a", "client_id": "01:52:54", "ip6": "1234::5" }))),
        ("id:01:52:54,a,[::56]", Err("write one that is whole")),
        ("id:01:52:54,a,[1234::5],[1234::6]", Err("two of what a host has one of: IPv6 address")),
        ("tag:known,MAC,a", Err("applies only where the tag known is set")),
        ("06-MAC,a", Err("of the hardware type 06")),
        ("MAC,a,b", Err("\"a\" and \"b\" are two names")),
        ("MAC,10.0.0.1,10.0.0.2,a", Err("10.0.0.1 and 10.0.0.2 are two")),
        ("MAC,id:abc,id:def,a", Err("abc and def are two")),
        ("52:54:00:00:00,a", Err("is not a MAC address")),
        ("MAC,id:zz:1,a", Err("is not hex digits")),
        ("MAC,id:a,a", Err("2 to 255 bytes, not 1")),
        ("MAC,set:,a", Err("set: names nothing")),
        ("MAC,a_b", Err("is not a host name")),
        ("MAC,10.0.0.300", Err("10.0.0.300 is no IPv4 address")),
        ("01:00:5e:00:00:01,a", Err("is a group's address")),
    ];
    for (line, want) in cases {
        // Bare, and in a dnsmasq.conf.
        for form in ["", "# x\ndhcp-host="] {
            let text = format!("{form}{}", line.replace("MAC", MAC));
            let reading = read_one(Format::Dnsmasq, "file", &text);
            match &want {
                Ok(host) => {
                    assert_eq!(reading.refused, [], "{text}");
                    let mut host = host.clone();
                    host.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                    let mut found = short(&reading.hosts[0].entry);
                    if let (Some(name), Value::Null) = (host.get("name"), &found["name"]) {
                        found["name"] = name.clone();
                    }
                    assert_eq!(found, host, "{text}");
                }
                Err(words) => {
                    assert_eq!(reading.hosts, [], "{text}");
                    assert!(reading.refused[0].reason.contains(words), "{text}: {:?}", reading.refused);
                    assert_eq!(reading.refused[0].at.line, text.lines().count());
                }
            }
        }
    }
}

#[test]
fn hosts_that_contradict_each_other_are_refused_with_both_places() {
    let text = "52:54:00:00:00:01,10.0.0.1,a\n52:54:00:00:00:02,10.0.0.1,b\n52:54:00:00:00:01,10.0.0.3,c\n\
                52:54:00:00:00:04,a\n52:54:00:00:00:05,52:54:00:00:00:05,e\n52:54:00:00:00:01,10.0.0.1,a\n";
    check(&Case {
        text,
        hosts: json!([{ "name": "a", "macs": ["52:54:00:00:00:01"], "ip": "10.0.0.1" }]),
        refused: &[
            (2, "host b has the address 10.0.0.1 of host a, at file:1"),
            (3, "host c has the MAC 52:54:00:00:00:01 of host a, at file:1"),
            (4, "host a is there already, from file:1"),
            (5, "host e has the MAC 52:54:00:00:00:05 of host e"),
        ],
        notices: &[(6, "is there already, the same, at file:1")],
        ..Case::default()
    });
}

#[test]
fn a_file_changes_what_it_can_say_and_leaves_the_rest() {
    use crate::inventory::entry::HostPatch;
    let server = HostEntry {
        name: "a".into(),
        macs: vec!["52:54:00:00:00:01".into()],
        ip: Some("10.0.0.1".into()),
        profile: Some("debian".into()),
        boot: Boot::Local,
        cmdline: "quiet".into(),
        labels: [("rack".to_owned(), "7".to_owned()), ("row".to_owned(), "1".to_owned())].into(),
        ..HostEntry::default()
    };
    let merged = |format, text: &str| {
        let reading = read_one(format, "file", text);
        assert_eq!(reading.refused, [], "{text}");
        let patch: HostPatch = reading.carries.patch(&reading.hosts[0].entry);
        let json = serde_json::to_string(&patch).unwrap();
        assert_eq!(serde_json::from_str::<HostPatch>(&json).unwrap(), patch, "{json}");
        patch.apply(server.clone())
    };
    // dnsmasq has addresses, and this host has none there; of profiles it knows nothing.
    let by_dnsmasq = merged(Format::Dnsmasq, "52:54:00:00:00:02,a,set:new");
    let labels = [("new", ""), ("rack", "7"), ("row", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let macs = vec!["52:54:00:00:00:02".to_owned()];
    assert_eq!(by_dnsmasq, HostEntry { macs, ip: None, labels, ..server.clone() });
    // A table has the columns that it has.
    let by_table = merged(Format::Csv, "name,label:rack,label:row,profile\na,,2,\n");
    let labels = [("row".to_owned(), "2".to_owned())].into();
    assert_eq!(by_table, HostEntry { profile: None, labels, ..server.clone() });
    // Our own format has everything.
    let by_yaml = merged(Format::Yaml, "- {name: a, mac: '52:54:00:00:00:01'}");
    let macs = server.macs.clone();
    assert_eq!(by_yaml, HostEntry { name: "a".into(), macs, ..HostEntry::default() });
    // A file of IPv6 says nothing of IPv4.
    let six =
        r#"[{ "duid": "00:03:00:01:52:54:00:00:00:01", "ip-addresses": ["2001:db8::1"], "hostname": "a" }]"#;
    let by_kea6 = merged(Format::Kea, six);
    let (duid, ip6) = (Some("00:03:00:01:52:54:00:00:00:01".to_owned()), Some("2001:db8::1".to_owned()));
    assert_eq!(by_kea6, HostEntry { duid, ip6, ..server.clone() });
    // A group of matchbox says what it says.
    let group =
        r#"{"id": "a", "profile": "p", "selector": {"uuid": "00112233-4455-6677-8899-aabbccddeeff"}}"#;
    let by_group = merged(Format::Bootcfg, group);
    let uuid = Some("00112233-4455-6677-8899-aabbccddeeff".to_owned());
    assert_eq!(by_group, HostEntry { uuid, profile: Some("p".into()), ..server });
}

proptest! {
    /// Whatever a file holds: each host that comes out of it is right.
    #[test]
    fn no_file_stops_a_reader(words in prop::collection::vec(
        prop_oneof![
            "host|hardware|ethernet|dhcp-host=|id:|set:|name|mac|ip|fixed-address|reservations|hw-address|selector|uuid",
            "52:54:00:00:00:0[1-9]|10\\.0\\.0\\.[1-9]|[a-z]{1,3}",
            "[\\[\\]{}:;,\"'#*\n =-]{1,2}",
            "\\PC{0,2}",
        ],
        0..60,
    )) {
        for format in [
            Format::Dnsmasq, Format::Kea, Format::Isc, Format::Livebootp, Format::Bootcfg, Format::Csv, Format::Json,
            Format::Yaml,
        ] {
            for joint in ["", " ", "\n"] {
                for host in read_one(format, "groups/file.json", &words.join(joint)).hosts {
                    prop_assert!(host.entry.read("file").is_ok(), "{:?}", host);
                }
            }
        }
    }
}

/// The file of a site of so many hosts.
fn site(format: Format, count: u32) -> String {
    let host = |i: u32| {
        let [a, b, c, d] = i.to_be_bytes();
        let (mac, ip) = (format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}"), format!("10.{b}.{c}.{d}"));
        match format {
            Format::Dnsmasq => format!("{mac},{ip},node{i:06},infinite\n"),
            Format::Kea => {
                format!(r#"{{"hw-address": "{mac}", "ip-address": "{ip}", "hostname": "node{i:06}"}},"#)
            }
            Format::Isc => format!("host node{i:06} {{ hardware ethernet {mac}; fixed-address {ip}; }}\n"),
            Format::Csv => format!("node{i:06},{mac},{ip}\n"),
            _ => format!("- {{name: node{i:06}, mac: '{mac}', ip: {ip}}}\n"),
        }
    };
    let text: String = (0..count).map(host).collect();
    match format {
        Format::Kea => format!("[{text}]"),
        Format::Csv => format!("name,mac,ip\n{text}"),
        _ => text,
    }
}

/// No reader takes more time for the last host than for the first: such a one would not come to an end here.
#[test]
fn large_files_are_read_in_every_format() {
    for format in [Format::Kea, Format::Isc, Format::Csv, Format::Yaml] {
        let reading = read_one(format, "file", &site(format, 10_000));
        assert_eq!((reading.hosts.len(), &reading.refused[..]), (10_000, &[][..]), "{format:?}");
        let last = json!({ "name": "node009999", "macs": ["52:54:00:00:27:0f"], "ip": "10.0.39.15" });
        assert_eq!(short(&reading.hosts[9_999].entry), last, "{format:?}");
    }
}

#[test]
fn a_hundred_thousand_hosts_are_imported_as_one_and_importing_them_again_changes_nothing() {
    use crate::inventory::Live;
    use crate::inventory::live::Change;
    use crate::store::Store;
    const COUNT: u32 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let reading = read_one(Format::Dnsmasq, "dhcp_hosts", &site(Format::Dnsmasq, COUNT));
    let merge = |host: &Imported| Change::Merge(host.entry.name.clone(), reading.carries.patch(&host.entry));
    let changes: Vec<Change> = reading.hosts.iter().map(merge).collect();
    assert_eq!((changes.len(), &reading.refused[..]), (COUNT as usize, &[][..]));
    {
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let (live, _) = Live::open(store, Snapshot::default(), |_, _| Ok(())).unwrap();
        let announced = Arc::new(std::sync::Mutex::new(Vec::new()));
        let ear = announced.clone();
        live.on_change(move |changed| {
            ear.lock().unwrap().push(changed.len());
            Ok(())
        });
        for _ in 0..2 {
            let done = live.apply_all(&changes).unwrap();
            assert_eq!(done.len(), COUNT as usize);
        }
        assert_eq!(*announced.lock().unwrap(), [COUNT as usize]);
    }
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let (live, notices) = Live::open(store, Snapshot::default(), |_, _| Ok(())).unwrap();
    assert_eq!((live.snapshot().hosts().len(), &notices[..]), (COUNT as usize, &[][..]));
}
