//! HTTP from the real binary: servers that die under a download, and floods of requests that nobody can answer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Guard, SERVER, Side, run};
use crate::site::Site;

const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: server, subnet: 10.77.0.0/24, xdp: off }
http: { listen: ':8080' }
tftp: { root: ., kernel: off }
assets: assets
ipxe: .
paths: { state: state, control: control.sock, pins: PINS }
";

/// With these bytes as `/assets/image`.
fn serving(image: &[u8]) -> Site {
    let mut site = Site { daemon: None, lab: crate::lab::Lab::new() };
    site.configure(CONFIG);
    fs::create_dir(site.path("assets")).unwrap();
    fs::write(site.path("assets/image"), image).unwrap();
    run(site.lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.2/24", "dev", "eth0"]));
    site.serve();
    site
}

/// curl, into the file `got`.
fn curl(site: &Site, arguments: &[&str]) -> Command {
    let mut curl = site.lab.command(Side::Clients, "curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "60", "--output"]).arg(site.path("got"));
    curl.args(arguments).arg(format!("http://{SERVER}:8080/assets/image"));
    curl
}

#[test]
fn a_download_from_a_server_that_is_killed_is_resumed_by_range_from_the_next_one() {
    let image: Vec<u8> =
        (0..32_000_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let mut site = serving(&image);
    let got = |site: &Site| fs::metadata(site.path("got")).map_or(0, |file| file.len());
    for part in 1..=2_u64 {
        let from = part * 1_000_000;
        let mut client = Guard(curl(&site, &["--limit-rate", "4M", "--continue-at", "-"]).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while got(&site) < from {
            assert!(Instant::now() < deadline, "{} of {from} bytes", got(&site));
            std::thread::sleep(Duration::from_millis(5));
        }
        site.kill();
        let ended = client.0.wait().unwrap();
        assert!(!ended.success() && got(&site) < image.len() as u64, "killed in mid-body: {ended}");
        site.serve();
    }
    let had = got(&site);
    run(&mut curl(&site, &["--continue-at", "-"]));
    assert!(fs::read(site.path("got")).unwrap() == image, "the same bytes");
    let last = site.done(&["events", "--json"]);
    let last: Value = serde_json::from_str(last.lines().next_back().unwrap()).unwrap();
    let range = format!("{had}-{}", image.len() - 1);
    assert_eq!((&last["fields"]["status"], &last["fields"]["range"]), (&206.into(), &range.into()), "{last}");
}

#[test]
fn a_flood_of_bad_requests_is_one_line_in_the_log_and_pushes_no_other_event_out() {
    const FLOOD: usize = 1500;
    let site = serving(b"image");
    site.done(&["host", "add", "node1", "--mac", "52:54:00:77:00:09"]);
    site.lab.inside(Side::Clients, || {
        for n in 0..FLOOD {
            let mut stream = TcpStream::connect((SERVER, 8080)).unwrap();
            let request = format!("GET /assets/{n} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 404 "));
        }
    });
    let events = |kind: &str| {
        let events = site.done(&["events", "--json"]);
        let events = events.lines().filter_map(|line| serde_json::from_str(line).ok());
        events.filter(|event: &Value| event["kind"] == kind).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let last = format!("/assets/{}", FLOOD - 1);
    while events("access").last().is_none_or(|event| event["fields"]["file"] != last) {
        assert!(Instant::now() < deadline, "it is not told of");
    }
    assert_eq!(events("host").len(), 1, "the host is still there");
    let log = site.log();
    assert_eq!(log.matches("/assets/").count(), 1, "{log}");
}
