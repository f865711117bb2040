//! What the program takes and what it leaves, one rule at a time; each frame by the program and by its pure self.

use std::cell::Cell;

use netboot_common::limit::Budget;
use netboot_common::maps::InterfaceValue;
use netboot_common::packet::Slice;
use netboot_common::tftp::answer::{self, Tables, Work};
use netboot_common::tftp::maps::{File, FileKey, FileRef, Serving, SessionKey};
use netboot_common::tftp::session::Session;
use netboot_common::tftp::stats::{Done, Leave};
use netboot_common::wire::checksum;

use super::frames::{Draft, ack, add_checksum, error, rrq, sound};
use super::lab::{Bench, LISTEN, Made, Pure, SERVING, TIDS, files_offered};
use crate::lab::IFINDEX;
use crate::site::{RESERVED, mac};

const NOW: u64 = 1_000_000_000_000;

/// Both, side by side.
struct Both {
    bench: Bench,
    pure: Pure,
}

impl Both {
    fn new() -> Self {
        Self { bench: Bench::new(), pure: Pure::new() }
    }

    fn run(&mut self, frame: &[u8]) -> Made {
        let kernel = self.bench.run(frame);
        let port = kernel.as_ref().ok().and_then(|(_, frames)| Some(sound(frames.last()?).0[0]));
        let pure = self.pure.run(frame, NOW, port.unwrap_or(TIDS));
        assert_eq!(kernel, pure, "{frame:02x?}");
        pure
    }

    fn sends(&mut self, draft: &Draft) -> (u16, Vec<u8>) {
        let (_, frames) = self.run(&draft.frame()).unwrap_or_else(|leave| panic!("{leave:?}: {draft:?}"));
        let (ports, payload) = sound(frames.last().unwrap_or_else(|| panic!("nothing for {draft:?}")));
        (ports[0], payload)
    }
}

fn request(name: &str, strings: &[&str]) -> Draft {
    Draft::new([0, 0], RESERVED, [2070, LISTEN], rrq(name, strings))
}

fn to(tid: u16, payload: Vec<u8>) -> Draft {
    Draft::new([0, 0], RESERVED, [2070, tid], payload)
}

#[test]
fn rfc1350_1_a_transfer_has_a_port_of_its_own_and_the_next_one_another() {
    let mut both = Both::new();
    let (first, _) = both.sends(&request("file-513", &["octet"]));
    assert!(SERVING.is_tid(first) && SERVING.is_tid(TIDS + 255) && !SERVING.is_tid(TIDS + 256));
    both.sends(&to(first, ack(1)));
    assert_eq!(both.run(&to(first, ack(2)).frame()), Ok((Done::Finished, vec![])));
    let (second, _) = both.sends(&request("file-513", &["octet"]));
    assert_ne!(first, second);
    let late = both.run(&to(first, ack(1)).frame());
    assert_eq!(late, Ok((Done::Ignored, vec![])), "an ERROR for it would be taken for the second one's");
    both.sends(&to(second, ack(1)));
}

#[test]
fn rfc2348_2_blocks_fit_the_interface_s_mtu() {
    let mut both = Both::new();
    let asked =
        |vlan| Draft::new(vlan, RESERVED, [2070, LISTEN], rrq("file-65536", &["octet", "blksize", "65464"]));
    assert_eq!(both.sends(&asked([0, 0])).1, b"\0\x06blksize\x001468\0");
    assert_eq!(both.sends(&asked([300, 0])).1, b"\0\x06blksize\x00544\0", "of an MTU of 576");
    let (tid, _) = both.sends(&asked([100, 88]));
    let (_, data) = both.sends(&Draft::new([100, 88], RESERVED, [2070, tid], ack(0)));
    assert_eq!(data.len(), 4 + 1468);
}

