//! The namespaces, bridge, veths and tap of one scenario, and their removal.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::guest::Who;
use super::scenario::{Dhcp, Place, Scenario, Xdp};
use crate::shell::{self, sh};

/// The server's address; the network is a /24.
pub(crate) const SERVER: &str = "10.77.0.1";
/// The foreign DHCP server's.
pub(crate) const OTHER: &str = "10.77.0.2";
/// The machine's reservation.
pub(crate) const MACHINE: &str = "10.77.0.51";
/// The same of IPv6; the network is fd77::/64.
pub(crate) const MACHINE6: &str = "fd77::51";

/// Namespaces, folders and pins begin with it, followed by our pid: leftovers can be told from what is alive.
pub(crate) const PREFIX: &str = "nbt-";
const BPFFS: &str = "/sys/fs/bpf";
const LLC: &str = "/usr/lib/llvm-22/bin/llc";

/// A program that lets everything pass. `XDP_TX` on one end of a veth delivers nothing unless the other end has an
/// XDP program, too.
const PASS: &str = "define i32 @pass(ptr %frame) section \"xdp\" { ret i32 2 }\n\
                    @_license = global [4 x i8] c\"GPL\\00\", section \"license\"\n";

/// One scenario's network and folder. Dropping it removes both.
#[derive(Debug)]
pub(crate) struct Lab {
    id: String,
    /// Logs, disk, sockets, state.
    pub(crate) folder: PathBuf,
    place: Place,
    namespaces: Vec<String>,
}

