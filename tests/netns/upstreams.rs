//! The pull-through cache of the real binary: crowds of clients, a server that dies in the middle, an upstream that is gone.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Guard, Lab, Side, run};
use crate::site::Site;

const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: server, subnet: 10.77.0.0/24, xdp: off }
http: { listen: ':8080' }
tftp: { root: ., kernel: off }
assets:
  folder: .
  cache: 1G
  upstreams:
    - { prefix: /assets/up/, url: 'http://10.77.0.2/files/', allow_private: true, check_after: 1s, connect: 2s }
    - { prefix: /assets/far/, url: 'http://10.77.0.2/files/' }
ipxe: .
profiles: [{ name: linux, kernel: up/linux }]
default_profile: linux
paths: { state: state, control: control.sock, pins: PINS }
";

/// A megabyte and a bit, of which no two parts are alike.
fn body() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

/// Who has the files, on the clients' side. It sends half of one, and the rest when it is told to.
struct Upstream {
    asked: Arc<AtomicUsize>,
    /// One for each file that is to go on.
    go: Sender<()>,
    is_there: Arc<Mutex<bool>>,
}

impl Upstream {
    fn start(lab: &Lab) -> Self {
        run(lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.2/24", "dev", "eth0"]));
        let listener = lab.inside(Side::Clients, || TcpListener::bind("10.77.0.2:80").unwrap());
        let ((go, wait), asked) = (channel(), Arc::new(AtomicUsize::new(0)));
        let is_there = Arc::new(Mutex::new(true));
        let (counted, there, wait) = (asked.clone(), is_there.clone(), Arc::new(Mutex::new(wait)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, wait) = (stream.unwrap(), wait.clone());
                if *there.lock().unwrap() {
                    counted.fetch_add(1, SeqCst);
                    std::thread::spawn(move || drop(answer(stream, &wait)));
                }
            }
        });
        Self { asked, go, is_there }
    }
}

fn answer(mut stream: std::net::TcpStream, wait: &Mutex<Receiver<()>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let body = body();
    let (first, rest) = body.split_at(body.len() / 2);
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"1\"\r\n\r\n", body.len())?;
    stream.write_all(first)?;
    if head.starts_with(b"GET /files/cut ") {
        return Ok(());
    }
    let _ = wait.lock().unwrap().recv();
    stream.write_all(rest)
}

fn serving() -> (Site, Upstream) {
    let mut site = Site { daemon: None, lab: Lab::new() };
    let upstream = Upstream::start(&site.lab);
    site.configure(CONFIG);
    site.serve();
    (site, upstream)
}

/// A curl that gets this into a file.
fn curl(site: &Site, path: &str, to: &PathBuf, more: &[&str]) -> Guard {
    curl_of(site, &format!("http://10.77.0.1:8080{path}"), to, more)
}

fn curl_of(site: &Site, url: &str, to: &PathBuf, more: &[&str]) -> Guard {
    let mut curl = site.lab.command(Side::Clients, "curl");
    curl.args(["-sS", "--max-time", "60", "-o"]).arg(to).args(more).arg(url);
    Guard(curl.spawn().unwrap())
}

fn upstreams(site: &Site) -> Value {
    site.json(&["status", "--json"])["upstreams"].clone()
}

fn await_that(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn events(site: &Site) -> Vec<Value> {
    let events = site.done(&["events", "--json"]);
    let all = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["kind"] == "upstream").collect()
}

