//! The servers, each on a wire of its own, with the settings under which it is fastest.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Bench;
use crate::bench::lab::{End, Lab, NETWORK, Offloads, PREFIX_LENGTH, RELAY, SERVER};
use crate::bench::site::{self, Rights, Site};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Netboot,
    /// Userspace alone: without XDP, and without the right to load any program.
    Userspace,
    Bare,
    Dnsmasq,
    /// Kea with packet sockets, for clients on its own network.
    Kea,
    /// Kea with UDP sockets, for relay agents alone; faster.
    KeaRelayed,
}

/// On whose behalf the generator asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// Broadcasts.
    Direct,
    /// Unicasts of a relay agent.
    Relay,
}

/// Whom it serves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clients {
    /// So many, each with its reservation.
    Reserved(u32),
    /// Anybody, from the pool.
    Pool,
}

/// The pool's addresses.
pub(super) const POOL: [&str; 2] = ["10.96.0.1", "10.127.255.0"];
const NETMASK: &str = "255.192.0.0";
const KEA: &str = "/usr/sbin/kea-dhcp4";
const DNSMASQ: &str = "/usr/sbin/dnsmasq";

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) kind: Kind,
    pub(super) lab: Lab,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Netboot => "netboot",
            Self::Userspace => "netboot, userspace",
            Self::Bare => "bare program",
            Self::Dnsmasq => "dnsmasq",
            Self::Kea => "kea",
            Self::KeaRelayed => "kea, udp",
        }
    }

    pub(super) const fn answers(self, via: Via) -> bool {
        !matches!((self, via), (Self::Kea, Via::Relay) | (Self::KeaRelayed, Via::Direct))
    }
}

impl Via {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
        }
    }

    /// What the generator is told.
    pub(super) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Direct => &[],
            Self::Relay => &["--relay", RELAY],
        }
    }
}

impl Server {
    /// Starts it, and returns when it answers.
    pub(super) fn start(bench: &Bench<'_>, kind: Kind, clients: Clients) -> Result<Self> {
        let mut server = Self { kind, lab: Lab::new(Offloads::Off)? };
        server.launch(bench, clients).with_context(|| format!("starting {}", kind.name()))?;
        Ok(server)
    }

    fn launch(&mut self, bench: &Bench<'_>, clients: Clients) -> Result<()> {
        let native = !bench.generic && matches!(self.kind, Kind::Netboot | Kind::Bare);
        if native {
            // XDP_TX on one end of a veth delivers nothing unless the other end has a program, too.
            let words = ["pass", "--programs", &bench.tools.programs()].map(str::to_owned);
            self.lab.start(End::Clients, "pass", bench.tools.dhcp.path(), &words)?;
            self.lab.wait_for("pass", "attached")?;
        }
        match self.kind {
            Kind::Netboot => netboot(&mut self.lab, bench, clients)?,
            Kind::Userspace => userspace(&mut self.lab, bench, clients)?,
            Kind::Bare => bare(&mut self.lab, bench, clients)?,
            Kind::Dnsmasq => dnsmasq(&mut self.lab, clients)?,
            Kind::Kea | Kind::KeaRelayed => kea(&mut self.lab, self.kind, clients)?,
        }
        self.first(bench, clients).map(drop)
    }

    /// Asks until the first answer; how long that took, in seconds.
    pub(super) fn first(&mut self, bench: &Bench<'_>, clients: Clients) -> Result<f64> {
        let any: &[&str] = match clients {
            Clients::Reserved(_) => &[],
            Clients::Pool => &["--any"],
        };
        let relay = if self.kind.answers(Via::Direct) { Via::Direct } else { Via::Relay }.words();
        let answer = bench.tools.dhcp.run(&self.lab, End::Clients, &[&["first"], any, relay].concat());
        self.lab.must_run()?;
        answer?["seconds"].as_f64().context("no time")
    }
}

/// The MAC of a client, and its reservation, as `tests/bench/clients.rs` counts them.
fn client(number: u32) -> (String, String) {
    let [a, b, c, d] = number.to_be_bytes();
    let address = std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(10, 65, 0, 0)) + number);
    (format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}"), address.to_string())
}

/// Writes `hosts.d/bench.yaml`: JSON, which YAML is too, a host a line.
pub(super) fn write_hosts(folder: &Path, hosts: u32) -> Result<()> {
    let mut text = String::new();
    for number in 0..hosts {
        let (mac, ip) = client(number);
        writeln!(text, "- {{name: n{number}, mac: \"{mac}\", ip: {ip}}}")?;
    }
    fs::create_dir_all(folder.join("hosts.d"))?;
    Ok(fs::write(folder.join("hosts.d/bench.yaml"), text)?)
}

/// What is written into `netboot.yaml`.
pub(super) fn site(clients: Clients, xdp: &'static str) -> Site {
    match clients {
        Clients::Reserved(_) => Site { xdp, pool: None, tftp: None, assets: None },
        Clients::Pool => Site { xdp, pool: Some(POOL), tftp: None, assets: None },
    }
}

fn netboot(lab: &mut Lab, bench: &Bench<'_>, clients: Clients) -> Result<()> {
    site(clients, if bench.generic { "generic" } else { "native" }).write(lab)?;
    if let Clients::Reserved(hosts) = clients {
        write_hosts(&lab.folder, hosts)?;
    }
    serve(lab, bench)
}

/// `netboot serve`, on what is in the lab's folder.
pub(super) fn serve(lab: &mut Lab, bench: &Bench<'_>) -> Result<()> {
    site::serve(lab, &bench.tools.netboot, Rights::All)
}

fn userspace(lab: &mut Lab, bench: &Bench<'_>, clients: Clients) -> Result<()> {
    site(clients, "off").write(lab)?;
    site::serve(lab, &bench.tools.netboot, Rights::NoPrograms)
}

