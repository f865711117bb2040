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

/// A server alone in a process, so that its memory can be measured: says its address, then what it counts whenever asked.
fn serve(engine: &str) {
    let engine = if engine == "Uring" { Choice::Uring } else { Choice::Epoll };
    Budget::raise().unwrap();
    let site = site_with(engine, |config| {
        config.limits.per_peer = 20_000;
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
        println!("counts {} {} {}", kilobytes << 10, stats.open, stats.timeouts + stats.broken);
    }
}

struct Server {
    process: Child,
    ask: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Server {
    fn start(engine: Choice) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", NAME, "--nocapture"]).env(NAME, format!("{engine:?}"));
        let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let ask = process.stdin.take().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let at = lines.find_map(|line| line.unwrap().strip_prefix("at ").map(str::to_owned)).unwrap();
        Self { process, ask, lines, address: at.parse().unwrap() }
    }

    /// Its memory in bytes, its connections, and how many of them ended badly.
    fn counts(&mut self) -> (u64, u64, u64) {
        self.ask.write_all(b"\n").unwrap();
        let said =
            self.lines.find_map(|line| line.unwrap().strip_prefix("counts ").map(str::to_owned)).unwrap();
        let counts: Vec<u64> = said.split(' ').map(|count| count.parse().unwrap()).collect();
        (counts[0], counts[1], counts[2])
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
            let (memory, now, _) = self.counts();
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
    assert_eq!((status(&head), body.len()), (200, 500));
}

#[test]
fn ten_thousand_connections_a_tenth_of_them_slow() {
    if let Ok(engine) = std::env::var(NAME) {
        return serve(&engine);
    }
    // Where fewer descriptors are to be had, fewer connections; a reserve for the tests beside this one.
    let descriptors = Budget::raise().unwrap().limit;
    let all = descriptors.saturating_sub(2000).min(10_000);
    let (senders, fast) = (all / 20, 100.min(all / 20));
    for engine in ENGINES {
        let mut server = Server::start(engine);
        // What is only made once is made now.
        drop((0..64).map(|_| server.kept()).collect::<Vec<_>>());
        let empty = server.wait_for(0);

        let mut idle: Vec<_> = (0..all - senders).map(|_| server.kept()).collect();
        let filled = server.wait_for(idle.len() as u64);
        let each = filled.saturating_sub(empty) / idle.len() as u64;
        assert!(each <= IDLE, "an idle connection takes {each} bytes, {engine:?}");

        let request = b"GET /assets/large HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut sending: Vec<_> = (0..senders).map(|_| server.connect()).collect();
        for stream in &mut sending {
            stream.write_all(request).unwrap();
            // It has begun, and will not get far.
            stream.peek(&mut [0]).unwrap();
        }
        let sends = server.wait_for(all);
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
        for _ in 0..10 {
            idle.iter_mut().rev().take(fast as usize).for_each(small);
        }
        for stream in &mut idle[..slow] {
            stream.write_all(b"ll HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            assert_eq!(read_answer(stream).1.len(), 500, "it was waited for");
        }
        let mut first = sending.swap_remove(0);
        assert_eq!(read_answer(&mut first).1.len(), 8 << 20, "and so was this one");
        assert_eq!(server.counts().2, 0, "nobody was let down");
        drop((idle, sending, first));
        server.wait_for(0);
        drop(server.ask);
        assert!(server.process.wait().unwrap().success());
    }
}
