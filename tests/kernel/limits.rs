//! Budgets: what is over them is dropped in the kernel.

use netboot_common::limit::{Budget, Limits};
use netboot_common::stats::Lane;

use crate::cases::{DISCOVER, UNTAGGED, discover};
use crate::generator::Draft;
use crate::lab::Bench;
use crate::site::{self, RELAY};

/// Three at once, and one more in a second: nothing that comes back while a test runs its few frames.
const THREE: Budget = Budget::new(1, 3);
const UNLIMITED: Budget = Budget::new(0, 0);
/// XDP_DROP and XDP_TX.
const DROP: u32 = 1;
const SEND: u32 = 3;
/// TC_ACT_SHOT.
const SHOT: u32 = 2;

fn verdicts<const N: usize>(bench: &Bench, frame: &[u8]) -> [u32; N] {
    std::array::from_fn(|_| bench.run_for_good(Lane::Xdp, frame).0)
}

#[test]
fn a_hosts_budget_is_one_for_both_lanes_and_outlives_a_write_of_its_entry() {
    let bench = Bench::new();
    bench.limit(Limits { client: THREE, relay: UNLIMITED });
    let frame = discover().frame();
    assert_eq!(verdicts(&bench, &frame), [SEND, SEND, SEND, DROP]);
    assert_eq!(bench.run_for_good(Lane::Tcx, &frame).0, SHOT);
    bench.restore(&frame);
    assert_eq!(verdicts(&bench, &frame), [DROP], "a write gives it nothing");
    let other = Draft::new(DISCOVER, site::LONG_NAME, UNTAGGED).frame();
    assert_eq!(verdicts(&bench, &other), [SEND], "another host has its own");
}

#[test]
fn one_client_that_is_over_its_budget_takes_nothing_from_its_relay_agents() {
    const PASS: u32 = 2;
    let bench = Bench::new();
    bench.limit(Limits { client: THREE, relay: Budget::new(1, 5) });
    let relayed = |host| {
        let draft = Draft::new(DISCOVER, host, UNTAGGED).field(24, RELAY);
        draft.unicast(RELAY, 67).frame()
    };
    // Nobody knows them: they go up.
    let [flood, next] = [200, 201].map(relayed);
    assert_eq!(verdicts(&bench, &flood), [PASS, PASS, PASS, DROP, DROP, DROP]);
    assert_eq!(verdicts(&bench, &next), [PASS, PASS, DROP], "the rest of the relay agent's five");
}
