//! Groups, and profiles by command.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::cli::SITE;
use crate::clients;
use crate::lab::{Guard, MAC, Side};
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

/// A site whose profiles each say another domain.
fn profiled() -> String {
    let profiles = "default_profile: plain\nprofiles:\n\
                    \x20 - { name: plain, local: true, options: { domain-name: plain.example } }\n\
                    \x20 - { name: web, local: true, options: { domain-name: web.example } }\n";
    format!("{}{profiles}", clients::SITE)
}

#[test]
fn a_hosts_options_change_with_its_group_in_the_kernel_too() {
    let config = profiled();
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

#[test]
fn a_machine_without_an_entry_has_its_groups_options_by_whichever_lane() {
    let config = profiled();
    let mut site = Site::start(&config);
    site.lab.inside(Side::Clients, || Wire::open().lease(HOST)).expect("a lease");
    assert_eq!(domain(&site), "plain.example");
    let by_userspace = |site: &Site| site.count("userspace", "answered_offer");
    assert_eq!(by_userspace(&site), 1, "the kernel knows the lease");

    let mac = HOST.map(|byte| format!("{byte:02x}")).join(":");
    let by_mac = file(&site, "m.yaml", &format!("name: m\nselector: {{ mac: '{mac}' }}\nprofile: web\n"));
    site.done(&["group", "set", &by_mac]);
    assert_eq!((domain(&site).as_str(), by_userspace(&site)), ("web.example", 1), "and its group");

    site.kill();
    site.serve();
    assert_eq!((domain(&site).as_str(), by_userspace(&site)), ("web.example", 0), "after a start, too");

    // What more than a MAC says of a machine is looked at by userspace alone.
    let by_arch = file(&site, "a.yaml", "name: a\nselector: { arch: x86_64 }\nprofile: plain\n");
    site.done(&["group", "set", &by_arch]);
    assert_eq!((domain(&site).as_str(), by_userspace(&site)), ("web.example", 1));
    site.done(&["group", "remove", "a"]);
    assert_eq!((domain(&site).as_str(), by_userspace(&site)), ("web.example", 1));
    let explained = site.json(&["host", "explain", &mac, "--json"]);
    assert!(explained.to_string().contains("web.example"), "{explained}");

    site.done(&["group", "remove", "m"]);
    site.configure(&format!("{config}groups:\n  - {{ name: all, profile: web }}\n"));
    assert_eq!(domain(&site), "plain.example");
    site.done(&["config", "reload"]);
    assert_eq!((domain(&site).as_str(), by_userspace(&site)), ("web.example", 1), "of a reload");
}

/// Has the kernel refuse every `bpf` of the server, until it is dropped.
struct Refusing(Guard);

impl Refusing {
    fn of(site: &Site) -> Self {
        let server = site.daemon.as_ref().expect("it was started").0.id().to_string();
        let mut strace = site.lab.command(Side::Server, "strace");
        strace.args(["-f", "-e", "trace=bpf", "-e", "inject=bpf:error=EPERM", "-o"]);
        strace.arg(site.path("strace")).args(["-p", &server]).stderr(Stdio::piped());
        let mut strace = Guard(strace.spawn().expect("strace can be started"));
        // Its first line, when all threads are held.
        let mut attached = String::new();
        BufReader::new(strace.0.stderr.take().expect("it is piped")).read_line(&mut attached).unwrap();
        assert!(attached.contains("attached"), "{attached}");
        Self(strace)
    }

    /// Lets go of it: killed, it could not.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.0.0), Signal::TERM).expect("it is our child");
        self.0.0.wait().expect("it is our child");
    }
}

#[test]
fn what_the_kernels_tables_could_not_be_told_of_is_told_again() {
    let site = Site::start(&profiled());
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51", "--label", "role=web"]);
    assert_eq!(domain(&site), "plain.example");
    let group = file(&site, "g.yaml", "name: webs\nselector: { role: web }\nprofile: web\n");
    let degraded = || site.json(&["status", "--json"])["degraded"].clone();
    assert_eq!(degraded(), json!([]));

    let refusing = Refusing::of(&site);
    site.refused(&["group", "set", &group], 1, "stored, but the kernel's tables do not have it yet");
    assert_eq!(domain(&site), "plain.example", "as the kernel has it");
    assert!(degraded().to_string().contains("the kernel's tables lack something"), "{}", degraded());
    refusing.end();

    // It is told by itself, after a pause.
    let deadline = Instant::now() + Duration::from_secs(60);
    while degraded() != json!([]) {
        assert!(Instant::now() < deadline, "{}: {}", degraded(), site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(domain(&site), "web.example");
    assert_eq!(site.count("userspace", "answered_offer"), 0, "all are the kernel's");
    assert!(site.log().contains("the kernel's tables have all of it again"), "{}", site.log());
}
