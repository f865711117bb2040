//! A wire between two network namespaces, for one server and the generator.
//!
//! ```text
//!   namespace CLI                    namespace SRV
//!   eth0 ════════════ veth ═════════ eth0  10.64.0.1/10
//!   no address; the generator's      the server
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::shell::{self, sh};
use crate::vm::lab::PREFIX;
use crate::vm::process::Process;

/// The server's address, and its network's prefix length.
pub(crate) const SERVER: &str = "10.64.0.1";
pub(crate) const NETWORK: &str = "10.64.0.0";
pub(crate) const PREFIX_LENGTH: u8 = 10;
/// The address that the generator has as a relay agent.
pub(crate) const RELAY: &str = "10.64.0.2";
const SERVER_MAC: &str = "02:00:00:00:00:01";
const RELAY_MAC: &str = "02:00:00:00:00:09";

/// The wire, a folder, and what runs on both ends. Dropping it ends and removes all of it.
#[derive(Debug)]
pub(crate) struct Lab {
    id: String,
    processes: Vec<Process>,
    pub(crate) folder: PathBuf,
}

/// What the devices do for their kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offloads {
    /// As a network card's: datagrams leave without their checksums, and as many as were sent at once.
    On,
    /// Replies of sockets get their checksums before they leave.
    Off,
}

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Server,
    Clients,
}