#[test]
fn requests_that_are_not_for_here_are_left_untouched() {
    let mut both = Both::new();
    let sound = request("file-513", &["octet"]);
    let left = |both: &mut Both, draft: Draft| both.run(&draft.frame()).expect_err("left");
    let named = |name: &str, strings: &[&str]| request(name, strings);
    assert_eq!(left(&mut both, named("nothing", &["octet"])), Leave::UnknownFile);
    assert_eq!(left(&mut both, named("../file-513", &["octet"])), Leave::UnknownFile);
    assert_eq!(left(&mut both, named("FILE-513", &["octet"])), Leave::UnknownFile);
    assert_eq!(left(&mut both, named("file-513", &["netascii"])), Leave::Mode);
    assert_eq!(left(&mut both, named("file-513", &[])), Leave::Odd);
    assert_eq!(left(&mut both, Draft { payload: vec![0, 2, b'x', 0], ..sound.clone() }), Leave::Opcode);
    assert_eq!(left(&mut both, Draft { payload: ack(1), ..sound.clone() }), Leave::Opcode);
    assert_eq!(left(&mut both, Draft { payload: vec![0, 1], ..sound.clone() }), Leave::Opcode);
    assert_eq!(left(&mut both, Draft { source: [10, 78, 0, 5], ..sound.clone() }), Leave::Source);
    assert_eq!(left(&mut both, Draft { source: [10, 77, 0, 255], ..sound.clone() }), Leave::Source);
    assert_eq!(left(&mut both, Draft { source: [10, 77, 0, 0], ..sound.clone() }), Leave::Source);
    assert_eq!(left(&mut both, Draft { source: [255; 4], ..sound.clone() }), Leave::Source);
    assert_eq!(left(&mut both, Draft { source_mac: [0xff; 6], ..sound.clone() }), Leave::Source);
    assert_eq!(left(&mut both, Draft { ports: [0, LISTEN], ..sound.clone() }), Leave::Source);
    assert_eq!(left(&mut both, Draft { source: sound.destination, ..sound.clone() }), Leave::Ours);
    assert_eq!(left(&mut both, Draft { ports: [LISTEN, LISTEN], ..sound.clone() }), Leave::Ours);
    assert_eq!(left(&mut both, Draft { ports: [TIDS + 3, LISTEN], ..sound.clone() }), Leave::Ours);
    assert_eq!(left(&mut both, Draft { destination: [10, 77, 0, 255], ..sound.clone() }), Leave::NotForUs);
    assert_eq!(left(&mut both, Draft { destination_mac: [0xff; 6], ..sound.clone() }), Leave::NotForUs);
    assert_eq!(left(&mut both, Draft { vlan: [78, 0], ..sound.clone() }), Leave::NoInterface);
    assert_eq!(left(&mut both, Draft { ports: [2070, 70], ..sound.clone() }), Leave::NotTftp);
    assert_eq!(left(&mut both, to(TIDS, ack(1))), Leave::UnknownTransfer);
    assert_eq!(left(&mut both, to(TIDS, vec![0, 3, 0, 1])), Leave::Opcode);
    for (at, value, leave) in
        [(14, 0x46, Leave::IpOptions), (20, 0x20, Leave::Fragment), (17, 0xff, Leave::Lengths)]
    {
        let mut frame = sound.frame();
        frame[at] = value;
        let left = both.run(&frame).expect_err("left");
        assert!(left == leave || (at == 17 && left == Leave::Truncated), "{left:?}");
    }
    assert!(both.run(&sound.frame()).is_ok());
}

#[test]
fn rfc1122_4_1_3_4_a_datagram_that_was_damaged_is_left_to_the_stack_which_drops_it() {
    let mut both = Both::new();
    for (port, options) in
        [(2070, &["octet"][..]), (2071, &["octet", "tsize", "0"]), (2072, &["octet", "tsize", "00"])]
    {
        let draft = Draft::new([300, 0], RESERVED, [port, LISTEN], rrq("file-513", options));
        let mut frame = draft.frame();
        add_checksum(&mut frame, 4);
        for damaged in [18 + 20, 18 + 27, 18 + 28 + 4, 18 + 28 + draft.payload.len() - 2] {
            let mut frame = frame.clone();
            frame[damaged] ^= 0x20;
            assert_eq!(both.run(&frame), Err(Leave::Checksum), "byte {damaged}");
        }
        assert!(both.run(&frame).is_ok());
        // Left out; and begun by a sender whose device would go on from there.
        frame[18 + 26..18 + 28].fill(0);
        assert_eq!(both.run(&frame), Ok((Done::Ignored, vec![])), "it comes once more");
        let length = 8 + draft.payload.len() as u32;
        let pseudo = checksum::fold(checksum::add(17 + length, &frame[18 + 12..18 + 20]));
        frame[18 + 26..18 + 28].copy_from_slice(&pseudo.to_be_bytes());
        assert_eq!(both.run(&frame), Ok((Done::Ignored, vec![])));
    }
}

#[test]
fn rfc1122_3_2_1_2_an_ipv4_header_that_was_damaged_is_left_to_the_stack_which_drops_it() {
    let mut both = Both::new();
    let asked = request("file-513", &["octet"]);
    for (at, bit) in [(15, 4), (19, 1), (22, 8), (24, 1), (25, 0x80), (29, 4)] {
        let mut frame = asked.frame();
        frame[at] ^= bit;
        assert_eq!(both.run(&frame), Err(Leave::Checksum), "byte {at}");
    }
    let (tid, _) = both.sends(&asked);
    let mut frame = to(tid, ack(1)).frame();
    frame[24] ^= 1;
    assert_eq!(both.run(&frame), Err(Leave::Checksum));
    both.sends(&to(tid, ack(1)));
}

