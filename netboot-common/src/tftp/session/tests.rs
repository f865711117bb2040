extern crate std;
use super::*;
use crate::tftp::reply::Granted;

const MS: u64 = 1_000_000;
const MAC: [u8; 6] = [2; 6];
const START: u64 = 10_000 * MS;

/// With an OACK that grants the window and says the file's size, or without one.
fn agreed(blocks: u16, window: u8, has_options: bool) -> Agreed {
    let transfer_size = has_options.then_some(u32::from(blocks) * 512 - 1);
    let granted = if has_options { of(window, transfer_size) } else { Granted::default() };
    let (file, own, terms) = (FileRef::new(1, 1), [10, 0, 0, 1], Terms::of(granted));
    Agreed { file, mac: MAC, own, port: 0xf000, blocks, terms }
}

fn of(window: u8, transfer_size: Option<u32>) -> Granted {
    Granted { transfer_size, window_size: window.into(), ..Granted::default() }
}

/// A transfer that was asked for at [`START`].
fn begun(blocks: u16, window: u8, has_options: bool) -> Session {
    let mut session = Session::NONE;
    session.begin(agreed(blocks, window, has_options), START);
    session
}

/// The blocks that an ACK is answered with; `None`: nothing is sent.
fn sends(session: &mut Session, block: u16, now: u64) -> Option<(u16, u16)> {
    match session.ack(block, now).send {
        Send::Window => Some((session.acked() + 1, session.sent())),
        Send::Nothing => None,
        Send::Oack => panic!("an OACK for an ACK"),
    }
}

#[test]
fn rfc1350_2_each_ack_is_answered_by_the_next_block() {
    let mut session = begun(3, 1, false);
    assert_eq!((session.acked(), session.sent()), (0, 1), "DATA 1 answers the request");
    assert_eq!(sends(&mut session, 1, START + MS), Some((2, 2)));
    assert_eq!(sends(&mut session, 2, START + 2 * MS), Some((3, 3)));
    assert_eq!(session.ack(3, START + 3 * MS).done, Done::Finished);
    assert!(session.ended());
    assert_eq!(sends(&mut session, 3, START + 9_000 * MS), None, "its last ACK, once more");
}

#[test]
fn rfc2347_3_an_oack_is_answered_by_ack_0_and_by_nothing_else() {
    let mut session = begun(9, 4, true);
    assert_eq!(sends(&mut session, 1, START + MS), None);
    assert_eq!(sends(&mut session, 0, START + MS), Some((1, 4)));
    let mut without = begun(9, 1, false);
    assert_eq!(sends(&mut without, 0, START + 500 * MS), None, "there was no OACK");
}

#[test]
fn rfc7440_2_an_ack_inside_the_window_restarts_behind_it() {
    let mut session = begun(20, 8, true);
    assert_eq!(sends(&mut session, 0, START + MS), Some((1, 8)));
    assert_eq!(sends(&mut session, 3, START + 2 * MS), Some((4, 11)));
    assert_eq!(session.resent(), 5);
    assert_eq!(sends(&mut session, 2, START + 3 * MS), None, "a past one");
    assert_eq!(sends(&mut session, 12, START + 3 * MS), None, "a future one");
    assert_eq!(sends(&mut session, 11, START + 4 * MS), Some((12, 19)));
    assert_eq!(sends(&mut session, 19, START + 5 * MS), Some((20, 20)), "7440-5: a short last window");
}

#[test]
fn rfc1123_1_a_duplicate_ack_sends_nothing_and_a_late_one_the_window_again() {
    let mut session = begun(100, 1, false);
    let mut now = START + MS;
    assert_eq!(sends(&mut session, 1, now), Some((2, 2)));
    for _ in 0..50 {
        now += MS;
        assert_eq!(sends(&mut session, 1, now), None, "an echo");
    }
    now += 50 * MS;
    assert_eq!(sends(&mut session, 1, now), Some((2, 2)), "the client has waited");
    now += 99 * MS;
    assert_eq!(sends(&mut session, 1, now), None, "an echo of the repetition");
    now += MS;
    assert_eq!(sends(&mut session, 1, now), Some((2, 2)));
    assert_eq!(session.resent(), 2);
}

#[test]
fn a_clock_that_is_behind_another_cpu_s_makes_no_ack_late() {
    let mut session = begun(9, 1, false);
    assert_eq!(sends(&mut session, 1, START + MS), Some((2, 2)));
    assert_eq!(sends(&mut session, 1, START), None, "heard before what it repeats was answered");
    assert_eq!(sends(&mut session, 2, START), Some((3, 3)));
    assert_eq!(session.round_trip(), 0);
    assert!(session.is_echo(START - MS));
}

