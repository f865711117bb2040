//! The generator: so many clients at once, each block compared with the file.
//!
//! A packet socket stands for all of them, so that a system call moves up to 64 datagrams of whichever clients, and no socket of
//! ours is in a client's way; what the server sent as one (UDP segmentation offload) is cut up here. One thread.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use netboot_common::Mac;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::clients;
use crate::frames::{self, Stations};
use crate::link::{Fate, Link, Quality};
use crate::machine::{Ask, Send};
use crate::transfers::Transfers;
use crate::wire::{BATCH, Outbox, Room, Wire};

/// Every so many frames the checksums are verified.
const SOUND_EVERY: u64 = 16;
/// Servers with large windows and many clients may send all of it before we have a turn.
const ROOM: Room = Room { frame: frames::LONGEST, waiting: 256 << 20 };
/// The request port (RFC 1350 section 4).
const TFTP: u16 = 69;

/// The command line of `fetch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The clients' end of the wire.
    #[arg(long, default_value = "eth0")]
    interface: String,
    #[arg(long, default_value = "10.64.0.1")]
    server: Ipv4Addr,
    #[arg(long, value_parser = clap::value_parser!(Mac), default_value = "02:00:00:00:00:01")]
    server_mac: Mac,
    /// What the server has under the file's name.
    #[arg(long)]
    file: PathBuf,
    #[arg(long, default_value_t = 1)]
    clients: u32,
    #[arg(long, default_value_t = 1432)]
    blksize: u16,
    #[arg(long, default_value_t = 1)]
    window: u16,
    /// For so long, another client begins when one is done. Each client fetches once at least.
    #[arg(long, default_value_t = 0.0)]
    seconds: f64,
    /// At first, so many begin in each second.
    #[arg(long, default_value_t = 5_000)]
    begin_rate: u32,
    /// Transfers that last longer than the whole run may have failed.
    #[arg(long, default_value_t = 60.0)]
    deadline: f64,
    /// A client's first patience; each repetition waits twice as long.
    #[arg(long, default_value_t = 1000)]
    patience_ms: u64,
    /// Lose this share of the datagrams in each direction, between 0 and 1.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Have later ones overtake this share.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// Which datagrams: others with another seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Try again, as long as nobody answers: wait for a server that starts.
    #[arg(long)]
    until_answered: bool,
}

/// Fetches, and reports.
pub(crate) fn main(options: &Options) -> anyhow::Result<Value> {
    ensure!((1..=clients::MOST).contains(&options.clients), "1 to {} clients", clients::MOST);
    ensure!(options.blksize >= 8 && options.window >= 1, "blksize is at least 8, windowsize 1");
    let begun = Instant::now();
    loop {
        let report = Generator::new(options)?.run(options)?;
        let is_last = !options.until_answered || begun.elapsed().as_secs_f64() > options.deadline;
        if is_last || report["completed"].as_u64() > Some(0) {
            return Ok(report);
        }
    }
}

struct Generator {
    wire: Wire,
    transfers: Transfers,
    path: Path,
    incoming: Link<(u32, u16, Vec<u8>)>,
    outgoing: Link<(u32, u16, Send)>,
    begun: Instant,
    outbox: Outbox,
    counts: Counts,
}

/// How to reach the server, and what to ask of it.
struct Path {
    stations: Stations,
    server: Ipv4Addr,
    request: Vec<u8>,
}

#[derive(Default)]
struct Counts {
    frames: u64,
    datagrams: u64,
    unsound: u64,
    system_calls: u64,
}

