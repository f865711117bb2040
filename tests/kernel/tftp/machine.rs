//! The program, and its pure self, against userspace's state machine and its emitters: the same packets for the same client, byte
//! for byte.
//!
//! They differ in one thing, with windows of one block. Userspace never answers a duplicate ACK there (RFC 1123 section 4.2.3.1), for its
//! timer repeats what is lost. The kernel has none: it answers an ACK that is too late to be an echo, with what userspace's timer would
//! have sent by then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use netboot_common::wire::tftp::{Granted, Packet, data_header};
use netboot_userspace::tftp::Limits;
use netboot_userspace::tftp::again::packets;
use netboot_userspace::tftp::machine::{Send, Step, Transfer};

use super::frames::{Draft, ack, rrq, sound};
use super::lab::{Bench, LISTEN, Made, Pure, TIDS, files};
use crate::site::{self, RESERVED};

const PORT: u16 = 2070;
const NOW: u64 = 1_000_000_000_000;
const MS: u64 = 1_000_000;
/// How long answers take, one after the other.
const TAKES: [u64; 5] = [2 * MS, 7 * MS, MS, 40 * MS, 3 * MS];
/// When an ACK is repeated, after what the one before it was answered with: echoes, and ACKs of clients that miss something.
const AGAIN: [u64; 6] = [0, MS, 5 * MS, 20 * MS, 110 * MS, 400 * MS];

/// Userspace's machine, with what the worker around it does.
struct Userspace {
    transfer: Transfer,
    content: Arc<[u8]>,
    is_over: bool,
}

impl Userspace {
    fn begin(request: &[u8], content: Arc<[u8]>) -> (Self, Vec<Vec<u8>>) {
        let Ok(Packet::Read(read)) = Packet::parse(request) else { panic!("a request") };
        let now = Duration::from_nanos(NOW);
        // The kernel has no clock to wait by between the parts of a window.
        let limits = Limits { paced: false, ..Limits::default() };
        let (transfer, step) = Transfer::new(&read, content.len() as u64, limits, now);
        let this = Self { transfer, content, is_over: false };
        let sent = this.packets(&step);
        (this, sent)
    }

    fn datagram(&mut self, datagram: &[u8], now: u64) -> Vec<Vec<u8>> {
        if self.is_over {
            return Vec::new();
        }
        let step = self.transfer.datagram(datagram, Duration::from_nanos(now));
        self.is_over = step.end.is_some();
        self.packets(&step)
    }

    fn has_windows(&self) -> bool {
        self.transfer.granted().window_size.is_some_and(|blocks| blocks > 1)
    }

    /// What its timer would send.
    fn outstanding(&self) -> Vec<Vec<u8>> {
        let send = self.transfer.outstanding().map_or(Send::Nothing, Send::Blocks);
        self.packets(&Step { send, end: None })
    }

    /// Its timer goes until `now`.
    fn wait(&mut self, now: u64) {
        while !self.is_over && self.transfer.deadline() <= Duration::from_nanos(now) {
            self.is_over = self.transfer.timer(self.transfer.deadline()).end.is_some();
        }
    }

