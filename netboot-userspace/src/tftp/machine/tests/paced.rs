//! Clients that lose the ends of windows.

use std::collections::VecDeque;

use super::*;

/// What the line to the client takes for a block.
const TAKES: Duration = Duration::from_micros(1200);

/// Sends so many blocks, in windows of 16, over a line before which so many may wait: how long it took, and the transfer.
fn over(queue: usize, blocks: u64, paced: bool) -> (Duration, Transfer) {
    let request = Request { window_size: Some(16), ..request() };
    let limits = Limits { paced, ..Limits::default() };
    let (mut transfer, mut step) = Transfer::new(&request, blocks * 512 - 1, limits, Duration::ZERO);
    let (mut now, mut line, mut got, mut unacknowledged) = (Duration::ZERO, VecDeque::new(), 0, 0);
    while step.end.is_none() {
        match step.send {
            Send::Oack => {
                step = transfer.datagram(&ack(0), now);
                continue;
            }
            Send::Blocks(blocks) => {
                for block in blocks {
                    let before = line.back().map_or(now, |(at, _)| *at);
                    if line.len() < queue {
                        line.push_back((before + TAKES, block));
                    }
                }
            }
            other => assert_eq!(other, Send::Nothing),
        }
        let arrives = line.front().filter(|(at, _)| *at <= transfer.deadline()).copied();
        step = match arrives {
            Some((at, block)) => {
                now = at;
                line.pop_front();
                let is_next = block == got + 1;
                (got, unacknowledged) = if is_next { (block, unacknowledged + 1) } else { (got, 16) };
                match unacknowledged == 16 || got == blocks {
                    true => {
                        unacknowledged = 0;
                        transfer.datagram(&ack(transfer.wire_number(got)), now)
                    }
                    false => Step::NOTHING,
                }
            }
            None => {
                now = transfer.deadline();
                transfer.timer(now)
            }
        };
    }
    assert_eq!((step.end, got), (Some(End::Done), blocks));
    (now, transfer)
}

#[test]
fn a_client_that_loses_the_ends_of_windows_gets_them_in_parts_sooner_and_with_few_repetitions() {
    for queue in [3, 4, 6, 8, 12] {
        let ((whole, of_whole), (in_parts, transfer)) = (over(queue, 2000, false), over(queue, 2000, true));
        assert!(
            in_parts < whole * 3 / 4 && transfer.was_paced(),
            "{queue}: {in_parts:?} in place of {whole:?}"
        );
        assert!(transfer.resent() < of_whole.resent() / 6, "{queue}: {}", transfer.resent());
    }
}

#[test]
fn a_client_that_takes_whole_windows_gets_whole_ones() {
    let ((whole, _), (paced, transfer)) = (over(16, 2000, false), over(16, 2000, true));
    assert!(whole == paced && !transfer.was_paced() && transfer.resent() == 0, "{paced:?}");
}

/// The parts of a window: each once, behind the one before it, and the last without a wait longer than the gap.
#[test]
fn a_window_in_parts_is_the_window_and_an_ack_in_its_middle_begins_the_next() {
    let request = Request { window_size: Some(8), ..request() };
    let (mut transfer, _) = start(request, 100_000);
    assert_eq!(transfer.datagram(&ack(0), Duration::ZERO), blocks(1..=8));
    let mut now = Duration::ZERO;
    // Eight that lose their last blocks: halves.
    for acked in (6..=48).step_by(6) {
        let _ = transfer.datagram(&ack(acked), now);
    }
    let pause = transfer.deadline() - now;
    assert_eq!(transfer.timer(now), Step::NOTHING, "much is on its way");
    now += pause;
    assert_eq!(transfer.timer(now), blocks(49..=52));
    assert_eq!(transfer.resent(), 7 * 2 + 2);
    let gap = transfer.deadline() - now;
    assert!(gap < pause && pause < LEAST_PATIENCE, "{gap:?}, {pause:?}");
    now += gap;
    assert_eq!(transfer.timer(now), blocks(53..=56));
    assert!(transfer.deadline() >= now + LEAST_PATIENCE, "all of it is on its way");
    now = transfer.deadline();
    assert_eq!(transfer.timer(now), blocks(49..=52), "the repetition leaves in parts, too");
    // The end of the window, as it was sent before; and an ACK in the middle of the next one.
    for (acked, next) in [(56, 57..=60), (58, 59..=62)] {
        assert_eq!(transfer.datagram(&ack(acked), now), Step::NOTHING);
        now = transfer.deadline();
        assert_eq!(transfer.timer(now), blocks(next));
    }
    assert_eq!(transfer.datagram(&ack(65), now), Step::NOTHING, "it was never sent");
    assert_eq!(transfer.resent(), 16 + 4 + 2);
}
