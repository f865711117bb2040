//! Ten thousand connections, and what each of them costs.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use netboot_userspace::sys::descriptors::Budget;
use netboot_userspace::uring::Choice;

use super::site::*;

const NAME: &str = "load::ten_thousand_connections_a_tenth_of_them_slow";
/// Bytes of memory, the kernel's not among them (TARGETS.md).
const IDLE: u64 = 1024;
const SENDING: u64 = 4096;
/// Of one that asks on and on, and reads nothing.
const FLOODING: u64 = 16 << 10;
/// Where as many are to be had, the server has so many descriptors and no more.
const DESCRIPTORS: u64 = 20_000;
/// Not those of connections: of listeners, rings, folders, files, and of what its runtime has.
const OTHERS: u64 = 100;

/// A server alone in a process, so that its memory can be measured: says its address, then what it counts whenever asked.
fn serve(engine: &str) {
    let engine = if engine == "Uring" { Choice::Uring } else { Choice::Epoll };
    let budget = Budget::raise().unwrap();
    let site = site_with(engine, |config| {
        config.limits.per_peer = 20_000;
        config.limits.total = config.limits.total.min(budget.connections);
        config.limits.open_files = config.limits.open_files.min(budget.bodies);
        let patience = &mut config.limits.patience;
        (patience.head, patience.stall, patience.idle) = [Duration::from_secs(300); 3].into();
    });
    site.put("small", 500);
    site.put("large", 8 << 20);
    println!("\nat {}", site.server.local_addr());
    for _ in std::io::stdin().lines() {
        let stats = site.server.stats();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let kilobytes: u64 = kilobytes.trim().trim_end_matches(" kB").parse().unwrap();
        let (bad, open) = (stats.timeouts + stats.broken + stats.over_limit + stats.pauses, stats.open);
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
        println!("counts {} {open} {bad} {descriptors}", kilobytes << 10);
    }
}

struct Server {
    process: Child,
    ask: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Server {
    fn start(engine: Choice, descriptors: u64) -> Self {
        let mut process = Command::new("prlimit");
        process.arg(format!("--nofile={descriptors}:{descriptors}")).arg("--");
        process.arg(std::env::current_exe().unwrap());
        process.args(["--exact", NAME, "--nocapture"]).env(NAME, format!("{engine:?}"));
        let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let ask = process.stdin.take().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let at = lines.find_map(|line| line.unwrap().strip_prefix("at ").map(str::to_owned)).unwrap();
        Self { process, ask, lines, address: at.parse().unwrap() }
    }

    /// Its memory in bytes, its connections, how many of them ended badly or had no place, and its descriptors.
    fn counts(&mut self) -> [u64; 4] {
        self.ask.write_all(b"\n").unwrap();
        let said =
            self.lines.find_map(|line| line.unwrap().strip_prefix("counts ").map(str::to_owned)).unwrap();
        let counts: Vec<u64> = said.split(' ').map(|count| count.parse().unwrap()).collect();
        counts.try_into().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    fn kept(&self) -> TcpStream {
        let mut stream = self.connect();
        small(&mut stream);
        stream
    }

    /// Until it has so many connections.
    fn wait_for(&mut self, open: u64) -> u64 {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let [memory, now, ..] = self.counts();
            if now == open {
                return memory;
            }
            assert!(Instant::now() < end, "{now} connections, not {open}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn small(stream: &mut TcpStream) {
    stream.write_all(b"GET /assets/small HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (head, body) = read_answer(stream);
    assert_eq!((status(&head), body == content(500)), (200, true));
}

/// Of a file that others are sent meanwhile.
fn part(stream: &mut TcpStream, first: usize) {
    let range = format!("Range: bytes={first}-{}", first + 9999);
    stream.write_all(format!("GET /assets/large HTTP/1.1\r\nHost: x\r\n{range}\r\n\r\n").as_bytes()).unwrap();
    let (head, body) = read_answer(stream);
    let is_right = body.iter().zip(first..).all(|(byte, at)| *byte == content_at(at));
    assert_eq!((status(&head), body.len(), is_right), (206, 10_000, true));
}

/// Asks for more than the server may keep, and reads nothing.
fn flood(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let requests = REQUEST.repeat(2000);
    // What its own socket does not take either is not sent.
    let _ = stream.write(&requests);
}

const REQUEST: &[u8] = b"GET /assets/large HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn ten_thousand_connections_a_tenth_of_them_slow() {
    if let Ok(engine) = std::env::var(NAME) {
        return serve(&engine);
    }
    // Where fewer descriptors are to be had, fewer connections; a reserve for the tests beside this one.
    let limit = Budget::raise().unwrap().limit;
    let descriptors = limit.min(DESCRIPTORS);
    let all = limit.saturating_sub(2000).min(descriptors / 2);
    let (senders, fast) = (all / 20, 100.min(all / 20));
    for engine in ENGINES {
        let mut server = Server::start(engine, descriptors);
        // What is only made once is made now.
        drop((0..64).map(|_| server.kept()).collect::<Vec<_>>());
        let empty = server.wait_for(0);

        let mut idle: Vec<_> = (0..all - senders).map(|_| server.kept()).collect();
        let filled = server.wait_for(idle.len() as u64);
        let each = filled.saturating_sub(empty) / idle.len() as u64;
        assert!(each <= IDLE, "an idle connection takes {each} bytes, {engine:?}");

        let mut sending: Vec<_> = (0..senders).map(|_| server.connect()).collect();
        for stream in &mut sending {
            stream.write_all(REQUEST).unwrap();
            // It has begun, and will not get far.
            stream.peek(&mut [0]).unwrap();
        }
        let sends = server.wait_for(all);
        let [_, _, _, open] = server.counts();
        assert!(open <= all + OTHERS, "a connection is one descriptor, {engine:?}: {open} of {all}");
        let each = sends.saturating_sub(filled) / senders;
        assert!(each <= SENDING, "a connection that is sent to takes {each} bytes, {engine:?}");
        println!(
            "{engine:?}: {} bytes idle, {each} sending",
            filled.saturating_sub(empty) / idle.len() as u64
        );

        // As many again in the middle of a head. Who is quick doesn't notice.
        let slow = senders as usize;
        for stream in &mut idle[..slow] {
            stream.write_all(b"GET /assets/sma").unwrap();
        }
        for round in 0..10 {
            idle.iter_mut().rev().take(fast as usize).for_each(small);
            idle.iter_mut().rev().take(fast as usize).for_each(|stream| part(stream, round * 800_000));
        }
        for stream in &mut idle[..slow] {
            stream.write_all(b"ll HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            assert_eq!(read_answer(stream).1.len(), 500, "it was waited for");
        }
        let mut first = sending.swap_remove(0);
        assert!(read_answer(&mut first).1 == content(8 << 20), "and so was this one");

        let before = server.counts()[0];
        let mut flooding = sending.split_off(sending.len() - fast as usize);
        flooding.iter_mut().for_each(flood);
        // Each worker has been at all of its connections since.
        (0..10).for_each(|_| idle.iter_mut().rev().take(fast as usize).for_each(small));
        let each = server.counts()[0].saturating_sub(before) / fast;
        assert!(each <= FLOODING, "one that asks on takes {each} bytes more, {engine:?}");
        println!("{engine:?}: {each} flooding");
        assert_eq!(server.counts()[2], 0, "nobody was let down");
        drop((idle, sending, first, flooding));
        server.wait_for(0);
        drop(server.ask);
        assert!(server.process.wait().unwrap().success());
    }
}