    fn packets(&self, step: &Step) -> Vec<Vec<u8>> {
        match &step.send {
            Send::Nothing => Vec::new(),
            Send::Oack => {
                let mut bytes = [0; Granted::MAX];
                let length = self.transfer.granted().emit(&mut bytes);
                vec![bytes[..length].to_vec()]
            }
            Send::Blocks(blocks) => {
                let data = |block| {
                    let (at, length) = self.transfer.place(block);
                    let head = data_header(self.transfer.wire_number(block));
                    [&head[..], &self.content[at as usize..][..length]].concat()
                };
                blocks.clone().map(data).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

/// One whole transfer by `run`, which gets frames and when they came, and by userspace; the block numbers in `doubtful` are acknowledged
/// before those behind them, and each ACK is repeated after each of `repeated`. How many of these were answered, and how many were not.
fn compare(
    mut run: impl FnMut(&[u8], u64) -> Made,
    (name, content): &(String, Arc<[u8]>),
    strings: &[&str],
    doubtful: &[u16],
    repeated: &[u64],
) -> [usize; 2] {
    let mut payloads = |to: u16, payload: Vec<u8>, now: u64| -> (u16, Vec<Vec<u8>>) {
        let frame = Draft::new([0, 0], RESERVED, [PORT, to], payload).frame();
        let (_, frames) = run(&frame, now).unwrap_or_else(|leave| panic!("{name}: {leave:?}"));
        let sound: Vec<_> = frames.iter().map(|frame| sound(frame)).collect();
        (sound.first().map_or(to, |(ports, _)| ports[0]), sound.into_iter().map(|(_, p)| p).collect())
    };
    let request = rrq(name, strings);
    let (tid, mut kernel) = payloads(LISTEN, request.clone(), NOW);
    let (mut userspace, mut wanted) = Userspace::begin(&request, content.clone());
    let mut doubtful: VecDeque<u16> = doubtful.iter().copied().collect();
    let (mut got, mut acked, mut now, mut again) = (Vec::new(), 0, NOW, [0; 2]);
    let mut takes = TAKES.into_iter().cycle();
    loop {
        assert_eq!(kernel, wanted, "{name}: {strings:?} after {} bytes", got.len());
        let Some(last) = kernel.last() else { break };
        let mut block = if last[1] == 6 { 0 } else { u16::from_be_bytes([last[2], last[3]]) };
        while let Some(early) = doubtful.pop_front_if(|early| *early < block) {
            block = if early > acked { early } else { block };
        }
        acked = block;
        for data in kernel.iter().filter(|packet| packet[1] == 3) {
            let number = u16::from_be_bytes([data[2], data[3]]);
            if number <= block {
                got.extend_from_slice(&data[4..]);
            }
        }
        now += takes.next().expect("for ever");
        (kernel, wanted) = (payloads(tid, ack(block), now).1, userspace.datagram(&ack(block), now));
        // The first windows tell enough.
        for after in repeated.iter().filter(|_| block < 40 && !kernel.is_empty()) {
            now += after;
            let (kernel, mut wanted) =
                (payloads(tid, ack(block), now).1, userspace.datagram(&ack(block), now));
            if !userspace.has_windows() {
                assert!(wanted.is_empty(), "{name}: {strings:?}: duplicate ACK {block}");
                wanted = if kernel.is_empty() { wanted } else { userspace.outstanding() };
            }
            assert_eq!(kernel, wanted, "{name}: {strings:?}: ACK {block} again after {after} ns");
            again[usize::from(kernel.is_empty())] += 1;
        }
    }
    assert!(got == content[..], "{name}: {strings:?}");
    again
}

/// What clients ask for.
const OPTIONS: [&[&str]; 8] = [
    &[],
    &["tsize", "0"],
    &["blksize", "1432", "tsize", "0"],
    &["blksize", "1468", "windowsize", "4", "tsize", "0"],
    &["windowsize", "16", "blksize", "1467"],
    &["windowsize", "65535", "timeout", "3"],
    &["blksize", "65464", "timeout", "17", "windowsize", "5"],
    &["blksize", "9", "windowsize", "16"],
];

/// Each file with all options, in order and with ACKs inside windows.
fn each_transfer(mut transfer: impl FnMut(&(String, Arc<[u8]>), &[&str], &[u16])) {
    for file in files() {
        for options in OPTIONS {
            let strings = [&["octet"], options].concat();
            // As many blocks as there are numbers, and no more, are the kernel's.
            if options.contains(&"9") && file.1.len() >= 9 * 65_535 {
                continue;
            }
            for doubtful in [&[][..], &[2, 5, 6, 30]] {
                transfer(&file, &strings, doubtful);
            }
        }
    }
}

#[test]
fn tftp_in_the_kernel_equals_userspace_s_machine() {
    let mut again = [0; 2];
    each_transfer(|file, strings, doubtful| {
        let mut pure = Pure::new();
        let run = |frame: &[u8], now| pure.run(frame, now, TIDS + 7);
        let [answered, echoes] = compare(run, file, strings, doubtful, &AGAIN);
        again = [again[0] + answered, again[1] + echoes];
    });
    assert!(again.iter().all(|count| *count > 500), "answered, and echoes: {again:?}");
}

#[test]
fn what_userspace_sends_again_is_what_the_kernel_sent() {
    let (mut compared, mut oacks) = (0, 0);
    each_transfer(|file, strings, doubtful| {
        let mut pure = Pure::new();
        let run = |frame: &[u8], now| {
            let made = pure.run(frame, now, TIDS + 7);
            let Ok((_, frames)) = &made else { return made };
            let sent: Vec<_> = frames.iter().map(|frame| sound(frame).1).collect();
            let session = pure.sessions.values().next().expect("it is remembered");
            let mut again = Vec::new();
            packets(session, &file.1, |packet| again.push(packet.to_vec()));
            assert_eq!(again, sent, "{}: {strings:?}", file.0);
            assert_eq!(session.own(), site::our_address([0, 0]));
            compared += sent.len();
            oacks += usize::from(sent.first().is_some_and(|packet| packet[1] == 6));
            made
        };
        compare(run, file, strings, doubtful, &[]);
    });
    assert!(compared > 10_000 && oacks > 100, "{compared} packets, {oacks} OACKs");
}

/// How long their client waits between ACKs that it repeats.
const WAITS: [u64; 4] = [250 * MS, 1000 * MS, 4000 * MS, 40_000 * MS];

#[test]
fn what_does_not_get_through_ends_in_the_kernel_when_it_does_in_userspace() {
    let file = files().into_iter().find(|(_, content)| content.len() == 65_535).expect("one of them");
    for strings in [&["octet"][..], &["octet", "windowsize", "4"]] {
        for wait in WAITS {
            let (mut pure, request) = (Pure::new(), rrq(&file.0, strings));
            let (mut userspace, _) = Userspace::begin(&request, file.1.clone());
            let from = |to, payload| Draft::new([0, 0], RESERVED, [PORT, to], payload).frame();
            pure.run(&from(LISTEN, request), NOW, TIDS + 7).expect("it is the kernel's");
            let block = u16::from(strings.len() == 1);
            let (mut now, mut answered) = (NOW + MS, 0);
            for _ in 0..200 {
                let (done, frames) = pure.run(&from(TIDS + 7, ack(block)), now, TIDS).expect("it is known");
                let kernel: Vec<_> = frames.iter().map(|frame| sound(frame).1).collect();
                let wanted = userspace.datagram(&ack(block), now);
                match userspace.has_windows() {
                    true => assert_eq!(kernel, wanted, "{strings:?}: {wait} ns: {done:?}"),
                    false => userspace.wait(now),
                }
                answered += usize::from(!kernel.is_empty());
                now += wait;
            }
            let most = 1 + 5.max(15_000 * MS / wait) as usize;
            assert!((6..=most).contains(&answered), "{strings:?}: {wait} ns: {answered}");
            assert!(userspace.is_over, "{strings:?}: {wait} ns");
        }
    }
}

/// Its clock is not ours: no ACK is repeated here.
#[test]
fn every_block_of_every_window_from_the_kernel_is_userspace_s() {
    let bench = Bench::new();
    let mut windows = 0;
    each_transfer(|file, strings, doubtful| {
        let run = |frame: &[u8], _| {
            let made = bench.run(frame);
            windows += usize::from(made.as_ref().is_ok_and(|(_, frames)| frames.len() == 16));
            made
        };
        compare(run, file, strings, doubtful, &[]);
    });
    assert!(windows > 1000, "windows of 16 blocks: {windows}");
}
