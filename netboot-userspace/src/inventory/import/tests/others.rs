//! LiveBOOTP, bootcfg and matchbox, tables, and our own lists.

use super::*;

/// LB-21, LB-22: the keys that its page shows.
#[test]
fn livebootps_host_blocks_are_read_wherever_they_stand() {
    let text = "\
domain-name-servers: [10.0.0.1]
whatever:
  my-nginx-web-server:
    hardware-ethernet: \"52:54:00:12:34:56\"
    fixed-address: 172.18.0.10
    image-name: nginx-web-server/test
    ssh-authorized-keys: default
    cmdline-append: debug
  number:
    hardware-ethernet: 52e400123456
    kernel-console: ttyS0
  nobody:
    image-name: nginx-web-server/test
  listed:
    hardware-ethernet: [{}]
top:
  hardware-ethernet: 52:54:00:12:34
";
    check(&Case {
        format: Format::Livebootp,
        file: "config.yml",
        text,
        hosts: json!([
            {
                "name": "my-nginx-web-server", "macs": ["52:54:00:12:34:56"], "ip": "172.18.0.10", "cmdline": "debug",
                "labels": { "image-name": "nginx-web-server/test", "ssh-authorized-keys": "default" },
            },
            { "name": "number", "macs": ["52:e4:00:12:34:56"] },
        ]),
        refused: &[
            (12, "has no hardware-ethernet"),
            (15, "hardware-ethernet: takes a plain value, not a mapping"),
            (17, "is not a MAC address"),
        ],
        notices: &[
            (1, "domain-name-servers: belongs to a subnet"),
            (3, "image-name nginx-web-server/test is kept as a label"),
            (11, "kernel-console is not imported"),
        ],
    });
    let refused = &[(2, "is not YAML")];
    check(&Case { format: Format::Livebootp, text: "a: 1\na: 2\n", refused, ..Case::default() });
}

/// BC-22, BC-24: groups of matchbox.
#[test]
fn matchbox_groups_that_select_one_machine_are_hosts() {
    let text = r#"{
  "id": "node1",
  "name": "Controller Node 1",
  "profile": "k8s-controller",
  "selector": { "mac": "52-54-00-A1-9C-AE" },
  "metadata": { "domain_name": "node1.example.com", "etcd_initial": 3, "ssh_authorized_keys": ["ssh-rsa x"] }
}"#;
    check(&Case {
        format: Format::Bootcfg,
        file: "groups/node1.json",
        text,
        hosts: json!([{
            "name": "node1", "macs": ["52:54:00:a1:9c:ae"], "profile": "k8s-controller",
            "labels": { "domain_name": "node1.example.com", "etcd_initial": "3" },
        }]),
        notices: &[(6, "metadata ssh_authorized_keys is not imported: a label is one text, not a list")],
        ..Case::default()
    });
    let text = r#"{ "id": "node_1", "profile": "worker",
  "selector": { "os": "installed", "uuid": "16e7d8a7-bfa9-428b-9117-363341bb330b" } }"#;
    check(&Case {
        format: Format::Bootcfg,
        text,
        hosts: json!([{
            "name": "host-16e7d8a7bfa9428b9117363341bb330b", "uuid": "16e7d8a7-bfa9-428b-9117-363341bb330b",
        }]),
        notices: &[
            (1, "\"node_1\" is no host's name"),
            (1, "the profile worker holds only with os=installed"),
        ],
        ..Case::default()
    });
    let none = &[(1, "selects no single machine (region=x)")];
    let text = r#"{ "id": "x", "profile": "p", "selector": { "region": "x" } }"#;
    check(&Case { format: Format::Bootcfg, text, notices: none, ..Case::default() });
    let refused = &[(1, "selector: \"52:54\" is not a MAC address")];
    let text = r#"{ "id": "x", "profile": "p", "selector": { "mac": "52:54" } }"#;
    check(&Case { format: Format::Bootcfg, text, refused, ..Case::default() });
}

/// Version 0.1: groups in one YAML file, with `spec` and `require`.
#[test]
fn bootcfgs_first_groups_are_read() {
    let text = "\
---
api_version: v1alpha1
groups:
  - name: default
    spec: discovery
  - name: etcd-1
    spec: etcd
    require:
      mac: 52:54:00:89:d8:10
";
    check(&Case {
        format: Format::Bootcfg,
        file: "bootcfg.yaml",
        text,
        hosts: json!([{ "name": "etcd-1", "macs": ["52:54:00:89:d8:10"], "profile": "etcd" }]),
        notices: &[(4, "selects no single machine (all machines)")],
        ..Case::default()
    });
}

