use super::*;
use netboot_common::wire::tftp::Mode;

mod lossy;
mod options;
mod paced;

const SECOND: Duration = Duration::from_secs(1);

fn request() -> Request<'static> {
    Request {
        filename: b"file",
        mode: Mode::Octet,
        block_size: None,
        timeout: None,
        transfer_size: false,
        window_size: None,
    }
}

fn start(request: Request<'static>, size: u64) -> (Transfer, Step) {
    Transfer::new(&request, size, Limits::default(), Duration::ZERO)
}

fn ack(block: u16) -> [u8; 4] {
    let [a, b] = block.to_be_bytes();
    [0, 4, a, b]
}

fn blocks(range: RangeInclusive<u64>) -> Step {
    Step::send(Send::Blocks(range))
}

fn error(code: u8, text: &str) -> Vec<u8> {
    [&[0, 5, 0, code], text.as_bytes(), &[0]].concat()
}

/// Acknowledges each window until the end; the number of blocks and the bytes in them.
fn run(transfer: &mut Transfer, first: Step) -> (u64, u64) {
    let (mut step, mut last, mut bytes) = (first, 0, 0);
    while step.end.is_none() {
        let block = match &step.send {
            Send::Oack => 0,
            Send::Blocks(range) => {
                assert_eq!(*range.start(), last + 1, "each block comes once, in order");
                bytes += range.clone().map(|b| transfer.place(b).1 as u64).sum::<u64>();
                last = *range.end();
                transfer.wire_number(last)
            }
            other => panic!("{other:?}"),
        };
        step = transfer.datagram(&ack(block), Duration::ZERO);
    }
    assert_eq!(step.end, Some(End::Done));
    (last, bytes)
}

#[test]
fn rfc1350_3_size_multiple_of_blksize_ends_with_an_empty_block() {
    for (size, count) in [(0, 1), (1, 1), (511, 1), (512, 2), (513, 2), (1024, 3)] {
        let (mut transfer, first) = start(request(), size);
        assert_eq!(run(&mut transfer, first), (count, size));
        assert_eq!(transfer.place(count).1 as u64, size % 512);
        assert_eq!(transfer.acknowledged(), size);
    }
}

#[test]
fn rfc1350_3_files_around_every_block_size_end_with_a_short_block() {
    for block_size in [8, 512, 1432, 1468_u16] {
        let len = u64::from(block_size);
        for size in [0, 1, len - 1, len, len + 1, 2 * len] {
            for window in [1, 4, 16] {
                let (block_size, window_size) = (Some(block_size), Some(window));
                let (mut transfer, first) = start(Request { block_size, window_size, ..request() }, size);
                let count = size / len + 1;
                assert_eq!(run(&mut transfer, first), (count, size), "{len}, window {window}");
                assert_eq!(transfer.place(count).1 as u64, size % len, "the last block is short, or empty");
            }
        }
    }
}

#[test]
fn rfc1350_4_an_error_ends_the_transfer_in_each_of_its_states() {
    let windowed = Request { window_size: Some(2), ..request() };
    for (request, acks, harmless) in [
        (request(), &[][..], true),
        (windowed, &[], true),
        (windowed, &[0], false),
        (windowed, &[0, 1], false),
        (request(), &[1], false),
        (request(), &[1, 2], false),
    ] {
        for code in 0..=8 {
            let (mut transfer, _) = start(request, 1500);
            for &block in acks {
                let _ = transfer.datagram(&ack(block), Duration::ZERO);
            }
            let step = transfer.datagram(&error(code, "no"), Duration::ZERO);
            assert_eq!(step.send, Send::Nothing, "after {acks:?}");
            assert_eq!(step.end == Some(End::Aborted), harmless || code == 0, "after {acks:?}: {step:?}");
            assert!(step.end.is_some());
        }
    }
}