#[test]
fn rfc7440_4_a_client_that_misses_the_first_block_of_a_window_gets_it_a_round_trip_later() {
    let mut session = begun(100, 8, true);
    assert_eq!(sends(&mut session, 0, START + MS), Some((1, 8)));
    let mut now = START + 3 * MS;
    assert_eq!(sends(&mut session, 8, now), Some((9, 16)));
    // Of a round trip of 1 ms, and one of 2 ms: 1.5 ms.
    assert_eq!(sends(&mut session, 8, now + MS), None, "an echo is younger than a round trip");
    now += 2 * MS;
    assert_eq!(sends(&mut session, 8, now), Some((9, 16)), "block 10 came, and 9 had not");
    assert_eq!(sends(&mut session, 8, now + MS), None);
    assert_eq!(sends(&mut session, 8, now + 2 * MS), Some((9, 16)), "lost once more");
    assert_eq!(session.resent(), 16);
}

/// The client repeats after `patience`, and each datagram takes `delay` once `slow_from` blocks have come; how many blocks were
/// sent. The client acknowledges each copy of the last block of a window, as RFC 1350 has it.
fn transfer(window: u8, delay: u64, slow_from: u16, patience: u64) -> u64 {
    const BLOCKS: u16 = 1000;
    type Link = std::vec::Vec<(u64, u16)>;
    let mut session = begun(BLOCKS, window, window > 1);
    let (mut down, mut up) = (Link::new(), Link::new());
    let (mut now, mut got, mut sent, mut again) = (START, 0, 1, START + patience);
    // The OACK is block 0.
    down.push((now + MS, u16::from(window == 1)));
    let first = |link: &Link| link.iter().map(|mail| mail.0).min().unwrap_or(u64::MAX);
    while got < BLOCKS {
        assert!(sent < 20_000, "it does not end");
        let takes = if got >= slow_from { delay } else { MS };
        now = first(&down).min(first(&up)).min(again);
        if let Some(i) = down.iter().position(|mail| mail.0 == now) {
            let (_, block) = down.remove(i);
            got = if block == got + 1 { block } else { got };
            again = now + patience;
            if block == got && (block % u16::from(window) == 0 || block == BLOCKS) {
                up.push((now + takes, block));
            }
        } else if let Some(i) = up.iter().position(|mail| mail.0 == now) {
            let (_, block) = up.remove(i);
            if let Some((from, to)) = sends(&mut session, block, now) {
                sent += u64::from(to - from) + 1;
                down.extend((from..=to).map(|block| (now + takes, block)));
            }
        } else {
            up.push((now + takes, got));
            again = now + patience;
        }
    }
    sent
}

#[test]
fn rfc1123_1_no_sorcerers_apprentice_where_the_path_is_or_becomes_slower_than_the_client_is_patient() {
    assert_eq!(transfer(1, 40 * MS, 0, 1000 * MS), 1000);
    // Each of the client's repetitions is an echo here. Unchecked, each block would be sent several times, for ever.
    for window in [1, 4, 16] {
        for (delay, patience) in [(40, 1000), (600, 1000), (1500, 1000), (400, 250), (30, 1000)] {
            for slow_from in [0, 100] {
                let sent = transfer(window, delay * MS, slow_from, patience * MS);
                let most = 1000 + 20 * u64::from(window);
                assert!(sent <= most, "window {window}, {delay} ms from {slow_from} on: {sent} of 1000");
            }
        }
    }
}

#[test]
fn a_repeated_request_is_an_echo_or_the_same_transfer_or_another_one() {
    let first = begun(9, 4, true);
    assert!(first.is_echo(START + 50 * MS) && !first.is_echo(START + 150 * MS));
    assert_eq!(first.next_port(true, 0xf007), 0xf000, "its answer was lost: the client knows no other port");
    let mut again = begun(9, 4, true);
    again.succeed(&first, true);
    assert!(!again.is_echo(START + 200 * MS - 1 + MS) && again.is_echo(START + 199 * MS));
    assert_eq!(sends(&mut again, 0, START + 9_000 * MS), Some((1, 4)));
    assert_eq!(again.round_trip(), PATIENCE_MOST, "Karn: it may be the answer to the first of them");
    let mut later = Session::NONE;
    later.begin(agreed(9, 4, true), START + 3_600_000 * MS);
    later.succeed(&first, true);
    assert!(!later.is(flag::REPEATED), "it was over long ago");

    let mut answered = begun(9, 4, true);
    answered.ack(0, START + MS);
    assert!(answered.is_echo(START + 1000 * MS) && !answered.is_echo(START + 1001 * MS), "while it goes on");
    assert!(answered.is_that(&first) && again.is_that(&first) && !later.is_that(&first));
    assert_eq!((answered.next_port(true, 0xf007), first.next_port(false, 0xf007)), (0xf007, 0xf007));
    assert_eq!((answered.next_port(true, 0xf000), first.next_port(false, 0xf000)), (0xf001, 0xf001));
}