impl Generator {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let file = fs::read(&options.file).with_context(|| options.file.display().to_string())?;
        let name = options.file.file_name().and_then(|name| name.to_str()).context("the file has no name")?;
        let wire = Wire::open(&options.interface, clients::PORTS, ROOM)
            .with_context(|| options.interface.clone())?;
        let ask = Ask {
            block_size: options.blksize,
            window: options.window,
            patience: Duration::from_millis(options.patience_ms),
        };
        let stations = Stations { own: wire.interface.mac.0, other: options.server_mac.0 };
        let quality = Quality { loss: options.loss, reorder: options.reorder };
        Ok(Self {
            wire,
            transfers: Transfers::new(ask, file),
            path: Path { stations, server: options.server, request: request(name, &ask) },
            incoming: Link::new(quality, options.seed),
            outgoing: Link::new(quality, !options.seed),
            begun: Instant::now(),
            outbox: Outbox::default(),
            counts: Counts::default(),
        })
    }

    fn run(mut self, options: &Options) -> anyhow::Result<Value> {
        let processor = processor_time();
        let mut last = Duration::ZERO;
        loop {
            let now = self.begun.elapsed();
            let blocks = self.transfers.tally.blocks();
            self.begin(options, now);
            self.turn(now)?;
            if self.transfers.tally.blocks() > blocks {
                last = self.begun.elapsed();
            }
            if now.as_secs_f64() > options.deadline {
                self.transfers.give_up();
            }
            let all_begun = self.transfers.begun() >= options.clients;
            if all_begun && self.transfers.under_way() == 0 && self.outbox.frames().is_empty() {
                break;
            }
        }
        Ok(self.report(last, processor_time().saturating_sub(processor)))
    }

    /// Each client once, at the rate given; then whoever takes the place of one that is done.
    fn begin(&mut self, options: &Options, now: Duration) {
        let due = (now.as_secs_f64() * f64::from(options.begin_rate)) as u32 + 1;
        let begun = self.transfers.begun();
        let count = if begun < options.clients {
            due.min(options.clients).saturating_sub(begun)
        } else if now.as_secs_f64() < options.seconds && !options.until_answered {
            (options.clients - self.transfers.under_way() as u32).min(clients::MOST - begun)
        } else {
            0
        };
        for _ in 0..count.min(BATCH as u32) {
            let client = self.transfers.begin(now);
            self.send(client, TFTP, Send::Request, now);
        }
    }

    /// Sends what waits, takes what came, and hears those who waited too long.
    fn turn(&mut self, now: Duration) -> anyhow::Result<()> {
        let sent = self.outbox.frames().len();
        self.wire.send(self.outbox.frames()).context("sending")?;
        self.outbox.clear();
        let received = self.receive(now)?;
        while let Some((client, port, bytes)) = self.incoming.due(now) {
            self.take(client, port, &bytes, now);
        }
        while let Some((client, port, send)) = self.outgoing.due(now) {
            self.path.write(client, port, send, self.outbox.add());
        }
        while let Some((client, port, send)) = self.transfers.expired(now) {
            let port = if send == Send::Request { TFTP } else { port };
            self.send(client, port, send, now);
        }
        self.counts.system_calls += 1 + sent.div_ceil(BATCH) as u64;
        if received == 0 && self.outbox.frames().is_empty() {
            self.counts.system_calls += 1;
            let timer = self.transfers.next_timer().map(|at| at.saturating_sub(now));
            let patience = Duration::from_micros(200);
            self.wire.wait(timer.map_or(patience, |timer| timer.min(patience))).context("waiting")?;
        }
        Ok(())
    }

    fn receive(&mut self, now: Duration) -> anyhow::Result<usize> {
        let Self { wire, transfers, path, incoming, outgoing, outbox, counts, .. } = self;
        let received = wire.receive(|frame| {
            let Some(datagram) = frames::read(frame).filter(|it| it.from.ip() == &path.server) else {
                return;
            };
            let Some(client) = clients::number(datagram.to) else { return };
            counts.frames += 1;
            if counts.frames.is_multiple_of(SOUND_EVERY) && !frames::is_sound(frame) {
                counts.unsound += 1;
            }
            let port = datagram.from.port();
            for bytes in cut(datagram.payload, transfers.granted(client)) {
                counts.datagrams += 1;
                match incoming.fate() {
                    Fate::IsLost => {}
                    Fate::IsHeld => incoming.hold((client, port, bytes.to_vec()), now),
                    Fate::Passes => {
                        if let Some(send) = transfers.datagram(client, port, bytes, now) {
                            dispatch(outgoing, path, (client, port, send), now, outbox);
                        }
                    }
                }
            }
        });
        received.context("receiving")
    }

    fn take(&mut self, client: u32, port: u16, bytes: &[u8], now: Duration) {
        if let Some(send) = self.transfers.datagram(client, port, bytes, now) {
            self.send(client, port, send, now);
        }
    }

    fn send(&mut self, client: u32, port: u16, send: Send, now: Duration) {
        dispatch(&mut self.outgoing, &self.path, (client, port, send), now, &mut self.outbox);
    }

    fn report(&self, last: Duration, processor: Duration) -> Value {
        // Without any block, it took as long as we waited.
        let taken = if last.is_zero() { self.begun.elapsed() } else { last };
        let mut report = self.transfers.tally.report(taken.as_secs_f64());
        let (block_size, window) = self.transfers.granted(0).unwrap_or_default();
        let own = json!({
            "begun": self.transfers.begun(),
            "granted": { "blksize": block_size, "windowsize": window },
            "lost_on_purpose": self.incoming.lost() + self.outgoing.lost(),
            "unsound": self.counts.unsound,
            "generator": {
                "seconds": processor.as_secs_f64(),
                "busy_percent": 100.0 * processor.as_secs_f64() / self.begun.elapsed().as_secs_f64(),
                "frames": self.counts.frames,
                "datagrams": self.counts.datagrams,
                "system_calls": self.counts.system_calls,
            },
        });
        if let Value::Object(own) = own {
            report.extend(own);
        }
        Value::Object(report)
    }
}