#[test]
fn rfc1350_4_error_is_never_answered() {
    let (mut transfer, _) = start(request(), 1000);
    let _ = transfer.datagram(&ack(1), Duration::ZERO);
    let step = transfer.datagram(&error(3, "disk\x1bfull"), Duration::ZERO);
    assert_eq!(step.send, Send::Nothing);
    assert_eq!(step.end, Some(End::Failed("the client sent error 3: diskfull".into())));
}

#[test]
fn rfc1350_5_last_ack_lost() {
    let (mut transfer, _) = start(request(), 600);
    assert_eq!(transfer.datagram(&ack(1), Duration::ZERO), blocks(2..=2));
    let mut now = Duration::ZERO;
    for _ in 0..Limits::default().retries {
        now = transfer.deadline();
        assert_eq!(transfer.timer(now), blocks(2..=2));
    }
    now = now.max(transfer.deadline());
    assert_eq!(transfer.timer(now), Step::end(End::Unconfirmed));
}

#[test]
fn rfc1350_8_block_numbers_wrap() {
    for (after_wrap, window) in [(0, 1), (0, 16), (1, 1), (1, 16)] {
        let size = 65540 * 512 + 3;
        let request = Request { window_size: Some(window), ..request() };
        let limits = Limits { after_wrap, ..Limits::default() };
        let (mut transfer, first) = Transfer::new(&request, size, limits, Duration::ZERO);
        assert_eq!(transfer.wire_number(65535), 65535);
        assert_eq!(transfer.wire_number(65536), after_wrap);
        assert_eq!(run(&mut transfer, first), (65541, size));
    }
}

#[test]
fn rfc1123_1_duplicate_ack_never_causes_data_to_be_resent() {
    let (mut transfer, _) = start(request(), 5000);
    assert_eq!(transfer.datagram(&ack(1), Duration::ZERO), blocks(2..=2));
    for block in [1, 0, 3, 65535, 1] {
        assert_eq!(transfer.datagram(&ack(block), Duration::ZERO), Step::NOTHING, "{block}");
    }
    let request = Request { window_size: Some(4), ..request() };
    let (mut transfer, _) = start(request, 5000);
    assert_eq!(transfer.datagram(&ack(0), Duration::ZERO), blocks(1..=4));
    assert_eq!(transfer.datagram(&ack(0), Duration::ZERO), Step::NOTHING);
    assert_eq!(transfer.resent(), 0);
}

#[test]
fn rfc1123_1_each_ack_of_a_storm_of_duplicates_is_answered_once() {
    // The sorcerer's apprentice: each ACK comes twice, and each block must leave once all the same.
    let (mut transfer, first) = start(request(), 20 * 512);
    let (mut step, mut sent) = (first, 0);
    while step.end.is_none() {
        assert_eq!(step, blocks(sent + 1..=sent + 1));
        sent += 1;
        step = transfer.datagram(&ack(sent as u16), Duration::ZERO);
        if step.end.is_none() {
            assert_eq!(transfer.datagram(&ack(sent as u16), Duration::ZERO), Step::NOTHING);
        }
    }
    assert_eq!((sent, transfer.resent()), (21, 0));
}

#[test]
fn rfc1123_2_waits_grow_exponentially_and_learn_the_round_trip() {
    let (mut transfer, _) = start(request(), 5000);
    let (mut waits, mut now) = (Vec::new(), Duration::ZERO);
    for _ in 0..3 {
        waits.push((transfer.deadline() - now).as_millis());
        now = transfer.deadline();
        assert_eq!(transfer.timer(now), blocks(1..=1));
    }
    assert_eq!(waits, [1000, 2000, 4000]);

    let (mut transfer, _) = start(request(), 50_000);
    let mut now = Duration::ZERO;
    for block in 1..10 {
        now += Duration::from_millis(10);
        let _ = transfer.datagram(&ack(block), now);
    }
    let wait = transfer.deadline() - now;
    assert!(wait >= LEAST_PATIENCE && wait < SECOND / 3, "{wait:?}");
}

