//! The malformed list of CONFORMANCE.md, section 7: each entry through all lanes, with exactly the outcome that it must have.

use netboot_common::maps::Kind;
use netboot_common::stats::{Lane, Leave};

use crate::cases::{DISCOVER, REQUEST, UNTAGGED, discover, message, own, run};
use crate::check::sound_checksums;
use crate::generator::Draft;
use crate::lab::{Bench, Made, pure};
use crate::site::{self, OUR_ADDRESS, mac};
use crate::userspace::userspace;

/// What becomes of a frame: in the kernel's lanes, then in userspace.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// All lanes give this answer.
    Answered(Kind),
    /// The kernel's lanes leave it for this reason, and userspace answers.
    Passed(Leave, Kind),
    /// No lane answers, all for this reason.
    Left(Leave),
}

use Fate::{Answered, Left, Passed};

const OFFERED: Fate = Answered(Kind::Offer);
const NOT_A_FRAGMENT: u8 = 0x40;
const L3: usize = 14;
const UDP: usize = L3 + 20;

fn check(what: &str, frame: &[u8], fate: Fate) {
    let outcome = |made: Made| made.map(|reply| outcome_of(&reply));
    let (kernel, user) = match fate {
        Answered(kind) => (Ok(kind), Ok(kind)),
        Passed(leave, kind) => (Err(leave), Ok(kind)),
        Left(leave) => (Err(leave), Err(leave)),
    };
    // All of them have to agree on the bytes, and to count one reason.
    assert_eq!(outcome(run(frame)), kernel, "{what}: the kernel's lanes");
    assert_eq!(outcome(userspace(frame)), user, "{what}: userspace");
}

/// What a reply is, by its own words.
fn outcome_of(reply: &[u8]) -> Kind {
    sound_checksums(reply);
    match message(reply)[240..] {
        [53, 1, 2, ..] => Kind::Offer,
        [53, 1, 5, ..] => Kind::Ack,
        [53, 1, 6, ..] => Kind::Nak,
        _ => Kind::Bootp,
    }
}

/// A DISCOVER with these bytes as its options, END behind them.
fn raw(options: &[u8]) -> Draft {
    Draft { options: options.to_vec(), ..discover() }
}

/// The frame of a DISCOVER, with `bytes` put over what is at `at`.
fn patched<const N: usize>(at: usize, bytes: [u8; N]) -> Vec<u8> {
    let mut frame = Draft { padding: 40, ..discover() }.frame();
    frame[at..at + N].copy_from_slice(&bytes);
    frame
}

/// The length field at `at`, changed by so much.
fn lengthened(mut frame: Vec<u8>, at: usize, by: i16) -> Vec<u8> {
    let length = u16::from_be_bytes([frame[at], frame[at + 1]]).wrapping_add_signed(by);
    frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
    frame
}

const TOTAL: usize = L3 + 2;
const DATAGRAM: usize = UDP + 4;

#[test]
fn malformed_fixed_fields() {
    for (at, value, fate, what) in [
        (0, 0, Left(Leave::NotRequest), "op 0"),
        (0, 2, Left(Leave::NotRequest), "op 2: a reply (XDP rule 10)"),
        (1, 0, Left(Leave::Hardware), "htype 0"),
        (1, 6, Left(Leave::Hardware), "htype 6"),
        (1, 32, Left(Leave::Hardware), "htype 32"),
        (2, 0, Left(Leave::Hardware), "hlen 0"),
        (2, 7, Left(Leave::Hardware), "hlen 7"),
        (2, 16, Left(Leave::Hardware), "hlen 16"),
        (2, 17, Left(Leave::Hardware), "hlen 17"),
        (2, 255, Left(Leave::Hardware), "hlen 255"),
        (3, 16, OFFERED, "16 hops"),
        (3, 17, Left(Leave::Hops), "17 hops"),
        (3, 255, Left(Leave::Hops), "255 hops"),
        (28, 0x53, Left(Leave::Hardware), "chaddr is a group"),
    ] {
        check(what, &discover().field(at, [value]).frame(), fate);
    }
    check("no cookie", &discover().field(236, [0; 4]).frame(), Passed(Leave::NoCookie, Kind::Bootp));
    check("chaddr of zeros", &discover().field(28, [0; 6]).frame(), Left(Leave::Hardware));
    let mut cookie_only = raw(&[]).frame();
    cookie_only.truncate(UDP + 8 + 240);
    let cookie_only = lengthened(lengthened(cookie_only, TOTAL, -1), DATAGRAM, -1);
    check("the cookie only", &cookie_only, Passed(Leave::MessageType, Kind::Bootp));
    let short = lengthened(lengthened(cookie_only, TOTAL, -1), DATAGRAM, -1);
    check("half of the cookie", &short[..short.len() - 1], Left(Leave::Truncated));
}

