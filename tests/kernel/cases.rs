//! A case and its executors: the pure builder, XDP and tcx, which must agree, and userspace behind them.

use dhcproto::v4::{Message, MessageType};
use netboot_common::stats::{Lane, Leave};

use crate::check::sound_reply;
use crate::generator::Draft;
use crate::lab::{Bench, Made, pure};
use crate::site::{self, address};
use crate::userspace::userspace;

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const DECLINE: u8 = 4;
pub(crate) const RELEASE: u8 = 7;
pub(crate) const INFORM: u8 = 8;
pub(crate) const UNTAGGED: [u16; 2] = [0, 0];
pub(crate) const PROXY: [u16; 2] = [200, 0];
/// Its MTU is 576.
pub(crate) const NARROW: [u16; 2] = [300, 0];

/// Runs a frame through all executors, and gives back what the kernel's lanes made of it.
pub(crate) fn run(frame: &[u8]) -> Made {
    let bench = Bench::get();
    let expected = pure(frame);
    for lane in Lane::KERNEL {
        let made = bench.run(lane, frame);
        assert!(made == expected, "{}: {made:02x?}\npure: {expected:02x?}", lane.name());
    }
    if let Ok(expected) = &expected {
        let made = userspace(frame);
        assert!(made.as_deref() == Ok(expected), "userspace: {made:02x?}\npure: {expected:02x?}");
    }
    expected
}

/// The reply of a case that every lane answers.
pub(crate) fn answered(draft: Draft) -> (Vec<u8>, Message) {
    let frame = draft.frame();
    let reply = run(&frame).unwrap_or_else(|leave| panic!("left: {leave:?}"));
    let message = sound_reply(&reply, &frame);
    (reply, message)
}

/// That the kernel's lanes leave a case, and why.
pub(crate) fn left(draft: Draft, leave: Leave) {
    assert_eq!(run(&draft.frame()).map(|_| "a reply"), Err(leave));
}

/// That no lane answers a case, all for the same reason.
pub(crate) fn unanswered(draft: Draft, leave: Leave) {
    let frame = draft.frame();
    assert_eq!(run(&frame).map(|_| "a reply"), Err(leave));
    assert_eq!(userspace(&frame).map(|_| "a reply"), Err(leave), "userspace");
}

/// The reply of a case that the kernel's lanes leave for this reason, and userspace answers.
pub(crate) fn passed_up(draft: Draft, leave: Leave) -> (Vec<u8>, Message) {
    let frame = draft.frame();
    assert_eq!(run(&frame).map(|_| "a reply"), Err(leave));
    let reply = userspace(&frame).unwrap_or_else(|leave| panic!("userspace left: {leave:?}"));
    let message = sound_reply(&reply, &frame);
    (reply, message)
}

pub(crate) fn discover() -> Draft {
    Draft::new(DISCOVER, site::RESERVED, UNTAGGED)
}

pub(crate) fn request() -> Draft {
    Draft::new(REQUEST, site::RESERVED, UNTAGGED)
}

pub(crate) fn own() -> [u8; 4] {
    address(UNTAGGED, site::RESERVED)
}

pub(crate) fn kind(message: &Message) -> MessageType {
    message.opts().msg_type().expect("a reply has option 53")
}

/// Of a reply: destination MAC, address, port.
pub(crate) fn sent_to(reply: &[u8]) -> ([u8; 6], [u8; 4], u16) {
    let l3 = l3(reply);
    let take = |at: usize| [reply[at], reply[at + 1], reply[at + 2], reply[at + 3]];
    let mac = reply[..6].try_into().expect("six bytes");
    (mac, take(l3 + 16), u16::from_be_bytes([reply[l3 + 22], reply[l3 + 23]]))
}

/// Of a reply: the BOOTP message.
pub(crate) fn message(reply: &[u8]) -> &[u8] {
    &reply[l3(reply) + 28..]
}

/// Of a reply: its options as they are, in their order, without padding.
pub(crate) fn options(reply: &[u8]) -> Vec<(u8, &[u8])> {
    let mut rest = &message(reply)[240..];
    let mut options = Vec::new();
    loop {
        match rest {
            [0, more @ ..] => rest = more,
            [255, ..] | [] => return options,
            [code, length, more @ ..] => {
                let (value, more) = more.split_at(usize::from(*length));
                options.push((*code, value));
                rest = more;
            }
            [_] => panic!("an option without a length"),
        }
    }
}

/// The value of the one option with this code.
pub(crate) fn option(reply: &[u8], code: u8) -> Option<&[u8]> {
    let all = options(reply);
    let mut found = all.into_iter().filter(|(this, _)| *this == code);
    let (_, value) = found.next()?;
    assert!(found.next().is_none(), "option {code} comes twice");
    Some(value)
}

/// The name in `file`.
pub(crate) fn file(reply: &[u8]) -> &str {
    let name = message(reply)[108..236].split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(name).expect("a file name is text")
}

fn l3(frame: &[u8]) -> usize {
    match frame[12..14] {
        [0x08, 0x00] => 14,
        _ if frame[16..18] == [0x08, 0x00] => 18,
        _ => 22,
    }
}
