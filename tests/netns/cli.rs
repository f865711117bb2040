//! The operator's commands, against a daemon that answers no DHCP.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

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
fn a_hosts_dhcp_options_are_set_by_command_and_kept() {
    let mut site = Site::start(&SITE.replace("dhcp: off", "dhcp: server"));
    let add = ["host", "add", "a", "--mac", "52:54:00:00:00:01", "--ip", "10.77.0.21", "--json"];
    let options = ["--option", "ntp-servers=10.77.0.2,10.77.0.3", "--option", "252=text:http://wpad/x,y"];
    let more =
        ["--vendor-option", "1=ip:10.77.0.7", "--boot-file", "bios=lpxelinux.0", "--circuit", "rack7/port7"];
    let added =
        site.json(&[&add[..], &options, &more, &["--duid", "00:01:02:03", "--client-id", "id7"]].concat());
    let want = json!({ "252": "text:http://wpad/x,y", "ntp-servers": ["10.77.0.2", "10.77.0.3"] });
    assert_eq!((&added["options"], &added["circuit"]), (&want, &"rack7/port7".into()));

    site.kill();
    site.serve();
    let set = [
        "host",
        "set",
        "a",
        "--no-option",
        "42",
        "--option",
        "domain-name=lab",
        "--no-boot-file",
        "bios",
        "--json",
    ];
    let set = site.json(&set);
    assert_eq!(set["options"], json!({ "252": "text:http://wpad/x,y", "domain-name": "lab" }));
    assert_eq!((&set["vendor_options"], &set["boot_files"]), (&json!({ "1": "ip:10.77.0.7" }), &Value::Null));
    let shown = site.done(&["host", "show", "a"]);
    assert!(shown.contains("options:\n  252: text:http://wpad/x,y\n  domain-name: lab\n"), "{shown}");
    let explained = site.done(&["host", "explain", "a"]);
    assert!(explained.contains("DomainName(\"lab\")"), "{explained}");

    let identities =
        ["client_id", "uuid", "circuit", "duid"].map(|key| (key, format!("--no-{}", key.replace('_', "-"))));
    let set = ["host", "set", "a", "--uuid", "11223344-5566-7788-99aa-bbccddeeff00", "--json"];
    let set = site.json(&set);
    assert!(identities.iter().all(|(key, _)| set[key].is_string()), "{set}");
    for (key, flag) in &identities {
        assert_eq!(site.json(&["host", "set", "a", flag, "--json"])[key], Value::Null);
    }
    assert_eq!(site.json(&["host", "show", "a", "--json"])["macs"], json!(["52:54:00:00:00:01"]));
    site.refused(&["host", "set", "a", "--no-duid", "--duid", "00:01:02"], 2, "cannot be used with");

    let add = |option: &'static str| ["host", "add", "b", "--mac", "52:54:00:00:00:02", "--option", option];
    site.refused(&add("252=http"), 2, "put one of ip:, ");
    site.refused(&add("ntp=1"), 2, "write its number");
    site.refused(&add("53=u8:1"), 2, "the server sets it");
    site.refused(&["host", "set", "a", "--no-option", "ntp"], 2, "write its number");
    site.refused(&["host", "set", "a", "--boot-file", "toaster=x"], 2, "there are bios, efi-ia32");
    site.refused(&[&add("6=10.0.0.1")[..], &["--option", "6=10.0.0.2"]].concat(), 1, "is given twice");
}