#[test]
fn malformed_options() {
    let no_type = Passed(Leave::MessageType, Kind::Bootp);
    let overload = Passed(Leave::Overload, Kind::Offer);
    for (options, fate, what) in [
        (&[][..], no_type, "53 missing"),
        (&[61, 2, 1, 2], no_type, "53 missing, others there"),
        (&[53, 0], no_type, "53 of length 0"),
        (&[53, 2, 1, 1], no_type, "53 of length 2"),
        (&[53, 1, 1, 53, 1, 1], OFFERED, "53 twice, the same"),
        (&[53, 1, 8, 53, 1, 1], OFFERED, "53 twice: the last counts"),
        (&[53, 1, 0], Left(Leave::MessageType), "53 says 0"),
        (&[53, 1, 2], Left(Leave::MessageType), "53 says OFFER"),
        (&[53, 1, 255], Left(Leave::MessageType), "53 says 255"),
        (&[53, 1, 1, 61, 200, 1], Left(Leave::OptionCut), "an option past the end"),
        (&[53, 1, 1, 61, 255], Left(Leave::OptionCut), "a length past the end"),
        (&[53, 1, 1, 52, 1, 0], overload, "overload 0"),
        (&[53, 1, 1, 52, 1, 1], overload, "overload 1"),
        (&[53, 1, 1, 52, 1, 2], overload, "overload 2"),
        (&[53, 1, 1, 52, 1, 3], overload, "overload 3"),
        (&[53, 1, 1, 52, 1, 4], overload, "overload 4"),
        (&[53, 1, 1, 52, 0], OFFERED, "overload of length 0"),
        (&[53, 1, 1, 52, 2, 1, 1], OFFERED, "overload of length 2"),
        (&[53, 1, 1, 61, 0], OFFERED, "61 of length 0"),
        (&[53, 1, 1, 61, 1, 9], OFFERED, "61 of length 1"),
        (&[53, 1, 1, 43, 3, 6, 1, 8], OFFERED, "43 without an end mark"),
        (&[53, 1, 1, 43, 3, 6, 9, 8], OFFERED, "43 with a sub-option past its end"),
        (&[53, 1, 1, 93, 1, 0], OFFERED, "93 of length 1"),
        (&[53, 1, 1, 93, 3, 0, 7, 0], OFFERED, "93 of length 3"),
        (&[53, 1, 1, 57, 2, 0, 0], OFFERED, "57 of 0"),
        (&[53, 1, 1, 57, 2, 2, 63], OFFERED, "57 of 575"),
        (&[53, 1, 1, 57, 2, 2, 64], OFFERED, "57 of 576"),
        (&[53, 1, 1, 57, 2, 255, 255], OFFERED, "57 of 65,535"),
        (&[53, 1, 1, 12, 0], OFFERED, "12 of length 0"),
        (&[53, 1, 1, 12, 5, b'a', 0, b'b', 0, 0], OFFERED, "12 with NUL"),
        (&[53, 1, 1, 12, 3, b'a', b'\n', b'b'], OFFERED, "12 with a newline"),
        (&[53, 1, 1, 12, 4, 0x1b, b'[', b'2', b'J'], OFFERED, "12 with an escape"),
        (&[53, 1, 1, 12, 2, 0xc3, 0x28], OFFERED, "12 that is not UTF-8"),
        (&[53, 1, 1, 175, 4, 19, 200, 1, 1], OFFERED, "175 with a sub-option past its end"),
        (&[53, 1, 1, 175, 1, 19], OFFERED, "175 with a sub-option without a length"),
        (&[0, 0, 0, 53, 1, 1], OFFERED, "pads first"),
        (&[255, 53, 1, 1], no_type, "the end mark first"),
    ] {
        check(what, &raw(options).frame(), fate);
    }
}