/// BC-02, and the machines of the first versions: the file's name is the machine.
#[test]
fn bootcfgs_machines_are_known_by_their_files_names() {
    let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
    let sources = [
        source("data/boot/mac/52-54-00-89-d8-10", "{\"kernel\": \"/images/k\"}"),
        source("data/cloud/mac/52-54-00-89-d8-10", "#cloud-config\n"),
        source("data/cloud/uuid/16e7d8a7-bfa9-428b-9117-363341bb330b", "#cloud-config\n"),
        source("data/boot/mac/nonsense", ""),
        source(
            "machines/52:54:00:20:17:f9/machine.json",
            "{\"id\": \"52:54:00:20:17:f9\", \"spec_id\": \"orion\"}",
        ),
        source("machines/52:54:00:20:17:fa/machine.json", "{\n\"spec\": {\"boot\": {}}, \"spec_id\": \"\"}"),
        source("machines/default/machine.json", "{\"spec_id\": \"orion\"}"),
        source("machines/x/machine.json", "{"),
    ];
    for Source { name, .. } in &sources {
        assert!(bootcfg::concerns(name), "{name}");
    }
    for name in [
        "data/boot/default",
        "profiles/p.json",
        "images/coreos/vmlinuz",
        "ignition/a.yaml",
        "groups/README.md",
    ] {
        assert!(!bootcfg::concerns(name), "{name}");
    }
    let Reading { hosts, refused, notices, .. } = read(Format::Bootcfg, &sources);
    let hosts: Vec<Value> = hosts.iter().map(|host| short(&host.entry)).collect();
    let want = json!([
        { "name": "host-52540089d810", "macs": ["52:54:00:89:d8:10"] },
        { "name": "host-16e7d8a7bfa9428b9117363341bb330b", "uuid": "16e7d8a7-bfa9-428b-9117-363341bb330b" },
        { "name": "host-5254002017f9", "macs": ["52:54:00:20:17:f9"], "profile": "orion" },
        { "name": "host-5254002017fa", "macs": ["52:54:00:20:17:fa"] },
    ]);
    assert_eq!(json!(hosts), want);
    let text =
        |remarks: &[Remark]| remarks.iter().map(|r| format!("{}: {}", r.at, r.reason)).collect::<Vec<_>>();
    let refused = text(&refused);
    assert_eq!(refused[0], "data/boot/mac/nonsense: \"nonsense\" is neither a MAC nor a UUID");
    assert!(refused[1].starts_with("machines/x/machine.json:1: can't be read: "), "{refused:?}");
    let notices = text(&notices).join("\n");
    for want in [
        "data/boot/mac/52-54-00-89-d8-10: kernel, initrd and cmdline are not imported",
        "data/cloud/mac/52-54-00-89-d8-10: is there already, the same, at data/boot/mac/52-54-00-89-d8-10",
        "machines/52:54:00:20:17:fa/machine.json:2: spec is not imported: make a profile of it",
        "machines/default/machine.json:1: is for all machines that have no entry",
    ] {
        assert!(notices.contains(want), "{want}: {notices}");
    }
}

#[test]
fn tables_are_read_by_their_headings() {
    let text = "\
Name;MAC;IP;Client-ID;labels;label:rack;boot
node1;52-54-00-00-00-01 52:54:00:00:00:02;10.0.0.1;;web=1 new;\"7; upper\";
\"node2\";525400000003;;01:02:03;;\"\";local

# a remark
node3;52:54:00:00:00:04;10.0.0.4;;;
node4;52:54:00:00:00;;;;;
node5;52:54:00:00:00:05;;;;;sometimes
node6;52:54:00:00:00:06;;;;\"x
";
    check(&Case {
        format: Format::Csv,
        text,
        hosts: json!([
            {
                "name": "node1", "macs": ["52:54:00:00:00:01", "52:54:00:00:00:02"], "ip": "10.0.0.1",
                "labels": { "new": "", "rack": "7; upper", "web": "1" },
            },
            { "name": "node2", "macs": ["52:54:00:00:00:03"], "client_id": "01:02:03", "boot": "local", "labels": { "rack": "" } },
        ]),
        refused: &[
            (6, "has 6 values under 7 headings"),
            (7, "is not a MAC address"),
            (8, "\"sometimes\" is not known"),
            (9, "a quote is not closed"),
        ],
        ..Case::default()
    });
    for (headings, words) in [
        ("name,colour", "\"colour\" is not known: it takes name, mac"),
        ("name,colour", "headed label:colour"),
        ("mac,ip", "the heading `name` is missing"),
        ("name,mac,macs", "column 3 has a heading that is there already"),
    ] {
        check(&Case { format: Format::Csv, text: headings, refused: &[(1, words)], ..Case::default() });
    }
}

#[test]
fn our_own_lists_are_read_with_their_lines() {
    let text = "\
- name: a
  mac: 005056000001
  labels: {rack: 7}
- {name: b, client_id: port-7, boot: local, origin: store, state: seen}
- {name: c, mac: '52:54:00:00:00:01', colour: red}
- {name: d, mac: '52:54:00:00:00:02', boot: never}
- name: e
- {name: f, mac: '52:54:00:00:00:03', labels: [a]}
";
    let hosts = json!([
        { "name": "a", "macs": ["00:50:56:00:00:01"], "labels": { "rack": "7" } },
        { "name": "b", "client_id": "port-7", "boot": "local" },
    ]);
    let refused = &[
        (5, "colour: is no key of a host"),
        (6, "boot: \"never\" is not known"),
        (7, "at least one is needed"),
        (8, "labels: takes a mapping of keys to values, not a list"),
    ];
    check(&Case { format: Format::Yaml, text, hosts: hosts.clone(), refused, ..Case::default() });
    let json = "[\n{\"name\": \"a\", \"macs\": [\"005056000001\"], \"labels\": {\"rack\": 7}},\n\
                {\"name\": \"b\", \"client_id\": \"port-7\", \"boot\": \"local\"}]";
    check(&Case { format: Format::Json, text: json, hosts, ..Case::default() });
    let refused = &[(1, "takes a list of hosts, not a mapping")];
    check(&Case { format: Format::Json, text: "{}", refused, ..Case::default() });
}
