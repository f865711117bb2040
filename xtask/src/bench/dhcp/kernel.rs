//! Nanoseconds per packet: how they are measured is told in `tests/bench/kernel/mod.rs`.

use anyhow::Result;
use serde_json::Value;

use super::Bench;
use crate::bench::report::Found;
use crate::bench::table::{Table, figure};
use crate::bench::target::Target;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Found> {
    println!("== nanoseconds per packet, BPF_PROG_TEST_RUN");
    let (hosts, calls) = if bench.quick { ("1,1000", "2") } else { ("1,10000,100000,1000000", "20") };
    // Cheaper than the other parts' rounds.
    let rounds = (bench.rounds * 3).to_string();
    let programs = bench.tools.programs();
    let words = ["kernel", "--programs", &programs, "--hosts", hosts, "--rounds", &rounds, "--calls", calls];
    let json = bench.tools.dhcp.run_here(&words)?;
    print(&json);
    Ok(Found { targets: targets(&json, bench.quick), json })
}

fn print(json: &Value) {
    let method = &json["method"];
    let ns = |name: &str| figure(method[name]["median"].as_f64().unwrap_or(f64::NAN));
    println!("an empty program {}, one that swaps two addresses and sends {}", ns("empty_ns"), ns("swap_ns"));
    println!(
        "a frame of others passed on: netboot {}, bare {}",
        ns("pass_foreign_ns"),
        ns("pass_foreign_bare_ns")
    );
    println!("the harness {} (subtracted), its error {}\n", ns("harness_ns"), ns("error_ns"));
    let mut table = Table::new(&["reply", "hosts", "client", "netboot", "bare", "ratio"]);
    for cell in replies(json).filter(|cell| cell["program"] == "netboot") {
        let key = |cell: &Value| ["message", "hosts", "client"].map(|name| cell[name].clone());
        let bare = replies(json).find(|other| other["program"] == "bare" && key(other) == key(cell));
        let ns = |cell: &Value| figure(cell["ns"]["median"].as_f64().unwrap_or(f64::NAN));
        table.row([
            cell["message"].as_str().unwrap_or_default().to_owned(),
            cell["hosts"].to_string(),
            cell["client"].as_str().unwrap_or_default().to_owned(),
            ns(cell),
            bare.map(ns).unwrap_or_default(),
            figure(cell["of_bare"].as_f64().unwrap_or(f64::NAN)),
        ]);
    }
    table.print();
}

fn replies(json: &Value) -> impl Iterator<Item = &Value> {
    json["replies"].as_array().into_iter().flatten()
}

fn targets(json: &Value, quick: bool) -> Vec<Target> {
    let many = if quick { 1000 } else { 100_000 };
    let cell = |hosts: u64, client: &str| {
        replies(json).find(|cell| {
            cell["program"] == "netboot"
                && cell["message"] == "offer"
                && cell["hosts"] == hosts
                && cell["client"] == client
        })
    };
    let ns = |cell: Option<&Value>| cell.and_then(|cell| cell["ns"]["median"].as_f64()).unwrap_or(f64::NAN);
    let ratio = cell(1, "hot").and_then(|cell| cell["of_bare"].as_f64()).unwrap_or(f64::NAN);
    let pass = json["method"]["pass_foreign_ns"]["median"].as_f64().unwrap_or(f64::NAN);
    vec![
        Target::low("XDP reply, one hot client, ns", ns(cell(1, "hot")), 75.0, 53.0),
        Target::low("the same, of the bare program's", ratio, 1.75, 1.25),
        Target::low(
            format!("XDP reply, random client of {many}, ns"),
            ns(cell(many, "random")),
            300.0,
            232.0,
        ),
        Target::low("a frame that is not ours, ns", pass, 20.0, 10.0),
    ]
}