#[test]
fn malformed_options_of_many_bytes() {
    for (code, value, fate, what) in [
        (61, vec![7; 255], Left(Leave::TooLong), "61 of 255, which fits into no 576"),
        (12, vec![b'x'; 255], OFFERED, "12 of 255"),
        (97, vec![0; 16], OFFERED, "97 of length 16"),
        (97, [&[1][..], &[0; 16]].concat(), OFFERED, "97 of type 1"),
        (55, (0..255).collect(), OFFERED, "55 of 255"),
        (60, vec![b'P'; 255], OFFERED, "60 of 255"),
        (77, vec![255; 255], OFFERED, "77 of 255, its first entry past the end"),
    ] {
        check(what, &discover().option(code, &value).frame(), fate);
    }
    let more = discover().option(61, &[7; 255]).option(57, &1472_u16.to_be_bytes());
    check("61 of 255, and a client that takes it", &more.frame(), OFFERED);
    for (count, fate) in [(93, OFFERED), (255, Passed(Leave::ManyOptions, Kind::Offer))] {
        let empty = raw(&[[53, 1, 1].as_slice(), &[224, 0].repeat(count)].concat());
        check("options of length 0", &empty.frame(), fate);
    }
    let mut no_end = Draft { padding: 0, ..discover().option(12, b"node1") }.frame();
    no_end.pop();
    check("no end mark", &lengthened(lengthened(no_end, TOTAL, -1), DATAGRAM, -1), OFFERED);
    let relayed = |value: &[u8]| discover().relayed().field(28, mac(site::RELAYED)).option(82, value).frame();
    for (value, what) in [
        (&[1, 200, 7][..], "82 with a sub-option past its end"),
        (&[1], "82 with a sub-option without a length"),
        (&[5, 3, 10, 99, 0], "82 with a link of three bytes"),
        (&[0, 255, 1, 1], "82 with a pad and an end mark"),
    ] {
        check(what, &relayed(value), OFFERED);
    }
    check("82 past the message", &relayed(&[1; 9])[..L3 + 28 + 250], Left(Leave::Truncated));
}