#[test]
fn rfc2349_3_an_error_before_the_first_ack_is_harmless_and_later_a_failure() {
    let mut session = begun(9, 4, true);
    assert_eq!(session.error().done, Done::Aborted);
    assert_eq!((session.error(), session.ack(0, START)), (Step::IGNORED, Step::IGNORED), "1350-4");
    let mut session = begun(9, 4, true);
    session.ack(0, START + MS);
    assert_eq!(session.error().done, Done::Failed);
}

/// What is agreed on for the first file, or for a second one.
fn file(number: u16) -> Agreed {
    Agreed { file: FileRef::new(number, 1), port: 0xf000 + number, ..agreed(9, 4, true) }
}

#[test]
fn rfc1350_4_a_late_copy_of_an_earlier_request_leaves_the_transfer_after_it_alone() {
    let (first, mut second) = (file(1), Session::NONE);
    let mut before = Session::NONE;
    before.begin(first, START);
    before.ack(0, START + MS);
    second.begin(file(2), START + 10 * MS);
    second.succeed(&before, false);
    let after = |session: &Session, what: Agreed, ms: u64| session.is_after(&what, START + ms * MS);
    assert!(after(&second, first, 11) && !after(&second, file(2), 11) && !after(&second, file(3), 11));
    let without = Agreed { terms: Terms::of(Granted::default()), ..first };
    let larger = Granted { block_size: 1432, ..first.terms.granted };
    let larger = Agreed { terms: Terms::of(larger), ..first };
    assert!(!after(&second, without, 11) && !after(&second, larger, 11));
    assert!(after(&second, first, 1009) && !after(&second, first, 1010), "nobody answers");
    second.ack(0, START + 500 * MS);
    assert!(after(&second, first, 1499), "its client is in the middle of it");
    assert!(!after(&second, first, 1500), "and here it has left it");
    let mut again = Session::NONE;
    again.begin(file(2), START + 12 * MS);
    again.succeed(&second, true);
    assert!(after(&again, file(2), 13) && !after(&again, first, 13), "the last one");
    let mut repeated = Session::NONE;
    let mut unanswered = Session::NONE;
    unanswered.begin(file(2), START + 10 * MS);
    unanswered.succeed(&before, false);
    repeated.begin(file(2), START + 200 * MS);
    repeated.succeed(&unanswered, true);
    assert!(after(&repeated, first, 201), "it is the same transfer");
    second.error();
    assert!(!after(&second, first, 501), "it is over");
}

#[test]
fn a_guess_at_another_port_ends_what_has_acknowledged_no_block_and_nothing_else() {
    let mut session = begun(9, 4, true);
    assert_eq!(session.astray(0xf001).done, Done::Guessed);
    assert_eq!(session.ack(0, START + MS), Step::IGNORED, "also at the right one, then");
    let mut session = begun(9, 4, true);
    session.ack(0, START + MS);
    let mut hit = session;
    assert_eq!(hit.astray(0xf001).done, Done::Guessed, "a lucky guess is sent a window");
    assert_eq!(hit.ack(4, START + MS), Step::IGNORED);
    session.ack(4, START + MS);
    assert_eq!(session.astray(0xf001), Step::IGNORED, "who has a block is there");
    let (before, mut session) = (begun(9, 4, true), Session::NONE);
    session.begin(file(2), START);
    session.succeed(&before, false);
    assert_eq!(session.astray(0xf000), Step::IGNORED, "late, for the one before");
    assert_eq!(session.ack(0, START + MS).done, Done::Window);
}

