//! The generator: so many clients of one file at once, on a few threads; each response's head is read, and bodies are compared if
//! wanted.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::caller::{Caller, Plan};
use crate::score::Score;

/// The command line of `load`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value = "10.64.0.1:8080")]
    pub(crate) server: SocketAddrV4,
    /// Each connection has another address, from this one on; without it, the kernel chooses.
    #[arg(long)]
    pub(crate) from: Option<Ipv4Addr>,
    /// What the server has under the path.
    #[arg(long)]
    pub(crate) file: PathBuf,
    #[arg(long)]
    pub(crate) path: String,
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: u32,
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: u32,
    /// A new connection for each request.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Ask for so many bytes each time, somewhere in the file.
    #[arg(long, value_name = "BYTES")]
    pub(crate) range: Option<u64>,
    /// Compare what arrives with the file.
    #[arg(long)]
    pub(crate) compare: bool,
    /// For so long, clients ask again.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Each client has so many answers at least, however long that takes.
    #[arg(long, default_value_t = 0)]
    pub(crate) each: u64,
    /// After so many seconds, who still waits has failed.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) deadline: f64,
    /// Measure nothing: say that all are connected, and stay so until killed.
    #[arg(long)]
    pub(crate) hold: bool,
    /// Of those who stay, so many begin a request, and go on with it a byte in a second.
    #[arg(long, default_value_t = 0, requires = "hold")]
    pub(crate) slow: u32,
}

/// The command line of `wait`.
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    #[arg(long, default_value = "10.64.0.1:8080")]
    server: SocketAddrV4,
    #[arg(long, default_value_t = 20.0)]
    deadline: f64,
}

/// Connects until it is accepted.
pub(crate) fn wait(options: &Wait) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(options.deadline);
    loop {
        match TcpStream::connect_timeout(&options.server.into(), Duration::from_secs(1)) {
            Ok(_) => return Ok(json!({ "seconds": begun.elapsed().as_secs_f64() })),
            Err(error) if Instant::now() > end => {
                return Err(anyhow!(error).context(format!("nobody serves at {}", options.server)));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Asks, and reports.
pub(crate) fn main(options: &Options) -> anyhow::Result<Value> {
    ensure!(options.connections >= 1 && options.threads >= 1, "at least one connection, on one thread");
    ensure!(options.seconds >= 0.0 && options.deadline >= options.seconds, "the deadline is before the end");
    raise_open_files(options.connections)?;
    let plan = plan(options)?;
    let threads = options.threads.min(options.connections);
    let gathered = Barrier::new(threads as usize + 1);
    let parts = thread::scope(|scope| {
        let share = |thread: u32| {
            let first = |thread: u32| u64::from(thread) * u64::from(options.connections) / u64::from(threads);
            (first(thread) as u32, (first(thread + 1) - first(thread)) as u32)
        };
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (first, clients) = share(thread);
                let (plan, gathered) = (&plan, &gathered);
                let slow = u64::from(options.slow) * u64::from(clients) / u64::from(options.connections);
                let hold = options.hold.then_some(slow as usize);
                scope.spawn(move || part(plan, first, clients, gathered, hold))
            })
            .collect();
        gathered.wait();
        running.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread failed"))?).collect()
    });
    Ok(report(&merge(parts)?, threads))
}

/// What came of a thread's clients.
#[derive(Debug, Default)]
struct Part {
    before: Score,
    score: Score,
    starved: usize,
    seconds: f64,
    processor: f64,
}

/// `hold`: measure nothing, and have so many clients dawdle.
fn part(
    plan: &Plan,
    first: u32,
    clients: u32,
    gathered: &Barrier,
    hold: Option<usize>,
) -> anyhow::Result<Part> {
    let caller = Caller::new(plan, first, clients)
        .and_then(|mut caller| caller.gather().map(|()| caller).context("connecting"));
    // Whatever came of it, the others wait for this one.
    gathered.wait();
    let mut caller = caller?;
    let before = std::mem::take(&mut caller.score);
    if let Some(slow) = hold {
        caller.dawdle(slow, true);
        println!("holding {} failed {}", caller.held(), before.failed());
        loop {
            thread::sleep(Duration::from_secs(1));
            caller.dawdle(slow, false);
        }
    }
    let processor = processor_time();
    let seconds = caller.measure().context("measuring")?.as_secs_f64();
    let (processor, starved) = (processor_time() - processor, caller.starved());
    let score = std::mem::take(&mut caller.score);
    Ok(Part { before, score, starved, seconds, processor })
}

fn merge(parts: Vec<anyhow::Result<Part>>) -> anyhow::Result<Part> {
    let mut all = Part::default();
    for part in parts {
        let part = part?;
        all.before.merge(&part.before);
        all.score.merge(&part.score);
        all.starved += part.starved;
        all.seconds = all.seconds.max(part.seconds);
        all.processor += part.processor;
    }
    Ok(all)
}

fn report(all: &Part, threads: u32) -> Value {
    let mut report = all.score.report(all.seconds);
    report["starved"] = json!(all.starved);
    report["failed_before"] = json!(all.before.failed());
    report["failures_before"] = json!(all.before.failures());
    // With what was asked before it was measured: the server's account has that, too.
    report["all_requests"] = json!(all.score.requests + all.before.requests);
    report["all_bytes"] = json!(all.score.bytes + all.before.bytes);
    report["generator"] = json!({
        "threads": threads,
        "seconds": all.processor,
        "busy_percent": 100.0 * all.processor / (all.seconds * f64::from(threads)),
    });
    report
}

pub(crate) fn plan(options: &Options) -> anyhow::Result<Plan> {
    let file = File::open(&options.file).with_context(|| options.file.display().to_string())?;
    let size = file.metadata()?.len();
    let longest = options.range.unwrap_or(1);
    ensure!((1..=size).contains(&longest), "{}: {size} bytes, too few", options.file.display());
    let mut head = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", options.path, options.server);
    if options.fresh {
        head += "Connection: close\r\n";
    }
    Ok(Plan {
        server: options.server,
        from: options.from,
        head: head.into_bytes(),
        file,
        size,
        range: options.range,
        fresh: options.fresh,
        compare: options.compare,
        each: options.each,
        seconds: options.seconds,
        deadline: Duration::from_secs_f64(options.deadline),
    })
}

fn raise_open_files(connections: u32) -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = u64::from(connections) + 64;
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).with_context(|| {
            format!("{wanted} open files (ulimit -Hn) are needed for as many connections")
        })?;
    }
    Ok(())
}

/// Of this thread, in seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