#[test]
fn malformed_headers() {
    let whole = || Draft { padding: 40, ..discover() }.frame();
    for (frame, fate, what) in [
        (patched(L3, [0x46]), Left(Leave::IpOptions), "an IPv4 header with options"),
        (patched(L3, [0x44]), Left(Leave::IpOptions), "an IPv4 header of four words"),
        (patched(L3, [0x65]), Left(Leave::IpOptions), "version 6 in an IPv4 frame"),
        (patched(L3 + 6, [0x20, 0]), Left(Leave::Fragment), "the first fragment"),
        (patched(L3 + 6, [0, 1]), Left(Leave::Fragment), "a later fragment"),
        (patched(L3 + 6, [NOT_A_FRAGMENT, 0]), OFFERED, "don't fragment"),
        // RFC 1122 section 3.2.1.7: it is not for its receiver to discard.
        (patched(L3 + 8, [0]), OFFERED, "TTL 0"),
        (patched(L3 + 9, [6]), Left(Leave::NotDhcp), "TCP"),
        (lengthened(whole(), TOTAL, 1), Left(Leave::Truncated), "a total length past the frame"),
        (patched(TOTAL, [0xff, 0xff]), Left(Leave::Truncated), "a total length of 65,535"),
        (lengthened(whole(), TOTAL, -1), Left(Leave::Lengths), "a total length shorter than UDP's"),
        (patched(TOTAL, [0, 0]), Left(Leave::Lengths), "a total length of 0"),
        (patched(TOTAL, [0, 27]), Left(Leave::Lengths), "a total length without UDP's header"),
        (lengthened(whole(), DATAGRAM, 1), Left(Leave::Lengths), "UDP longer than IP"),
        (lengthened(whole(), DATAGRAM, -40), OFFERED, "UDP shorter than IP"),
        (patched(DATAGRAM, [0, 0]), Left(Leave::Truncated), "a UDP length of 0"),
        (patched(DATAGRAM, [0, 247]), Left(Leave::Truncated), "UDP shorter than BOOTP"),
        (lengthened(whole(), DATAGRAM, -43), Left(Leave::OptionCut), "UDP that ends within an option"),
        (patched(UDP + 6, [0, 0]), OFFERED, "UDP checksum 0"),
        // A guest's kernel leaves it to the device that is none (virtio): it can't be looked at.
        (patched(UDP + 6, [0xde, 0xad]), OFFERED, "a wrong UDP checksum"),
        (patched(UDP, [0x30, 0x39]), OFFERED, "from port 12,345"),
        (patched(UDP, [0, 0]), OFFERED, "from port 0"),
        (patched(UDP + 2, [0, 68]), Left(Leave::NotDhcp), "to port 68"),
        (patched(L3 + 16, OUR_ADDRESS), OFFERED, "to our address, by the broadcast MAC"),
        (patched(L3 + 16, [10, 77, 0, 2]), Left(Leave::NotForUs), "to another address"),
        (patched(L3 + 16, [10, 77, 0, 255]), Left(Leave::NotForUs), "to the network's broadcast address"),
        (patched(0, [2, 0, 0, 0, 0, 7]), Left(Leave::NotForUs), "to another MAC"),
        (patched(0, [1, 0, 0x5e, 0, 0, 1]), Left(Leave::NotForUs), "to a group"),
        (patched(6, site::OUR_MAC), Left(Leave::Ours), "from our own MAC"),
        (patched(L3 + 12, OUR_ADDRESS), Left(Leave::Ours), "from our own address"),
        (patched(12, [0x86, 0xdd]), Left(Leave::NotDhcp), "IPv6"),
        (patched(12, [0x01, 0x40]), Left(Leave::NotDhcp), "802.3: a length in place of the type"),
        (patched(12, [0x08, 0x06]), Left(Leave::NotDhcp), "ARP"),
        (whole()[..42].to_vec(), Left(Leave::Truncated), "headers only"),
        (whole()[..60].to_vec(), Left(Leave::Truncated), "the shortest frame"),
    ] {
        check(what, &frame, fate);
    }
    let (mut jumbo, mut padded) = (whole(), whole());
    jumbo.resize(3000, 0);
    check("a jumbo frame", &jumbo, OFFERED);
    padded.resize(1514, 0xee);
    check("padding of the link's", &padded, OFFERED);
}

