//! The generator: whole exchanges (DISCOVER, OFFER, REQUEST, ACK), each reply verified.
//!
//! Closed, it keeps so many exchanges in flight and finds what a server takes; open, it begins them at a rate whatever the server
//! does, and counts from when each was due, so that a server that stalls can't hide it.

mod exchanges;
mod tally;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::clients::Network;
use crate::replies;
use crate::wire::{BATCH, Outbox, Wire};
use exchanges::{Exchanges, Expect};

/// How long an exchange may take; then it is lost. Firmware's first retry comes after 4 s, a busy site's patience is shorter.
const PATIENCE: Duration = Duration::from_secs(1);

/// The command line of `load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The clients' end of the wire.
    #[arg(long, default_value = "eth0")]
    interface: String,
    #[command(flatten)]
    network: Network,
    /// How many clients take turns.
    #[arg(long, default_value_t = 10_000)]
    clients: u32,
    /// The number of the first client: others than in an earlier run are new to a server.
    #[arg(long, default_value_t = 0)]
    from: u32,
    /// Clients lease any address of this pool (first-last), each another one; without it, each has its reservation.
    #[arg(long, value_parser = parse_pool)]
    pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Exchanges in flight.
    #[arg(long, default_value_t = 64)]
    flight: usize,
    /// Begin so many exchanges in each second, instead.
    #[arg(long)]
    rate: Option<u32>,
    /// How long.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

fn parse_pool(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let (first, last) = text.split_once('-').ok_or("write it as 10.0.0.1-10.0.0.9")?;
    let parse = |text: &str| text.parse().map_err(|error| format!("{text:?}: {error}"));
    Ok((parse(first)?, parse(last)?))
}

/// Makes exchanges for the time given, then waits for those in flight.
pub(crate) fn main(options: &Options) -> anyhow::Result<Value> {
    ensure!(options.clients > 0 && options.flight > 0, "no clients make no exchanges");
    let wire = Wire::open(&options.interface, replies::PORTS, replies::ROOM)
        .with_context(|| options.interface.clone())?;
    let way = options.network.way(wire.interface.mac);
    let expect = match options.pool {
        Some((first, last)) => Expect::Lease(first, last),
        None => Expect::Reservation(options.network),
    };
    let exchanges = Exchanges::new(&way, expect, options.from, options.clients);
    Generator { wire, exchanges, begun: Instant::now(), outbox: Outbox::default() }.run(options)
}

struct Generator {
    wire: Wire,
    exchanges: Exchanges,
    begun: Instant,
    outbox: Outbox,
}

impl Generator {
    fn run(mut self, options: &Options) -> anyhow::Result<Value> {
        let length = Duration::from_secs_f64(options.seconds);
        let mut late = Duration::ZERO;
        let in_time = loop {
            let now = self.begun.elapsed();
            if now >= length {
                break self.exchanges.tally.completed();
            }
            match options.rate {
                Some(rate) => late = late.max(self.begin_due(rate, now)),
                None => self.begin_free(options.flight, now),
            }
            self.turn(now)?;
        };
        while self.exchanges.in_flight() > 0 {
            self.turn(self.begun.elapsed())?;
        }
        Ok(self.exchanges.tally.report(in_time as f64 / options.seconds, late))
    }

    fn begin_free(&mut self, flight: usize, now: Duration) {
        let free = flight.saturating_sub(self.exchanges.in_flight());
        for _ in 0..free.min(BATCH) {
            self.exchanges.begin(now, self.outbox.add());
        }
    }

    /// Begins what is due; how late the first of them is.
    fn begin_due(&mut self, rate: u32, now: Duration) -> Duration {
        let due = (now.as_secs_f64() * f64::from(rate)) as u64;
        let begun = self.exchanges.tally.begun();
        let at = |number: u64| Duration::from_secs_f64(number as f64 / f64::from(rate));
        for number in begun..due.min(begun + BATCH as u64) {
            self.exchanges.begin(at(number), self.outbox.add());
        }
        if begun < due { now.saturating_sub(at(begun)) } else { Duration::ZERO }
    }

    /// Sends what waits, takes what came, and gives up what is too old.
    fn turn(&mut self, now: Duration) -> anyhow::Result<()> {
        let Self { wire, exchanges, begun, outbox } = self;
        let sent = outbox.frames().len();
        wire.send(outbox.frames()).context("sending")?;
        outbox.clear();
        let received =
            wire.receive(|frame| exchanges.reply(frame, begun.elapsed(), outbox)).context("receiving")?;
        self.exchanges.expire(now, PATIENCE);
        if sent == 0 && received == 0 {
            self.wire.wait(Duration::from_micros(200)).context("waiting")?;
        }
        Ok(())
    }
}
