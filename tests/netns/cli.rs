//! The operator's commands, against a daemon that answers no DHCP.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::lab::{Guard, Side, run, said};
use crate::site::{NETBOOT, Site, netboot, refused};

/// A site without DHCP.
pub(crate) const SITE: &str = "\
interfaces:
  - { name: eth0, dhcp: off, xdp: off, subnet: 10.77.0.0/24 }
http: { listen: '127.0.0.1:0' }
tftp: { root: ., listen: '127.0.0.1:0' }
assets: .
ipxe: .
default_profile: rescue
profiles:
  - { name: rescue, kernel: netboot.yaml, cmdline: quiet }
paths: { state: state, control: control.sock, pins: PINS }
";

#[test]
fn hosts_by_command_survive_the_daemon() {
    let mut site = Site::start(SITE);
    assert!(site.done(&["host", "list"]).starts_with("no hosts: add one"));
    let added = site.json(&[
        "host",
        "add",
        "node1",
        "--mac",
        "52-54-00-12-34-56",
        "--ip",
        "10.77.0.21",
        "--profile",
        "rescue",
        "--cmdline",
        "--x=1 y",
        "--label",
        "rack=7",
        "--json",
    ]);
    assert_eq!((&added["ip"], &added["macs"][0]), (&"10.77.0.21".into(), &"52:54:00:12:34:56".into()));
    site.done(&["host", "add", "n2", "--mac", "52:54:00:12:34:57"]);

    site.refused(&["host", "add", "n3", "--mac", "52:54:00:12:34"], 2, "not a MAC address");
    site.refused(
        &["host", "add", "n3", "--mac", "52:54:00:12:34:56"],
        1,
        "has the MAC 52:54:00:12:34:56 of host node1",
    );
    site.refused(
        &["host", "add", "n3", "--mac", "52:54:00:00:00:09", "--ip", "10.77.0.21"],
        1,
        "of host node1",
    );
    site.refused(
        &["host", "add", "n3", "--mac", "52:54:00:00:00:09", "--ip", "10.78.0.1"],
        1,
        "outside every subnet (there are: 10.77.0.0/24)",
    );
    site.refused(&["host", "add", "n3"], 1, "macs: at least one is needed");
    site.refused(&["host", "set", "n3", "--no-ip"], 1, "there is no host n3");
    site.refused(&["host", "frobnicate"], 2, "unrecognized subcommand");

    site.kill();
    refused(&site.netboot(&["host", "list"]), 1, "start `netboot serve`");
    site.serve();

    let set = ["host", "set", "node1", "--no-ip", "--boot", "once", "--json"];
    assert_eq!(site.json(&set)["boot"], "once");
    let shown = site.json(&["host", "show", "node1", "--json"]);
    assert_eq!((&shown["ip"], &shown["cmdline"]), (&Value::Null, &"--x=1 y".into()));
    assert_eq!((&shown["labels"]["rack"], &shown["origin"]), (&"7".into(), &"store".into()));
    let table = site.done(&["host", "list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME   MACS "), "{table}");
    assert!(lines[1].starts_with("n2     52:54:00:12:34:57  -"), "{table}");
    site.done(&["host", "remove", "n2", "node1"]);
    assert_eq!(site.json(&["host", "list", "--json"]), serde_json::json!([]));
}

#[test]
fn a_clean_stop_leaves_no_socket_and_a_second_daemon_is_refused() {
    let mut site = Site::start(SITE);
    refused(&site.server().output().unwrap(), 1, "is in use: another netboot runs on this state folder");
    assert!(site.stop().success());
    assert!(!site.path("control.sock").exists());
    site.refused(&["status"], 1, &format!("no netboot answers at {}", site.path("control.sock").display()));
}

#[test]
fn what_happens_can_be_followed() {
    let mut site = Site::start(SITE);
    site.done(&["host", "add", "a", "--mac", "52:54:00:00:00:01"]);
    let mut follower = site.lab.command(Side::Server, NETBOOT);
    follower.args(["events", "--follow", "--json"]).env("NETBOOT_CONTROL", site.path("control.sock"));
    follower.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follower = Guard(follower.spawn().unwrap());
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["text"], "host a added");
    site.done(&["host", "remove", "a"]);
    let event = next();
    assert_eq!((&event["text"], &event["name"]), (&"host a removed".into(), &"a".into()));
    assert!(site.done(&["events"]).contains("api        a                  host     host a added"));
    // Who follows is told that there is nothing more to come, however the server ends.
    site.kill();
    assert_eq!(follower.0.wait().unwrap().code(), Some(1));
    let reason = std::io::read_to_string(follower.0.stderr.take().unwrap()).unwrap();
    assert!(reason.starts_with("netboot: the ") && reason.contains("feed"), "{reason}");
    site.serve();
    let mut follower = site.lab.command(Side::Server, NETBOOT);
    follower.args(["events", "--follow"]).env("NETBOOT_CONTROL", site.path("control.sock"));
    follower.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follower = Guard(follower.spawn().unwrap());
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    site.done(&["host", "add", "b", "--mac", "52:54:00:00:00:02"]);
    assert!(lines.any(|line| line.unwrap().ends_with("host b added")));
    assert!(site.stop().success());
    assert_eq!(follower.0.wait().unwrap().code(), Some(1));
}

