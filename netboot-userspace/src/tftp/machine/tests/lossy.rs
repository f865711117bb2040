//! Any losses, and any datagrams.

use super::*;

/// A client after RFC 7440 behind a lossy link, driven by a seed: how it ends, and whether every byte came. Nothing loops.
fn lossy(size: u64, window: u16, mut seed: u64, percent: u64) -> (End, bool) {
    let mut lost = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % 100 < percent
    };
    let request = Request { window_size: Some(window), block_size: Some(512), ..request() };
    let limits = if percent > 10 { Limits::default() } else { PATIENT };
    let (mut transfer, mut step) = Transfer::new(&request, size, limits, Duration::ZERO);
    let (mut now, mut got, mut bytes, mut packets) = (Duration::ZERO, 0u64, 0u64, 0u64);
    let done = loop {
        let mut answer = None;
        match step.send.clone() {
            Send::Oack if !lost() => answer = Some(0),
            Send::Blocks(range) => {
                for block in range.clone() {
                    packets += 1;
                    if !lost() && block == got + 1 {
                        got = block;
                        bytes += transfer.place(block).1 as u64;
                    }
                }
                // The last in-order block: after a full window, or when something is missing.
                answer = Some(transfer.wire_number(got.max(1))).filter(|_| got > 0);
            }
            _ => {}
        }
        if let Some(end) = step.end {
            break end;
        }
        step = match answer.filter(|_| !lost()) {
            Some(block) => transfer.datagram(&ack(block), now + Duration::from_millis(1)),
            None => Step::NOTHING,
        };
        if step == Step::NOTHING {
            now = transfer.deadline();
            step = transfer.timer(now);
        }
    };
    assert!(now < Duration::from_secs(3600), "{now:?}");
    assert!(packets < 8 * (size / 512 + 1) * u64::from(window) + 100, "{packets} packets for {size} bytes");
    (done, bytes == size)
}

const PATIENT: Limits = Limits {
    block_size: 1468,
    window_size: 16,
    first_retries: 30,
    retries: 30,
    silence: Duration::from_secs(15),
    timeout: Duration::from_secs(1),
    after_wrap: 0,
    paced: true,
};

proptest::proptest! {
    #[test]
    fn lossy_links_only_cost_time(size in 0u64..60_000, window in 1u16..20, seed: u64) {
        let (done, is_whole) = lossy(size, window, seed, 10);
        proptest::prop_assert!(is_whole && matches!(done, End::Done | End::Unconfirmed), "{:?}", done);
    }

    /// Some of them as failures, and none of those that are done without a byte.
    #[test]
    fn at_thirty_percent_loss_every_transfer_ends(size in 0u64..60_000, window in 1u16..20, seed: u64) {
        let (done, is_whole) = lossy(size, window, seed, 30);
        proptest::prop_assert!(is_whole || done != End::Done, "{:?}", done);
    }

    #[test]
    fn any_sequence_of_datagrams_is_survived(
        size in 0u64..10_000,
        packets: Vec<(Vec<u8>, u16)>,
    ) {
        let (mut transfer, _) = start(Request { window_size: Some(4), ..request() }, size);
        let mut now = Duration::ZERO;
        for (packet, pause) in packets {
            now += Duration::from_millis(pause.into());
            let steps = [transfer.datagram(&packet, now), transfer.datagram(&ack(pause), now), transfer.timer(now)];
            for step in steps {
                if let Send::Blocks(range) = step.send {
                    proptest::prop_assert!(*range.end() <= size / 512 + 1 && range.count() <= 4);
                }
            }
        }
    }
}