#[test]
fn a_crowd_of_clients_is_one_request_and_the_file_stays_when_its_upstream_is_gone() {
    let (site, upstream) = serving();
    let to = |n: usize| site.path(&format!("got{n}"));
    let mut clients: Vec<Guard> = (0..50).map(|n| curl(&site, "/assets/up/linux", &to(n), &[])).collect();
    await_that("all of them wait for the rest", || upstreams(&site)["joined"] == 49);
    let half = body().len() as u64 / 2;
    let has_most = |n: usize| fs::metadata(to(n)).is_ok_and(|meta| meta.len() > half / 2);
    await_that("they are served while it arrives", || (0..50).all(has_most));
    assert_eq!(upstream.asked.load(SeqCst), 1);
    upstream.go.send(()).unwrap();
    for (n, client) in clients.iter_mut().enumerate() {
        assert!(client.0.wait().unwrap().success());
        assert!(fs::read(to(n)).unwrap() == body());
    }
    assert_eq!(upstream.asked.load(SeqCst), 1);
    let list = site.json(&["assets", "list", "--json"]);
    assert_eq!((&list[0]["path"], &list[0]["size"]), (&"up/linux".into(), &1_200_000.into()), "{list}");
    let told = events(&site);
    assert_eq!((&told[0]["fields"]["outcome"], told.len()), (&"fetched".into(), 1), "{told:?}");

    // It is asked again after a second, and is not there.
    *upstream.is_there.lock().unwrap() = false;
    await_that("it counts as old", || site.json(&["assets", "list", "--json"])[0]["state"] == "stale");
    assert!(curl(&site, "/assets/up/linux", &to(0), &[]).0.wait().unwrap().success());
    assert!(fs::read(to(0)).unwrap() == body());
    assert_eq!(upstreams(&site)["stale"], 1);
    await_that("it is told", || events(&site).iter().any(|event| event["fields"]["outcome"] == "stale"));
    // Of what is not kept, the client is told why it can't be had.
    let mut failed = curl(&site, "/assets/far/x", &to(1), &[]);
    assert!(failed.0.wait().unwrap().success());
    let text = fs::read_to_string(to(1)).unwrap();
    assert!(text.starts_with("502 Bad Gateway: ") && !text.contains("10.77"), "{text}");
    await_that("operators are told why", || {
        events(&site).iter().any(|event| event["fields"]["cause"].to_string().contains("allow_private"))
    });

    site.done(&["assets", "purge", "/assets/up/linux"]);
    assert_eq!(site.done(&["assets", "list"]), "nothing is kept\n");
    site.refused(&["assets", "purge", "up/linux"], 1, "it is not in the cache");
    site.refused(&["assets", "prefetch", "far/x"], 1, "allow_private");
    *upstream.is_there.lock().unwrap() = true;
    upstream.go.send(()).unwrap();
    let fetched = site.json(&["assets", "prefetch", "up/linux", "--json"]);
    assert_eq!((&fetched["size"], &fetched["etag"]), (&1_200_000.into(), &"\"1\"".into()), "{fetched}");
}

