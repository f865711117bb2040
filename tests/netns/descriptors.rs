//! A server with few descriptors: floods of connections take their share of them, and no more, and transfers take none.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, SERVER, Side, run};
use crate::site::Site;

/// Here userspace has all transfers.
const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: server, subnet: 10.77.0.0/24, xdp: off }
http: { listen: ':8080' }
tftp: { root: ., kernel: off, transfers_per_client: 50 }
assets: .
ipxe: .
paths: { state: state, control: control.sock, pins: PINS }
";

/// Of 256 descriptors, 75 are for connections.
const LIMIT: u64 = 256;
const CONNECTIONS: u64 = 75;
/// From one address: each worker, one for each core, has 50 of them at most.
const TRANSFERS: u64 = 200;

/// A server that starts with fewer descriptors than it may have.
fn serving() -> Site {
    let mut site = Site { daemon: None, lab: Lab::new() };
    site.configure(CONFIG);
    let mut server = site.lab.command(Side::Server, "prlimit");
    server.arg(format!("--nofile=64:{LIMIT}")).arg("--").args(site.server_words());
    run(site.lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.2/24", "dev", "eth0"]));
    fs::write(site.path("file"), [7; 5000]).unwrap();
    site.serve_by(server);
    site
}

fn await_status(site: &Site, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = site.json(&["status", "--json"]);
        if condition(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {status}");
    }
}

fn count(status: &Value, layer: &str, name: &str) -> u64 {
    status[layer][name].as_u64().unwrap_or_else(|| panic!("no {layer}.{name}: {status}"))
}

/// How many descriptors the server has, and may have.
fn descriptors(site: &Site) -> (u64, u64) {
    let process = format!("/proc/{}", site.daemon.as_ref().unwrap().0.id());
    let open = fs::read_dir(format!("{process}/fd")).unwrap().count() as u64;
    let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    (open, line.split_whitespace().nth(3).unwrap().parse().unwrap())
}

/// Asks for the file by TFTP, and doesn't wait.
fn request() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.send_to(b"\0\x01file\0octet\0", (SERVER, 69)).unwrap();
    socket
}

/// Acknowledges the first blocks that have come: those transfers are in use.
fn acknowledge(transfers: &[UdpSocket]) {
    for socket in transfers {
        while let Ok((_, transfer)) = socket.recv_from(&mut [0; 1024]) {
            socket.send_to(b"\0\x04\0\x01", transfer).unwrap();
        }
    }
}

fn assert_served(mut stream: TcpStream, which: &str) {
    stream.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let is_whole = answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(&[7; 5000]);
    assert!(is_whole, "{which}: {}", String::from_utf8_lossy(&answer));
}

#[test]
fn floods_of_clients_leave_descriptors_for_everything_else() {
    let site = serving();
    let (at_rest, limit) = descriptors(&site);
    assert_eq!(limit, LIMIT, "raised to what it may have");

    site.lab.inside(Side::Clients, || {
        let connect = || TcpStream::connect((SERVER, 8080)).unwrap();
        let first = connect();
        await_status(&site, "it is accepted", |status| count(status, "http", "open") == 1);
        let flood: Vec<TcpStream> = (1..CONNECTIONS * 2).map(|_| connect()).collect();
        let transfers: Vec<UdpSocket> = (0..TRANSFERS).map(|_| request()).collect();
        let status = await_status(&site, "the floods have come", |status| {
            acknowledge(&transfers);
            let come = count(status, "tftp", "active") + count(status, "tftp", "client_full");
            count(status, "http", "over_limit") == CONNECTIONS && come == TRANSFERS
        });
        assert_eq!(count(&status, "http", "open"), CONNECTIONS);
        let workers = std::thread::available_parallelism().unwrap().get() as u64;
        assert!((50..=50 * workers).contains(&count(&status, "tftp", "active")), "{status}");
        assert_eq!(count(&status, "http", "pauses"), 0, "{status}");
        let (open, _) = descriptors(&site);
        assert!(open <= at_rest + CONNECTIONS + 8, "{open} of {LIMIT}, {at_rest} at rest");

        // Those who are here are served, and when they leave, others are.
        assert_served(first, "the first connection");
        drop((flood, transfers));
        await_status(&site, "they are gone", |status| count(status, "http", "open") == 0);
        assert_served(connect(), "a new connection");
    });
}