/// Acknowledges `count` blocks, each `round_trip` after it was sent first; repeats what the timer asks for meanwhile.
fn serve(transfer: &mut Transfer, now: &mut Duration, count: u16, round_trip: Duration) {
    for _ in 0..count {
        let answered = *now + round_trip;
        while transfer.deadline() < answered {
            let _ = transfer.timer(transfer.deadline());
        }
        *now = answered;
        let _ = transfer.datagram(&ack(transfer.wire_number(transfer.acked + 1)), *now);
    }
}

#[test]
fn rfc1123_2_a_slower_path_is_learnt_and_not_repeated_to_for_ever() {
    for round_trip in [300, 1500, 5000].map(Duration::from_millis) {
        let (mut transfer, _) = start(request(), 500_000);
        let mut now = Duration::ZERO;
        serve(&mut transfer, &mut now, 20, Duration::from_millis(10));
        assert_eq!(transfer.resent(), 0);
        serve(&mut transfer, &mut now, 20, round_trip);
        let resent = transfer.resent();
        assert!(resent > 0, "it was found out by repeating");
        serve(&mut transfer, &mut now, 200, round_trip);
        assert_eq!(transfer.resent(), resent, "{round_trip:?}");
    }
}

/// However often and long it was repeated to: what is lost in a row must not make us wait longer than clients do.
#[test]
fn rfc1123_2_an_answer_to_a_repetition_doubles_the_wait_at_most() {
    for repetitions in 1..=5 {
        let (mut transfer, _) = start(request(), 500_000);
        let mut now = Duration::ZERO;
        serve(&mut transfer, &mut now, 20, Duration::from_millis(10));
        let before = transfer.deadline() - now;
        for _ in 0..repetitions {
            now = transfer.deadline();
            assert_eq!(transfer.timer(now), blocks(21..=21));
        }
        assert_eq!(transfer.datagram(&ack(21), now), blocks(22..=22));
        let wait = transfer.deadline() - now;
        assert!(wait > before && wait <= before * 2, "{repetitions}: {wait:?} after {before:?}");
    }
}

/// What a client says that has lost the first block of a window, by how long after the window left.
#[test]
fn rfc7440_6_an_ack_of_the_block_before_the_window_sends_it_again_once_in_a_round_trip() {
    let millis = Duration::from_millis;
    let (mut transfer, _) = start(Request { window_size: Some(8), ..request() }, 50_000);
    assert_eq!(transfer.datagram(&ack(0), millis(2)), blocks(1..=8));
    let mut now = millis(4);
    assert_eq!(transfer.datagram(&ack(8), now), blocks(9..=16));
    for repetition in 1..=3 {
        assert_eq!(transfer.datagram(&ack(8), now + millis(1)), Step::NOTHING, "an echo");
        now += millis(2);
        assert_eq!(transfer.datagram(&ack(8), now), blocks(9..=16));
        assert_eq!(transfer.datagram(&ack(8), now), Step::NOTHING, "another copy of it");
        assert_eq!(transfer.resent(), 8 * repetition);
    }
    assert_eq!(transfer.datagram(&ack(16), now + millis(2)), blocks(17..=24));
    assert_eq!(transfer.datagram(&ack(8), now + SECOND), Step::NOTHING, "the past");
}

#[test]
fn rfc1123_1_with_one_block_at_a_time_a_duplicate_ack_sends_nothing_however_late_it_comes_and_the_timer_does()
{
    let millis = Duration::from_millis;
    for window_size in [None, Some(1)] {
        let (mut transfer, _) = start(Request { window_size, ..request() }, 50_000);
        let first = window_size.map_or(1, |_| 0);
        assert_eq!(
            transfer.datagram(&ack(first), millis(1)),
            blocks((first + 1).into()..=(first + 1).into())
        );
        for after in [2, 5, 50, 101, 500, 9000] {
            assert_eq!(transfer.datagram(&ack(first), millis(after)), Step::NOTHING, "{after}");
        }
        let first = u64::from(first);
        assert_eq!(transfer.timer(transfer.deadline()), blocks(first + 1..=first + 1));
    }
}

