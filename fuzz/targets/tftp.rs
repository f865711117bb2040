//! TFTP: requests, and the machine of a transfer under any sequence of datagrams.

use std::time::Duration;

use netboot_common::wire::tftp::{Granted, Packet, Request};
use netboot_userspace::tftp::machine::{End, Limits, Send, Step, Transfer};
use netboot_userspace::tftp::names::Candidates;
use netboot_userspace::tftp::pxelinux::Asked;
use netboot_userspace::tftp::upload::machine::{Reception, Reply};

use super::input::Input;

/// Any datagram at the request port.
pub(crate) fn request(data: &[u8]) {
    let Ok(Packet::Read(request)) = Packet::parse(data) else { return };
    if let Ok(names) = Candidates::parse(request.filename) {
        for name in names.iter() {
            let parts: Vec<&str> = name.split('/').collect();
            assert!(!parts.iter().any(|part| ["", ".", ".."].contains(part)), "{name:?}");
            assert!(!name.chars().any(char::is_control) && !name.contains('\\'), "{name:?}");
            let _ = Asked::parse(name);
        }
    }
    let (transfer, _) = Transfer::new(&request, 1 << 20, Limits::default(), Duration::ZERO);
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

fn ack(number: u16) -> Vec<u8> {
    [&[0, 4][..], &number.to_be_bytes()].concat()
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
    /// When blocks were sent last.
    sent_at: Duration,
    window: u64,
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
    let (transfer, step) = Transfer::new(&request, size, limits, Duration::ZERO);
    let block_size = transfer.granted().block_size.unwrap_or(512);
    let blocks = size / u64::from(block_size) + 1;
    let window = u64::from(transfer.granted().window_size.unwrap_or(1));
    let (now, sent_at) = (Duration::ZERO, Duration::ZERO);
    let mut session = Session { transfer, blocks, sent: 0, unanswered: 0, now, sent_at, window };
    let mut over = session.check(&step);
    for _ in 0..400 {
        if over || input.is_empty() {
            break;
        }
        let step = session.step(&mut input);
        over = session.check(&step);
    }
    if !over {
        session.run_out(!data.len().is_multiple_of(2));
    }
}

/// So many deadlines come, at most, before a transfer ends of which nothing new is heard: each wait is twice the one before, from 50
/// milliseconds at least, until firmware has lost its patience; and before each a window may leave in four parts.
const MOST_DEADLINES: u32 = 16 * 4;

impl Session {
    /// Nothing new comes any more: it ends. One that is stubborn repeats what it acknowledged, each time that it is sent something.
    fn run_out(&mut self, is_stubborn: bool) {
        for _ in 0..MOST_DEADLINES {
            self.now = self.now.max(self.transfer.deadline());
            if is_stubborn && self.transfer.answered() {
                let acknowledged = self.acknowledged();
                let step = self.transfer.datagram(&ack(acknowledged), self.now);
                if self.check(&step) {
                    return;
                }
                self.now = self.now.max(self.transfer.deadline());
            }
            let step = self.transfer.timer(self.now);
            if self.check(&step) {
                return;
            }
        }
        panic!("it does not end, {:?} after it began", self.now);
    }

    /// The wire's number of the last block that the client has.
    fn acknowledged(&self) -> u16 {
        let first = self.transfer.outstanding().map_or(self.sent + 1, |blocks| *blocks.start());
        if first == 1 { 0 } else { self.transfer.wire_number(first - 1) }
    }

    fn step(&mut self, input: &mut Input<'_>) -> Step {
        let last = self.transfer.wire_number(self.sent.max(1));
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
            _ => input.string().to_vec(),
        };
        let step = self.transfer.datagram(&datagram, self.now);
        if self.transfer.acknowledged() == before
            && self.transfer.answered()
            && step.end.is_none()
            && before > 0
        {
            let since = self.now - self.sent_at;
            let is_echo =
                since < if self.window == 1 { Duration::from_millis(100) } else { Duration::from_micros(50) };
            assert!(
                step.send == Send::Nothing || !is_echo,
                "what acknowledges nothing has nothing sent (RFC 1123 4.2.3.1): {step:?} after {since:?}"
            );
        }
        step
    }

    /// Whether it is over.
    fn check(&mut self, step: &Step) -> bool {
        if let Send::Blocks(blocks) = &step.send {
            assert!(*blocks.start() >= 1 && *blocks.end() <= self.blocks, "{blocks:?} of {}", self.blocks);
            assert!(blocks.end() - blocks.start() < self.window, "{blocks:?}, window {}", self.window);
            self.sent_at = self.now;
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

/// A write request, then datagrams and deadlines: what is kept is what was sent, in order and once, and no more than is taken.
pub(crate) fn upload(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = Limits {
        window_size: input.of(&[16, 1, 0, 65535]),
        after_wrap: input.of(&[0, 1]),
        ..Limits::default()
    };
    let most = u64::from(input.word()) * input.of(&[1, 512]);
    let asked = [b"\0\x02f\0octet\0", input.string()].concat();
    let Ok(Packet::Write(request, announced)) = Packet::parse(&asked) else { return };
    let (mut reception, step) = Reception::new(&request, announced, most, limits, Duration::ZERO);
    check_granted(&request, reception.granted());
    if announced.is_some_and(|announced| announced > most) {
        assert!(step.end.is_some(), "too much is refused before it comes");
        return;
    }
    let block_size = usize::from(reception.granted().block_size.unwrap_or(512));
    let (mut next, mut kept, mut is_complete) = (1_u64, 0_u64, false);
    let mut now = Duration::ZERO;
    for _ in 0..400 {
        if input.is_empty() {
            break;
        }
        let number =
            |block: u64| if limits.after_wrap == 0 { block as u16 } else { ((block - 1) % 65535 + 1) as u16 };
        let data =
            |block: u16, len: usize| [&[0, 3][..], &block.to_be_bytes(), &vec![block as u8; len]].concat();
        let datagram = match input.byte() % 8 {
            0..=2 => data(number(next), block_size),
            3 => data(number(next), input.word() as usize % (block_size + 2)),
            4 => data(number(next).wrapping_sub(input.byte().into()), block_size),
            5 => {
                now = reception.deadline();
                let step = reception.timer(now);
                assert!(step.keep.is_none() && !step.is_last);
                if step.end.is_some() {
                    return;
                }
                continue;
            }
            _ => input.string().to_vec(),
        };
        let step = reception.datagram(&datagram, now);
        if let Some(bytes) = step.keep {
            assert!(!is_complete, "nothing comes behind the end");
            assert_eq!(datagram[2..4], number(next).to_be_bytes(), "in order, and once");
            assert_eq!(step.is_last, bytes.len() < block_size);
            (next, kept, is_complete) = (next + 1, kept + bytes.len() as u64, step.is_last);
        } else {
            assert!(!step.is_last);
        }
        assert!(kept <= most && (kept == reception.received() || step.end.is_some()));
        if let Reply::Ack(acked) = step.reply {
            assert_eq!(acked, if next == 1 { 0 } else { number(next - 1) }, "what was kept is acknowledged");
        }
        if step.end.is_some() {
            return;
        }
        assert!(reception.deadline() >= now);
    }
    for _ in 0..MOST_DEADLINES {
        now = now.max(reception.deadline());
        if reception.timer(now).end.is_some() {
            return;
        }
    }
    panic!("it does not end, {now:?} after it began");
}
