//! Options: what is granted, and windows.

use super::*;

#[test]
fn rfc2347_2_the_oack_lists_only_what_was_asked_for() {
    for asked in 0..16_u8 {
        let is_asked = |bit: u8| asked & 1 << bit != 0;
        let request = Request {
            block_size: is_asked(0).then_some(1024),
            timeout: is_asked(1).then_some(2),
            transfer_size: is_asked(2),
            window_size: is_asked(3).then_some(4),
            ..request()
        };
        let (transfer, first) = start(request, 5000);
        let granted = Granted {
            block_size: request.block_size,
            timeout: request.timeout,
            transfer_size: is_asked(2).then_some(5000),
            window_size: request.window_size,
        };
        assert_eq!(*transfer.granted(), granted);
        assert_eq!(first, if asked == 0 { blocks(1..=1) } else { Step::send(Send::Oack) });
    }
}

#[test]
fn rfc2347_3_oack_is_resent_and_answered_by_ack_0() {
    let (mut transfer, first) = start(Request { block_size: Some(1024), ..request() }, 5000);
    assert_eq!(first, Step::send(Send::Oack));
    assert_eq!(transfer.timer(SECOND), Step::send(Send::Oack));
    assert_eq!(transfer.datagram(&ack(1), SECOND), Step::NOTHING, "nothing was sent that it could mean");
    assert_eq!(transfer.datagram(&ack(0), SECOND), blocks(1..=1));
    assert_eq!(transfer.place(1), (0, 1024));
}

#[test]
fn rfc2347_4_error_8_ends_it() {
    let (mut transfer, _) = start(Request { block_size: Some(1024), ..request() }, 5000);
    assert_eq!(transfer.datagram(&error(8, ""), Duration::ZERO), Step::end(End::Aborted));
}

#[test]
fn rfc2347_5_no_options_data_1_at_once() {
    let (_, first) = start(request(), 5000);
    assert_eq!(first, blocks(1..=1));
}

#[test]
fn rfc2348_1_blksize_is_clamped_and_rfc7440_1_windowsize_too() {
    let (transfer, _) =
        start(Request { block_size: Some(65464), window_size: Some(65535), ..request() }, 5000);
    assert_eq!((transfer.granted().block_size, transfer.granted().window_size), (Some(1468), Some(16)));
    let (transfer, _) = start(Request { block_size: Some(8), window_size: Some(1), ..request() }, 5000);
    assert_eq!((transfer.granted().block_size, transfer.granted().window_size), (Some(8), Some(1)));
}

#[test]
fn rfc2348_2_blksize_is_clamped_to_what_the_path_takes() {
    for (most, asked, granted) in
        [(1432, 1468, 1432), (1432, 1024, 1024), (400, 512, 400), (8948, 8948, 8948)]
    {
        let request = Request { block_size: Some(asked), ..request() };
        let limits = Limits { block_size: most, ..Limits::default() };
        let (transfer, _) = Transfer::new(&request, 5000, limits, Duration::ZERO);
        assert_eq!(transfer.granted().block_size, Some(granted));
        assert_eq!(transfer.place(1).1, usize::from(granted).min(5000));
    }
}

#[test]
fn rfc2349_1_timeout_is_echoed_and_kept() {
    let (transfer, _) = start(Request { timeout: Some(3), ..request() }, 5000);
    assert_eq!(transfer.granted().timeout, Some(3));
    assert_eq!(transfer.deadline(), 3 * SECOND);
    let (transfer, _) = start(Request { timeout: Some(16), ..request() }, 5000);
    assert_eq!((transfer.granted().timeout, transfer.deadline()), (Some(16), MOST_PATIENCE));
    // Longer than we would keep it: promised to nobody.
    let (transfer, step) = start(Request { timeout: Some(17), ..request() }, 5000);
    assert_eq!((transfer.granted().timeout, step), (None, blocks(1..=1)));
}

#[test]
fn rfc2349_2_tsize_is_the_real_size() {
    let (transfer, _) = start(Request { transfer_size: true, ..request() }, 5000);
    assert_eq!(transfer.granted().transfer_size, Some(5000));
}

#[test]
fn rfc2349_3_client_aborts_after_tsize() {
    let (mut transfer, _) = start(Request { transfer_size: true, ..request() }, 5000);
    let step = transfer.datagram(&error(0, "TFTP Aborted"), Duration::ZERO);
    assert_eq!(step, Step::end(End::Aborted));
}

