#![allow(clippy::unwrap_used)]

use super::*;
use crate::config;
use crate::inventory::entry::HostEntry;
use crate::inventory::group::{Group, Selector};

const SITE: &str = "\
interfaces:
  - { name: eth1, dhcp: server, subnet: 10.0.0.0/24, range: 10.0.0.100-10.0.0.200, router: 10.0.0.1 }
subnets:
  - { subnet: 10.1.0.0/24 }
assets: .
tftp: { root: . }
default_profile: plain
profiles:
  - { name: plain, local: true }
  - { name: wide, local: true, options: { 251: 'text:WIDE' } }
hosts:
";

fn text(length: usize) -> String {
    "x".repeat(length)
}

fn load(yaml: &str) -> Result<Checked, config::Errors> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("netboot.yaml");
    std::fs::write(&file, yaml).unwrap();
    config::load_with(&file, misfits)
}

#[test]
fn settings_that_do_not_fit_are_faults_of_the_level_that_sets_them() {
    let wide = SITE.replace("WIDE", &text(150));
    let host =
        |more: &str| format!("{wide}  - {{ name: a, mac: '52:54:00:00:00:01', ip: 10.1.0.5{more} }}\n");
    let cases = [
        (host(""), None),
        (host(", options: { 250: 'text:LONG' }"), None),
        (host(", profile: wide"), None),
        (host(", profile: wide, options: { 250: 'text:LONG' }"), Some((12, "hosts[0]"))),
        (
            SITE.replace("WIDE", "x").replace(
                "local: true }\n  -",
                "local: true, options: { 250: 'text:LONG', 249: 'text:LONG' } }\n  -",
            ),
            Some((9, "profiles[0]")),
        ),
        (
            SITE.replace("WIDE", "x")
                .replace("10.1.0.0/24", "10.1.0.0/24, options: { 250: 'text:LONG', 249: 'text:LONG' }"),
            Some((4, "subnets[0]")),
        ),
        (
            format!("options: {{ 250: 'text:LONG', 249: 'text:LONG' }}\n{}", SITE.replace("WIDE", "x")),
            Some((1, "")),
        ),
        // Each for itself fits; strangers get both.
        (
            wide.replace("default_profile: plain", "default_profile: wide")
                .replace("10.1.0.0/24", "10.1.0.0/24, options: { 250: 'text:LONG' }"),
            Some((4, "subnets[0]")),
        ),
    ];
    for (yaml, want) in cases {
        let yaml = yaml.replace("LONG", &text(140));
        match (load(&yaml), want) {
            (Ok(_), None) => {}
            (Err(errors), Some((line, field))) => {
                let faults: Vec<_> = errors.iter().collect();
                assert_eq!(faults.len(), 1, "{errors}");
                assert_eq!((faults[0].line, faults[0].field.as_str()), (line, field), "{errors}");
                assert!(faults[0].message.starts_with("options: "), "{errors}");
                assert!(faults[0].message.contains("bytes, and a reply has room for 304"), "{errors}");
            }
            (other, want) => panic!("{want:?}: {other:?}\n{yaml}"),
        }
    }
}

#[test]
fn a_host_without_an_address_must_fit_wherever_there_are_leases() {
    let yaml = SITE
        .replace("WIDE", &text(140))
        .replace("router: 10.0.0.1", "router: 10.0.0.1, options: { 250: 'text:LONG' }")
        .replace("LONG", &text(140));
    let host = |ip: &str| format!("{yaml}  - {{ name: a, mac: '52:54:00:00:00:01', profile: wide{ip} }}\n");
    assert!(load(&host("")).is_err());
    assert!(load(&host(", ip: 10.1.0.5")).is_ok());
    assert!(load(&host(", ip: 10.0.0.5")).is_err());
}

