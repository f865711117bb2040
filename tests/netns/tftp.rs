//! TFTP from inside the kernel, with real clients and with a client of ours: the same bytes, and the kernel's own counters say that
//! it was the kernel.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clients::SITE;
use crate::lab::{Lab, MAC, SERVER, Side, run};
use crate::malformed::{HOST, Wire};
use crate::site::Site;

const CLIENT: &str = "10.77.0.51";

/// A server with these files, all of them in the kernel, and a client that has a lease.
fn site(files: &[(&str, &[u8])]) -> Site {
    let mut site = Site { daemon: None, lab: Lab::new() };
    site.configure(
        &SITE.replace("tftp: { root: . }", "tftp: { root: tftp }").replace("ipxe: .", "ipxe: tftp"),
    );
    fs::create_dir(site.path("tftp")).unwrap();
    files.iter().for_each(|(name, content)| put(&site, name, content));
    site.serve();
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", CLIENT]);
    let lease = site.lab.inside(Side::Clients, || Wire::open().lease(HOST));
    assert_eq!(lease.map(std::net::Ipv4Addr::from), Some(CLIENT.parse().unwrap()));
    run(site.lab.command(Side::Clients, "ip").args([
        "address",
        "add",
        &format!("{CLIENT}/24"),
        "dev",
        "eth0",
    ]));
    // `autoexec.ipxe`, too.
    await_status(&site, |status| status["kernel_files"]["files"] == files.len() + 1);
    site
}

/// Puts a file there, whole.
fn put(site: &Site, name: &str, content: &[u8]) {
    let new = site.path("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, site.path("tftp").join(name)).unwrap();
}

fn await_status(site: &Site, is_so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = site.json(&["status", "--json"]);
        if is_so(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "{status}: {}", site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes that are others at each place, and for each seed.
fn content(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(byte).collect()
}

/// A count of the kernel's TFTP program.
fn count(site: &Site, what: &str) -> u64 {
    site.count("tftp", what)
}

/// Requests that userspace has read.
fn requests(site: &Site) -> u64 {
    site.json(&["status", "--json"])["tftp"]["requests"].as_u64().unwrap()
}

/// A transfer by each client; what it must have got.
fn fetch(site: &Site, client: &str, name: &str, want: &[u8]) {
    let got = site.path("got");
    let _ = fs::remove_file(&got);
    let got_as = got.display().to_string();
    let (url, windows) = (format!("tftp://{SERVER}/{name}"), ["windowsize 16", "blksize 1432", "tsize 0"]);
    match client {
        "tftp-hpa" => site.client("tftp", &["-m", "octet", SERVER, "-c", "get", name, &got_as]),
        "curl" => site.client("curl", &["-sS", "--tftp-blksize", "1468", "-o", &got_as, &url]),
        "busybox" => site.client("busybox", &["tftp", "-g", "-b", "1024", "-r", name, "-l", &got_as, SERVER]),
        "atftp" => site.client("atftp", &["-g", "-r", name, "-l", &got_as, SERVER]),
        _ => {
            let options = windows.iter().flat_map(|option| ["--option", option]);
            let words: Vec<&str> = options.chain(["-g", "-r", name, "-l", &got_as, SERVER]).collect();
            site.client("atftp", &words)
        }
    };
    let got = fs::read(&got).unwrap_or_else(|error| panic!("{client}: {name}: {error}: {}", site.log()));
    assert!(got == want, "{client}: {name}: {} bytes, not {}", got.len(), want.len());
}

#[test]
fn real_clients_get_the_same_bytes_from_the_kernel() {
    let sizes = [1, 511, 512, 513, 1432, 65_536, 300_001, 1 << 20, 4 << 20];
    let files: Vec<(String, Vec<u8>)> =
        sizes.into_iter().map(|size| (format!("loader-{size}"), content(size, size as u32))).collect();
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let site = site(&named);
    let mut done = 0;
    for client in ["tftp-hpa", "curl", "busybox", "atftp", "atftp with windows"] {
        for (name, bytes) in &named {
            fetch(&site, client, name, bytes);
            done += 1;
            assert_eq!(count(&site, "done"), done, "{client}: {name}: {}", site.done(&["status"]));
        }
    }
    assert_eq!(requests(&site), 0, "userspace saw no request");
    assert_eq!((count(&site, "resent"), count(&site, "unsent"), count(&site, "failed")), (0, 0, 0));
    await_status(&site, |_| site.done(&["events"]).contains("loader-4194304"));
    let told = site.done(&["events"]);
    let line = told.lines().find(|line| line.contains("loader-4194304")).unwrap();
    assert!(line.contains("tcx"), "{line}");
}