impl Lab {
    pub(crate) fn new(offloads: Offloads) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{PREFIX}{}-b{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&id);
        let lab = Self { id, processes: Vec::new(), folder };
        fs::create_dir_all(&lab.folder)?;
        lab.build(offloads).context("making the network")?;
        Ok(lab)
    }

    fn build(&self, offloads: Offloads) -> Result<()> {
        let (server, clients) = (self.namespace(End::Server), self.namespace(End::Clients));
        for namespace in [&server, &clients] {
            sh("ip", &["netns", "add", namespace])?;
            // Neighbour discovery would only disturb.
            sysctl(namespace, "net.ipv6.conf.default.disable_ipv6=1")?;
            ip(namespace, "link set lo up")?;
        }
        let peer = format!("peer name eth0 address {SERVER_MAC} netns {server}");
        ip(&clients, &format!("link add eth0 address {RELAY_MAC} type veth {peer}"))?;
        if offloads == Offloads::Off {
            self.ethtool(End::Server, &["-K", "eth0", "tx", "off"])?;
        }
        self.ethtool(End::Clients, &["-K", "eth0", "tx-vlan-offload", "off"])?;
        ip(&server, &format!("address add {SERVER}/{PREFIX_LENGTH} dev eth0"))?;
        ip(&server, "link set eth0 up")?;
        ip(&clients, "link set eth0 up")?;
        ip(&server, &format!("neighbour add {RELAY} lladdr {RELAY_MAC} dev eth0 nud permanent"))
    }

    /// Has the server reach these machines by way of the generator, as if they were behind a router: it then needs to know one
    /// neighbour, however many machines there are.
    pub(crate) fn route(&self, machines: &str) -> Result<()> {
        ip(&self.namespace(End::Server), &format!("route add {machines} via {RELAY} dev eth0"))
    }

    /// Has TCP send as it does where nothing else was chosen. What this machine may have in its place (BBR, which sets a timer for each burst
    /// where there is no `fq`) costs more than any server, and not each of them alike. Buffers stay as this machine has them.
    pub(crate) fn send_by_cubic(&self) -> Result<()> {
        let set = |end| sysctl(&self.namespace(end), "net.ipv4.tcp_congestion_control=cubic");
        set(End::Server)
            .and_then(|()| set(End::Clients))
            .context("cubic has to be among net.ipv4.tcp_allowed_congestion_control of this machine")
    }

    /// Has the clients' kernel be all these machines, so that sockets there may have any of their addresses.
    pub(crate) fn populate(&self, machines: &str) -> Result<()> {
        let clients = self.namespace(End::Clients);
        ip(&clients, &format!("address add {RELAY}/{PREFIX_LENGTH} dev eth0"))?;
        ip(&clients, &format!("neighbour add {SERVER} lladdr {SERVER_MAC} dev eth0 nud permanent"))?;
        ip(&clients, &format!("route add local {machines} dev lo"))?;
        self.route(machines)
    }

    fn ethtool(&self, end: End, arguments: &[&str]) -> Result<()> {
        shell::output(self.command(end, Path::new("ethtool")).args(arguments)).map(drop)
    }

    /// What everything of this lab is named after.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn namespace(&self, end: End) -> String {
        match end {
            End::Server => format!("{}-srv", self.id),
            End::Clients => format!("{}-cli", self.id),
        }
    }

    /// Where a server of this lab pins its programs.
    pub(crate) fn pins(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.id)
    }

    /// A program on one end; it ends with us.
    pub(crate) fn command(&self, end: End, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "nsenter"]);
        command.arg(format!("--net=/run/netns/{}", self.namespace(end))).arg("--").arg(program);
        command
    }

    /// Starts a program that stays; its output goes to `NAME.log`.
    pub(crate) fn start(
        &mut self,
        end: End,
        name: &'static str,
        program: &Path,
        words: &[String],
    ) -> Result<()> {
        let log = self.log(name);
        let process = Process::start(name, Some(&self.namespace(end)), &log, program, words)?;
        self.processes.push(process);
        Ok(())
    }

    /// The process that was started last.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.processes.last().map(Process::id)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Waits until a program's log has these words.
    pub(crate) fn wait_for(&mut self, name: &str, words: &str) -> Result<()> {
        self.wait_for_lines(name, words, 1)
    }

    /// Waits until so many lines of a program's log have these words.
    pub(crate) fn wait_for_lines(&mut self, name: &str, words: &str, lines: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let said = |log: &Path| fs::read_to_string(log).unwrap_or_default().matches(words).count();
        while said(&self.log(name)) < lines {
            self.must_run()?;
            if Instant::now() > deadline {
                bail!("{name} did not say {words:?}: {}", self.said(name));
            }
            interrupt::nap(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// An error, with the end of its log, when one of the programs has ended.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        let logs = fs::read_dir(&self.folder)?.flatten().map(|entry| entry.file_name());
        let logs: Vec<String> =
            logs.filter_map(|name| Some(name.to_str()?.strip_suffix(".log")?.to_owned())).collect();
        for process in &mut self.processes {
            let outcome = process.must_run();
            outcome.with_context(|| logs.iter().map(|name| tail(&self.folder, name)).collect::<String>())?;
        }
        Ok(())
    }

    /// The end of a program's log.
    pub(crate) fn said(&self, name: &str) -> String {
        tail(&self.folder, name)
    }
}

fn sysctl(namespace: &str, setting: &str) -> Result<()> {
    sh("ip", &["netns", "exec", namespace, "sysctl", "-qw", setting]).map(drop)
}

fn tail(folder: &Path, name: &str) -> String {
    let text = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(8)..];
    format!("\n-- {name}: {}", last.join("\n"))
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.processes.clear();
        // What can't be removed now, the next run clears.
        for namespace in [End::Server, End::Clients].map(|end| self.namespace(end)) {
            // Children that a server had before it was in a group outlive it: nobody would find them without the name.
            for pid in sh("ip", &["netns", "pids", &namespace]).unwrap_or_default().split_whitespace() {
                _ = sh("kill", &["-KILL", pid]);
            }
            _ = sh("ip", &["netns", "del", &namespace]);
        }
        _ = fs::remove_dir_all(self.pins());
        _ = fs::remove_dir_all(&self.folder);
    }
}

/// `ip` in a namespace.
pub(crate) fn ip(namespace: &str, arguments: &str) -> Result<()> {
    let words: Vec<_> = ["-n", namespace].into_iter().chain(arguments.split(' ')).collect();
    sh("ip", &words).map(drop)
}