/// Both ends repeat, the client after `patience`, and each datagram takes `delay` once `slow_from` blocks have come; how many blocks
/// were sent. The client acknowledges each copy of the last block of a window, as RFC 1350 has it.
fn paced(window: u16, delay: Duration, slow_from: u64, patience: Duration) -> u64 {
    const BLOCKS: u64 = 400;
    let asked = (window > 1).then_some(window);
    let (mut transfer, step) = start(Request { window_size: asked, ..request() }, BLOCKS * 512 - 1);
    let (mut now, mut got, mut sent, mut again) = (Duration::ZERO, 0, 0, patience);
    /// When it arrives, and which block; block 0 is the OACK.
    type Link = Vec<(Duration, u64)>;
    let (mut down, mut up) = (Link::new(), Link::new());
    let mut step = Some(step);
    loop {
        let takes = if got >= slow_from { delay } else { Duration::from_millis(1) };
        match step.take().map(|step| (step.send, step.end)) {
            Some((_, Some(end))) => {
                assert_eq!(end, End::Done, "window {window}, {delay:?}");
                return sent;
            }
            Some((Send::Oack, _)) => down.push((now + takes, 0)),
            Some((Send::Blocks(blocks), _)) => {
                sent += blocks.clone().count() as u64;
                down.extend(blocks.map(|block| (now + takes, block)));
            }
            _ => {}
        }
        assert!(sent < 20 * BLOCKS, "window {window}, {delay:?}: it does not end");
        let first = |mail: &[(Duration, u64)]| mail.iter().map(|mail| mail.0).min().unwrap_or(Duration::MAX);
        now = first(&down).min(first(&up)).min(transfer.deadline()).min(again);
        if let Some(at) = down.iter().position(|mail| mail.0 == now) {
            let (_, block) = down.remove(at);
            got = if block == got + 1 { block } else { got };
            again = now + patience;
            let is_last = block == got && (block.is_multiple_of(window.into()) || block == BLOCKS);
            up.extend(is_last.then_some((now + takes, got)));
        } else if let Some(at) = up.iter().position(|mail| mail.0 == now) {
            let (_, block) = up.remove(at);
            step = Some(transfer.datagram(&ack(block as u16), now));
        } else if transfer.deadline() == now {
            step = Some(transfer.timer(now));
        } else {
            up.push((now + takes, got));
            again = now + patience;
        }
    }
}

#[test]
fn rfc1123_1_no_sorcerers_apprentice_where_the_path_is_or_becomes_slower_than_both_ends_think() {
    for window in [1, 4, 16] {
        for (delay, patience) in [(40, 1000), (600, 1000), (1500, 1000), (400, 250), (30, 1000)] {
            for slow_from in [0, 100] {
                let (delay, patience) = (Duration::from_millis(delay), Duration::from_millis(patience));
                let sent = paced(window, delay, slow_from, patience);
                // Until the new pace is known: each window that is repeated to doubles the wait.
                let most = 400 + 20 * u64::from(window);
                assert!(sent <= most, "window {window}, {delay:?} from {slow_from} on: {sent} blocks of 400");
            }
        }
    }
}

/// Every other exchange needs a repetition: the waits become short all the same.
#[test]
fn rfc1123_2_what_is_lost_does_not_keep_the_waits_long() {
    let (mut transfer, _) = start(request(), 500_000);
    let mut now = Duration::ZERO;
    for block in 1..=200_u16 {
        if block % 2 == 1 {
            now = transfer.deadline();
            assert_eq!(transfer.timer(now), blocks(block.into()..=block.into()));
        }
        now += Duration::from_millis(1);
        let next = u64::from(block) + 1;
        assert_eq!(transfer.datagram(&ack(block), now), blocks(next..=next));
        let wait = transfer.deadline() - now;
        assert!(block < 20 || wait < 2 * LEAST_PATIENCE, "{wait:?} after block {block}");
    }
}

