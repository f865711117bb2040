//! The compiled programs against the pure builder: the same verdicts, the same bytes.

use netboot_common::stats::Lane;

use crate::check::sound_reply;
use crate::generator::{Random, frame};
use crate::lab::{Bench, passed, pure, sent};
use crate::site::site;

/// Frames for each program.
const FRAMES: u64 = 250_000;
const SEED: u64 = 0x6e65_7462_6f6f_7401;

#[test]
fn xdp_equals_the_pure_builder() {
    compare(Lane::Xdp);
}

#[test]
fn tcx_equals_the_pure_builder() {
    compare(Lane::Tcx);
}

/// CONFORMANCE, section 3, rule 1: what the verifier walks is watched. Beyond a million the kernel refuses, and older kernels merge
/// fewer states than this one.
#[test]
fn the_verifier_walks_no_more_than_it_should() {
    let mut bench = Bench::get();
    for (name, walked, most) in bench.verified() {
        println!("{name}: {walked} instructions verified");
        assert!(walked <= most, "{name}: {walked} instructions, and {most} are the limit");
    }
}

fn compare(lane: Lane) {
    let site = site();
    let mut bench = Bench::get();
    bench.fill(&site);
    let mut random = Random::new(SEED ^ lane as u64);
    let mut answered = 0;
    for i in 0..FRAMES {
        let frame = frame(&mut random);
        let expected = pure(&site, &frame, 1_000_000);
        let (verdict, out) = bench.run_uncounted(lane, &frame);
        match expected {
            Ok(reply) => {
                answered += 1;
                assert_eq!(verdict, sent(lane), "frame {i}: {}", hex(&frame));
                assert!(out == reply, "frame {i}: {}\n got {}\nwant {}", hex(&frame), hex(&out), hex(&reply));
                sound_reply(&reply, &frame);
            }
            Err(leave) => {
                assert_eq!(verdict, passed(lane), "frame {i}: {leave:?}: {}", hex(&frame));
                assert!(
                    out == frame,
                    "frame {i}: {leave:?}: a frame that is passed on must be untouched: {}",
                    hex(&frame)
                );
            }
        }
    }
    // The generator is no use if nearly everything is refused.
    assert!(answered > FRAMES / 5, "only {answered} of {FRAMES} frames were answered");
    println!(
        "{}: {answered} answers and {} refusals of {FRAMES} frames agree",
        lane.name(),
        FRAMES - answered
    );
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
