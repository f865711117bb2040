use super::*;
use netboot_common::wire::tftp::{Mode, data_header};

const MOST: u64 = 50_000_000;

fn request() -> Request<'static> {
    let (block_size, timeout, window_size) = (None, None, None);
    Request { filename: b"file", mode: Mode::Octet, block_size, timeout, transfer_size: false, window_size }
}

fn start(request: Request<'static>, announced: Option<u64>) -> (Reception, Step<'static>) {
    Reception::new(&request, announced, MOST, Limits::default(), Duration::ZERO)
}

fn data(block: u16, len: usize) -> Vec<u8> {
    [&data_header(block)[..], &vec![block as u8; len]].concat()
}

fn from_client(reception: &mut Reception, block: u16, len: usize) -> Reply {
    reception.datagram(&data(block, len), Duration::ZERO).reply
}

#[test]
fn rfc1350_4_each_block_is_acknowledged_and_a_short_one_is_the_last() {
    for size in [0, 1, 511, 512, 513, 1024] {
        let (mut reception, first) = start(request(), None);
        assert_eq!(first, Step::reply(Reply::Ack(0)));
        for block in 1..=(size / 512 + 1) as u16 {
            let len = (size - usize::from(block - 1) * 512).min(512);
            let datagram = data(block, len);
            let step = reception.datagram(&datagram, Duration::ZERO);
            let (keep, is_last) = (Some(&datagram[4..]), len < 512);
            assert_eq!(step, Step { keep, is_last, reply: Reply::Ack(block), end: None });
        }
        assert_eq!(reception.received(), size as u64);
    }
}

#[test]
fn rfc1350_6_the_last_ack_is_repeated_for_a_while_and_then_it_is_done() {
    let (mut reception, _) = start(request(), None);
    assert_eq!(from_client(&mut reception, 1, 100), Reply::Ack(1));
    let twice = data(1, 100);
    let again = reception.datagram(&twice, Duration::ZERO).keep;
    assert_eq!((again, reception.received()), (None, 100), "what came twice is kept once");
    assert_eq!(from_client(&mut reception, 1, 100), Reply::Ack(1));
    assert_eq!(from_client(&mut reception, 2, 100), Reply::Nothing, "there is no block behind the last");
    let done = Step { end: Some(End::Done), ..Step::NOTHING };
    assert_eq!(reception.timer(reception.deadline()), done);
}

#[test]
fn rfc1123_1_a_block_that_comes_twice_is_acknowledged_and_kept_once() {
    let (mut reception, _) = start(request(), None);
    assert_eq!(from_client(&mut reception, 1, 512), Reply::Ack(1));
    assert_eq!(from_client(&mut reception, 2, 512), Reply::Ack(2));
    assert_eq!(from_client(&mut reception, 2, 512), Reply::Ack(2), "its ACK was lost");
    assert_eq!(from_client(&mut reception, 1, 512), Reply::Nothing, "that came late");
    assert_eq!(from_client(&mut reception, 4, 512), Reply::Nothing, "and that was never asked for");
    assert_eq!((reception.received(), reception.resent()), (1024, 1));
}

#[test]
fn rfc1123_2_acks_are_repeated_after_growing_waits_and_then_it_is_given_up() {
    for (blocks, most) in [(0, 3), (1, 5)] {
        let (mut reception, _) = start(request(), None);
        (1..=blocks).for_each(|block| assert_eq!(from_client(&mut reception, block, 512), Reply::Ack(block)));
        let (mut waits, mut now) = (Vec::new(), Duration::ZERO);
        loop {
            waits.push((reception.deadline() - now).as_secs());
            now = reception.deadline();
            let step = reception.timer(now);
            if step.end.is_some() {
                assert!(matches!(step.end, Some(End::Failed(_))));
                break;
            }
            assert_eq!(step, Step::reply(Reply::Ack(blocks)));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 16][..=most]);
    }
}

#[test]
fn rfc1350_8_block_numbers_wrap() {
    for after_wrap in [0, 1] {
        let limits = Limits { after_wrap, ..Limits::default() };
        let (mut reception, _) = Reception::new(&request(), None, MOST, limits, Duration::ZERO);
        for block in 1..=65_600_u64 {
            let number = if after_wrap == 0 { block as u16 } else { ((block - 1) % 65_535 + 1) as u16 };
            assert_eq!(from_client(&mut reception, number, 512), Reply::Ack(number));
        }
        assert_eq!(reception.received(), 65_600 * 512);
    }
}

#[test]
fn rfc2347_3_options_are_answered_by_an_oack_in_place_of_ack_0() {
    let asked = Request { block_size: Some(1024), window_size: Some(4), transfer_size: true, ..request() };
    let (mut reception, first) = start(asked, Some(5000));
    assert_eq!(first, Step::reply(Reply::Oack));
    let granted = Granted {
        block_size: Some(1024),
        window_size: Some(4),
        transfer_size: Some(5000),
        ..Granted::default()
    };
    assert_eq!(*reception.granted(), granted);
    assert_eq!(reception.timer(reception.deadline()), Step::reply(Reply::Oack));
    assert_eq!(from_client(&mut reception, 1, 1024), Reply::Nothing, "the window is not full");
}