#[test]
fn a_host_must_fit_with_the_profile_that_its_group_gives_it() {
    let wide = SITE.replace("WIDE", &text(150));
    let host = |labels: &str| {
        format!(
            "{wide}  - {{ name: a, mac: '52:54:00:00:00:01', ip: 10.1.0.5, labels: {{ role: {labels} }}, options: {{ 250: 'text:{}' }} }}\n\
             groups:\n  - {{ name: g, selector: {{ role: big }}, profile: wide }}\n",
            text(140)
        )
    };
    let errors = load(&host("big")).unwrap_err();
    let faults: Vec<_> = errors.iter().collect();
    assert_eq!((faults.len(), faults[0].field.as_str()), (1, "hosts[0]"), "{errors}");
    let config = load(&host("small")).unwrap();
    let fit = Fit::new(&config);
    let all = Group { selector: Selector::default(), ..config.groups[0].clone() };
    let all = Groups::new([Arc::new(all)]);
    assert!(fit.check(&config.hosts[0], &Groups::default()).is_ok());
    let fault = fit.check(&config.hosts[0], &all).unwrap_err();
    assert!(fault.contains("bytes, and a reply has room for 304"), "{fault}");
    assert!(fault.ends_with(" (with the profile wide of its group g)"), "{fault}");
    let named = Host { profile: Some("plain".into()), ..config.hosts[0].clone() };
    assert!(fit.check(&named, &all).is_ok(), "its entry counts for more");
}

#[test]
fn a_groups_profile_must_fit_machines_without_an_entry_where_dhcp_tells_that_they_are_in_it() {
    let site = SITE
        .replace("WIDE", &text(150))
        .replace("router: 10.0.0.1", "router: 10.0.0.1, options: { 250: 'text:LONG' }")
        .replace("LONG", &text(140));
    let with = |selector: &str| {
        let host = "  - { name: a, mac: '52:54:00:00:00:01', ip: 10.1.0.5 }\n";
        load(&format!("{site}{host}groups:\n  - {{ name: g, profile: wide, selector: {{ {selector} }} }}\n"))
    };
    for selector in ["mac: '52:54:00:00:00:07'", "arch: arm64", "uuid: 00112233-4455-6677-8899-aabbccddeeff"]
    {
        let errors = with(selector).unwrap_err();
        let faults: Vec<_> = errors.iter().collect();
        assert_eq!((faults.len(), faults[0].field.as_str()), (1, "groups[0]"), "{errors}");
        assert!(faults[0].message.ends_with("room for 304 (of machines without an entry)"), "{errors}");
    }
    for selector in ["serial: '1'", "mac: '52:54:00:00:00:07', os: installed", "hostname: a"] {
        assert!(with(selector).is_ok(), "DHCP hears less: {selector}");
    }
}

#[test]
fn what_a_proxy_never_says_is_no_fault() {
    let yaml = format!("options: {{ 250: 'text:LONG', 249: 'text:LONG' }}\n{}", SITE.replace("WIDE", "x"));
    let yaml = yaml.replace("LONG", &text(200));
    assert!(load(&yaml).is_err());
    assert!(load(&yaml.replace("dhcp: server", "dhcp: proxy")).is_ok());
}

#[test]
fn hosts_with_the_same_set_are_rendered_once() {
    let config = load(
        &SITE
            .replace("WIDE", "x")
            .replace("10.0.0.0/24", "10.0.0.0/8")
            .replace("10.1.0.0/24", "192.168.0.0/24"),
    )
    .unwrap();
    let host = |i: u32| {
        let mut settings = Settings::default();
        settings.options.set("domain-name", &[&format!("rack{}.example", i % 100)]).unwrap();
        let entry = HostEntry {
            name: format!("n{i}"),
            macs: vec![format!("52:54:00:{:02x}:{:02x}:{:02x}", i >> 16, i >> 8 & 255, i & 255)],
            ip: Some(Ipv4Addr::from_bits(0x0a10_0000 + i).to_string()),
            ..HostEntry::default()
        };
        Host { settings, ..entry.check("x").unwrap() }
    };
    let hosts: Vec<Host> = (0..100_000).map(host).collect();
    let fit = Fit::new(&config);
    assert!(hosts.iter().all(|host| fit.check(host, &Groups::default()).is_ok()));
    assert_eq!(fit.known.lock().unwrap().len(), 100);
    for i in 0..=KNOWN_MAX {
        let mut settings = Settings::default();
        settings.options.set("domain-name", &[&format!("n{i}.example")]).unwrap();
        assert!(fit.check(&Host { settings, ..hosts[0].clone() }, &Groups::default()).is_ok());
    }
    assert!(fit.known.lock().unwrap().len() < KNOWN_MAX, "they are forgotten in time");
}