#[test]
fn what_does_not_fit_into_a_reply_is_refused_before_it_is_in_force() {
    let long = |code: u8| format!("{code}=text:{}", "x".repeat(150));
    let config = SITE.replace("dhcp: off", "dhcp: server");
    let mut site = Site::start(&config);
    site.done(&["host", "add", "a", "--mac", "52:54:00:00:00:01", "--option", &long(250)]);
    let words = "options: the DHCP options for plain clients take";
    site.refused(&["host", "set", "a", "--option", &long(251)], 1, words);
    assert_eq!(site.json(&["host", "show", "a", "--json"])["options"].as_object().unwrap().len(), 1);

    let entry = |code: u8| long(code).replace('=', ": '") + "'";
    let hosts = format!(
        "hosts:\n  - name: b\n    mac: '52:54:00:00:00:02'\n    options: {{ {}, {} }}\n",
        entry(250),
        entry(251)
    );
    site.configure(&format!("{config}{hosts}"));
    let path = site.path("netboot.yaml").display().to_string();
    let check = site.netboot(&["config", "check", "--config", &path]);
    refused(&check, 1, "netboot.yaml:12:5: hosts[0]: options: the DHCP options for plain clients take");
    site.kill();
    refused(&site.server().output().unwrap(), 1, "netboot.yaml:12:5: hosts[0]: options: ");

    // A site that has less room now leaves the stored host out, and says so.
    site.configure(&format!("{config}options: {{ {} }}\n", entry(251)));
    site.serve();
    let list = site.done(&["host", "list"]);
    assert!(list.contains("a is left out: options: the DHCP options for plain clients take"), "{list}");
}

#[test]
fn a_stored_host_that_the_configuration_contradicts_can_be_repaired_and_removed() {
    let mut site = Site::start(SITE);
    for (name, mac, ip) in [("a", "01", "21"), ("b", "02", "22"), ("c", "03", "23")] {
        let (mac, ip) = (format!("52:54:00:00:00:{mac}"), format!("10.77.0.{ip}"));
        site.done(&["host", "add", name, "--mac", &mac, "--ip", &ip]);
    }
    site.kill();
    let taken = "hosts:\n  - { name: filed, mac: '52:54:00:00:00:01', ip: 10.77.0.22 }\n";
    site.configure(&format!("{SITE}{taken}"));
    site.serve();
    let list = site.done(&["host", "list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[1].starts_with("c ") && lines[2].starts_with("filed ") && lines[3].starts_with("a "),
        "{list}"
    );
    assert!(lines[3].contains("left-out"), "{list}");
    assert!(list.contains("a is left out: host a has the MAC 52:54:00:00:00:01 of host filed\n"), "{list}");
    assert!(list.contains("b is left out: host b has the address 10.77.0.22 of host filed\n"), "{list}");
    let shown = site.json(&["host", "show", "b", "--json"]);
    assert_eq!((&shown["ip"], &shown["origin"]), (&"10.77.0.22".into(), &"store".into()));
    assert_eq!(shown["left_out"], "host b has the address 10.77.0.22 of host filed");
    assert!(site.done(&["status"]).contains("host a of the store is left out"));
    site.refused(&["host", "explain", "a"], 1, "host a of the store is left out");
    site.refused(&["host", "set", "b", "--cmdline", "x"], 1, "has the address 10.77.0.22 of host filed");
    site.refused(&["host", "add", "b", "--mac", "52:54:00:00:00:09"], 1, "where it is left out");

    let set = site.json(&["host", "set", "b", "--ip", "10.77.0.24", "--json"]);
    assert_eq!((&set["ip"], &set["left_out"]), (&"10.77.0.24".into(), &Value::Null));
    site.done(&["host", "remove", "a"]);
    site.refused(&["host", "show", "a"], 1, "there is no host a");
    site.kill();
    site.configure(SITE);
    site.serve();
    let hosts = site.json(&["host", "list", "--json"]);
    let names: Vec<&Value> = hosts.as_array().unwrap().iter().map(|host| &host["name"]).collect();
    assert_eq!(names, ["b", "c"]);
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
    let audited = next();
    assert_eq!(
        (&audited["kind"], &audited["fields"]["who"]),
        (&"audit".into(), &"uid 0".into()),
        "{audited}"
    );
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
    assert!(
        String::from_utf8_lossy(&right.stdout)
            .contains("is right: 1 interfaces, 0 hosts, 1 profiles, 0 groups")
    );
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
