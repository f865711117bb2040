//! Many hosts: how soon a server that knows them answers, how soon more of them, how soon a change, and what each costs.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Bench;
use super::servers::{self, Clients};
use crate::bench::lab::{End, Lab, Offloads};
use crate::bench::report::Found;
use crate::bench::table::{Table, figure};
use crate::bench::target::Target;
use crate::shell;

/// Where the hosts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Yaml,
    Store,
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Store => "store",
        }
    }
}

pub(super) fn measure(bench: &Bench<'_>) -> Result<Found> {
    println!("== many hosts");
    let (many, add, change) = if bench.quick { (10_000, 200, 10) } else { (1_000_000, 10_000, 100) };
    let mut table = Table::new(&["hosts", "from", "first answer s", "memory MiB", "map B/host"]);
    let mut starts = Vec::new();
    let mut changed = Value::Null;
    for (hosts, source) in [(many / 10, Source::Yaml), (many, Source::Yaml), (many, Source::Store)] {
        let mut lab = Lab::new(Offloads::Off)?;
        let start = start(bench, &mut lab, hosts, source).with_context(|| format!("{hosts} hosts"))?;
        let column = |name: &str| figure(start[name].as_f64().unwrap_or(f64::NAN));
        let columns = ["seconds", "memory_mib", "map_bytes_per_host"].map(column);
        table.row([hosts.to_string(), source.name().to_owned()].into_iter().chain(columns));
        starts.push(start);
        if source == Source::Store {
            changed = more(bench, &lab, hosts, add, change)?;
            lab.must_run()?;
        }
    }
    table.print();
    let value = |name: &str| changed[name].as_f64().unwrap_or(f64::NAN);
    println!(
        "{add} imported and the last of them answered in {} s; a change is answered after {} ms (p99)",
        figure(value("add_seconds")),
        figure(value("visible_p99_ms")),
    );
    let of = |i: usize, name: &str| starts.get(i).and_then(|start| start[name].as_f64()).unwrap_or(f64::NAN);
    let loaded = of(1, "seconds").max(of(2, "seconds"));
    let targets = vec![
        Target::low(format!("{many} hosts, start to first answer, s"), loaded, 5.0, 2.5),
        Target::low(format!("{} hosts, start to first answer, s", many / 10), of(0, "seconds"), 0.5, 0.25),
        Target::low(format!("{add} hosts imported, s"), value("add_seconds"), 1.0, 0.5),
        Target::low("a change is answered, p99, ms", value("visible_p99_ms"), 5.0, 2.5),
        Target::low("map memory per host, B", of(1, "map_bytes_per_host"), 136.0, 96.0),
    ];
    Ok(Found { json: json!({ "starts": starts, "changes": changed }), targets })
}

/// Starts a server on so many hosts, and waits for the answer to the last of them.
fn start(bench: &Bench<'_>, lab: &mut Lab, hosts: u32, source: Source) -> Result<Value> {
    // Generic: the near end of the wire needs nothing then, and what is measured is not the packet's way.
    servers::site(Clients::Reserved(hosts), "generic").write(lab)?;
    match source {
        Source::Yaml => servers::write_hosts(&lab.folder, hosts)?,
        Source::Store => {
            let folder = lab.folder.join("state").display().to_string();
            bench.tools.dhcp.run_here(&["store", &folder, "--hosts", &hosts.to_string()])?;
        }
    }
    let begun = Instant::now();
    servers::serve(lab, bench)?;
    let answer = bench.tools.dhcp.run(lab, End::Clients, &["first", "--client", &(hosts - 1).to_string()]);
    let seconds = begun.elapsed().as_secs_f64();
    lab.must_run()?;
    answer?;
    let memory = lab.pid().map(resident).transpose()?;
    let map = map_bytes(lab)? / f64::from(hosts);
    Ok(json!({
        "hosts": hosts,
        "source": source.name(),
        "seconds": seconds,
        "memory_mib": memory,
        "map_bytes_per_host": map,
    }))
}

fn more(bench: &Bench<'_>, lab: &Lab, hosts: u32, add: u32, change: u32) -> Result<Value> {
    let control = lab.folder.join("control.sock").display().to_string();
    let [hosts, add, change] = [hosts, add, change].map(|number| number.to_string());
    let words = ["change", "--control", &control, "--from", &hosts, "--add", &add, "--change", &change];
    bench.tools.dhcp.run(lab, End::Clients, &words)
}

/// Resident memory of a process, in MiB.
fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Kernel memory of the table of hosts, by the kernel's own reckoning.
fn map_bytes(lab: &Lab) -> Result<f64> {
    let maps = fs::read_dir(lab.pins())?.flatten().map(|entry| entry.path().join("HOSTS"));
    let pin = maps.into_iter().find(|path| path.exists()).context("the table of hosts is not pinned")?;
    let text = shell::sh("bpftool", &["--json", "map", "show", "pinned", &pin.display().to_string()])?;
    let map: Value = serde_json::from_str(&text)?;
    map["bytes_memlock"].as_f64().context("bpftool does not say what the map takes")
}