#[test]
fn a_client_that_was_there_is_not_given_up_before_firmware_would_give_up() {
    let (mut transfer, _) = start(request(), 500_000);
    let mut now = Duration::ZERO;
    serve(&mut transfer, &mut now, 20, Duration::from_millis(1));
    let silent = now;
    loop {
        now = transfer.deadline();
        if transfer.timer(now).end.is_some() {
            break;
        }
    }
    let silence = now - silent;
    assert!(silence >= 15 * SECOND && silence < 20 * SECOND, "{silence:?}");
}

#[test]
fn a_late_copy_of_the_request_is_told_from_a_client_that_begins_anew() {
    let (mut transfer, _) = start(Request { block_size: Some(512), ..request() }, 50_000);
    assert!(transfer.is_echo(60 * SECOND), "it has not heard of the transfer");
    let _ = transfer.datagram(&ack(0), 5 * SECOND);
    assert!(transfer.is_echo(5 * SECOND) && transfer.is_echo(6 * SECOND - Duration::from_millis(1)));
    assert!(!transfer.is_echo(6 * SECOND));
    let _ = transfer.timer(transfer.deadline());
    assert!(!transfer.is_echo(transfer.sent_at), "what we repeat says nothing of the client");
    let _ = transfer.datagram(&ack(1), 9 * SECOND);
    assert!(transfer.is_echo(9 * SECOND));
}

#[test]
fn a_short_first_wait_is_no_upper_bound_and_no_fault() {
    for timeout in [Duration::ZERO, Duration::from_millis(50)] {
        let limits = Limits { timeout, ..Limits::default() };
        let (mut transfer, _) = Transfer::new(&request(), 5000, limits, Duration::ZERO);
        assert_eq!(transfer.datagram(&ack(1), Duration::from_millis(40)), blocks(2..=2));
        assert!(transfer.deadline() >= Duration::from_millis(40) + LEAST_PATIENCE / 2);
    }
}

#[test]
fn before_the_first_ack_at_most_four_packets() {
    for request in [request(), Request { window_size: Some(16), ..request() }] {
        let (mut transfer, first) = start(request, 50_000);
        let mut packets = 0;
        let mut step = first;
        while step.end.is_none() {
            packets += match step.send {
                Send::Oack => 1,
                Send::Blocks(range) => range.count(),
                other => panic!("{other:?}"),
            };
            step = transfer.timer(transfer.deadline());
        }
        assert_eq!(packets, 4);
        assert_eq!(step.end, Some(End::Failed("the client never answered".into())));
    }
}

#[test]
fn what_is_not_an_ack_ends_the_transfer() {
    for packet in [&b"\0\x03\0\x01x"[..], b"\0\x02f\0octet\0", b"\0\x07", b"", b"\0\x04\0"] {
        let (mut transfer, _) = start(request(), 5000);
        let step = transfer.datagram(packet, Duration::ZERO);
        assert!(matches!(step.send, Send::Error(ErrorCode::IllegalOperation, _)), "{packet:?}");
        assert!(step.end.is_some());
    }
}

#[test]
fn a_client_whose_blocks_never_come_through_ends_however_often_it_says_so() {
    let windowed = Request { block_size: Some(1468), window_size: Some(4), ..request() };
    let (mut transfer, _) = start(windowed, 10_000);
    let mut step = transfer.datagram(&ack(0), Duration::ZERO);
    let mut now = Duration::ZERO;
    while step.end.is_none() {
        now += SECOND;
        assert!(now < 60 * SECOND, "it goes on for ever");
        step = transfer.datagram(&ack(0), now);
    }
    assert!(now >= Limits::default().silence, "{now:?}");
    assert!(matches!(step.end, Some(End::Failed(_))), "{step:?}");
}
