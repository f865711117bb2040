//! The compiled program against its pure self: the same verdicts, the same bytes, in sequences of datagrams in which each depends on
//! those before.

use std::collections::HashMap;

use netboot_common::tftp::maps::SessionKey;
use netboot_common::tftp::session::Session;
use netboot_userspace::fastpath::files::Files;

use super::frames::{Draft, ack, add_checksum, error, rrq, sound};
use super::lab::{Bench, LISTEN, Made, Pure, TIDS, files};
use crate::differential::hex;
use crate::generator::Random;
use crate::site::VLANS;

/// Datagrams, unless told.
const DATAGRAMS: u64 = 30_000;
/// Nanoseconds by which the two clocks may differ: whether a datagram comes late is the program's to say within them.
const SLACK: u64 = 2_000_000;

#[test]
fn tftp_in_the_kernel_equals_the_pure_program() {
    let asked = std::env::var("NETBOOT_DIFFERENTIAL_FRAMES").ok();
    let datagrams = asked.map_or(DATAGRAMS, |asked| asked.parse().expect("a number"));
    let (mut bench, mut pure) = (Bench::new(), Pure::new());
    let mut clients = Clients::new();
    let (mut sent, mut windows) = (0, 0);
    for i in 0..datagrams {
        let (client, frame) = clients.datagram();
        let (begin, kernel) = (now(), bench.run(&frame));
        // The port that it chose, for one that it had not heard before.
        let port = kernel.as_ref().ok().and_then(|(_, frames)| Some(sound(frames.last()?).0[0]));
        let before = pure.sessions.clone();
        let mut wanted = pure.run(&frame, begin - SLACK, port.unwrap_or(TIDS));
        let mut records = records(&pure.sessions, &before, bench.files());
        if wanted != kernel || !is_as(&records) {
            pure.sessions = before.clone();
            wanted = pure.run(&frame, now() + SLACK, port.unwrap_or(TIDS));
            records = self::records(&pure.sessions, &before, bench.files());
        }
        assert!(is_as(&records), "datagram {i}: {}: remembered, and to be: {records:?}", hex(&frame));
        // When something was sent is not to be known exactly, nor what follows from it.
        for (key, [there, _]) in records {
            pure.sessions.insert(key, there.expect("it is as the pure one"));
        }
        sent += u64::from(port.is_some());
        windows += u64::from(kernel.as_ref().is_ok_and(|(_, frames)| frames.len() > 1));
        assert!(
            kernel == wanted,
            "datagram {i}: {}\n got {}\nwant {}",
            hex(&frame),
            told(&kernel),
            told(&wanted)
        );
        if let Ok((_, frames)) = &wanted {
            frames.iter().for_each(|frame| drop(sound(frame)));
            clients.heard(client, frames);
        }
    }
    assert!(sent > datagrams / 4, "only {sent} of {datagrams} were answered");
    assert!(windows > datagrams / 40, "only {windows} windows of several blocks");
    println!("{sent} answers, {windows} of them of several blocks, and {} others agree", datagrams - sent);
}

/// What the program remembers, and what its pure self does, of each transfer that this changed.
type Records = Vec<(SessionKey, [Option<Session>; 2])>;

fn records(
    pure: &HashMap<SessionKey, Session>,
    before: &HashMap<SessionKey, Session>,
    files: &Files,
) -> Records {
    let changed = pure.iter().filter(|(key, session)| before.get(key) != Some(session));
    changed.map(|(key, session)| (*key, [files.session(key), Some(*session)])).collect()
}

/// But for when it was.
fn is_as(records: &Records) -> bool {
    let is_as = |[there, pure]: &[Option<Session>; 2]| Some(there.as_ref()?.is_as(pure.as_ref()?));
    records.iter().all(|(_, both)| is_as(both) == Some(true))
}

fn told(made: &Made) -> String {
    match made {
        Ok((done, frames)) => {
            let frames: Vec<String> = frames.iter().map(|frame| hex(frame)).collect();
            format!("{done:?}: {}", frames.join("\n     "))
        }
        Err(leave) => format!("{leave:?}"),
    }
}

