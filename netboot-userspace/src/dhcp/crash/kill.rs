//! `kill -9` of a process that leases: a second copy of this test's own, which says on a pipe what left it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::judge::{Client, Judge, Said};
use super::load::{Clients, Random, plan, server};
use crate::store::{Clock, Store};

const ROUNDS: u64 = 200;
/// Unix time of the run's begin.
const BEGIN: u64 = 1_800_000_000;
/// Folder, seed and time of the run that a child is to make.
const CHILD: &str = "NETBOOT_TEST_CRASH";

#[test]
fn no_acked_lease_is_lost_or_given_twice_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut judge, mut random, mut time) = (Judge::default(), Random::new(1), BEGIN);
    for round in 0..ROUNDS {
        let believed = judge.believed(time).into_iter().map(|(client, ip)| format!("{client} {ip}\n"));
        std::fs::write(folder.path().join("clients"), believed.collect::<String>()).unwrap();
        let mut child = Running::start(folder.path(), round, time);
        // Before the first ACK, too: while it opens the store.
        let enough = judge.acked + random.below(120) as usize;
        child.wait_a_little(random.below(20) * u64::from(round % 10 == 0));
        while judge.acked < enough {
            judge.hear(child.next().expect("it says what it does until it is killed"));
        }
        child.kill();
        // What left before the signal is in the pipe.
        while let Some(said) = child.next() {
            judge.hear(said);
        }
        // A child's time goes on by itself for as long as it runs.
        time += 60;
        let store = Store::open(folder.path()).unwrap();
        assert!(store.replaced().is_none() && store.notices().is_empty(), "{store:?}");
        judge.compare(&store.leases().unwrap(), time);
        time += random.below(3000);
    }
    assert!(judge.acked > 5_000, "{}", judge.acked);
}

/// A child, whose lines a thread reads, so that it never waits for us.
struct Running {
    child: Child,
    lines: Receiver<Said>,
}

impl Running {
    fn start(folder: &Path, seed: u64, time: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "dhcp::crash::kill::the_process_that_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, format!("{} {seed} {time}", folder.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (say, lines) = channel();
        std::thread::spawn(move || {
            let said = output.lines().map_while(Result::ok).filter_map(|line| line.parse().ok());
            said.take_while(|said| say.send(*said).is_ok()).for_each(drop);
        });
        Self { child, lines }
    }

    fn wait_a_little(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    fn next(&self) -> Option<Said> {
        self.lines.recv().ok()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Killed already, but for a test that fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the child of the test above, which kills it"]
fn the_process_that_is_killed() {
    let orders = std::env::var(CHILD).unwrap();
    let [folder, seed, time] = orders.split(' ').collect::<Vec<_>>()[..] else { panic!("{orders}") };
    let (seed, time): (u64, u64) = (seed.parse().unwrap(), time.parse().unwrap());
    let believed = std::fs::read_to_string(Path::new(folder).join("clients")).unwrap();
    let believed: HashMap<Client, Ipv4Addr> = believed
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(client, ip)| (client.parse().unwrap(), ip.parse().unwrap()))
        .collect();
    let server = server(plan(), Store::open(Path::new(folder)).unwrap(), Clock::starting_at(time));
    // Two interfaces of one relay agent: two threads, one pool.
    std::thread::scope(|scope| {
        for first in 0..2 {
            let (server, mut clients) = (&server, Clients::new(seed, first, 2, &believed));
            scope.spawn(move || {
                loop {
                    clients.batch(server, &mut say);
                }
            });
        }
    });
}

/// In one write, so that a line is said whole or not at all.
fn say(said: Said) {
    let line = format!("{said}\n");
    assert_eq!(rustix::io::write(std::io::stdout(), line.as_bytes()).unwrap(), line.len());
}
