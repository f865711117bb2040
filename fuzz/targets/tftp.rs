//! TFTP: requests, and the machine of a transfer under any sequence of datagrams.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netboot_common::wire::tftp::{Granted, Packet, Request};
use netboot_userspace::tftp::machine::{End, Limits, Send, Step, Transfer};
use netboot_userspace::tftp::names::Candidates;

use super::input::Input;

/// Any datagram at the request port.
pub(crate) fn request(data: &[u8]) {
    let Ok(Packet::Read(request)) = Packet::parse(data) else { return };
    if let Ok(names) = Candidates::parse(request.filename) {
        for name in names.iter() {
            let parts: Vec<&str> = name.split('/').collect();
            assert!(!parts.iter().any(|part| ["", ".", ".."].contains(part)), "{name:?}");
            assert!(!name.chars().any(char::is_control) && !name.contains('\\'), "{name:?}");
        }
    }
    let (transfer, _) = Transfer::new(client(), &request, 1 << 20, Limits::default(), Duration::ZERO);
    check_granted(&request, transfer.granted());
}

fn check_granted(request: &Request<'_>, granted: &Granted) {
    let within = |granted: Option<u16>, asked: Option<u16>| match (granted, asked) {
        (Some(granted), Some(asked)) => granted <= asked && granted > 0,
        (granted, _) => granted.is_none(),
    };
    assert!(within(granted.block_size, request.block_size), "{request:?}: {granted:?}");
    assert!(granted.block_size.is_none_or(|size| size >= 8));
    assert!(within(granted.window_size, request.window_size), "{request:?}: {granted:?}");
    assert!(granted.timeout.is_none() || granted.timeout == request.timeout);
    assert!(granted.transfer_size.is_none() || request.transfer_size);
    let mut oack = [0; Granted::MAX];
    let length = granted.emit(&mut oack);
    assert!(length <= oack.len());
}

fn client() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1000).into()
}

/// What the client has got, and what we have sent to it.
struct Session {
    transfer: Transfer,
    blocks: u64,
    /// Highest block that was sent.
    sent: u64,
    /// Packets before the client's first answer.
    unanswered: u32,
    now: Duration,
}

/// A read request, then datagrams and deadlines.
pub(crate) fn session(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = Limits {
        window_size: input.of(&[16, 1, 0, 65535]),
        after_wrap: input.of(&[0, 1]),
        ..Limits::default()
    };
    let size = u64::from(input.word()) * input.of(&[1, 16, 512, 1 << 20]);
    let asked = [b"\0\x01f\0octet\0", input.string()].concat();
    let Ok(Packet::Read(request)) = Packet::parse(&asked) else { return };
    let (transfer, step) = Transfer::new(client(), &request, size, limits, Duration::ZERO);
    let block_size = transfer.granted().block_size.unwrap_or(512);
    let blocks = size / u64::from(block_size) + 1;
    let mut session = Session { transfer, blocks, sent: 0, unanswered: 0, now: Duration::ZERO };
    let window = u64::from(session.transfer.granted().window_size.unwrap_or(1));
    let mut over = session.check(&step, window);
    // Until it is over, at the latest after so many steps.
    for _ in 0..400 {
        if over || input.is_empty() {
            return;
        }
        let step = session.step(&mut input);
        over = session.check(&step, window);
    }
}

impl Session {
    fn step(&mut self, input: &mut Input<'_>) -> Step {
        let last = self.transfer.wire_number(self.sent.max(1));
        let ack = |number: u16| [&[0, 4][..], &number.to_be_bytes()].concat();
        let before = self.transfer.acknowledged();
        let datagram = match input.byte() % 8 {
            0 | 1 => ack(if self.sent == 0 { 0 } else { last }),
            2 => ack(last.wrapping_sub(input.byte().into())),
            3 => ack(input.word()),
            4 => {
                self.now = self.transfer.deadline();
                return self.transfer.timer(self.now);
            }
            5 => {
                self.now += Duration::from_millis(input.word().into());
                return self.transfer.timer(self.now);
            }
            6 => {
                let stranger = (Ipv4Addr::LOCALHOST, 2000).into();
                let step = self.transfer.datagram(stranger, input.string(), self.now);
                assert_eq!(step.end, None, "a stranger ends nothing");
                assert!(matches!(step.send, Send::Nothing | Send::Stranger(_)));
                assert_eq!(self.transfer.acknowledged(), before, "nor does it acknowledge");
                return step;
            }
            _ => input.string().to_vec(),
        };
        let step = self.transfer.datagram(client(), &datagram, self.now);
        if self.transfer.acknowledged() == before
            && self.transfer.answered()
            && step.end.is_none()
            && before > 0
        {
            assert_eq!(
                step.send,
                Send::Nothing,
                "what acknowledges nothing has nothing sent (RFC 1123 4.2.3.1)"
            );
        }
        step
    }

    /// Whether it is over.
    fn check(&mut self, step: &Step, window: u64) -> bool {
        if let Send::Blocks(blocks) = &step.send {
            assert!(*blocks.start() >= 1 && *blocks.end() <= self.blocks, "{blocks:?} of {}", self.blocks);
            assert!(blocks.end() - blocks.start() < window, "{blocks:?}, window {window}");
            for block in blocks.clone() {
                let (offset, length) = self.transfer.place(block);
                assert!(offset + length as u64 <= u64::MAX / 2 && length <= 65464);
            }
            self.sent = self.sent.max(*blocks.end());
        }
        if !self.transfer.answered() && matches!(step.send, Send::Oack | Send::Blocks(_)) {
            self.unanswered += 1;
            assert!(self.unanswered <= 4, "a forged request yields at most four packets of its kind");
        }
        if step.end == Some(End::Done) {
            assert_eq!(self.sent, self.blocks, "done with all of it");
        }
        assert!(self.transfer.deadline() >= self.now || step.end.is_some());
        step.end.is_some()
    }
}
