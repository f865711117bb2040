//! A crowd of clients at once, with few descriptors, in a process of its own: one socket of many addresses is all of them.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Instant;

use super::*;
use crate::sys::datagram::{self, Destination, Outgoing};

/// The process that this test starts has it.
const INSIDE: &str = "NETBOOT_TEST_CROWD";
const NAME: &str = "tftp::tests::crowd::fifteen_thousand_at_once_with_few_descriptors_end_and_cost_little";
const DESCRIPTORS: &str = "--nofile=1024:1024";
const CLIENTS: usize = 15_000;
/// What one transfer may take of memory, in bytes, with its part of the pools that all share: the figure of the operator's book.
const MOST: usize = 1000;

#[test]
fn fifteen_thousand_at_once_with_few_descriptors_end_and_cost_little() {
    match std::env::var(INSIDE).as_deref() {
        Ok("epoll") => return run(Choice::Epoll),
        Ok(_) => return run(Choice::Uring),
        Err(_) => {}
    }
    for engine in ["io_uring", "epoll"] {
        let program = std::env::current_exe().unwrap();
        let mut inside = Command::new("prlimit");
        inside.arg(DESCRIPTORS).arg("--").arg(program).args(["--exact", NAME, "--nocapture"]);
        let output = inside.env(INSIDE, engine).output().unwrap();
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success() && told[0].contains("1 passed"), "{}", told.concat());
    }
}

fn run(engine: Choice) {
    let mut config = Config::new((Ipv4Addr::UNSPECIFIED, 0).into());
    (config.workers, config.engine) = (2, engine);
    // Nothing is repeated while the others come.
    config.limits.timeout = Duration::from_secs(16);
    let want: Arc<[u8]> = (0..16 * 1468 + 300).map(|at: u32| (at * 7 / 3) as u8).collect();
    config.files = vec![("file".to_owned(), want.clone())];
    let (events, ended) = mpsc::channel();
    let server = Server::start(config, Arc::new(move |event| events.send(event).unwrap())).unwrap();

    let mut crowd = Crowd::new(server.local_addr().port(), want);
    // One comes before what is measured: the first costs what all share.
    crowd.pass(0..1, 2);
    let (memory, open) = (resident(), descriptors());
    crowd.pass(1..CLIENTS, 2);
    let stats = server.stats();
    assert_eq!((stats.active, stats.requests), (CLIENTS as u64, CLIENTS as u64), "{stats:?}");
    assert_eq!(descriptors(), open, "a transfer takes none");
    let each = resident().saturating_sub(memory) / CLIENTS;
    assert!(each <= MOST, "{each} bytes for each, {engine:?}");
    println!("{engine:?}: {each} bytes for each transfer");

    crowd.pass(0..CLIENTS, 3);
    for _ in 0..CLIENTS {
        assert_eq!(ended.recv_timeout(Duration::from_secs(20)).unwrap().outcome, Outcome::Done);
    }
    let stats = server.stats();
    assert_eq!((stats.active, stats.done, stats.failed), (0, CLIENTS as u64, 0), "{stats:?}");
    assert!(crowd.ports.len() > 32, "they share what ports there are: {}", crowd.ports.len());
    server.shutdown();
}

/// All clients, and the ports that they hear from.
struct Crowd {
    socket: OwnedFd,
    port: u16,
    want: Arc<[u8]>,
    clients: Vec<Client>,
    ports: HashSet<u16>,
}

#[derive(Clone, Copy)]
struct Client {
    /// What it asks for next: the file, the first window, what is behind it.
    step: usize,
    /// The block that comes next.
    block: u16,
    transfer: SocketAddr,
}

impl Client {
    /// Whether it has had this before: where this machine is slow, a window is sent again before its turn has come.
    fn has(&self, datagram: &[u8]) -> bool {
        match datagram {
            [0, 6, ..] => self.block > 0,
            [0, 3, high, low, ..] => u16::from_be_bytes([*high, *low]) < self.block,
            _ => false,
        }
    }
}

/// What it says in each step, and at the end.
const SAYS: [&[u8]; 4] = [
    b"\0\x01file\0octet\0blksize\x001468\0windowsize\x0016\0",
    b"\0\x04\0\0",
    b"\0\x04\0\x10",
    b"\0\x04\0\x11",
];
/// With which block each step is over.
const LAST: [u16; 3] = [0, 16, 17];
/// So many of them wait for an answer at a time.
const AT_ONCE: usize = 256;

impl Crowd {
    fn new(port: u16, want: Arc<[u8]>) -> Self {
        let socket = net::udp_port((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let client = Client { step: 0, block: 0, transfer: (Ipv4Addr::LOCALHOST, port).into() };
        Self { socket, port, want, clients: vec![client; CLIENTS], ports: HashSet::new() }
    }

    /// Takes these through the steps before this one; whoever has done the last says so.
    fn pass(&mut self, which: std::ops::Range<usize>, until: usize) {
        let (mut next, mut under_way) = (which.start, 0);
        let end = Instant::now() + Duration::from_secs(120);
        while next < which.end || under_way > 0 {
            assert!(Instant::now() < end, "{next} of {which:?}, {under_way} under way");
            while under_way < AT_ONCE && next < which.end {
                under_way += usize::from(self.go_on(next, until));
                next += 1;
            }
            while let Some(client) = self.receive() {
                under_way -= usize::from(!self.go_on(client, until));
            }
        }
    }

    /// Whether there is a step to do, which begins.
    fn go_on(&self, client: usize, until: usize) -> bool {
        let Client { step, transfer, .. } = self.clients[client];
        if step < until || step == LAST.len() {
            let outgoing = Outgoing { from: Some((address(client), 0).into()), ..Outgoing::to(transfer) };
            datagram::send(&self.socket, SAYS[step], &outgoing).unwrap();
        }
        step < until
    }

    /// Who has done a step.
    fn receive(&mut self) -> Option<usize> {
        loop {
            let mut buffer = [0; 2048];
            let (length, from, to) = datagram::receive(&self.socket, &mut buffer).ok()?;
            let (Some(from), Destination::Own(own, _)) = (from, to) else { panic!("{from:?} {to:?}") };
            let IpAddr::V4(own) = own.ip() else { panic!("{own}") };
            let client = (own.to_bits() - address(0).to_bits()) as usize;
            let datagram = &buffer[..length];
            if self.clients[client].has(datagram) {
                continue;
            }
            self.check(client, from, datagram);
            let Client { step, block, .. } = &mut self.clients[client];
            *block += 1;
            if *block > LAST[*step] {
                *step += 1;
                return Some(client);
            }
        }
    }

    fn check(&mut self, client: usize, from: SocketAddr, datagram: &[u8]) {
        let Client { block, transfer, .. } = &mut self.clients[client];
        if *block == 0 {
            assert_ne!(from.port(), self.port);
            assert_eq!(datagram, b"\0\x06blksize\x001468\0windowsize\x0016\0", "{client}");
            *transfer = from;
            self.ports.insert(from.port());
            return;
        }
        let at = usize::from(*block - 1) * 1468;
        let want = &self.want[at..(at + 1468).min(self.want.len())];
        assert_eq!(
            (from, &datagram[..4]),
            (*transfer, &[[0, 3], block.to_be_bytes()].concat()[..]),
            "{client}"
        );
        assert!(datagram[4..] == *want, "{client}: block {block}");
    }
}

fn address(client: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + client as u32)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