#[test]
fn what_is_late_for_a_file_is_told_from_a_guess_also_after_its_successor_s_size_was_asked() {
    let (mut before, mut probe, mut real) = (begun(9, 4, true), Session::NONE, Session::NONE);
    before.ack(0, START + MS);
    before.ack(4, START + MS);
    for port in [0xf002, 0xf003] {
        probe.begin(Agreed { port, ..file(2) }, START + 2 * MS);
        probe.succeed(&before, false);
        assert_eq!(probe.error().done, Done::Aborted);
        before = probe;
    }
    real.begin(Agreed { port: 0xf004, ..file(2) }, START + 3 * MS);
    real.succeed(&before, false);
    assert_eq!(real.astray(0xf000), Step::IGNORED, "the last ACK of the file before, once more");
    assert_eq!(real.ack(0, START + 4 * MS).done, Done::Window);
    assert_eq!(real.astray(0xf005).done, Done::Guessed);
}

#[test]
fn what_one_cpu_has_ended_another_does_not_go_on_with() {
    let mut there = begun(9, 4, true);
    let mut copy = there;
    copy.ack(0, START + MS);
    assert!(there.may_become(&copy));
    there.astray(0xf001);
    assert!(!there.may_become(&copy), "a right guess, among wrong ones");
    let mut later = Session::NONE;
    later.begin(agreed(9, 4, true), START + MS);
    assert!(!later.may_become(&copy));
}

/// Of ACK 8 and ACK 3 at once the one that is written first counts: else the other one would set the transfer back, for good.
#[test]
fn what_one_cpu_went_on_with_another_does_not_set_back() {
    let mut there = begun(40, 8, true);
    there.ack(0, START + MS);
    let was = there.progress();
    let (mut one, mut other) = (there, there);
    one.ack(8, START + 2 * MS);
    other.ack(3, START + 2 * MS);
    assert_ne!(one.progress(), was);
    assert!(one.may_become(&other), "it is the same transfer");
    assert_ne!(one.progress(), other.progress(), "and not where it was");
    let mut repeated = one;
    repeated.ack(8, START + 900 * MS);
    assert_ne!(repeated.progress(), one.progress(), "also where it was sent again");
    one.error();
    assert_ne!(repeated.progress(), one.progress(), "and where it has ended");
}

#[test]
fn a_record_of_which_more_is_out_than_its_window_has_sends_nothing() {
    let mut session = begun(40, 8, true);
    session.ack(0, START + MS);
    for (acked, sent) in [(9_u16, 8_u16), (0, 9), (0, 40)] {
        (session.acked, session.sent) = (acked.to_be_bytes(), sent.to_be_bytes());
        for block in [acked, sent, 5] {
            assert_eq!(session.ack(block, START + 900 * MS), Step::IGNORED, "{acked} of {sent}");
        }
    }
}

#[test]
fn what_another_machine_sends_is_not_its_client_s_and_does_not_take_its_place() {
    let other = [4; 6];
    let mut session = begun(9, 4, true);
    assert!(session.is_with(MAC) && !session.is_with(other));
    assert!(session.is_held(other, START + 99 * MS) && !session.is_held(other, START + 100 * MS));
    session.ack(0, START + MS);
    assert!(session.is_held(other, START + 15_000 * MS) && !session.is_held(other, START + 15_001 * MS));
    assert!(!session.is_held(MAC, START + MS), "its client may begin anew");
    session.error();
    assert!(!session.is_held(other, START + 2 * MS));
}

#[test]
fn rfc2348_5_a_window_that_does_not_get_through_is_not_sent_for_ever() {
    for window in [1, 8] {
        let mut session = begun(100, window, true);
        session.ack(0, START + MS);
        let mut now = START + MS;
        let mut sent = 0;
        while session.ack(0, now).done != Done::InVain {
            assert!(now < START + 60_000 * MS, "it has no end");
            sent = session.resent() / u32::from(window);
            now += 1000 * MS;
        }
        assert_eq!((sent, now), (14, START + 15_001 * MS), "fifteen seconds");
        assert!(session.ended());
        assert_eq!(session.ack(0, now + 1000 * MS), Step::IGNORED);
        // Seldom, but it gets through in the end.
        let mut session = begun(100, window, true);
        session.ack(0, START + MS);
        (1..=5).for_each(|n| assert_eq!(session.ack(0, START + n * 60_000 * MS).done, Done::Repeated));
        assert_eq!(session.ack(1, START + 301_000 * MS).done, Done::Window);
        assert_eq!(session.ack(1, START + 361_000 * MS).done, Done::Repeated, "counted anew");
    }
}