fn bare(lab: &mut Lab, bench: &Bench<'_>, clients: Clients) -> Result<()> {
    let Clients::Reserved(hosts) = clients else { anyhow::bail!("the bare program has no pool") };
    let mut words = ["bare", "--programs", &bench.tools.programs(), "--hosts", &hosts.to_string()]
        .map(str::to_owned)
        .to_vec();
    if bench.generic {
        words.push("--generic".to_owned());
    }
    lab.start(End::Server, "bare", bench.tools.dhcp.path(), &words)?;
    lab.wait_for("bare", "attached")
}

/// Without a lease file, which it would write whole at each change, and without a word to the log.
fn dnsmasq(lab: &mut Lab, clients: Clients) -> Result<()> {
    let hosts = lab.folder.join("dnsmasq.hosts");
    let mut text = String::new();
    if let Clients::Reserved(count) = clients {
        for number in 0..count {
            let (mac, ip) = client(number);
            writeln!(text, "{mac},{ip}")?;
        }
    }
    fs::write(&hosts, text)?;
    let range = match clients {
        Clients::Reserved(_) => format!("--dhcp-range={NETWORK},static,{NETMASK},1h"),
        Clients::Pool => format!("--dhcp-range={},{},{NETMASK},1h", POOL[0], POOL[1]),
    };
    let words = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--leasefile-ro",
        "--log-facility=-",
        "--quiet-dhcp",
        "--no-ping",
        "--dhcp-authoritative",
        "--dhcp-lease-max=10000000",
        "--interface=eth0",
        &format!("--dhcp-option=3,{SERVER}"),
        &format!("--dhcp-option=6,{SERVER}"),
        "--dhcp-boot=snponly.efi",
        &format!("--dhcp-hostsfile={}", hosts.display()),
        &range,
    ];
    lab.start(End::Server, "dnsmasq", Path::new(DNSMASQ), &words.map(str::to_owned))
}

fn kea(lab: &mut Lab, kind: Kind, clients: Clients) -> Result<()> {
    let path = lab.folder.join("kea.json");
    fs::write(&path, format!("{:#}\n", kea_config(&lab.folder, kind, clients)))?;
    let folder = lab.folder.display();
    // It keeps its lock and its PID where it is told to.
    let words = [
        format!("KEA_PIDFILE_DIR={folder}"),
        format!("KEA_LOCKFILE_DIR={folder}"),
        KEA.to_owned(),
        "-c".to_owned(),
        path.display().to_string(),
    ];
    lab.start(End::Server, "kea", Path::new("/usr/bin/env"), &words)
}

/// Several threads; look-ups by MAC alone; reservations outside of any pool, which need no second look; leases on disk only
/// where the clients have them from a pool.
fn kea_config(folder: &Path, kind: Kind, clients: Clients) -> Value {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let socket = if kind == Kind::KeaRelayed { "udp" } else { "raw" };
    let mut subnet = json!({
        "subnet": format!("{NETWORK}/{PREFIX_LENGTH}"),
        "option-data": [{ "name": "routers", "data": SERVER }, { "name": "domain-name-servers", "data": SERVER }],
    });
    let durable = match clients {
        Clients::Reserved(count) => {
            let reservation = |number| {
                let (mac, ip) = client(number);
                json!({ "hw-address": mac, "ip-address": ip })
            };
            subnet["reservations"] = (0..count).map(reservation).collect();
            false
        }
        Clients::Pool => {
            subnet["pools"] = json!([{ "pool": format!("{} - {}", POOL[0], POOL[1]) }]);
            true
        }
    };
    json!({ "Dhcp4": {
        "interfaces-config": { "interfaces": ["eth0"], "dhcp-socket-type": socket, "re-detect": false },
        "lease-database": {
            "type": "memfile", "persist": durable, "name": folder.join("leases.csv"), "lfc-interval": 0,
        },
        "multi-threading": {
            "enable-multi-threading": true, "thread-pool-size": threads, "packet-queue-size": 64,
        },
        "host-reservation-identifiers": ["hw-address"],
        "reservations-global": false,
        "reservations-in-subnet": true,
        "reservations-out-of-pool": true,
        "match-client-id": false,
        "authoritative": true,
        "valid-lifetime": 3600,
        "boot-file-name": "snponly.efi",
        "next-server": SERVER,
        "ddns-send-updates": false,
        "statistic-default-sample-count": 0,
        "subnet4": [subnet],
        "loggers": [{ "name": "kea-dhcp4", "severity": "ERROR", "output_options": [{ "output": "stdout" }] }],
    }})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_those_of_the_generator() {
        assert_eq!(client(0), ("02:42:00:00:00:00".to_owned(), "10.65.0.0".to_owned()));
        assert_eq!(client(0x0001_0203), ("02:42:00:01:02:03".to_owned(), "10.66.2.3".to_owned()));
    }

    #[test]
    fn kea_writes_leases_of_the_pool_to_its_disk_and_reservations_nowhere() {
        let of = |kind, clients| kea_config(Path::new("/lab"), kind, clients)["Dhcp4"].clone();
        let reserved = of(Kind::Kea, Clients::Reserved(3));
        assert_eq!(reserved["subnet4"][0]["reservations"].as_array().unwrap().len(), 3);
        assert_eq!(reserved["lease-database"]["persist"], false);
        let pool = of(Kind::KeaRelayed, Clients::Pool);
        assert_eq!(pool["lease-database"]["persist"], true);
        assert_eq!(pool["interfaces-config"]["dhcp-socket-type"], "udp");
        assert!(pool["subnet4"][0]["reservations"].is_null());
    }
}
