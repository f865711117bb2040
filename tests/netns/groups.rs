//! Groups, and profiles by command, against a daemon that answers no DHCP.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::cli::SITE;
use crate::lab::Side;
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
