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
/// What one transfer may take of memory, in bytes; with the pools that all share, and before they are warm.
const MOST: usize = 2048;

#[test]
fn fifteen_thousand_at_once_with_few_descriptors_end_and_cost_little() {
    if std::env::var_os(INSIDE).is_some() {
        return [Choice::Uring, Choice::Epoll].into_iter().for_each(run);
    }
    let program = std::env::current_exe().unwrap();
    let mut inside = Command::new("prlimit");
    inside.arg(DESCRIPTORS).arg("--").arg(program).args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1");
    let output = inside.output().unwrap();
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && told[0].contains("1 passed"), "{}", told.concat());
}

fn run(engine: Choice) {
    let mut config = Config::new((Ipv4Addr::UNSPECIFIED, 0).into());
    (config.workers, config.engine) = (2, engine);
    // Nothing is repeated while the others come.
    config.limits.timeout = Duration::from_secs(16);
    let want: Arc<[u8]> = (0..1200).map(|at: u32| (at * 7 / 3) as u8).collect();
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

    crowd.pass(0..CLIENTS, 4);
    for _ in 0..CLIENTS {
        assert_eq!(ended.recv_timeout(Duration::from_secs(20)).unwrap().outcome, Outcome::Done);
    }
    let stats = server.stats();
    assert_eq!((stats.active, stats.done, stats.failed), (0, CLIENTS as u64, 0), "{stats:?}");
    assert!(crowd.ports.len() > 32, "they share what ports there are: {}", crowd.ports.len());
    server.shutdown();
}

/// All clients: what each waits for next, and from which port.
struct Crowd {
    socket: OwnedFd,
    port: u16,
    want: Arc<[u8]>,
    clients: Vec<(u16, SocketAddr)>,
    ports: HashSet<u16>,
}

/// So many of them wait for an answer at a time.
const AT_ONCE: usize = 64;

impl Crowd {
    fn new(port: u16, want: Arc<[u8]>) -> Self {
        let socket = net::udp_port((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let request = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { socket, port, want, clients: vec![(1, request); CLIENTS], ports: HashSet::new() }
    }

    /// Takes these to where they wait for this block: those of a file of three, each of which they ask for, or acknowledge the one
    /// before.
    fn pass(&mut self, which: std::ops::Range<usize>, until: u16) {
        let (mut next, mut under_way) = (which.start, 0);
        let end = Instant::now() + Duration::from_secs(120);
        while next < which.end || under_way > 0 {
            assert!(Instant::now() < end, "{next} of {which:?}, {under_way} under way");
            while under_way < AT_ONCE && next < which.end {
                under_way += usize::from(self.send(next, until));
                next += 1;
            }
            while let Some(client) = self.receive() {
                under_way -= usize::from(!self.send(client, until));
            }
        }
    }

    /// Asks for the next block; whether there is more to come for it.
    fn send(&self, client: usize, until: u16) -> bool {
        let (block, to) = self.clients[client];
        let bytes = match block {
            1 => b"\0\x01file\0octet\0".to_vec(),
            _ => [[0, 4], (block - 1).to_be_bytes()].concat(),
        };
        // The last ACK is sent, and nothing comes of it.
        if block < until || block == 4 {
            let outgoing = Outgoing { from: Some((address(client), 0).into()), ..Outgoing::to(to) };
            datagram::send(&self.socket, &bytes, &outgoing).unwrap();
        }
        block < until
    }

    /// Who has got the block that it waits for.
    fn receive(&mut self) -> Option<usize> {
        let mut buffer = [0; 1024];
        let (length, from, to) = datagram::receive(&self.socket, &mut buffer).ok()?;
        let (Some(from), Destination::Own(own, _)) = (from, to) else { panic!("{from:?} {to:?}") };
        let IpAddr::V4(own) = own.ip() else { panic!("{own}") };
        let client = (own.to_bits() - address(0).to_bits()) as usize;
        let (block, transfer) = &mut self.clients[client];
        assert!(from.port() != self.port && (*block == 1 || from == *transfer), "{from} to {client}");
        let at = usize::from(*block - 1) * 512;
        let want = &self.want[at..(at + 512).min(self.want.len())];
        assert_eq!(buffer[..4], [[0, 3], block.to_be_bytes()].concat(), "{client}");
        assert!(buffer[4..length] == *want, "{client}: block {block}");
        (*block, *transfer) = (*block + 1, from);
        self.ports.insert(from.port());
        Some(client)
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
