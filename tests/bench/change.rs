//! How long until the wire shows what the operator did: started, added, changed.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use netboot_userspace::api::changes::Batch;
use netboot_userspace::inventory::live::Change;
use serde_json::{Value, json};

use crate::clients::Network;
use crate::frames::Request;
use crate::replies::{self, Kind};
use crate::samples::{at, summary};
use crate::store::entry;
use crate::wire::Wire;

/// The command line of `first`.
#[derive(Debug, clap::Args)]
pub(crate) struct FirstOptions {
    #[arg(long, default_value = "eth0")]
    interface: String,
    #[command(flatten)]
    network: Network,
    /// Who asks.
    #[arg(long, default_value_t = 0)]
    client: u32,
    /// Any OFFER will do.
    #[arg(long)]
    any: bool,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 120.0)]
    patience: f64,
}

/// The command line of `change`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value = "eth0")]
    interface: String,
    #[command(flatten)]
    network: Network,
    #[arg(long)]
    control: PathBuf,
    /// Hosts to add, as `netboot host import` does, in one call: those of the numbers from --from on.
    #[arg(long, default_value_t = 10_000)]
    add: u32,
    #[arg(long)]
    from: u32,
    /// Then change so many of them, one at a time.
    #[arg(long, default_value_t = 100)]
    change: u32,
    /// Stop changing after so many seconds.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
}

/// How long it took.
pub(crate) fn first(options: &FirstOptions) -> anyhow::Result<Value> {
    let mut asker = Asker::open(&options.interface, &options.network)?;
    let patience = Duration::from_secs_f64(options.patience);
    let address = (!options.any).then(|| options.network.address(options.client));
    match asker.until(options.client, address, patience)? {
        Some(after) => Ok(json!({ "seconds": after.as_secs_f64() })),
        None => bail!("no right answer within {patience:?}"),
    }
}

pub(crate) fn main(options: &Options) -> anyhow::Result<Value> {
    let mut asker = Asker::open(&options.interface, &options.network)?;
    let limit = Duration::from_secs_f64(options.seconds);
    let begun = Instant::now();
    let entries = (0..options.add).map(|number| entry(&options.network, options.from + number));
    let batch = Batch { changes: entries.map(Change::Put).collect(), dry_run: false, fitting: false };
    call(&options.control, "POST", "/api/v1/changes", &serde_json::to_string(&batch)?)?;
    let last = options.from + options.add.saturating_sub(1);
    let address = options.network.address(last);
    asker.until(last, Some(address), Duration::from_secs(60))?.context("what was added never showed")?;
    let adding = begun.elapsed();
    let begun = Instant::now();
    let (mut visible, mut answered) = (Vec::new(), Vec::new());
    for number in (0..options.change).take_while(|_| begun.elapsed() < limit) {
        let client = options.from + number % options.add.max(1);
        // Beyond the addresses of all who were added.
        let address = options.network.address(options.from + options.add + number);
        let (seen, told) = change(&mut asker, options, client, address)?;
        visible.push(seen.as_secs_f64() * 1000.0);
        answered.push(told.as_secs_f64() * 1000.0);
    }
    Ok(json!({
        "added": options.add,
        "add_seconds": adding.as_secs_f64(),
        "visible_ms": summary(&visible),
        "visible_p99_ms": at(&visible, 0.99),
        "answered_ms": summary(&answered),
    }))
}

/// Moves a host to another address; when the wire showed it, and when the caller was told.
fn change(
    asker: &mut Asker,
    options: &Options,
    client: u32,
    address: Ipv4Addr,
) -> anyhow::Result<(Duration, Duration)> {
    let body = json!({ "ip": address.to_string() }).to_string();
    let path = format!("/api/v1/hosts/n{client}");
    let begun = Instant::now();
    let stream = send(&options.control, "PATCH", &path, &body)?;
    let answer = std::thread::spawn(move || (answer(stream), begun.elapsed()));
    let seen =
        asker.until(client, Some(address), Duration::from_secs(60))?.context("the change never showed")?;
    let (answer, told) = answer.join().ok().context("the API's answer")?;
    answer?;
    Ok((seen, told))
}

/// Asks for one client until the answer is right.
struct Asker {
    wire: Wire,
    discover: Request,
    xid: u32,
}

impl Asker {
    fn open(interface: &str, network: &Network) -> anyhow::Result<Self> {
        let wire = Wire::open(interface, replies::PORTS, replies::ROOM)?;
        let discover = Request::discover(&network.way(wire.interface.mac));
        Ok(Self { wire, discover, xid: 0 })
    }

    /// Asks again every millisecond, or as soon as a wrong answer is there.
    fn until(
        &mut self,
        client: u32,
        address: Option<Ipv4Addr>,
        patience: Duration,
    ) -> anyhow::Result<Option<Duration>> {
        let begun = Instant::now();
        let mut frame = Vec::new();
        while begun.elapsed() < patience {
            self.xid += 1;
            self.discover.patch(client, self.xid, None, &mut frame);
            // While its interface comes up, nothing can be sent.
            if self.wire.send(std::slice::from_ref(&frame)).is_ok() {
                self.wire.wait(Duration::from_millis(1))?;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut right = false;
            self.wire.receive(|frame| {
                let offer = replies::read(frame).filter(|reply| reply.kind == Kind::Offer);
                right |= offer.is_some_and(|offer| address.is_none_or(|address| offer.yiaddr == address));
            })?;
            if right {
                return Ok(Some(begun.elapsed()));
            }
        }
        Ok(None)
    }
}

fn call(control: &Path, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
    answer(send(control, method, path, body)?)
}

fn send(control: &Path, method: &str, path: &str, body: &str) -> anyhow::Result<UnixStream> {
    let mut stream = UnixStream::connect(control).with_context(|| control.display().to_string())?;
    let head = format!("{method} {path} HTTP/1.0\r\nHost: netboot\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    Ok(stream)
}

fn answer(mut stream: UnixStream) -> anyhow::Result<()> {
    let mut text = String::new();
    stream.read_to_string(&mut text).context("reading the API's answer")?;
    match text.split(' ').nth(1) {
        Some("200" | "201" | "204") => Ok(()),
        _ => bail!("the API refuses: {text}"),
    }
}
