//! Groups, and profiles by command.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::cli::SITE;
use crate::clients;
use crate::lab::{MAC, Side};
use crate::malformed::{HOST, Wire, discover, message_of};
use crate::site::Site;

/// The script of a machine that says this of itself.
fn script(site: &Site, said: &str) -> String {
    let status = site.json(&["status", "--json"]);
    let address = status["http"]["listen"].as_str().unwrap();
    site.lab.inside(Side::Server, || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /ipxe?{said} HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

/// The path of a file that has this text.
fn file(site: &Site, name: &str, text: &str) -> String {
    std::fs::write(site.path(name), text).unwrap();
    site.path(name).display().to_string()
}

#[test]
fn groups_and_profiles_are_set_by_command_and_survive_the_daemon() {
    let groups =
        "groups:\n  - { name: filed, selector: { os: installed }, profile: rescue, cmdline: from-file }\n";
    let mut site = Site::start(&format!("{SITE}{groups}"));
    assert!(
        site.done(&["group", "list"]).contains("filed  os=installed  rescue"),
        "{}",
        site.done(&["group", "list"])
    );
    let profiles = file(
        &site,
        "p.yaml",
        "- { name: worker, kernel: netboot.yaml, cmdline: quiet, metadata: { n: 1 } }\n",
    );
    let group = file(
        &site,
        "g.yaml",
        "name: workers\nselector: { hostname: 'node[01-03]', role: worker }\nprofile: worker\ncmdline: x=1\nmetadata: { a: 2 }\n",
    );
    site.refused(&["group", "set", &group], 1, "names the profile worker, which does not exist");
    site.done(&["profile", "set", &profiles]);
    assert_eq!(site.json(&["group", "set", &group, "--json"])[0]["metadata"], json!({ "a": 2 }));

    site.kill();
    site.serve();
    assert_eq!(site.json(&["profile", "show", "worker", "--json"])["metadata"], json!({ "n": 1 }));
    let shown = site.json(&["group", "show", "workers", "--json"]);
    assert_eq!((&shown["selector"]["hostname"], &shown["origin"]), (&json!("node[01-03]"), &json!("store")));
    let worker = script(&site, "mac=52-54-00-00-00-01&hostname=node02&role=worker&role=x");
    assert!(worker.contains("profile worker") && worker.contains(" x=1 quiet BOOTIF="), "{worker}");
    let other = script(&site, "mac=52-54-00-00-00-02&hostname=node04&role=worker");
    assert!(other.contains("profile rescue") && !other.contains("x=1"), "{other}");
    let filed = script(&site, "mac=52-54-00-00-00-02&os=installed");
    assert!(filed.contains(" from-file quiet BOOTIF="), "{filed}");

    site.refused(&["profile", "remove", "worker"], 1, "group workers boots the profile worker");
    site.refused(&["group", "remove", "filed"], 1, "change it there");
    site.refused(&["group", "show", "nobody"], 1, "there is no group nobody");
    site.done(&["group", "remove", "workers"]);
    site.done(&["profile", "remove", "worker"]);
    let worker = script(&site, "mac=52-54-00-00-00-01&hostname=node02&role=worker");
    assert!(worker.contains("profile rescue"), "{worker}");
}

/// What an OFFER calls the domain (option 15).
fn domain(site: &Site) -> String {
    let offer = site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 1))).expect("an offer");
    let mut options = &message_of(&offer)[240..];
    while let [code, length, rest @ ..] = options {
        let (value, rest) = rest.split_at(usize::from(*length));
        if *code == 15 {
            return String::from_utf8(value.to_vec()).unwrap();
        }
        options = rest;
    }
    panic!("no option 15: {offer:02x?}")
}

#[test]
fn a_hosts_options_change_with_its_group_in_the_kernel_too() {
    let profiles = "default_profile: plain\nprofiles:\n\
                    \x20 - { name: plain, local: true, options: { domain-name: plain.example } }\n\
                    \x20 - { name: web, local: true, options: { domain-name: web.example } }\n";
    let config = format!("{}{profiles}", clients::SITE);
    let mut site = Site::start(&config);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51", "--label", "role=web"]);
    assert_eq!(domain(&site), "plain.example");
    let text = "name: webs\nselector: { role: web }\nprofile: web\n";
    let group = file(&site, "g.yaml", text);
    site.done(&["group", "set", &group]);
    assert_eq!(domain(&site), "web.example");
    assert_eq!(site.count("userspace", "answered_offer"), 0, "both are the kernel's");

    site.kill();
    site.serve();
    assert_eq!(domain(&site), "web.example");
    site.done(&["group", "remove", "webs"]);
    assert_eq!(domain(&site), "plain.example");
    site.configure(&format!(
        "{config}groups:\n  - {{ name: filed, selector: {{ mac: '{MAC}' }}, profile: web }}\n"
    ));
    site.done(&["config", "reload"]);
    assert_eq!(domain(&site), "web.example");
    site.done(&["host", "set", "node1", "--profile", "plain"]);
    assert_eq!(domain(&site), "plain.example");
    assert_eq!(site.count("userspace", "answered_offer"), 0, "all are the kernel's");
}
