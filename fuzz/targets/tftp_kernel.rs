//! TFTP as the kernel's program does it: its pure self under any sequence of frames, as its maps would remember them.

use std::collections::HashMap;

use netboot_common::limit::Budget;
use netboot_common::maps::{InterfaceValue, Mode};
use netboot_common::packet::Slice;
use netboot_common::tftp::answer::{self, Tables, Work, place};
use netboot_common::tftp::maps::{File, FileKey, FileRef, Serving, SessionKey};
use netboot_common::tftp::session::{Send, Session};
use netboot_common::tftp::stats::Done;
use netboot_common::wire::checksum;
use netboot_common::wire::tftp::{Mode as TftpMode, Packet};

use super::input::Input;

const TIDS: u16 = 0xf000;
const SERVING: Serving = Serving::new(69, TIDS, 1468, 16, Budget::new(0, 0));
const OURS: [u8; 4] = [10, 0, 0, 1];
const SIZE: u32 = 100_001;

struct Site {
    interface: InterfaceValue,
    name: FileKey,
    found: FileRef,
    file: File,
    sessions: HashMap<SessionKey, Session>,
    now: u64,
}

impl Tables for Site {
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue> {
        (vlan == [0, 0]).then_some(&self.interface)
    }

    fn file_of(&self, key: &FileKey) -> Option<&FileRef> {
        (*key == self.name).then_some(&self.found)
    }

    fn file(&self, slot: u16) -> Option<&File> {
        (slot == self.found.slot()).then_some(&self.file)
    }

    fn session(&self, key: &SessionKey) -> Option<&Session> {
        self.sessions.get(key)
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn random(&self) -> u32 {
        self.now as u32
    }
}

/// Frames and pauses.
pub(crate) fn sequence(data: &[u8]) {
    let mut input = Input::new(data);
    let Some(file) = File::new(1, SIZE as usize, &[0, 1]) else { return };
    let Some(name) = FileKey::new("f") else { return };
    let interface = InterfaceValue::new(OURS, 24, [2; 6], Mode::Server, [1, 2], 1500);
    let found = FileRef::new(3, 1);
    let mut site = Site { interface, name, found, file, sessions: HashMap::new(), now: 1_000_000_000_000 };
    let (mut tid, mut last) = (TIDS, 0_u16);
    for _ in 0..400 {
        if input.is_empty() {
            return;
        }
        let ack = |number: u16| [&[0, 4][..], &number.to_be_bytes()].concat();
        let (to, payload) = match input.byte() % 8 {
            0 => (69, [b"\0\x01f\0octet\0", input.string()].concat()),
            1 | 2 => (tid, ack(last)),
            3 => (tid, ack(last.wrapping_sub(input.byte().into()))),
            4 => (input.word(), ack(input.word())),
            5 => {
                site.now += u64::from(input.word()) * 1_000_000;
                continue;
            }
            6 => (tid, input.string().to_vec()),
            _ => (69, input.string().to_vec()),
        };
        let mut bytes = frame(to, &payload);
        if input.byte().is_multiple_of(16) {
            let at = usize::from(input.byte()) % bytes.len();
            bytes[at] = input.byte();
            // Or nearly all of them would be damaged, and left.
            put_checksum(&mut bytes);
        }
        let before = site.sessions.clone();
        let Some((work, done, send)) = run(&mut site, &bytes) else {
            assert!(site.sessions == before, "what is left changes nothing");
            continue;
        };
        let payload = &bytes[work.datagram.payload()..][..work.datagram.length.into()];
        (tid, last) = check(&before, &work, done, send, payload);
    }
}

/// A datagram from 10.0.0.9, port 1000.
fn frame(to: u16, payload: &[u8]) -> Vec<u8> {
    let datagram = 8 + payload.len() as u16;
    let mut frame = [&[2; 6][..], &[4; 6], &[8, 0, 0x45, 0]].concat();
    frame.extend((20 + datagram).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 9]);
    frame.extend(OURS);
    frame.extend([1000_u16, to, datagram, 0].map(u16::to_be_bytes).concat());
    frame.extend(payload);
    put_checksum(&mut frame);
    frame
}

/// Of IPv4.
fn put_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum::finish(checksum::add(0, &frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

fn run(site: &mut Site, bytes: &[u8]) -> Option<(Work, Done, Send)> {
    let packet = Slice { bytes, offloaded_vlan: 0, ifindex: 1 };
    let mut work = Work::NEW;
    work.datagram = answer::read(&packet, site, &SERVING).ok()?;
    answer::answer(&packet, site, &SERVING, &mut work).ok()?;
    let (done, send) = (work.answer.step.done, work.answer.step.send);
    if done != Done::Ignored {
        site.sessions.insert(work.key, work.session);
    }
    Some((work, done, send))
}

/// Our port, and the block that is sent last.
fn check(
    before: &HashMap<SessionKey, Session>,
    work: &Work,
    done: Done,
    send: Send,
    payload: &[u8],
) -> (u16, u16) {
    let session = &work.session;
    if done != Done::Ignored {
        assert!(session.acked() <= session.sent() && SERVING.is_tid(session.port()));
    }
    let (_, length) = place(session.sent().max(1), session.block_size(), SIZE);
    assert!(length <= session.block_size() && session.block_size() <= 1468);
    match send {
        Send::Nothing => {}
        Send::Oack => {
            let Ok(Packet::Read(request)) = Packet::parse(payload) else { return (session.port(), 0) };
            assert_eq!((request.mode, request.filename), (TftpMode::Octet, &b"f"[..]));
            assert!(work.oack.length() > 2);
        }
        Send::Window => {
            assert!(session.sent() > session.acked() && session.sent() - session.acked() <= 16);
            assert!(u32::from(session.sent() - 1) * u32::from(session.block_size()) <= SIZE);
        }
    }
    let was = before.get(&work.key);
    if was.is_some_and(|was| was.acked() == session.acked() && was.port() == session.port())
        && done == Done::Window
    {
        assert_eq!(session.acked(), 0, "only what acknowledges something new gets a new window");
    }
    (session.port(), session.sent())
}
