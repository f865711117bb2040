//! Nanoseconds per packet, under `BPF_PROG_TEST_RUN`, of programs that change their packet.
//!
//! **The method.** The kernel repeats a program on one buffer, so a program that answers sees the request once and then its own
//! reply. Here it repeats `restore` (see `programs/`), which puts the request back, chooses the client, and tail-calls the
//! program. The same with a program that does nothing costs what the harness costs; the difference is the program's own, and to
//! it is added what an empty program costs when it is repeated without the harness, so that the figure compares with those of
//! programs that can be measured directly. Both are taken in turns, in each round.
//!
//! **Its error** is shown: a program that only exchanges two addresses can be measured both ways. Known besides: where a reply
//! has another length than its request, restoring has to resize the frame, which the baseline need not; some nanoseconds too
//! much for the program. And each call is so short that the ring of events never fills: answering includes telling.

mod rig;
mod site;

use std::path::PathBuf;

use anyhow::Context as _;
use netboot_common::maps::Kind;
use serde_json::{Value, json};

use crate::clients::Network;
use crate::frames::{Request, Way, foreign};
use crate::samples::{at, summary};
use rig::{Rig, Target};
use site::{OUR_MAC, RELAY_MAC};

/// The command line of `kernel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The bench's programs, compiled.
    #[arg(long)]
    programs: PathBuf,
    #[command(flatten)]
    network: Network,
    /// Sizes of the host table.
    #[arg(long, value_delimiter = ',', default_value = "1,10000,1000000")]
    hosts: Vec<u32>,
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Calls of 10,000 packets in each round.
    #[arg(long, default_value_t = 20)]
    calls: u32,
}

/// One request, and the reply that it deserves.
struct Message {
    name: &'static str,
    request: Request,
    kind: Kind,
}

fn messages(network: &Network) -> [Message; 3] {
    let direct = Way { server: network.server, server_mac: OUR_MAC, relay: None };
    let relay = (u32::from(network.server) + 1).into();
    let relayed = Way { relay: Some((relay, RELAY_MAC)), ..direct };
    [
        Message { name: "offer", request: Request::discover(&direct), kind: Kind::Offer },
        Message { name: "ack", request: Request::selecting(&direct), kind: Kind::Ack },
        Message { name: "ack, relayed", request: Request::selecting(&relayed), kind: Kind::Ack },
    ]
}

pub(crate) fn main(options: &Options) -> anyhow::Result<Value> {
    rig::pin()?;
    let mut rig = Rig::load(&options.programs, options.network)?;
    let (method, empty) = method(&mut rig, options)?;
    let mut cells = Vec::new();
    for &hosts in &options.hosts {
        rig.fill(hosts).with_context(|| format!("{hosts} hosts"))?;
        for message in messages(&options.network) {
            for random in [false, true] {
                if !random || hosts > 1 {
                    cells.extend(measure(&mut rig, options, &message, hosts, random, empty)?);
                }
            }
        }
    }
    Ok(json!({ "method": method, "replies": cells }))
}

/// What can be measured directly, and how far off the harness is. The second value: what an empty program costs.
fn method(rig: &mut Rig, options: &Options) -> anyhow::Result<(Value, f64)> {
    rig.fill(1)?;
    let way = Way { server: options.network.server, server_mac: OUR_MAC, relay: None };
    let (frame, foreign) = (Request::discover(&way).frame, foreign());
    let mut found: [Vec<f64>; 6] = Default::default();
    for _ in 0..options.rounds {
        rig.restore(&frame, None, false)?;
        for (samples, value) in found.iter_mut().zip([
            rig.direct(Target::Pass, &frame, options.calls)?,
            rig.direct(Target::Swap, &frame, options.calls)?,
            rig.direct(Target::Ours, &foreign, options.calls)?,
            rig.direct(Target::Bare, &foreign, options.calls)?,
            rig.restored(Target::Pass, options.calls)?,
            rig.restored(Target::Swap, options.calls)?,
        ]) {
            samples.push(value);
        }
    }
    let [empty, swap, ours, bare, harness, harnessed] = &found;
    let own = |i: usize| harnessed[i] - harness[i] + empty[i];
    let error: Vec<f64> = (0..swap.len()).map(|i| own(i) - swap[i]).collect();
    let report = json!({
        "empty_ns": summary(empty),
        "swap_ns": summary(swap),
        "pass_foreign_ns": summary(ours),
        "pass_foreign_bare_ns": summary(bare),
        "harness_ns": summary(harness),
        "error_ns": summary(&error),
    });
    Ok((report, at(empty, 0.5)))
}

/// Ours and the bare program, with one request.
fn measure(
    rig: &mut Rig,
    options: &Options,
    message: &Message,
    hosts: u32,
    random: bool,
    empty: f64,
) -> anyhow::Result<[Value; 2]> {
    rig.restore(&message.request.frame, random.then_some(hosts), message.request.relayed)?;
    for target in [Target::Ours, Target::Bare] {
        rig.verify(target, message.kind).with_context(|| format!("{}, {target:?}", message.name))?;
    }
    let mut own: [Vec<f64>; 2] = Default::default();
    for _ in 0..options.rounds {
        let before = rig.restored(Target::Pass, options.calls)?;
        let ours = rig.counted(message.kind, options.calls)?;
        let bare = rig.restored(Target::Bare, options.calls)?;
        let after = rig.restored(Target::Pass, options.calls)?;
        let harness = f64::midpoint(before, after);
        own[0].push(ours - harness + empty);
        own[1].push(bare - harness + empty);
    }
    let ratio = at(&own[0], 0.5) / at(&own[1], 0.5);
    let client = if random { "random" } else { "hot" };
    let cell = |program: &str, samples: &[f64], ratio: f64| {
        json!({
            "program": program,
            "message": message.name,
            "hosts": hosts,
            "client": client,
            "ns": summary(samples),
            "of_bare": ratio,
        })
    };
    Ok([cell("netboot", &own[0], ratio), cell("bare", &own[1], 1.0)])
}
