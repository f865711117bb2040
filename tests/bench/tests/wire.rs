//! The generator against our own server, over a veth: needs root.

use std::fs;
use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use netboot_common::Mac;
use netboot_userspace::sys::interface::interfaces;
use netboot_userspace::tftp::{Config, Server};
use netboot_userspace::uring::Choice;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use serde_json::{Value, json};

use crate::fetch;
use crate::lab::{Lab, MAC, SERVER, Side, ip};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    fetch: fetch::Options,
}

/// Two namespaces, and a file on the server's end; clients are behind one neighbour.
struct Site {
    lab: Lab,
    server_mac: Mac,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        let server = lab.namespace(Side::Server);
        ip(&format!("-n {server} neighbour add 10.77.0.2 lladdr {MAC} dev eth0 nud permanent"));
        ip(&format!("-n {server} route add 10.65.0.0/16 via 10.77.0.2 dev eth0"));
        let server_mac = lab.inside(Side::Server, || interfaces().expect("interfaces")["eth0"].mac);
        let file: Vec<u8> = (0..20_000_u32).map(|at| (at % 251) as u8).collect();
        fs::write(lab.path("file"), file).expect("a file");
        Self { lab, server_mac }
    }

    fn serve(&self, folder: &Path, engine: Choice) -> Server {
        let listen = (SERVER.parse::<std::net::IpAddr>().expect("an address"), 69).into();
        let config = Config { roots: vec![folder.to_owned()], engine, ..Config::new(listen) };
        self.lab.inside(Side::Server, || Server::start(config, Arc::new(|_| ()))).expect("a server")
    }

    fn fetch(&self, more: &str) -> Value {
        let (file, mac) = (self.lab.path("file"), self.server_mac);
        let words = format!("fetch --server {SERVER} --server-mac {mac} --file {} {more}", file.display());
        let arguments = Arguments::parse_from(words.split(' '));
        self.lab.inside(Side::Clients, || fetch::main(&arguments.fetch)).expect("a report")
    }
}

#[test]
fn clients_fetch_from_our_server_on_both_engines_in_each_window_and_with_loss() {
    let site = Site::new();
    for engine in [Choice::Uring, Choice::Epoll] {
        let server = site.serve(site.lab.folder.path(), engine);
        for network in ["--loss 0", "--loss 0.03 --reorder 0.03"] {
            for (window, blksize) in [(1, 512), (16, 1468)] {
                let report =
                    site.fetch(&format!("--clients 40 --window {window} --blksize {blksize} {network}"));
                let what = format!("{engine:?}, {network}, window {window}: {report:#}");
                assert_eq!((&report["completed"], &report["failed"]), (&json!(40), &json!(0)), "{what}");
                assert_eq!(report["bytes"], 40 * 20_000, "{what}");
                assert_eq!(report["granted"], json!({ "blksize": blksize, "windowsize": window }), "{what}");
                assert_eq!((&report["unsound"], &report["strangers"]), (&json!(0), &json!(0)), "{what}");
            }
        }
        server.shutdown();
    }
}

#[test]
fn other_bytes_no_file_and_no_server_are_failures_that_have_names_and_an_end() {
    let site = Site::new();
    let other = site.lab.path("other");
    fs::create_dir(&other).expect("a folder");
    let server = site.serve(&other, Choice::Auto);
    let quick = "--clients 3 --patience-ms 20 --deadline 30";
    assert_eq!(site.fetch(quick)["failures"], json!({ "Refused(1)": 3 }));
    let mut wrong = fs::read(site.lab.path("file")).expect("the file");
    wrong[10_000] ^= 1;
    fs::write(other.join("file"), wrong).expect("another file");
    assert_eq!(site.fetch(quick)["failures"], json!({ "Content": 3 }));
    server.shutdown();
    assert_eq!(site.fetch(quick)["failures"], json!({ "Silence": 3 }));
    let over = site.fetch("--clients 3 --patience-ms 60000 --deadline 0.1");
    assert_eq!(over["failures"], json!({ "Deadline": 3 }));
}

/// As a server with UDP segmentation offload sends: on a veth, what was sent as one arrives as one.
#[test]
fn what_a_server_sends_as_one_is_taken_block_by_block() {
    let site = Site::new();
    let file = fs::read(site.lab.path("file")).expect("the file");
    let socket = site.lab.inside(Side::Server, || UdpSocket::bind((SERVER, 69))).expect("the port");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a patient socket");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 600];
            let mut next = || socket.recv_from(&mut buffer).map(|(_, from)| from).expect("a datagram");
            let client = next();
            socket.send_to(b"\0\x06blksize\x001000\0windowsize\x0016\0", client).expect("an OACK");
            for window in [1..=16, 17..=21] {
                next();
                segments(&socket, client, &file, window);
            }
            next();
        });
        let report = site.fetch("--clients 1 --window 16 --blksize 1000 --deadline 30");
        assert_eq!((&report["completed"], &report["blocks"]), (&json!(1), &json!(21)), "{report:#}");
        assert_eq!(report["surplus_blocks"], 0, "{report:#}");
        // An OACK and two windows.
        assert_eq!(report["generator"]["frames"], 3, "{report:#}");
    });
}

fn segments(socket: &UdpSocket, client: SocketAddr, file: &[u8], window: std::ops::RangeInclusive<u16>) {
    let block = |number: u16| {
        let rest = &file[(usize::from(number) - 1) * 1000..];
        [&[0, 3], &number.to_be_bytes()[..], &rest[..rest.len().min(1000)]].concat()
    };
    let bytes: Vec<u8> = window.flat_map(block).collect();
    let SocketAddr::V4(client) = client else { panic!("{client} is no client of ours") };
    let (to, size) = (SockaddrIn::from(client), 1004);
    let sizes = [ControlMessage::UdpGsoSegments(&size)];
    let sent = sendmsg(socket.as_raw_fd(), &[IoSlice::new(&bytes)], &sizes, MsgFlags::empty(), Some(&to));
    assert_eq!(sent, Ok(bytes.len()));
}
