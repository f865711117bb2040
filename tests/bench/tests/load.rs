//! The generator and the bare server, on the loopback interface.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bare;
use crate::caller::Caller;
use crate::load::{self, Options};

fn file(folder: &Path, size: usize) -> PathBuf {
    let path = folder.join(size.to_string());
    let bytes: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
    fs::write(&path, bytes).expect("a file");
    path
}

fn options(server: SocketAddrV4, file: &Path) -> Options {
    Options {
        server,
        from: Some(Ipv4Addr::new(127, 65, 0, 0)),
        file: file.to_owned(),
        path: "/assets/x".into(),
        connections: 7,
        threads: 2,
        fresh: false,
        range: None,
        compare: true,
        seconds: 0.0,
        each: 3,
        deadline: 60.0,
        hold: false,
        slow: 0,
    }
}

fn serve(file: &Path, close: bool) -> SocketAddrV4 {
    let listen = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    bare::start(&bare::Options { listen, file: file.to_owned(), workers: 2, close }).expect("a server")
}

/// A server that says this to whoever connects, whatever is asked.
fn says(text: &'static [u8]) -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            _ = stream.read(&mut [0; 4096]);
            _ = stream.write_all(text);
        }
    });
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

fn run(options: &Options) -> Value {
    load::main(options).expect("a report")
}

#[test]
fn clients_get_the_bare_servers_file_whole_kept_alive_and_each_on_a_new_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    for size in [1, 4096, 3 << 20] {
        let file = file(folder.path(), size);
        for fresh in [false, true] {
            let report = run(&Options { fresh, ..options(serve(&file, fresh), &file) });
            assert_eq!((&report["failed"], &report["failed_before"]), (&0.into(), &0.into()), "{report}");
            assert_eq!((&report["requests"], &report["starved"]), (&21.into(), &0.into()), "{report}");
            let bytes = Value::from(21 * size);
            assert_eq!((&report["bytes"], &report["compared"]), (&bytes, &bytes), "{report}");
            assert_eq!(report["reopened"], 0, "{report}");
        }
    }
}

#[test]
fn bodies_that_nobody_looks_at_are_counted_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = file(folder.path(), 3 << 20);
    let report = run(&Options { compare: false, ..options(serve(&file, false), &file) });
    let bytes = Value::from(21 * (3 << 20));
    assert_eq!((&report["bytes"], &report["compared"]), (&bytes, &0.into()), "{report}");
}

#[test]
fn connections_that_the_server_closes_are_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = file(folder.path(), 4096);
    let report = run(&options(serve(&file, true), &file));
    assert_eq!((&report["failed"], &report["requests"]), (&0.into(), &21.into()), "{report}");
    assert_eq!(report["reopened"], 21, "{report}");
}

#[test]
fn other_bytes_wrong_heads_short_bodies_and_no_server_are_failures_that_have_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, file) = (file(folder.path(), 4096), folder.path().join("other"));
    let mut bytes = fs::read(&ours).expect("the file");
    bytes[4095] ^= 1;
    fs::write(&file, bytes).expect("a file");
    let why = |server, more: &dyn Fn(&mut Options)| {
        let mut options = Options { connections: 1, each: 1, ..options(server, &ours) };
        more(&mut options);
        let report = run(&options);
        assert_eq!(report["requests"], 0, "{report}");
        let failures = report["failures"].as_object().expect("failures").clone();
        failures.into_iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>()
    };
    assert_eq!(why(serve(&file, false), &|_| ()), ["Content 3"]);
    assert_eq!(why(serve(&file, false), &|options| options.range = Some(10)), ["Status(200) 3"]);
    assert_eq!(why(says(b"HTTP/1.1 404 Not Found\r\n\r\n"), &|_| ()), ["Status(404) 3"]);
    assert_eq!(
        why(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\nx"), &|options| options.compare = false),
        ["Closed 3"]
    );
    let nobody = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    assert_eq!(why(nobody, &|_| ()), ["Connect 3"]);
}

#[test]
fn who_has_no_answer_when_the_run_is_over_has_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = file(folder.path(), 1 << 20);
    // Connections wait in the backlog of a server that takes none.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let report = run(&Options { deadline: 0.1, ..options(server, &file) });
    assert_eq!(report["failures"], serde_json::json!({ "Deadline": 7 }), "{report}");
    assert_eq!(report["starved"], 7, "{report}");
}

#[test]
fn slow_clients_never_come_to_the_end_of_their_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().expect("an address").port());
    let plan = load::plan(&options(server, &file(folder.path(), 1 << 20))).expect("a plan");
    let mut caller = Caller::new(&plan, 0, 2).expect("clients");
    caller.gather().expect("both are connected");
    (0..3).for_each(|at| caller.dawdle(1, at == 0));
    drop(caller);
    let mut said: Vec<String> = (0..2)
        .map(|_| {
            let mut said = String::new();
            listener.accept().expect("a client").0.read_to_string(&mut said).expect("its words");
            said
        })
        .collect();
    said.sort_unstable();
    assert_eq!(said, [String::new(), format!("GET /assets/x HTTP/1.1\r\nHost: {server}\r\nxx")]);
}