#[test]
fn by_https_a_file_is_the_same_while_it_arrives_where_it_is_cut_off_and_when_it_is_old() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    let upstream = Upstream::start(&site.lab);
    site.configure(&CONFIG.replace("listen: ':8080'", "listen: ':8080', https: { listen: ':8443' }"));
    let config = site.path("netboot.yaml").display().to_string();
    site.done(&["tls", "init", "--config", &config, "10.77.0.1"]);
    site.serve();
    let ca = site.path("tls/ca.crt").display().to_string();
    let secured = |path: &str, to: &PathBuf, more: &[&str]| {
        let more = [&["--cacert", ca.as_str()], more].concat();
        curl_of(&site, &format!("https://10.77.0.1:8443{path}"), to, &more)
    };
    let to = |n: usize| site.path(&format!("got{n}"));
    let mut clients =
        [curl(&site, "/assets/up/linux", &to(0), &[]), secured("/assets/up/linux", &to(1), &[])];
    let half = body().len() / 2;
    let has_most = |n: usize| fs::metadata(to(n)).is_ok_and(|meta| meta.len() > half as u64 / 2);
    await_that("both are served while it arrives", || (0..2).all(has_most));
    upstream.go.send(()).unwrap();
    for (n, client) in clients.iter_mut().enumerate() {
        assert!(client.0.wait().unwrap().success());
        assert!(fs::read(to(n)).unwrap() == body());
    }
    assert_eq!(upstream.asked.load(SeqCst), 1);

    let mut cut = secured("/assets/up/cut", &to(2), &[]);
    assert!(!cut.0.wait().unwrap().success(), "it does not look whole");
    let got = fs::read(to(2)).unwrap();
    assert!(got.len() <= half && body().starts_with(&got), "{} bytes", got.len());

    *upstream.is_there.lock().unwrap() = false;
    await_that("it counts as old", || site.json(&["assets", "list", "--json"])[0]["state"] == "stale");
    // The first is told by who asks the upstream, the second by the engine.
    let digests: Vec<String> = (3..5)
        .map(|n| {
            let fields = site.path(&format!("fields{n}"));
            let head = fields.display().to_string();
            let wants = ["-H", "Want-Repr-Digest: sha-256=1", "-D", &head];
            assert!(secured("/assets/up/linux", &to(n), &wants).0.wait().unwrap().success());
            assert!(fs::read(to(n)).unwrap() == body());
            let fields = fs::read_to_string(fields).unwrap().to_ascii_lowercase();
            let digest = fields.lines().find_map(|line| line.strip_prefix("repr-digest: "));
            digest.unwrap_or_else(|| panic!("{fields}")).to_owned()
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(upstreams(&site)["stale"], 1);
}

#[test]
fn a_server_that_is_killed_in_the_middle_keeps_no_half_and_its_clients_go_on_by_range() {
    let (mut site, upstream) = serving();
    let to = site.path("got");
    let mut client = curl(&site, "/assets/up/linux", &to, &[]);
    let half = body().len() as u64 / 2;
    await_that("half of it is there", || fs::metadata(&to).is_ok_and(|meta| meta.len() > half / 2));
    site.kill();
    assert!(!client.0.wait().unwrap().success(), "its connection is closed");
    let count = |folder: &str| fs::read_dir(site.path("state/cache").join(folder)).unwrap().count();
    assert_eq!((count("partial"), count("notes"), count("files")), (1, 0, 0));
    // The first of these is for the connection that is broken.
    upstream.go.send(()).unwrap();
    site.serve();
    // Which waits until all is looked through.
    assert_eq!(site.json(&["assets", "list", "--json"]), Value::Array(Vec::new()));
    let count = |folder: &str| fs::read_dir(site.path("state/cache").join(folder)).unwrap().count();
    assert_eq!((count("partial"), count("notes"), count("files")), (0, 0, 0));
    upstream.go.send(()).unwrap();
    assert!(curl(&site, "/assets/up/linux", &to, &["-C", "-"]).0.wait().unwrap().success());
    assert!(fs::read(&to).unwrap() == body());
    assert_eq!(upstream.asked.load(SeqCst), 2);
    site.kill();
    site.serve();
    assert_eq!(site.json(&["assets", "list", "--json"])[0]["path"], "up/linux");
}

#[test]
fn the_cache_leaves_the_disk_to_others() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    let upstream = Upstream::start(&site.lab);
    site.configure(&CONFIG.replace("cache: 1G", "cache: 1G\n  keep_free: 4M"));
    fs::create_dir(site.path("state")).unwrap();
    let mount = format!("mount -t tmpfs -o size=12m tmpfs {} && exec \"$@\"", site.path("state").display());
    let mut server = site.lab.command(Side::Server, "unshare");
    server.args(["--mount", "sh", "-c", &mount, "sh"]).args(site.server_words());
    site.serve_by(server);
    for n in 0..8 {
        upstream.go.send(()).unwrap();
        let to = site.path("got");
        assert!(curl(&site, &format!("/assets/up/{n}"), &to, &[]).0.wait().unwrap().success());
        assert!(fs::read(&to).unwrap() == body(), "{n}");
        await_that("it is kept", || upstreams(&site)["arriving"] == 0);
        let root = PathBuf::from(format!("/proc/{}/root", site.daemon.as_ref().unwrap().0.id()));
        let disk = rustix::fs::statvfs(root.join(site.path("state").strip_prefix("/").unwrap())).unwrap();
        assert!(disk.f_bavail * disk.f_frsize > 3 << 20, "{n}: {} blocks", disk.f_bavail);
    }
    let list = site.json(&["assets", "list", "--json"]);
    let has = |path: &str| list.as_array().unwrap().iter().any(|file| file["path"] == path);
    assert!(has("up/7") && !has("up/0"), "{list}");
    // Others want more of it, and nobody asks for anything.
    let root = PathBuf::from(format!("/proc/{}/root", site.daemon.as_ref().unwrap().0.id()));
    let state = root.join(site.path("state").strip_prefix("/").unwrap());
    fs::write(state.join("others"), vec![7; 3 << 20]).unwrap();
    await_that("the cache gives way to them", || {
        let disk = rustix::fs::statvfs(&state).unwrap();
        disk.f_bavail * disk.f_frsize >= 4 << 20
    });
    let left = site.json(&["assets", "list", "--json"]);
    let has = |path: &str| left.as_array().unwrap().iter().any(|file| file["path"] == path);
    assert!(has("up/7") && !has("up/3"), "{left}");
    assert_eq!(site.json(&["status", "--json"])["degraded"], Value::Array(Vec::new()));
}

#[test]
fn a_cache_that_can_t_be_used_keeps_nothing_else_from_being_served() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    site.configure(CONFIG);
    fs::create_dir(site.path("state")).unwrap();
    fs::write(site.path("state/cache"), "").unwrap();
    fs::write(site.path("own"), "own").unwrap();
    site.serve();
    let degraded = site.json(&["status", "--json"])["degraded"].to_string();
    assert!(degraded.contains("the cache of upstreams"), "{degraded}");
    run(site.lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.2/24", "dev", "eth0"]));
    assert!(curl(&site, "/assets/own", &site.path("got"), &[]).0.wait().unwrap().success());
    assert_eq!(fs::read_to_string(site.path("got")).unwrap(), "own");
}
