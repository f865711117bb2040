//! The compiled programs against the pure builder: the same verdicts, the same bytes.
//!
//! `NETBOOT_DIFFERENTIAL_FRAMES` says how many frames each program is given; `cargo xtask differential` sets it.

use std::thread;
use std::time::Instant;

use netboot_common::stats::Lane;

use crate::check::{sound_checksums, sound_reply};
use crate::generator::{Random, frame};
use crate::lab::{Bench, passed, pure, sent};

/// Frames for each program, unless told.
const FRAMES: u64 = 250_000;
const SEED: u64 = 0x6e65_7462_6f6f_7401;
/// Of so many answers one is read by a parser that is not ours; the checksums are those of every one.
const DECODED: u64 = 16;

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
    let bench = Bench::get();
    for (name, walked, most) in bench.verified() {
        println!("{name}: {walked} instructions verified");
        assert!(walked <= most, "{name}: {walked} instructions, and {most} are the limit");
    }
}

/// Both programs' tests run at the same time: half of the cores for each.
fn compare(lane: Lane) {
    let frames = frames();
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)) as u64;
    let begin = Instant::now();
    let answered: u64 = thread::scope(|scope| {
        let share = |i: u64| frames / threads + u64::from(i < frames % threads);
        let each = |i: u64| scope.spawn(move || compare_share(lane, SEED ^ (lane as u64 | i << 8), share(i)));
        let running: Vec<_> = (0..threads).map(each).collect();
        running.into_iter().map(|thread| thread.join().expect("no difference")).sum()
    });
    // The generator is no use if nearly everything is refused.
    assert!(answered > frames / 5, "only {answered} of {frames} frames were answered");
    println!(
        "{}: {answered} answers and {} refusals of {frames} frames agree; {:.1} s on {threads} threads",
        lane.name(),
        frames - answered,
        begin.elapsed().as_secs_f32()
    );
}

fn frames() -> u64 {
    let told = std::env::var("NETBOOT_DIFFERENTIAL_FRAMES").ok();
    told.map_or(FRAMES, |told| told.parse().expect("NETBOOT_DIFFERENTIAL_FRAMES is a number"))
}

/// So many frames, on programs and maps of its own; how many were answered.
fn compare_share(lane: Lane, seed: u64, frames: u64) -> u64 {
    let bench = Bench::new();
    let mut random = Random::new(seed);
    let mut answered = 0;
    for i in 0..frames {
        let frame = frame(&mut random);
        let (verdict, out) = bench.run_uncounted(lane, &frame);
        match pure(&frame) {
            Ok(reply) => {
                answered += 1;
                assert_eq!(verdict, sent(lane), "frame {i}: {}", hex(&frame));
                assert!(out == reply, "frame {i}: {}\n got {}\nwant {}", hex(&frame), hex(&out), hex(&reply));
                match answered % DECODED {
                    0 => drop(sound_reply(&reply, &frame)),
                    _ => sound_checksums(&reply),
                }
            }
            Err(leave) => {
                assert_eq!(verdict, passed(lane), "frame {i}: {leave:?}: {}", hex(&frame));
                assert!(out == frame, "frame {i}: {leave:?}: changed, and passed on: {}", hex(&frame));
            }
        }
    }
    answered
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
