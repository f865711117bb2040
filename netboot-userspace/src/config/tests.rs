//! The whole way from files to [`Checked`] or [`Errors`].
#![allow(clippy::unwrap_used)]

use super::*;

pub(super) const LEAST: &str = "\
interfaces:
  - name: eth1
    dhcp: server
    xdp: auto
    subnet: 10.10.0.0/16
    range: 10.10.1.0-10.10.200.255
    router: 10.10.0.1
    dns: [10.10.0.1]
    lease: 1h
unknown: boot
default_profile: discover
http: { listen: \":8080\" }
tftp: { root: tftp }
assets: assets
profiles:
  - { name: discover, kernel: vmlinuz, initrd: [a.img, http://h/b.img], cmdline: quiet }
";

/// A folder with `netboot.yaml`, an assets folder, and further files by name.
pub(super) fn site(main: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Checked, Errors>) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["assets", "tftp", "hosts.d", "profiles.d", "groups.d", "templates/sub"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for (name, text) in [("netboot.yaml", main), ("assets/vmlinuz", ""), ("assets/a.img", "")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let loaded = load(&dir.path().join("netboot.yaml"));
    (dir, loaded)
}

#[test]
fn a_menu_of_any_level_is_read_and_the_nearest_is_whole() {
    let menu = |items: &str| format!("pxe_menu: {{ prompt: 'F8', timeout: never, items: [{items}] }}\n");
    let site_menu = menu("{ title: 'Disk', local: true }, { title: 'Find', profile: discover }");
    let hosts = "- { name: a, mac: '52:54:00:00:00:01', pxe_menu: { items: [{ title: L, boot_file: x }] } }\n\
                 - { name: b, mac: '52:54:00:00:00:02', pxe_menu: { items: [] } }\n";
    let (_dir, loaded) = site(&format!("{LEAST}{site_menu}"), &[("hosts.d/x.yaml", hosts)]);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let wire = |settings: &Settings| {
        settings
            .over(&checked.settings)
            .menu
            .filter(|menu| !menu.is_empty())
            .map(|menu| menu.to_wire([10, 0, 0, 1].into()))
    };
    let find = wire(&Settings::default()).unwrap();
    assert!(find.windows(4).any(|part| part == b"Find") && find.ends_with(&[10, 3, 255, b'F', b'8', 255]));
    let own = wire(&checked.hosts[0].settings).unwrap();
    assert!(own.windows(4).all(|part| part != b"Find") && own.windows(2).any(|part| part == [1, b'L']));
    assert_eq!(wire(&checked.hosts[1].settings), None);
    assert_eq!(
        show(&checked)["pxe_menu"]["items"][1],
        serde_json::json!({ "title": "Find", "profile": "discover" })
    );

    let long = "{ title: 'A title that is long enough for a screen', profile: discover },".repeat(5);
    for (wrong, place, words) in [
        (menu("{ title: x }"), 17, "items[0]: takes exactly one of"),
        (menu(&long), 17, "takes 263 bytes, and option 43 holds 255"),
        (menu("{ title: x, profile: nope }"), 1, "pxe_menu: there is no profile \"nope\"; known: discover"),
        ("pxe_menu: { item: [] }\n".to_owned(), 17, "unknown field `item`"),
    ] {
        let (_dir, loaded) = site(&format!("{LEAST}{wrong}"), &[]);
        let errors = loaded.unwrap_err();
        let found: Vec<_> = errors.iter().collect();
        assert_eq!((found.len(), found[0].line), (1, place), "{errors}");
        assert!(found[0].message.contains(words), "{errors}");
    }
}

#[test]
fn option_82_is_dropped_unless_the_switches_are_trusted() {
    for (line, expected) in [
        ("", Some(Option82::Drop)),
        ("\n    option_82: drop", Some(Option82::Drop)),
        ("\n    option_82: trust", Some(Option82::Trust)),
        ("\n    option_82: maybe", None),
    ] {
        let main = format!("interfaces:\n  - name: eth1\n    dhcp: proxy{line}\n");
        let (_dir, loaded) = site(&main, &[]);
        assert_eq!(loaded.ok().map(|checked| checked.interfaces[0].option_82), expected, "{line:?}");
    }
}

#[test]
fn the_least_that_serves_a_site() {
    let hosts = "- {name: a, mac: 005056000001, ip: 10.10.0.5, profile: inst}\n- name: b\n  macs: [52-54-00-00-00-02]\n";
    let profiles = format!(
        "- name: inst\n  kernel: vmlinuz\n  install: {{image: a.img, sha256: {}, size: 2G, disk: 'serial:X 1'}}\n",
        "0A".repeat(32)
    );
    let (dir, loaded) = site(LEAST, &[("hosts.d/x.yaml", hosts), ("profiles.d/p.yaml", &profiles)]);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        checked.interfaces,
        [Interface {
            name: "eth1".into(),
            vlan: vec![],
            dhcp: DhcpMode::Server,
            xdp: XdpMode::Auto,
            option_82: Option82::Drop,
            subnet_selection: false,
            subnets: vec![Subnet {
                router: Some([10, 10, 0, 1].into()),
                dns: vec![[10, 10, 0, 1].into()],
                pools: vec![([10, 10, 1, 0].into(), [10, 10, 200, 255].into())],
                ..Subnet::new([10, 10, 0, 0].into(), 16, Duration::from_secs(3600))
            }],
            v6: V6 { preference: 255, ..V6::default() },
        }]
    );
    assert_eq!(
        checked.http,
        Http {
            listen: "0.0.0.0:8080".parse().unwrap(),
            workers: None,
            index: false,
            pace: None,
            https: None
        }
    );
    assert_eq!(checked.tftp.root, dir.path().join("tftp"));
    assert_eq!(
        (&checked.tftp.kernel, &show(&checked)["tftp"]["kernel"]),
        (&KernelFiles::Auto, &"auto".into())
    );
    assert_eq!(checked.paths, Paths::default());
    assert_eq!(checked.hosts[0].macs, ["00:50:56:00:00:01".parse().unwrap()]);
    assert_eq!(checked.hosts[1].origin, format!("{}:2", dir.path().join("hosts.d/x.yaml").display()));
    let install = checked.profiles[1].install.as_ref().unwrap();
    assert_eq!((install.size, install.sha256.as_str()), (Some(2 << 30), "0a".repeat(32).as_str()));
    assert_eq!(install.disk, crate::image::protocol::Disk::Serial("X 1".into()));
    assert_eq!(show(&checked)["interfaces"][0]["range"][0], "10.10.1.0-10.10.200.255");
}

#[test]
fn https_has_its_files_beside_the_configuration_unless_told() {
    let with = |https: &str| LEAST.replace("\":8080\"", &format!("\":8080\", https: {https}"));
    for (typed, listen, certificate) in [
        ("{}", ":8443", "tls/server.crt"),
        (
            "{ listen: '10.10.0.1:443', certificate: /etc/ssl/a.crt, dhe: true, kernel: off }",
            "10.10.0.1:443",
            "/etc/ssl/a.crt",
        ),
    ] {
        let (dir, loaded) = site(&with(typed), &[]);
        let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        let https = checked.http.https.clone().unwrap();
        let listen = listen.strip_prefix(':').map_or(listen.to_owned(), |port| format!("0.0.0.0:{port}"));
        assert_eq!(https.listen.to_string(), listen);
        assert_eq!(https.certificate, dir.path().join(certificate));
        assert_eq!((https.dhe, https.kernel), (typed.contains("dhe"), !typed.contains("kernel")));
        assert_eq!(show(&checked)["http"]["https"]["kernel"], if https.kernel { "auto" } else { "off" });
        assert_eq!(https.key, dir.path().join("tls/server.key"));
        assert_eq!(show(&checked)["http"]["https"]["listen"], listen);
        // What a room that reads the files says is said at the place.
        let errors = load_with(&dir.path().join("netboot.yaml"), |_| vec![(Level::Https, "no".into())]);
        let errors = errors.unwrap_err();
        let fault = errors.iter().next().unwrap();
        assert_eq!((fault.line, fault.field.as_str(), fault.message.as_str()), (12, "http.https", "no"));
    }
}

#[test]
fn tags_relayed_subnets_and_proxy_mode() {
    let main = "\
interfaces:
  - {name: a, dhcp: proxy, vlan: 77}
  - {name: a, dhcp: off, vlan: [100, 77]}
subnets:
  - {subnet: 10.1.0.0/24, range: 10.1.0.10-10.1.0.20, router: 10.1.0.1, dns: 10.1.0.1, lease: 5m}
unknown: ignore
authoritative: false
domain: lab.example
http: {listen: '127.0.0.1:80', workers: 2, index: true, pace: 100M}
paths: {state: s, control: /c.sock}
";
    let (dir, loaded) = site(main, &[]);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(checked.interfaces[0].vlan, [77]);
    assert_eq!(checked.interfaces[1].vlan, [100, 77]);
    let http = Http {
        listen: ([127, 0, 0, 1], 80).into(),
        workers: Some(2),
        index: true,
        pace: Some(100 << 20),
        https: None,
    };
    assert_eq!((&show(&checked)["http"]["pace"], checked.http), (&(100 << 20).into(), http));
    assert_eq!((checked.interfaces[0].dhcp, checked.unknown), (DhcpMode::Proxy, Unknown::Ignore));
    assert_eq!(checked.subnets[0].lease, Duration::from_secs(300));
    assert_eq!((checked.authoritative, checked.domain.as_deref()), (false, Some("lab.example")));
    assert_eq!(checked.paths.state, dir.path().join("s"));
    assert_eq!(checked.paths.control, PathBuf::from("/c.sock"));
}

/// Each row: what is appended to [`LEAST`] (line 17 on), and the line, field and words of the one fault that follows.
#[test]
fn bad_input_gives_a_clear_error() {
    let sha = "ab".repeat(32);
    let rows: Vec<(String, usize, &str, &str)> = vec![
        ("unknwon: boot".into(), 17, "unknwon", "unknown key `unknwon`; did you mean `unknown`?"),
        ("frobnicate: 1".into(), 17, "frobnicate", "known here: interfaces, subnets"),
        ("hosts:\n- {name: a, mac: 52:54:00:12:34}".into(), 18, "hosts[0].mac", "not a MAC address"),
        ("hosts:\n- {name: a, mac: ff:ff:ff:ff:ff:ff}".into(), 18, "hosts[0].mac", "a group's address"),
        ("hosts:\n- {name: a}".into(), 18, "hosts[0]", "`mac` is missing: add it, as in"),
        ("hosts:\n- {mac: 52:54:00:12:34:56}".into(), 18, "hosts[0]", "`name` is missing"),
        (
            "hosts:\n- name: a\n  mac: 52:54:00:12:34:56\n  ip: 10.11.0.1".into(),
            20,
            "hosts[0].ip",
            "10.11.0.1 is outside every subnet (there are: 10.10.0.0/16)",
        ),
        (
            "hosts:\n- name: a\n  mac: 52:54:00:12:34:56\n  ip: 10.10.0.1".into(),
            20,
            "hosts[0].ip",
            "is the router of 10.10.0.0/16",
        ),
        (
            "hosts:\n- {name: a, mac: 52:54:00:00:00:01, ip: 10.10.0.9}\n- {name: b, mac: 52:54:00:00:00:02, ip: 10.10.0.9}"
                .into(),
            19,
            "hosts[1].ip",
            "10.10.0.9 belongs to host a",
        ),
        (
            "hosts:\n- {name: a, mac: 52:54:00:00:00:01}\n- {name: b, mac: [52:54:00:00:00:01]}".into(),
            19,
            "hosts[1].mac[0]",
            "52:54:00:00:00:01 belongs to host a",
        ),
        (
            "hosts:\n- {name: a, mac: 52:54:00:00:00:01}\n- {name: a, mac: 52:54:00:00:00:02}".into(),
            19,
            "hosts[1]",
            "the host a is there already, at ",
        ),
        (
            "hosts:\n- {name: a, mac: 52:54:00:00:00:01, profile: discovr}".into(),
            18,
            "hosts[0].profile",
            "there is no profile \"discovr\"; known: discover",
        ),
        ("hosts:\n- {name: a, mac: 52:54:00:00:00:01, boot: never}".into(), 18, "hosts[0].boot", "takes one of"),
        ("hosts:\n- {name: a, mac: 52:54:00:00:00:01, ip: 10.10}".into(), 18, "hosts[0].ip", "not an IPv4 address"),
        ("hosts: {name: a}".into(), 17, "hosts", "takes a list, not a mapping"),
        ("  - {name: p, kernel: missing}".into(), 17, "profiles[1].kernel", "missing can't be read: No such file"),
        ("  - {name: p, kernel: vmlinuz, initrd: nope}".into(), 17, "profiles[1].initrd", "nope can't be read"),
        ("  - {name: p, kernel: ../vmlinuz}".into(), 17, "profiles[1].kernel", "not a path under the assets"),
        ("  - {name: p, kernel: ftp://x/y}".into(), 17, "profiles[1].kernel", "ftp:// can't be booted from"),
        ("  - {name: p}".into(), 17, "profiles[1]", "exactly one of `kernel`, `ipxe`"),
        ("  - {name: p, ipxe: 'exit'}".into(), 17, "profiles[1].ipxe", "first line must be `#!ipxe`"),
        ("  - {name: discover, local: true}".into(), 17, "profiles[1]", "discover is there already, at "),
        (
            "  - name: p\n    kernel: vmlinuz\n    install:\n      image: a.img\n      sha256: abc".into(),
            21,
            "profiles[1].install.sha256",
            "takes 64 hex digits",
        ),
        (
            format!("  - name: p\n    kernel: vmlinuz\n    install:\n      image: b.img\n      sha256: {sha}"),
            20,
            "profiles[1].install.image",
            "b.img can't be read",
        ),
        (
            format!("  - {{name: p, local: true, install: {{image: a.img, sha256: {sha}}}}}"),
            17,
            "profiles[1]",
            "`install` needs `kernel`",
        ),
        ("subnets:\n- {subnet: 10.10.5.0/24}".into(), 18, "subnets[0]", "shares addresses with 10.10.0.0/16"),
        ("subnets:\n- {subnet: 10.11.5.1/24}".into(), 18, "subnets[0].subnet", "the subnet is 10.11.5.0/24"),
        ("subnets:\n- {range: 10.1.0.1-10.1.0.2}".into(), 18, "subnets[0].range", "goes with `subnet`"),
        ("paths: {stat: /x}".into(), 17, "paths.stat", "did you mean `state`?"),
        ("assets: x: y".into(), 17, "", "is not YAML"),
    ];
    for (typed, line, field, words) in rows {
        let (_dir, loaded) = site(&format!("{LEAST}{typed}\n"), &[]);
        let errors = loaded.expect_err(&typed);
        let fault = errors.iter().find(|fault| fault.message.contains(words));
        let fault = fault.unwrap_or_else(|| panic!("{typed}\nwant {words}\ngot\n{errors}"));
        assert_eq!((fault.line, fault.field.as_str()), (line, field), "{typed}\n{errors}");
        assert!(errors.to_string().contains(&format!("netboot.yaml:{line}:")), "{errors}");
        assert!(errors.to_string().contains(fault.excerpt.as_str()) && !fault.excerpt.is_empty(), "{errors}");
    }
}

/// Each row: a replacement in [`LEAST`], and the line, field and words of the fault.
#[test]
fn a_bad_value_in_place_of_a_good_one() {
    let rows = [
        ("name: eth1", "name: a/b", 2, "interfaces[0].name", "not an interface's name"),
        ("dhcp: server", "dhcp: yes", 3, "interfaces[0].dhcp", "takes one of server, proxy, observe, off"),
        ("xdp: auto", "xdp: fast", 4, "interfaces[0].xdp", "takes one of auto, native, generic, off"),
        ("    subnet: 10.10.0.0/16\n", "", 2, "interfaces[0]", "`dhcp: server` needs `subnet`"),
        ("subnet: 10.10.0.0/16", "subnet: 10.10.0.0", 5, "interfaces[0].subnet", "as in 10.10.0.0/16"),
        ("10.10.1.0-10.10.200.255", "10.10.1.0-10.11.0.5", 6, "interfaces[0].range", "10.11.0.5 is outside"),
        (
            "10.10.1.0-10.10.200.255",
            "10.10.0.1-10.10.0.9",
            6,
            "interfaces[0].range",
            "has the router 10.10.0.1",
        ),
        ("10.10.1.0-10.10.200.255", "10.10.1.9-10.10.1.1", 6, "interfaces[0].range", "runs backwards"),
        ("10.10.1.0-10.10.200.255", "10.10.1.9", 6, "interfaces[0].range", "takes two addresses"),
        (
            "router: 10.10.0.1",
            "router: 10.1.0.1",
            7,
            "interfaces[0].router",
            "outside the subnet 10.10.0.0/16",
        ),
        ("dns: [10.10.0.1]", "dns: [10.10.0.1, x]", 8, "interfaces[0].dns[1]", "not an IPv4 address"),
        ("lease: 1h", "lease: 1s", 9, "interfaces[0].lease", "write 90s, 30m, 1h or 7d"),
        ("lease: 1h", "vlan: 4095", 9, "interfaces[0].vlan", "takes 1 to 4094"),
        ("lease: 1h", "vlan: [1, 2, 3]", 9, "interfaces[0].vlan", "outer first"),
        ("lease: 1h", "leese: 1h", 9, "interfaces[0].leese", "did you mean `lease`?"),
        ("unknown: boot", "unknown: maybe", 10, "unknown", "takes one of boot, ignore"),
        ("default_profile: discover", "default_profile: x", 11, "default_profile", "known: discover"),
        ("\":8080\"", "8080", 12, "http.listen", "write \":8080\""),
        ("\":8080\"", "\":80800\"", 12, "http.listen", "nothing to listen on"),
        ("\":8080\"", "\":8080\", pace: 1K", 12, "http.pace", "write 100M"),
        ("\":8080\"", "\":8080\", index: maybe", 12, "http.index", "true"),
        ("\":8080\"", "\":8080\", https: 8443", 12, "http.https", "takes a mapping"),
        ("\":8080\"", "\":8080\", https: { listen: x }", 12, "http.https.listen", "nothing to listen on"),
        (
            "\":8080\"",
            "\":8080\", https: { cert: x }",
            12,
            "http.https.cert",
            "known here: listen, certificate, key, dhe, kernel",
        ),
        ("\":8080\"", "\":8080\", https: { kernel: on }", 12, "http.https.kernel", "takes one of auto, off"),
        ("\":8080\"", "\":8080\", https: { listen: ':8080' }", 12, "http.https", "give HTTPS another port"),
        ("\":8080\"", "'127.0.0.1:8080', https: {}", 12, "http.https", "can't reach HTTP on 127.0.0.1:8080"),
        (
            "\":8080\"",
            "\":8080\", https: { listen: '[::]:8443' }",
            12,
            "http.https",
            "can't reach HTTP on 0.0.0.0",
        ),
        ("root: tftp", "kernel: { x: 1 }", 13, "tftp.kernel", "takes a list"),
        ("root: tftp", "root: nowhere", 13, "tftp.root", "nowhere can't be read"),
        ("root: tftp", "blksize: 100", 13, "tftp.blksize", "no number from 512 to 65464"),
        ("root: tftp", "windowsize: 0", 13, "tftp.windowsize", "no number from 1 to 256"),
        ("root: tftp", "rollover: 2", 13, "tftp.rollover", "takes one of 0, 1"),
        (
            "root: tftp",
            "transfers_per_client: 0",
            13,
            "tftp.transfers_per_client",
            "no number from 1 to 32768: the transfers at once of one address",
        ),
        ("root: tftp", "one_port: maybe", 13, "tftp.one_port", "takes one of true, false"),
        ("root: tftp", "ports: 50000", 13, "tftp.ports", "are no ports"),
        ("root: tftp", "ports: 50001-50000", 13, "tftp.ports", "are no ports"),
        ("root: tftp", "ports: 0-3", 13, "tftp.ports", "are no ports"),
        ("root: tftp", "ports: 1024-2048", 13, "tftp.ports", "at most 1024"),
        ("root: tftp", "ports: 60-70", 13, "tftp.ports", "69 is among them"),
        ("root: tftp", "one_port: true, ports: 50000-50063", 13, "tftp.ports", "one alone"),
        ("root: tftp", "upload: {}", 13, "tftp.upload", "`folder` is missing"),
        ("root: tftp", "upload: { folder: x }", 13, "tftp.upload.folder", "x can't be read"),
        ("root: tftp", "upload: { folder: ., most: big }", 13, "tftp.upload.most", "is not a size"),
        ("root: tftp", "map: [{ name: a }]", 13, "tftp.map[0]", "`file` is missing"),
        ("root: tftp", "map: [{ name: ../a, file: b }]", 13, "tftp.map[0].name", "is no name"),
        ("root: tftp", "map: [{ name: a, file: a/../b }]", 13, "tftp.map[0].file", "is no file"),
        (
            "root: tftp",
            "map: [{ name: a, file: 'b/*' }]",
            13,
            "tftp.map[0].file",
            "has none that it could be",
        ),
        ("root: tftp", "map: [{ name: '*/*', file: b }]", 13, "tftp.map[0].name", "is no name"),
        (
            "root: tftp",
            "map: [{ name: a, file: b, class: x }]",
            13,
            "tftp.map[0].class",
            "no class of clients",
        ),
        ("assets: assets", "assets: netboot.yaml", 14, "assets", "is not a folder"),
    ];
    for (good, bad, line, field, words) in rows {
        assert!(LEAST.contains(good), "{good}");
        let (_dir, loaded) = site(&LEAST.replacen(good, bad, 1), &[]);
        let errors = loaded.expect_err(bad);
        let fault = errors.iter().find(|fault| fault.message.contains(words));
        let fault = fault.unwrap_or_else(|| panic!("{bad}\nwant {words}\ngot\n{errors}"));
        assert_eq!((fault.line, fault.field.as_str()), (line, field), "{bad}\n{errors}");
    }
}

#[test]
fn how_files_go_by_tftp_is_as_it_was_typed_and_shown() {
    let typed = "one_port: true, blksize: 1432, windowsize: 32, rollover: 1, transfers_per_client: 1000, \
                 upload: { folder: assets, most: 1M }, \
                 map: [{ name: '/shim/*', file: 'debian/*' }, { name: loader, class: bios, file: lpxelinux.0 }]";
    let (dir, loaded) = site(&LEAST.replace("root: tftp", typed), &[]);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let tftp = &checked.tftp;
    assert_eq!((tftp.one_port, tftp.blksize, tftp.windowsize, tftp.rollover), (true, 1432, 32, 1));
    assert_eq!(
        (tftp.transfers_per_client, &show(&checked)["tftp"]["transfers_per_client"]),
        (1000, &1000.into())
    );
    let upload = tftp.upload.as_ref().unwrap();
    assert_eq!((&upload.folder, upload.most), (&dir.path().join("assets"), 1 << 20));
    let map = &show(&checked)["tftp"]["map"];
    assert_eq!(map[0], serde_json::json!({ "name": "shim/*", "class": null, "file": "debian/*" }));
    assert_eq!(
        (&map[1]["file"], &map[2]["file"]),
        (&"lpxelinux.0".into(), &"undionly.kpxe".into()),
        "ours come last"
    );
    let (_dir, loaded) = site(&LEAST.replace("root: tftp", "root: tftp, ports: 50000-50063"), &[]);
    let checked = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((&checked.tftp.ports, checked.tftp.one_port), (&Some(50_000..=50_063), false));
    assert_eq!(show(&checked)["tftp"]["ports"], "50000-50063");
    assert_eq!(checked.tftp.transfers_per_client, 64, "the usual one");
}

#[test]
fn the_kernel_serves_the_files_that_are_named() {
    let kernel = |typed: &str| {
        let main = LEAST.replace("root: tftp", &format!("root: tftp, kernel: {typed}"));
        let (_dir, loaded) = site(&main, &[]);
        loaded.unwrap_or_else(|errors| panic!("{errors}")).tftp.kernel
    };
    assert_eq!(kernel("off"), KernelFiles::Off);
    assert_eq!(kernel("auto"), KernelFiles::Auto);
    assert_eq!(kernel("[ipxe.efi, off]"), KernelFiles::Only(vec!["ipxe.efi".into(), "off".into()]));
}

#[test]
fn everything_is_said_at_once_in_order() {
    let main = LEAST.replace("lease: 1h", "lease: x").replace("unknown: boot", "unknown: x");
    let hosts = "- {name: a, mac: x}\n- {name: b, mac: 52:54:00:00:00:01, ip: 1.2.3.4, colour: red}\n";
    let (_dir, loaded) = site(&main, &[("hosts.d/h.yaml", hosts), ("profiles.d/p.json", "[{\"nam\": 1}]")]);
    let errors = loaded.unwrap_err();
    let lines: Vec<_> = errors
        .iter()
        .map(|f| format!("{}:{}", f.file.file_name().unwrap().to_string_lossy(), f.line))
        .collect();
    let want = "h.yaml:1 h.yaml:2 h.yaml:2 netboot.yaml:9 netboot.yaml:10 p.json:1 p.json:1 p.json:1";
    assert_eq!(lines.join(" "), want, "{errors}");
}

#[test]
fn one_mistake_is_one_fault() {
    let host = "hosts: [{name: a, mac: 52:54:00:00:00:01, ip: 10.10.0.9, profile: discover}]\n";
    for (good, bad) in [("kernel: vmlinuz", "kernel: gone"), ("subnet: 10.10.0.0/16", "subnet: 10.10/16")] {
        let (_dir, loaded) = site(&format!("{}{host}", LEAST.replace(good, bad)), &[]);
        let errors = loaded.unwrap_err();
        assert_eq!(errors.len(), 1, "{errors}");
    }
}

#[test]
fn files_that_can_not_be_read() {
    let error = load(Path::new("/nonexistent/netboot.yaml")).unwrap_err().to_string();
    assert_eq!(error, "/nonexistent/netboot.yaml: can't be read: No such file or directory (os error 2)");
    let (dir, _) = site(LEAST, &[]);
    std::fs::write(dir.path().join("netboot.yaml"), b"a: \xff").unwrap();
    let error = load(&dir.path().join("netboot.yaml")).unwrap_err().to_string();
    assert!(error.contains("is not UTF-8 text"), "{error}");
    let (_dir, loaded) = site("", &[]);
    assert!(loaded.unwrap_err().to_string().contains("`interfaces` is missing"));
}
