//! The servers, each on a network of its own, with the settings under which it is fastest.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::Value;

use super::kernel;
use super::measure::Bench;
use super::settings::Setting;
use crate::bench::cgroup::Group;
use crate::bench::lab::{End, Lab, Offloads, SERVER, ip};
use crate::bench::programs::Clock;
use crate::bench::site::{self, Rights, Site};

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// `netboot serve`, from userspace, on io_uring.
    Uring,
    /// The same server on epoll, by itself: only if asked for.
    Epoll,
    /// `netboot serve`, from the kernel.
    Kernel,
    /// The least that can be called a server.
    Bare,
    Dnsmasq,
    Atftpd,
    Hpa,
}

/// Where the generator's clients are (`tests/bench/tftp/clients.rs`).
const MACHINES: &str = "10.65.0.0/16";
const DNSMASQ: &str = "/usr/sbin/dnsmasq";
/// More than any setting has clients.
const TRANSFERS: &str = "100000";

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uring => "netboot",
            Self::Epoll => "netboot, epoll",
            Self::Kernel => "netboot, kernel",
            Self::Bare => "bare sender",
            Self::Dnsmasq => "dnsmasq",
            Self::Atftpd => "atftpd",
            Self::Hpa => "tftpd-hpa",
        }
    }

    /// Measured without being asked for.
    pub(super) fn is_usual(self) -> bool {
        self != Self::Epoll
    }

    /// Whether its failures are ours.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Uring | Self::Epoll | Self::Kernel)
    }
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) lab: Lab,
    /// Dropped behind the lab: it ends what the server's own end has left.
    pub(super) group: Group,
    /// Of those that serve from the kernel.
    clock: Option<Clock>,
}

impl Server {
    /// Starts it, and returns when it has served one client.
    pub(super) fn start(bench: &Bench<'_>, kind: Kind, setting: &Setting) -> Result<Self> {
        let lab = Lab::new(Offloads::On)?;
        lab.route(MACHINES)?;
        let clock = (kind == Kind::Kernel).then(Clock::on).transpose()?;
        let mut server = Self { group: Group::new(lab.id())?, lab, clock };
        server.launch(bench, kind, setting)?;
        if kind == Kind::Kernel {
            kernel::await_file(&mut server.lab, bench, setting.file)?;
        }
        server.group.add(server.lab.pid().context("it was not started")?)?;
        let answer = bench.fetch(
            &server.lab,
            setting,
            &["--until-answered", "--patience-ms", "50", "--deadline", "20"],
        );
        server.lab.must_run()?;
        let answer = answer?;
        ensure!(answer["completed"] == 1, "it serves nobody: {answer}{}", server.lab.said(kind.log()));
        Ok(server)
    }

    /// Processor time so far, in seconds: of its processes, and of its programs in the kernel.
    pub(super) fn seconds(&self) -> Result<f64> {
        let programs = match (&self.clock, self.lab.pid()) {
            (Some(clock), Some(pid)) => clock.seconds(pid)?,
            _ => 0.0,
        };
        Ok(self.group.seconds()? + programs)
    }

    fn launch(&mut self, bench: &Bench<'_>, kind: Kind, setting: &Setting) -> Result<()> {
        let lab = &mut self.lab;
        match kind {
            Kind::Uring => netboot(lab, bench, "off", Rights::NoPrograms),
            Kind::Kernel => netboot(lab, bench, "auto", Rights::All),
            Kind::Epoll => {
                let words = ["epoll".to_owned(), "--root".to_owned(), folder(bench)];
                lab.start(End::Server, kind.log(), bench.clients.path(), &words)
            }
            Kind::Bare => bare(lab, bench, setting),
            Kind::Dnsmasq => peer(lab, kind, Path::new(DNSMASQ), &dnsmasq(&folder(bench))),
            Kind::Atftpd => {
                peer(lab, kind, &bench.peers.program("atftpd", "usr/sbin/atftpd")?, &atftpd(&folder(bench)))
            }
            Kind::Hpa => {
                peer(lab, kind, &bench.peers.program("tftpd-hpa", "usr/sbin/in.tftpd")?, &hpa(&folder(bench)))
            }
        }
    }
}

impl Kind {
    /// What its log is called.
    const fn log(self) -> &'static str {
        match self {
            Self::Uring | Self::Kernel => "netboot",
            Self::Epoll => "epoll",
            Self::Bare => "bare",
            Self::Dnsmasq => "dnsmasq",
            Self::Atftpd => "atftpd",
            Self::Hpa => "hpa",
        }
    }
}

impl Bench<'_> {
    /// Fetches the setting's file; what the generator reports.
    pub(super) fn fetch(&self, lab: &Lab, setting: &Setting, more: &[&str]) -> Result<Value> {
        let file = self.files.path(setting.file).display().to_string();
        let [blksize, window] = [setting.blksize, setting.window].map(|number| number.to_string());
        let words =
            ["fetch", "--server", SERVER, "--file", &file, "--blksize", &blksize, "--window", &window];
        self.clients.run(lab, End::Clients, &[&words, more].concat())
    }
}

fn folder(bench: &Bench<'_>) -> String {
    bench.files.folder().display().to_string()
}

fn netboot(lab: &mut Lab, bench: &Bench<'_>, xdp: &'static str, rights: Rights) -> Result<()> {
    let tftp = Some(format!("root: {}", folder(bench)));
    Site { xdp, pool: None, tftp, assets: None }.write(lab)?;
    site::serve(lab, bench.netboot, rights)
}

/// It is on a packet socket: the server's kernel would tell each client that nobody listens, if it had an address.
fn bare(lab: &mut Lab, bench: &Bench<'_>, setting: &Setting) -> Result<()> {
    ip(&lab.namespace(End::Server), "address flush dev eth0")?;
    let file = bench.files.path(setting.file).display().to_string();
    let [blksize, window] = [setting.blksize, setting.window].map(|number| number.to_string());
    let words = ["bare", "--file", &file, "--blksize", &blksize, "--window", &window].map(str::to_owned);
    lab.start(End::Server, Kind::Bare.log(), bench.clients.path(), &words)
}

/// With as many open files as there may be.
fn peer(lab: &mut Lab, kind: Kind, program: &Path, words: &[String]) -> Result<()> {
    let raised = ["-c", r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@""#].map(str::to_owned);
    let words = [&raised[..], &[program.display().to_string()], words].concat();
    lab.start(End::Server, kind.log(), Path::new("/bin/sh"), &words)
}

/// Without a word to the log about each transfer.
fn dnsmasq(folder: &str) -> Vec<String> {
    let words = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--log-facility=-",
        "--quiet-tftp",
        "--interface=eth0",
        "--enable-tftp",
        &format!("--tftp-root={folder}"),
        &format!("--tftp-max={TRANSFERS}"),
    ];
    words.map(str::to_owned).to_vec()
}

fn atftpd(folder: &str) -> Vec<String> {
    let words = [
        "--daemon",
        "--no-fork",
        "--user",
        "root.root",
        "--bind-address",
        SERVER,
        "--maxthread",
        TRANSFERS,
        "--no-multicast",
        "--verbose=0",
        "--logfile",
        "-",
        folder,
    ];
    words.map(str::to_owned).to_vec()
}

fn hpa(folder: &str) -> Vec<String> {
    let words = ["--foreground", "--user", "root", "--address", &format!("{SERVER}:69"), "--secure", folder];
    words.map(str::to_owned).to_vec()
}
