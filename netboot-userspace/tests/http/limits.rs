//! What clients may take, and what there may be of them.

use super::site::*;
use netboot_userspace::http::{Config, Error, Server};
use netboot_userspace::uring::{Choice, Running};
use std::io::{BufRead as _, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn slow_clients_run_into_deadlines() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            config.limits.patience.head = Duration::from_millis(300);
            config.limits.patience.idle = Duration::from_millis(400);
            config.limits.patience.stall = Duration::from_millis(500);
        });
        site.put("a", 3);
        site.put_hole("large", 64 << 20);
        let mut half = site.connect();
        half.write_all(b"GET /as").unwrap();
        let mut idle = site.connect();
        idle.write_all(b"GET /assets/a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut stalled = site.connect();
        stalled.write_all(b"GET /assets/large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        site.wait_for("all closed", |site| {
            site.server.stats().timeouts == 3 && site.server.stats().open == 0
        });
        let mut answer = Vec::new();
        idle.read_to_end(&mut answer).unwrap();
        assert_eq!(status(&String::from_utf8_lossy(&answer)), 200);
    }
}

#[test]
fn connections_of_one_peer_and_of_all_are_limited() {
    for (engine, (per_peer, total)) in
        ENGINES.into_iter().flat_map(|engine| [(engine, (3, 100)), (engine, (100, 3))])
    {
        let site =
            site_with(engine, |config| (config.limits.per_peer, config.limits.total) = (per_peer, total));
        site.put("a", 3);
        let held: Vec<_> = (0..3).map(|_| site.connect()).collect();
        site.wait_for("held", |site| site.server.stats().open == 3);
        let mut fourth = site.connect();
        assert_eq!(fourth.read(&mut [0; 1]).unwrap_or(0), 0, "closed at once");
        assert_eq!(site.server.stats().over_limit, 1);
        drop(held);
        site.wait_for("left", |site| site.server.stats().open == 0);
        assert_eq!(status(&site.get("/assets/a", "")), 200);
        // What all did is what each did.
        let (all, each) = (site.server.stats(), site.server.worker_stats());
        assert_eq!(each.iter().map(|stats| stats.accepted).sum::<u64>(), all.accepted);
        assert_eq!((all.accepted, each.len()), (4, std::thread::available_parallelism().unwrap().get()));
    }
}

#[test]
fn a_thousand_kept_connections() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.limits.per_peer = 2000);
        let want = site.put("a", 500);
        let mut streams: Vec<_> = (0..1000).map(|_| site.connect()).collect();
        for _ in 0..3 {
            for stream in &mut streams {
                stream.write_all(b"GET /assets/a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            }
            for stream in &mut streams {
                let mut answer = vec![0; 8192];
                let mut len = 0;
                while !answer[..len].ends_with(&want) {
                    len += stream.read(&mut answer[len..]).unwrap();
                }
                assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
        }
        assert_eq!(site.server.stats().open, 1000);
        drop(streams);
        site.wait_for("all left", |site| site.server.stats().open == 0);
        assert_eq!(site.server.stats().responses, 3000);
    }
}

/// The server of the next test, alone in a process that may have few descriptors: says its address, then its counters
/// whenever asked.
fn serve_for_another_process(engine: &str) {
    let engine = if engine == "Uring" { Choice::Uring } else { Choice::Epoll };
    let site = site_with(engine, |config| config.workers = 1);
    site.put("file", 3);
    site.put("large", 70_000);
    println!("\nat {}", site.server.local_addr());
    for _ in std::io::stdin().lines() {
        println!("pauses {}", site.server.stats().pauses);
    }
}

#[test]
fn accepting_pauses_without_descriptors_and_goes_on() {
    const NAME: &str = "limits::accepting_pauses_without_descriptors_and_goes_on";
    if let Ok(engine) = std::env::var(NAME) {
        return serve_for_another_process(&engine);
    }
    for engine in ENGINES {
        let mut server = Command::new("prlimit");
        server.args(["--nofile=40:40", "--"]).arg(std::env::current_exe().unwrap());
        server.args(["--exact", NAME, "--nocapture"]).env(NAME, format!("{engine:?}"));
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ask = server.stdin.take().unwrap();
        let mut lines = std::io::BufReader::new(server.stdout.take().unwrap()).lines();
        let mut said = |word: &str| -> String {
            lines.find_map(|line| line.unwrap().strip_prefix(word).map(str::to_owned)).unwrap()
        };
        let address: SocketAddr = said("at ").parse().unwrap();
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream
        };
        let get = |stream: &mut TcpStream| {
            stream.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).map(|()| assert_eq!(&answer, b"HTTP/1.1 200 OK"))
        };
        let mut pauses = |ask: &mut dyn Write| -> u64 {
            ask.write_all(b"\n").unwrap();
            said("pauses ").parse().unwrap()
        };

        let mut first = connect();
        first.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut first).1, content(3));
        let start = Instant::now();
        let mut flood: Vec<TcpStream> = (0..60).map(|_| connect()).collect();
        while pauses(&mut ask) < 3 {
            assert!(start.elapsed() < Duration::from_secs(20), "no descriptors left, {engine:?}");
        }
        // Who is connected goes on, whether its file is in memory, was just changed, or has to be opened.
        for (name, size) in [("file", 3), ("large", 70_000), ("file", 3), ("none", 14), ("large", 70_000)] {
            let request = format!("GET /assets/{name} HTTP/1.1\r\nHost: x\r\n\r\n");
            first.write_all(request.as_bytes()).unwrap();
            let (head, body) = read_answer(&mut first);
            let code = if name == "none" { 404 } else { 200 };
            assert_eq!((status(&head), body.len()), (code, size), "{engine:?}, {name}");
        }
        // Asked before the clock is read: however late the answer comes, the time that it took counts.
        let tried = u128::from(pauses(&mut ask));
        let most = start.elapsed().as_millis() / 100 + 2;
        assert!(tried <= most, "it tries ten times in a second, {engine:?}: {tried} of {most}");
        // Of those that wait in the backlog, all are served when others have gone.
        let mut waiting = flood.split_off(30);
        drop(flood);
        for stream in &mut waiting {
            get(stream).unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        }
        drop(ask);
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn start_errors_name_the_object() {
    let site = site(Choice::Auto);
    assert_eq!(site.server.engine(), Running::Uring);
    let again = Config::new(site.server.local_addr());
    let error = Server::start(again, Arc::new(|_| {}), Arc::new(|_| {})).unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    assert_eq!(error.to_string(), format!("HTTP: {}: port in use", site.server.local_addr()));
    site.server.shutdown();
}