#[test]
fn rfc7440_2_ack_inside_the_window_restarts_after_it() {
    let (mut transfer, _) = start(Request { window_size: Some(8), ..request() }, 50_000);
    assert_eq!(transfer.datagram(&ack(0), Duration::ZERO), blocks(1..=8));
    assert_eq!(transfer.datagram(&ack(3), Duration::ZERO), blocks(4..=11));
    assert_eq!(transfer.resent(), 5);
    assert_eq!(transfer.datagram(&ack(2), Duration::ZERO), Step::NOTHING, "the past");
}

#[test]
fn rfc7440_3_whole_window_resent_on_timeout() {
    let (mut transfer, _) = start(Request { window_size: Some(8), ..request() }, 50_000);
    let _ = transfer.datagram(&ack(0), Duration::ZERO);
    assert_eq!(transfer.timer(transfer.deadline()), blocks(1..=8));
}

#[test]
fn rfc7440_4_windows_go_on_across_the_wrap() {
    for after_wrap in [0, 1] {
        let request = Request { window_size: Some(16), block_size: Some(8), ..request() };
        let limits = Limits { after_wrap, ..Limits::default() };
        let (mut transfer, _) = Transfer::new(&request, 8 * 65_600, limits, Duration::ZERO);
        let mut step = transfer.datagram(&ack(0), Duration::ZERO);
        for last in (16..=65_520).step_by(16) {
            assert_eq!(step, blocks(last - 15..=last));
            step = transfer.datagram(&ack(last as u16), Duration::ZERO);
        }
        // 65,521 to 65,536, the last under the number 0, or 1.
        assert_eq!(step, blocks(65_521..=65_536));
        let beyond = transfer.datagram(&ack(after_wrap + 1), Duration::ZERO);
        assert_eq!(beyond, Step::NOTHING, "a block that was not sent");
        let inside = transfer.datagram(&ack(65_530), Duration::ZERO);
        assert_eq!(inside, blocks(65_531..=65_546), "restarts after it, on both sides of the wrap");
        assert_eq!(transfer.timer(transfer.deadline()), blocks(65_531..=65_546));
        assert_eq!(transfer.datagram(&ack(after_wrap), Duration::ZERO), blocks(65_537..=65_552));
        assert_eq!(transfer.datagram(&ack(65_535), Duration::ZERO), Step::NOTHING, "the past");
        assert_eq!(transfer.datagram(&ack(after_wrap + 16), Duration::ZERO), blocks(65_553..=65_568));
    }
}

#[test]
fn rfc7440_1_the_largest_window_is_kept_apart_by_its_numbers() {
    let request = Request { window_size: Some(65_535), block_size: Some(8), ..request() };
    let limits = Limits { window_size: 65_535, ..Limits::default() };
    let (mut transfer, _) = Transfer::new(&request, 8 * 200_000, limits, Duration::ZERO);
    assert_eq!(transfer.datagram(&ack(0), Duration::ZERO), blocks(1..=65_535));
    assert_eq!(transfer.datagram(&ack(0), Duration::ZERO), Step::NOTHING, "it is no block of this window");
    assert_eq!(transfer.datagram(&ack(65_535), Duration::ZERO), blocks(65_536..=131_070));
    // Where 1 follows 65535 there is one number less.
    let (mut transfer, _) =
        Transfer::new(&request, 8 * 200_000, Limits { after_wrap: 1, ..limits }, Duration::ZERO);
    assert_eq!(transfer.datagram(&ack(0), Duration::ZERO), blocks(1..=65_534));
    assert_eq!(transfer.datagram(&ack(65_534), Duration::ZERO), blocks(65_535..=131_068));
    assert_eq!(transfer.datagram(&ack(65_534), Duration::ZERO), Step::NOTHING, "of the window before");
}

#[test]
fn rfc7440_5_short_last_window() {
    let (mut transfer, _) = start(Request { window_size: Some(8), ..request() }, 512 * 9 + 1);
    assert_eq!(transfer.datagram(&ack(0), Duration::ZERO), blocks(1..=8));
    assert_eq!(transfer.datagram(&ack(8), Duration::ZERO), blocks(9..=10));
    assert_eq!(transfer.datagram(&ack(10), Duration::ZERO), Step::end(End::Done));
}
