//! The generator against our own server, over a veth: needs root.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use netboot_common::Mac;
use netboot_userspace::sys::interface::interfaces;
use netboot_userspace::tftp::{Config, Server};
use netboot_userspace::uring::Choice;
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