#[test]
fn an_echo_of_a_request_is_not_answered_and_an_error_ends() {
    let mut both = Both::new();
    let asked = request("file-1433", &["octet", "blksize", "1432"]);
    let (tid, _) = both.sends(&asked);
    assert_eq!(both.run(&asked.frame()), Ok((Done::Ignored, vec![])));
    assert_eq!(both.run(&to(tid, error(8)).frame()), Ok((Done::Aborted, vec![])));
    assert_eq!(both.run(&to(tid, ack(0)).frame()), Ok((Done::Ignored, vec![])));
    let (again, _) = both.sends(&asked);
    assert_ne!(tid, again, "asked for anew");
    both.sends(&to(again, ack(0)));
    assert_eq!(both.run(&to(again, error(3)).frame()), Ok((Done::Failed, vec![])));
}

#[test]
fn a_request_for_another_file_or_with_other_options_is_no_echo() {
    let mut both = Both::new();
    let asked = [
        request("file-1433", &["octet", "blksize", "1432"]),
        request("file-1432", &["octet", "blksize", "1432"]),
        request("file-1432", &["octet", "blksize", "1431"]),
        request("file-1432", &["octet", "blksize", "1431", "windowsize", "4"]),
        request("file-1432", &["octet", "blksize", "512"]),
        request("file-1432", &["octet"]),
    ];
    let mut ports = Vec::new();
    for asked in &asked {
        let (tid, answer) = both.sends(asked);
        ports.push(tid);
        assert_eq!(answer[1], if asked.payload.ends_with(b"octet\0") { 3 } else { 6 });
        assert_eq!(both.run(&asked.frame()), Ok((Done::Ignored, vec![])), "its echo is one");
    }
    ports.dedup();
    assert_eq!(ports.len(), asked.len(), "the earlier one is over: {ports:x?}");
    assert_eq!(
        both.run(&to(ports[4], ack(0)).frame()),
        Ok((Done::Ignored, vec![])),
        "and so is what it sends"
    );
    both.sends(&to(ports[5], ack(1)));
}

#[test]
fn a_transfer_is_its_client_s_alone() {
    let mut both = Both::new();
    let (tid, _) = both.sends(&request("file-1433", &["octet"]));
    for payload in [ack(1), error(3)] {
        let neighbour = Draft { source_mac: mac(RESERVED + 1), ..to(tid, payload) };
        let made = both.run(&neighbour.frame());
        assert_eq!(made, Ok((Done::Ignored, vec![])), "in its name: its ERROR would reach the client");
    }
    both.sends(&to(tid, ack(1)));
    let neighbour = |draft: Draft| Draft { source_mac: mac(RESERVED + 1), ..draft };
    let another = neighbour(request("file-513", &["octet"]));
    assert_eq!(both.run(&another.frame()), Err(Leave::Neighbour), "userspace answers it");
    both.sends(&to(tid, ack(2)));
    both.run(&to(tid, ack(3)).frame()).unwrap();
    let (others, _) = both.sends(&another);
    both.sends(&neighbour(to(others, ack(1))));
}

#[test]
fn rfc1350_4_a_late_copy_of_an_earlier_request_does_not_end_the_transfer_that_runs() {
    let mut both = Both::new();
    let asked = [
        request("file-1432", &["octet", "blksize", "1432"]),
        request("file-65536", &["octet", "windowsize", "4"]),
    ];
    let (first, _) = both.sends(&asked[0]);
    both.sends(&to(first, ack(0)));
    let (second, _) = both.sends(&asked[1]);
    assert_eq!(both.run(&asked[0].frame()), Ok((Done::Ignored, vec![])), "while it begins");
    assert_eq!(both.run(&to(first, ack(0)).frame()), Ok((Done::Ignored, vec![])));
    both.sends(&to(second, ack(0)));
    assert_eq!(both.run(&asked[0].frame()), Ok((Done::Ignored, vec![])));
    both.sends(&to(second, ack(4)));
    assert_eq!(both.bench.transfers().len(), 1, "of the first");
    let (third, _) = both.sends(&request("file-65535", &["octet"]));
    assert_ne!(third, second, "what it has not had is another matter");
}