impl Path {
    fn write(&self, client: u32, port: u16, send: Send, frame: &mut Vec<u8>) {
        let ends = [clients::end(client), SocketAddrV4::new(self.server, port)];
        frames::write(frame, &self.stations, ends, |frame| match send {
            Send::Request => frame.extend_from_slice(&self.request),
            Send::Ack(block) => frame.extend([[0, 4], block.to_be_bytes()].as_flattened()),
            Send::Error(code) => {
                frame.extend([[0, 5], code.to_be_bytes()].as_flattened());
                frame.extend_from_slice(b"no\0");
            }
        });
    }
}

fn dispatch(
    link: &mut Link<(u32, u16, Send)>,
    path: &Path,
    (client, port, send): (u32, u16, Send),
    now: Duration,
    outbox: &mut Outbox,
) {
    match link.fate() {
        Fate::IsLost => {}
        Fate::IsHeld => link.hold((client, port, send), now),
        Fate::Passes => path.write(client, port, send, outbox.add()),
    }
}

/// What the server handed to its kernel as one: DATA packets of the size agreed on, the last one shorter.
fn cut(payload: &[u8], granted: Option<(u16, u16)>) -> impl Iterator<Item = &[u8]> {
    let whole = payload.len().max(1);
    let size = granted.map_or(whole, |(block_size, _)| 4 + usize::from(block_size));
    // An OACK or an ERROR may be longer than a small block.
    payload.chunks(if payload.starts_with(&[0, 3]) { size } else { whole })
}

/// A read request, octet, with the options of [`Ask`]; `tsize` as firmware asks for it.
fn request(name: &str, ask: &Ask) -> Vec<u8> {
    let [block_size, window] = [ask.block_size, ask.window].map(|number| number.to_string());
    let words = [name, "octet", "tsize", "0", "blksize", &block_size, "windowsize", &window];
    let words = if ask.window > 1 { &words[..] } else { &words[..6] };
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    [0, 1].into_iter().chain(bytes).collect()
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