/// Of the boot-time clock, nanoseconds.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Clients that mostly do what they should.
struct Clients {
    random: Random,
    names: Vec<String>,
    each: Vec<Client>,
}

#[derive(Clone, Default)]
struct Client {
    vlan: [u16; 2],
    number: u8,
    port: u16,
    /// Ours.
    tid: u16,
    /// The block that it got last.
    block: u16,
}

impl Clients {
    fn new() -> Self {
        let each = (0..40).map(|i| Client {
            vlan: VLANS[i % VLANS.len()],
            number: (i % 7) as u8,
            port: 2000 + i as u16,
            ..Client::default()
        });
        let mut names: Vec<String> = files().into_iter().map(|(name, _)| name).collect();
        names.push("nothing".to_owned());
        Self { random: Random::new(0x7466_7470_0000_0001), names, each: each.collect() }
    }

    fn datagram(&mut self) -> (usize, Vec<u8>) {
        let which = self.random.below(self.each.len() as u64) as usize;
        let client = self.each[which].clone();
        let draft = |to, payload| Draft::new(client.vlan, client.number, [client.port, to], payload);
        let mut draft = match self.random.below(10) {
            0 | 1 => draft(LISTEN, self.request()),
            2 => draft(
                client.tid,
                ack(client.block.wrapping_add(self.random.below(20) as u16).wrapping_sub(9)),
            ),
            3 if self.random.below(8) == 0 => draft(client.tid, error(5)),
            _ => draft(client.tid, ack(client.block)),
        };
        match self.random.below(40) {
            0 => draft.source[3] = [0, 1, 255, 99][self.random.below(4) as usize],
            1 => draft.destination[3] ^= 1,
            2 => draft.ports[1] = TIDS.wrapping_add(self.random.below(300) as u16),
            3 => draft.payload.truncate(self.random.below(12) as usize),
            4 => draft.payload[1] = self.random.below(8) as u8,
            5 => draft.destination_mac[5] ^= 1,
            6 => draft.source_mac[5] ^= 1,
            _ => {}
        }
        let mut frame = draft.frame();
        if self.random.below(2) == 0 {
            add_checksum(&mut frame, 4 * draft.vlan.iter().filter(|vid| **vid != 0).count());
        }
        match self.random.below(60) {
            // A test run takes no shorter ones.
            0 => frame.truncate(34 + self.random.below(26) as usize),
            1 => frame[14] = 0x46,
            2 => frame[20] = 0x20,
            3 => frame[23] = 6,
            // Damaged, or changed where it has no checksum.
            4 | 5 => {
                let at = 50 + self.random.below(10) as usize;
                frame[at] ^= 1 << self.random.below(8);
            }
            _ => {}
        }
        (which, frame)
    }

    fn request(&mut self) -> Vec<u8> {
        let name = self.names[self.random.below(self.names.len() as u64) as usize].clone();
        let name = if self.random.below(4) == 0 { format!("/{name}") } else { name };
        let mut strings =
            vec![["octet", "OCTET", "netascii"][(self.random.below(20) / 9) as usize].to_owned()];
        let options = ["blksize", "BLKSIZE", "windowsize", "tsize", "timeout", "multicast"];
        for _ in 0..self.random.below(5) {
            strings.push(options[self.random.below(6) as usize].to_owned());
            let value = [0, 1, 8, 9, 300, 511, 512, 1024, 1431, 1432, 1468, 1469, 9000, 65535, 65536];
            strings.push(value[self.random.below(15) as usize].to_string());
        }
        let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
        rrq(&name, &strings)
    }

    /// It takes in what was sent to it.
    fn heard(&mut self, which: usize, frames: &[Vec<u8>]) {
        let Some(([tid, to], payload)) = frames.last().map(|frame| sound(frame)) else { return };
        let client = &mut self.each[which];
        assert_eq!(to, client.port);
        client.tid = tid;
        client.block = if payload[1] == 3 { u16::from_be_bytes([payload[2], payload[3]]) } else { 0 };
    }
}
