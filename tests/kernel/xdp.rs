//! The rules of CONFORMANCE.md, section 3, that a program can be held to by itself. Rule 1 is in `differential.rs`; 3 and 4 need
//! interfaces and restarts (`tests/netns`).

use netboot_common::packet::Slice;
use netboot_common::request::Headers;
use netboot_common::stats::{Lane, Leave};

use crate::cases::{DISCOVER, answered, discover, request, unanswered};
use crate::check::sound_checksums;
use crate::generator::{Draft, Random, frame};
use crate::lab::{Bench, IFINDEX, pure};
use crate::site::{self, OUR_ADDRESS, OUR_MAC};
use crate::userspace::userspace;

#[test]
fn xdp_2_every_exit_is_counted_by_one_reason_and_passes_what_it_does_not_answer() {
    let mut random = Random::new(0x6578_6974_7300_0001);
    let bench = Bench::get();
    for i in 0..2_000 {
        let frame = frame(&mut random);
        for lane in Lane::KERNEL {
            // Fails unless one counter of an outcome went up, and the verdict and the frame are as that outcome has them.
            assert_eq!(bench.run(lane, &frame).err(), pure(&frame).err(), "frame {i}");
        }
    }
}

#[test]
fn xdp_8_checksums_are_right_at_odd_and_even_lengths_and_for_every_last_byte() {
    let mut lengths = std::collections::HashSet::new();
    for length in 2..=64 {
        // Past the shortest reply, so that each byte more is one more in the reply.
        let draft =
            discover().option(61, &vec![length; length.into()]).option(60, b"PXEClient").option(93, &[0, 7]);
        let (reply, _) = answered(draft);
        lengths.insert(reply.len());
    }
    assert!(lengths.iter().any(|length| length % 2 == 1) && lengths.len() > 20, "{lengths:?}");
    for last in 0..=255 {
        let draft = discover().option(60, b"PXEClient").option(93, &[0, 7]).option(61, &[9, last]);
        let (reply, _) = answered(draft);
        sound_checksums(&reply);
    }
}

#[test]
fn xdp_9_a_tag_in_metadata_is_as_good_as_one_in_the_frame() {
    for vlan in [[77, 0], [100, 88]] {
        let draft = Draft::new(DISCOVER, site::RESERVED, vlan);
        let tagged = draft.frame();
        // The device took the outer tag out, and the kernel keeps it beside the frame.
        let taken_out = [&tagged[..12], &tagged[16..]].concat();
        let read = |bytes: &[u8], offloaded_vlan| {
            let packet = Slice { bytes, offloaded_vlan, ifindex: IFINDEX };
            Headers::read(&packet).expect("sound headers").vlan
        };
        assert_eq!(read(&taken_out, vlan[0]), read(&tagged, 0), "{vlan:?}");
    }
}

#[test]
fn xdp_10_nothing_that_we_sent_and_no_reply_is_answered() {
    for draft in [discover(), request().option(50, &OUR_ADDRESS)] {
        unanswered(Draft { source_mac: OUR_MAC, ..draft.clone() }, Leave::Ours);
        unanswered(Draft { source: OUR_ADDRESS, ..draft.clone() }, Leave::Ours);
        unanswered(draft.field(0, [2]), Leave::NotRequest);
    }
    // Our own reply, come back.
    let (reply, _) = answered(discover());
    assert!(pure(&reply).is_err() && userspace(&reply).is_err());
}