#[test]
fn the_ports_of_a_client_s_transfers_are_not_to_be_foretold() {
    let mut both = Both::new();
    let mut ports = Vec::new();
    for _ in 0..100 {
        let (tid, _) = both.sends(&request("file-1", &["octet"]));
        assert_eq!(both.run(&to(tid, ack(1)).frame()), Ok((Done::Finished, vec![])));
        ports.push(tid);
    }
    assert!(ports.windows(2).all(|two| two[0] != two[1]));
    let steps: std::collections::HashSet<u16> =
        ports.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
    assert!(steps.len() > 30, "{ports:x?}");
}

/// Somebody who has seen no answer asks in a client's name, and acknowledges at each of our ports.
#[test]
fn who_forges_a_client_s_requests_and_acks_for_all_ports_is_sent_one_packet_for_each_request() {
    let mut bench = Bench::new();
    let mut guessed = 0;
    for port in 3000..3200 {
        let from = |to, payload| Draft::new([0, 0], RESERVED, [port, to], payload).frame();
        let asked = from(LISTEN, rrq("file-65536", &["octet", "windowsize", "16"]));
        assert_eq!(bench.run(&asked).unwrap().1.len(), 1);
        // In an order of the attacker's: the port is as likely to be any of them.
        let sent = |block| -> usize {
            (0..256).map(|n| bench.run(&from(TIDS + (n + port) % 256, ack(block))).unwrap().1.len()).sum()
        };
        guessed += usize::from(sent(0) > 0);
        assert_eq!(sent(16), 0, "no second window");
    }
    assert!(guessed <= 8, "{guessed} of 200 guesses were right, of one in 256");
    let told = bench.transfers();
    assert!(told.len() == 200 && told.iter().all(|one| one.done() == Some(Done::Guessed)));
    // And whose name it was can still ask.
    let real = bench.run(&request("file-513", &["octet"]).frame()).unwrap();
    assert_eq!(real.1.len(), 1);
}

#[test]
fn rfc7440_1_windows_that_are_too_large_here_are_userspace_s_to_grant() {
    let mut bench = Bench::new();
    let ask = |bench: &Bench, window: &str| {
        let made = bench.run(&request("file-513", &["octet", "windowsize", window]).frame());
        made.map(|(_, frames)| sound(&frames[0]).1)
    };
    bench.files().serve(Serving::new(LISTEN, TIDS, 1468, 256, Budget::new(0, 0))).unwrap();
    assert_eq!(ask(&bench, "65"), Err(Leave::Odd));
    assert_eq!(ask(&bench, "64").unwrap(), b"\0\x06windowsize\x0064\0");
    bench.files().serve(Serving::new(LISTEN, TIDS, 1468, 8, Budget::new(0, 0))).unwrap();
    assert_eq!(ask(&bench, "65").unwrap(), b"\0\x06windowsize\x008\0");
}

#[test]
fn before_it_acknowledges_a_client_gets_no_more_than_its_budget() {
    let mut bench = Bench::new();
    let budget = Serving::new(LISTEN, TIDS, 1468, 16, Budget::new(1, 5));
    bench.files().serve(budget).unwrap();
    let ask = |bench: &Bench, port| {
        let mut draft = request("file-513", &["octet"]);
        draft.ports[0] = port;
        bench.run(&draft.frame())
    };
    let first: Vec<_> = (0..5).map(|i| ask(&bench, 3000 + i).unwrap()).collect();
    assert_eq!(ask(&bench, 3005), Err(Leave::RateLimited), "userspace has a budget of its own");
    let tid = sound(&first[0].1[0]).0[0];
    let mut draft = to(tid, ack(1));
    draft.ports[0] = 3000;
    bench.run(&draft.frame()).unwrap();
    assert!(ask(&bench, 3006).is_ok(), "what was acknowledged does not count");
    assert_eq!(ask(&bench, 3007), Err(Leave::RateLimited));
}

#[test]
fn before_they_acknowledge_all_clients_together_have_a_budget_too() {
    let mut bench = Bench::new();
    let budget = Serving::new(LISTEN, TIDS, 1468, 16, Budget::new(1, 4)).with_all(Budget::new(1, 5));
    bench.files().serve(budget).unwrap();
    let from = |bench: &Bench, number, port, to, payload| {
        bench.run(&Draft::new([0, 0], number, [port, to], payload).frame())
    };
    let ask = |bench: &Bench, number, port| from(bench, number, port, LISTEN, rrq("file-513", &["octet"]));
    let first: Vec<_> = (0..5).map(|n| ask(&bench, n, 3000).unwrap()).collect();
    assert_eq!(ask(&bench, 5, 3000), Err(Leave::RateLimited), "userspace has a bound of its own");
    let tid = sound(&first[0].1[0]).0[0];
    from(&bench, 0, 3000, tid, ack(1)).unwrap();
    assert!(ask(&bench, 6, 3000).is_ok(), "what was acknowledged does not count");
    // What was refused for others is not the client's to pay.
    assert_eq!(ask(&bench, 1, 3001), Err(Leave::RateLimited));
    bench.files().serve(budget.with_all(Budget::new(0, 0))).unwrap();
    assert!((3002..3005).all(|port| ask(&bench, 1, port).is_ok()));
    assert_eq!(ask(&bench, 1, 3005), Err(Leave::RateLimited));
}