#[test]
fn rfc7440_a_window_is_acknowledged_at_its_end() {
    let (mut reception, _) = start(Request { window_size: Some(4), ..request() }, None);
    let replies: Vec<_> = (1..=9).map(|block| from_client(&mut reception, block, 512)).collect();
    let acks = replies.iter().filter(|reply| **reply != Reply::Nothing).copied().collect::<Vec<_>>();
    assert_eq!((&replies[3], &replies[7], acks.len()), (&Reply::Ack(4), &Reply::Ack(8), 2));
    assert_eq!(from_client(&mut reception, 10, 5), Reply::Ack(10), "a short window ends with the file");
}

#[test]
fn rfc7440_a_gap_is_said_once_and_what_was_got_is_kept() {
    let (mut reception, _) = start(Request { window_size: Some(4), ..request() }, None);
    assert_eq!(from_client(&mut reception, 1, 512), Reply::Nothing);
    assert_eq!(from_client(&mut reception, 3, 512), Reply::Ack(1), "2 is missing");
    assert_eq!(from_client(&mut reception, 4, 512), Reply::Nothing);
    let replies: Vec<_> = (2..=5).map(|block| from_client(&mut reception, block, 512)).collect();
    assert_eq!(replies, [Reply::Nothing, Reply::Nothing, Reply::Nothing, Reply::Ack(5)]);
    // The ACK of 5 is lost: its sender repeats the window, of which the last block alone is answered.
    let replies: Vec<_> = (2..=5).map(|block| from_client(&mut reception, block, 512)).collect();
    assert_eq!(replies, [Reply::Nothing, Reply::Nothing, Reply::Nothing, Reply::Ack(5)]);
    assert_eq!(reception.received(), 5 * 512);
}

#[test]
fn what_is_larger_than_it_may_be_is_refused_announced_or_not() {
    let limits = Limits::default();
    let new = |announced| Reception::new(&request(), announced, 1000, limits, Duration::ZERO);
    let refused =
        |step: &Step<'_>| matches!(step.reply, Reply::Error(ErrorCode::DiskFull, _)) && step.end.is_some();
    assert!(refused(&new(Some(1001)).1));
    let (mut reception, first) = new(Some(1000));
    assert!(!refused(&first));
    assert_eq!(from_client(&mut reception, 1, 512), Reply::Ack(1));
    let too_much = data(2, 489);
    let step = reception.datagram(&too_much, Duration::ZERO);
    assert!(refused(&step) && step.keep.is_none(), "{step:?}");
}

#[test]
fn what_is_no_data_ends_it() {
    for packet in [&b"\0\x04\0\0"[..], b"\0\x01f\0octet\0", b"\0\x06", b"\0\x07", b"", b"\0\x03\0"] {
        let (mut reception, _) = start(request(), None);
        let step = reception.datagram(packet, Duration::ZERO);
        assert!(matches!(step.reply, Reply::Error(ErrorCode::IllegalOperation, _)), "{packet:?}");
        assert!(step.end.is_some());
    }
    let (mut reception, _) = start(request(), None);
    let large = data(1, 513);
    assert!(reception.datagram(&large, Duration::ZERO).end.is_some(), "more than was agreed on");
}

#[test]
fn rfc1350_4_an_error_ends_it_and_is_not_answered() {
    let (mut reception, _) = start(request(), None);
    let step = reception.datagram(b"\0\x05\0\0stop\0", Duration::ZERO);
    assert_eq!(step, Step { end: Some(End::Aborted), ..Step::NOTHING });
    let (mut reception, _) = start(request(), None);
    assert_eq!(from_client(&mut reception, 1, 512), Reply::Ack(1));
    let step = reception.datagram(b"\0\x05\0\0stop\0", Duration::ZERO);
    assert_eq!((step.reply, matches!(step.end, Some(End::Failed(_)))), (Reply::Nothing, true));
}

proptest::proptest! {
    /// A sender after RFC 7440 behind a lossy link, which goes back to what was acknowledged whenever nothing else comes.
    #[test]
    fn what_is_uploaded_over_a_lossy_link_arrives_whole(size in 0_usize..40_000, window in 1_u16..9, seed: u64) {
        let mut seed = seed;
        let mut lost = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33).is_multiple_of(8)
        };
        let file: Vec<u8> = (0..size).map(|at| (at * 31 / 7) as u8).collect();
        let limits = Limits { retries: 200, first_retries: 200, ..Limits::default() };
        let asked = Request { window_size: Some(window), ..request() };
        let (mut reception, _) = Reception::new(&asked, None, MOST, limits, Duration::ZERO);
        let (mut got, mut acked, mut rounds) = (Vec::new(), 0, 0);
        let blocks = size / 512 + 1;
        while acked < blocks {
            rounds += 1;
            proptest::prop_assert!(rounds < 2000);
            let from = acked;
            for block in from + 1..=(from + usize::from(window)).min(blocks) {
                if lost() {
                    continue;
                }
                let part = &file[(block - 1) * 512..(block * 512).min(size)];
                let datagram = [&data_header(block as u16)[..], part].concat();
                let step = reception.datagram(&datagram, Duration::ZERO);
                got.extend_from_slice(step.keep.unwrap_or_default());
                if let (Reply::Ack(number), false) = (step.reply, lost()) {
                    acked = acked.max(usize::from(number));
                }
            }
        }
        proptest::prop_assert!(got == file);
    }
}