#[test]
fn the_rest_answers() {
    let site = Site::start(SITE);
    let status = site.json(&["status", "--json"]);
    assert_eq!((&status["ready"], &status["profiles"]), (&true.into(), &1.into()));
    assert!(site.done(&["status"]).contains("ready: true"));
    assert!(site.done(&["profile", "list"]).contains("rescue  netboot.yaml"));
    assert_eq!(site.json(&["profile", "show", "rescue", "--json"])["cmdline"], "quiet");
    assert_eq!(site.done(&["lease", "list"]), "no leases\n");
    assert_eq!(site.done(&["machine", "list"]), "no machine was seen yet\n");
    site.refused(&["machine", "show", "52:54:00:00:00:01"], 1, "was not seen yet");
    site.refused(&["machine", "reset", "nobody"], 1, "neither a host nor a MAC");
    site.refused(&["--control", "/nonexistent/s", "status"], 1, "no netboot answers at /nonexistent/s");
}

#[test]
fn the_configuration_is_checked_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("netboot.yaml");
    let path = file.to_str().unwrap();
    let run = |arguments: &[&str]| netboot("/nonexistent", arguments);
    std::fs::write(&file, SITE).unwrap();
    let right = run(&["config", "check", "--config", path]);
    assert!(right.status.success());
    assert!(String::from_utf8_lossy(&right.stdout).contains("is right: 1 interfaces, 0 hosts, 1 profiles"));
    let shown = run(&["config", "show", "--json", "--config", path]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["unknown"], &shown["interfaces"][0]["lease"]), (&"boot".into(), &"3600s".into()));

    std::fs::write(&file, SITE.replace("assets: .", "asets: .").replace("kernel: netboot.yaml", "kernel: k"))
        .unwrap();
    for command in [&["config", "check", "--config", path], &["serve", "--config", path] as &[&str]] {
        let wrong = run(command);
        refused(&wrong, 1, "netboot.yaml:5:1: asets: unknown key `asets`; did you mean `assets`?");
        refused(&wrong, 1, "netboot.yaml:9:29: profiles[0].kernel: ");
        refused(&wrong, 1, "the configuration is wrong in 2 places");
        refused(&wrong, 1, " 5 | asets: .\n   | ^");
    }
    refused(&run(&["config", "check", "--config", "/nonexistent"]), 1, "/nonexistent: can't be read");
}

/// The README's two files, and the commands that it has for their folders, as they stand there: only below another root.
#[test]
fn the_examples_of_the_readme_are_right() {
    let readme = include_str!("../../README.md");
    let [site, profile] = fenced(readme, "yaml")[..] else { panic!("there are two examples") };
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    let below = |text: &str| {
        text.replace("/var/lib/netboot", &format!("{root}/var"))
            .replace("/etc/netboot", &format!("{root}/etc"))
    };
    // What was built, and the user's own image.
    std::fs::create_dir_all(dir.path().join("target/initramfs")).unwrap();
    for file in ["target/initramfs/vmlinuz", "target/initramfs/agent.cpio.gz", "debian.img.zst"] {
        std::fs::write(dir.path().join(file), file).unwrap();
    }
    let commands = fenced(readme, "sh").concat();
    let of_folders = |line: &&str| line.contains("/var/lib/netboot") || line.contains("/etc/netboot");
    let script: Vec<_> =
        commands.lines().filter(of_folders).map(|line| below(&line.replace("sudo ", ""))).collect();
    run(Command::new("sh").args(["-ec", &script.join("\n")]).current_dir(dir.path()));
    std::fs::write(format!("{root}/etc/profiles.d/debian.yaml"), profile).unwrap();
    let file = format!("{root}/etc/netboot.yaml");
    // As it stands, and with the lines that it has for a DHCP server.
    let server = site.replace("dhcp: proxy", "dhcp: server").replace("\n    # ", "\n    ");
    for site in [site, &server] {
        std::fs::write(&file, below(site)).unwrap();
        let checked = netboot("/nonexistent", &["config", "check", "--config", &file]);
        assert!(checked.status.success(), "{}", said(&checked));
    }
}

/// The contents of the blocks in this language.
fn fenced<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    text.split(begin.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn usage() {
    let run = |arguments: &[&str]| netboot("/nonexistent", arguments);
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["host", "add", "--help"]).status.code(), Some(0));
    refused(&run(&["boot"]), 2, "<KERNEL>");
    refused(
        &run(&["boot", "/nonexistent/vmlinuz", "--interface", "lo"]),
        1,
        "/nonexistent/vmlinuz can't be read: No such file",
    );
    refused(&run(&["boot", "vmlinuz", "--xdp", "fast"]), 2, "[possible values: auto, native, generic, off]");
}