#[test]
fn what_is_switched_off_is_left() {
    let mut bench = Bench::new();
    let (asked, acked) = (request("file-513", &["octet"]), |tid| to(tid, ack(1)));
    let tid = sound(&bench.run(&asked.frame()).unwrap().1[0]).0[0];
    bench.files().serve(Serving::NOTHING).unwrap();
    assert_eq!(bench.run(&asked.frame()), Err(Leave::NotTftp));
    assert_eq!(bench.run(&acked(tid).frame()), Err(Leave::NotTftp));
    bench.files().serve(SERVING.on([10, 77, 0, 9])).unwrap();
    assert_eq!(bench.run(&acked(tid).frame()), Err(Leave::NotForUs), "we are listening elsewhere");
    bench.files().serve(SERVING.on([10, 77, 0, 1])).unwrap();
    assert!(bench.run(&acked(tid).frame()).is_ok());
}

#[test]
fn a_transfer_ends_with_the_version_that_it_began_with_or_in_userspace() {
    let second = std::time::Duration::from_secs;
    let mut bench = Bench::new();
    let tid = sound(&bench.run(&request("file-1433", &["octet"]).frame()).unwrap().1[0]).0[0];
    let mut offered = files_offered();
    for file in offered.iter_mut().filter(|file| file.names[0] == "file-1433") {
        file.content = vec![7; 1433].into();
    }
    let old = super::lab::files().into_iter().find(|(name, _)| name == "file-1433").unwrap().1;
    bench.files().replace(&offered, second(1)).unwrap();
    bench.files().tidy(second(5)).unwrap();
    let block = |bench: &Bench, draft: Draft| sound(&bench.run(&draft.frame()).unwrap().1[0]).1;
    assert_eq!(block(&bench, to(tid, ack(1)))[4..], old[512..1024]);
    let mut other = request("file-1433", &["octet"]);
    other.ports[0] = 4000;
    assert_eq!(block(&bench, other)[4..], [7; 512]);
    assert_eq!(block(&bench, to(tid, ack(2)))[4..], old[1024..]);
    bench.run(&to(tid, ack(3)).frame()).unwrap();
    // Nobody reads the old version any more: it goes, and so would a transfer that still had it.
    let tid = sound(&bench.run(&request("file-1", &["octet", "tsize", "0"]).frame()).unwrap().1[0]).0[0];
    bench.run(&to(tid, error(0)).frame()).unwrap();
    bench.files().replace(&[], second(6)).unwrap();
    assert_eq!(bench.run(&to(tid, ack(0)).frame()), Err(Leave::FileGone));
    assert_eq!(bench.run(&request("file-1433", &["octet"]).frame()), Err(Leave::UnknownFile));
}

/// Tables of which a file's slot becomes empty between two looks at it.
struct Emptied {
    pure: Pure,
    is_empty: Cell<bool>,
}

impl Tables for Emptied {
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue> {
        self.pure.interface(vlan)
    }

    fn file_of(&self, key: &FileKey) -> Option<&FileRef> {
        self.pure.file_of(key)
    }

    fn file(&self, slot: u16) -> Option<&File> {
        if self.is_empty.replace(true) { Some(&File::NONE) } else { self.pure.file(slot) }
    }

    fn session(&self, key: &SessionKey) -> Option<&Session> {
        self.pure.session(key)
    }

    fn now(&self) -> u64 {
        NOW
    }

    fn random(&self) -> u32 {
        0
    }
}

#[test]
fn a_file_that_goes_while_it_is_looked_up_is_gone() {
    let frame = request("file-513", &["octet"]).frame();
    let packet = Slice { bytes: &frame, offloaded_vlan: 0, ifindex: IFINDEX };
    let tables = Emptied { pure: Pure::new(), is_empty: Cell::new(false) };
    let mut work = Work::NEW;
    work.datagram = answer::read(&packet, &tables, &SERVING).unwrap();
    let answered = answer::answer(&packet, &tables, &SERVING, &mut work);
    assert_eq!(answered.unwrap_err(), Leave::FileGone);
}