impl Lab {
    /// Makes the network; what it had made is removed again when a step fails.
    pub(crate) fn new(scenario: &Scenario) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&id);
        let mut lab = Self { id, folder, place: scenario.place, namespaces: Vec::new() };
        fs::create_dir_all(&lab.folder)?;
        lab.build(scenario).context("making the lab's network")?;
        Ok(lab)
    }

    /// Where the server runs.
    pub(crate) fn server_namespace(&self) -> String {
        format!("{}-srv", self.id)
    }

    /// Where the machine's tap is.
    pub(crate) fn guest_namespace(&self) -> String {
        match self.place {
            Place::Veth => format!("{}-lan", self.id),
            Place::Tap => self.server_namespace(),
        }
    }

    /// Where the foreign DHCP server runs.
    pub(crate) fn other_namespace(&self) -> String {
        format!("{}-other", self.id)
    }

    /// The device that the server serves on.
    pub(crate) fn interface(&self) -> &'static str {
        match self.place {
            Place::Veth => "eth0",
            Place::Tap => Who::Node.tap(),
        }
    }

    /// Where the server pins its programs.
    pub(crate) fn pins(&self) -> PathBuf {
        Path::new(BPFFS).join(&self.id)
    }

    /// Moves the logs and the disk to where no later run clears them; the new folder.
    pub(crate) fn keep(&mut self) -> Result<PathBuf> {
        let kept = std::env::temp_dir().join(format!("netboot-vm-{}", self.id.trim_start_matches(PREFIX)));
        // Large, and of no use beside the logs.
        _ = fs::remove_dir_all(self.folder.join("assets"));
        fs::rename(&self.folder, &kept).with_context(|| kept.display().to_string())?;
        Ok(kept)
    }

    fn build(&mut self, scenario: &Scenario) -> Result<()> {
        let server = self.add_namespace(self.server_namespace())?;
        let guests = match scenario.place {
            Place::Tap => server.clone(),
            Place::Veth => {
                let lan = self.add_namespace(self.guest_namespace())?;
                let bridge = "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0";
                ip(&lan, bridge)?;
                // A bridge must not have an address, or the kernel would answer for it.
                sh("ip", &["netns", "exec", &lan, "sysctl", "-qw", "net.ipv6.conf.br0.disable_ipv6=1"])?;
                ip(&lan, "link set br0 up")?;
                self.add_port(&lan, "near", &server)?;
                lan
            }
        };
        self.add_tap(&guests, Who::Node)?;
        if scenario.has_stranger() {
            self.add_tap(&guests, Who::Stranger)?;
        }
        let interface = self.interface();
        ip(&server, &format!("addr add {SERVER}/24 dev {interface}"))?;
        ip(&server, &format!("addr add fd77::1/64 dev {interface} nodad"))?;
        if scenario.firmware.is_ipv6() {
            // radvd advertises no router that does not forward.
            sh("ip", &["netns", "exec", &server, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])?;
        }
        if scenario.xdp == Xdp::Native && scenario.place == Place::Veth {
            self.let_native_replies_through()?;
        }
        if scenario.dhcp != Dhcp::Server {
            let other = self.add_namespace(self.other_namespace())?;
            self.add_port(&guests, "far0", &other)?;
            ip(&other, &format!("addr add {OTHER}/24 dev eth0"))?;
        }
        Ok(())
    }

    fn add_namespace(&mut self, name: String) -> Result<String> {
        sh("ip", &["netns", "add", &name])?;
        self.namespaces.push(name.clone());
        ip(&name, "link set lo up")?;
        Ok(name)
    }

    /// A machine's end of the network, on the bridge if there is one.
    fn add_tap(&self, namespace: &str, who: Who) -> Result<()> {
        let tap = who.tap();
        ip(namespace, &format!("tuntap add dev {tap} mode tap"))?;
        if self.place == Place::Veth {
            ip(namespace, &format!("link set {tap} master br0"))?;
        }
        ip(namespace, &format!("link set {tap} up"))
    }

    /// A veth: `port` on the bridge of `lan`, `eth0` in `far`.
    fn add_port(&self, lan: &str, port: &str, far: &str) -> Result<()> {
        ip(lan, &format!("link add {port} type veth peer name eth0 netns {far}"))?;
        // Tags must be in the frame when XDP sees it, not in the skb's metadata.
        sh("ip", &["netns", "exec", lan, "ethtool", "-K", port, "tx-vlan-offload", "off"])?;
        ip(lan, &format!("link set {port} master br0 up"))?;
        ip(far, "link set eth0 up")
    }

    fn let_native_replies_through(&self) -> Result<()> {
        let (source, object) = (self.folder.join("pass.ll"), self.folder.join("pass.o"));
        fs::write(&source, PASS)?;
        let (source, object) = (source.to_string_lossy(), object.to_string_lossy());
        sh(LLC, &["-march=bpf", "-filetype=obj", "-o", &object, &source])?;
        ip(&self.guest_namespace(), &format!("link set near xdpdrv obj {object} sec xdp"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The programs in them have been killed by their own guards. What can't be removed now, the next run clears.
        for namespace in &self.namespaces {
            _ = sh("ip", &["netns", "del", namespace]);
        }
        _ = fs::remove_dir_all(self.pins());
        _ = fs::remove_dir_all(&self.folder);
    }
}

fn ip(namespace: &str, arguments: &str) -> Result<()> {
    let words: Vec<_> = ["-n", namespace].into_iter().chain(arguments.split(' ')).collect();
    sh("ip", &words).map(drop)
}

/// Mounts bpffs where it is missing, and removes what runs that were killed have left.
pub(crate) fn prepare() -> Result<()> {
    if !shell::is_root()? {
        anyhow::bail!("the labs are network namespaces: they need root");
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(BPFFS)) {
        sh("mount", &["-t", "bpf", "bpf", BPFFS])?;
    }
    for namespace in leftovers(Path::new("/run/netns")) {
        // Only processes of that dead run can be in there.
        for pid in sh("ip", &["netns", "pids", &namespace])?.split_whitespace() {
            _ = sh("kill", &["-KILL", pid]);
        }
        sh("ip", &["netns", "del", &namespace])?;
    }
    for parent in [Path::new(BPFFS), &std::env::temp_dir()] {
        for folder in leftovers(parent) {
            fs::remove_dir_all(parent.join(folder))?;
        }
    }
    Ok(())
}

/// Names in this folder that begin as ours do, with a pid that no longer runs.
pub(crate) fn leftovers(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| pid_of(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()))
        .collect()
}

fn pid_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dead_runs_left_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let alive = format!("{PREFIX}{}-0-srv", std::process::id());
        // No process can have this pid: it is above the kernel's limit.
        for name in [alive.as_str(), "nbt-4194999-0-srv", "nbt-x", "somebody-1-else"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(leftovers(folder.path()), ["nbt-4194999-0-srv"]);
    }
}