#[test]
fn malformed_tags() {
    let whole = discover().frame();
    let tagged = |tags: &[[u8; 4]]| [&whole[..12], tags.concat().as_slice(), &whole[12..]].concat();
    let short = |tags: &[[u8; 4]]| [&whole[..12], tags.concat().as_slice(), &[8, 0], &[0; 30]].concat();
    for (tags, fate, what) in [
        (&[[0x81, 0, 0, 0]][..], OFFERED, "VLAN 0"),
        (&[[0x81, 0, 0xe0, 0]], OFFERED, "a priority tag"),
        (&[[0x88, 0xa8, 0x60, 0], [0x81, 0, 0x20, 0]], OFFERED, "two priority tags"),
        (&[[0x81, 0, 0xf0, 0]], OFFERED, "a priority tag that may be dropped"),
        (&[[0x81, 0, 0, 55]], Left(Leave::NoInterface), "a VLAN that is not served"),
        (&[[0x81, 0, 0x0f, 0xff]], Left(Leave::NoInterface), "VLAN 4095, which is reserved"),
        (&[[0x88, 0xa8, 0, 100], [0x81, 0, 0, 89]], Left(Leave::NoInterface), "QinQ that is not served"),
        (&[[0x88, 0xa8, 0, 88], [0x81, 0, 0, 100]], Left(Leave::NoInterface), "QinQ the other way round"),
        (&[[0x81, 0, 0, 1], [0x81, 0, 0, 2], [0x81, 0, 0, 3]], Left(Leave::Tags), "three tags"),
    ] {
        check(what, &tagged(tags), fate);
        assert!(run(&short(tags)).is_err(), "{what}, cut");
    }
    // A priority tag before the VLAN's, and behind it.
    let vlan = Draft::new(DISCOVER, site::RESERVED, [77, 0]).frame();
    for at in [12, 16] {
        let frame = [&vlan[..at], &[0x81, 0, 0xe0, 0], &vlan[at..]].concat();
        check("a VLAN and a priority tag", &frame, OFFERED);
    }
    let double = Draft::new(DISCOVER, site::RESERVED, [100, 88]).frame();
    check("QinQ", &double, OFFERED);
}

/// Every length from 34 to 600 (the kernel takes no shorter test frame), and each option cut short at each byte.
#[test]
fn truncated_messages_never_stop_a_lane() {
    let draft = discover().option(60, b"PXEClient:Arch:00007").option(93, &[0, 7]).option(97, &[0; 17]);
    let draft = draft.option(61, &[1; 7]).option(77, b"iPXE").option(175, &[19, 1, 1]).option(57, &[5, 192]);
    let whole = draft.frame();
    let agree = |frame: &[u8], what: &dyn Fn() -> String| {
        let bench = Bench::get();
        let expected = pure(frame);
        for lane in Lane::KERNEL {
            assert_eq!(bench.run(lane, frame), expected, "{}", what());
        }
        drop(bench);
        let made = userspace(frame);
        assert!(expected.is_err() || made == expected, "{}", what());
    };
    for length in 34..=600 {
        let mut frame = whole.clone();
        frame.resize(length, 0);
        agree(&frame, &|| format!("{length} bytes"));
    }
    for cut in 0..draft.options.len() {
        let mut draft = draft.clone();
        draft.options.truncate(cut);
        agree(&draft.frame(), &|| format!("options cut at {cut}"));
    }
    // The message itself ends there: nothing behind it but the link's padding.
    for length in 0..=300 {
        let mut frame = whole[..UDP + 8 + length.min(whole.len() - UDP - 8)].to_vec();
        let total = (frame.len() - L3) as u16;
        frame[TOTAL..TOTAL + 2].copy_from_slice(&total.to_be_bytes());
        frame[DATAGRAM..DATAGRAM + 2].copy_from_slice(&(total - 20).to_be_bytes());
        frame.resize(frame.len().max(60), 0);
        agree(&frame, &|| format!("a message of {length} bytes"));
    }
}

#[test]
fn requests_that_contradict_table_4_and_5_get_no_answer() {
    let request = || Draft::new(REQUEST, site::RESERVED, UNTAGGED);
    for (draft, fate, what) in [
        (request(), Left(Leave::Contradiction), "neither 50 nor ciaddr"),
        (request().option(54, &OUR_ADDRESS), Left(Leave::Contradiction), "54 alone"),
        (
            request().field(12, own()).option(50, &[10, 77, 0, 99]),
            Left(Leave::Contradiction),
            "two addresses",
        ),
        (request().field(12, own()).option(50, &own()), Answered(Kind::Ack), "the same one twice"),
        (request().option(50, &[0; 4]), Left(Leave::Contradiction), "50 says 0.0.0.0"),
        (request().option(50, &[255; 4]), Answered(Kind::Nak), "50 says 255.255.255.255"),
        (request().field(12, own()).option(54, &[10, 77, 0, 2]), Left(Leave::OtherServer), "another's"),
    ] {
        check(what, &draft.frame(), fate);
    }
}
