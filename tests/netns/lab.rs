//! Network namespaces that one test makes, and removes again: `srv`, where the server runs, and `cli`, where its clients are.
//!
//! ```text
//!   namespace CLI                    namespace SRV
//!   eth0 ════════════ veth ═════════ eth0  netboot serve
//! ```

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::bpffs::{self, BPFFS};

/// The server's address; the network is a /24.
pub(crate) const SERVER: &str = "10.77.0.1";
/// The clients' MAC.
pub(crate) const MAC: &str = "52:54:00:77:00:01";

/// Ours begin with it, followed by our pid: leftovers can be told from what is alive.
const PREFIX: &str = "nbn-";

/// A pair of namespaces and a folder. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct Lab {
    id: String,
    pub(crate) folder: tempfile::TempDir,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Clients,
}

impl Lab {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static CLEARED: Once = Once::new();
        bpffs::mount();
        CLEARED.call_once(clear_leftovers);
        let id = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { id, folder: tempfile::tempdir().expect("a temporary folder") };
        lab.build();
        lab
    }

    fn build(&self) {
        let (server, clients) = (self.namespace(Side::Server), self.namespace(Side::Clients));
        for namespace in [&server, &clients] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        self.connect();
    }

    /// Makes the wire between the two.
    pub(crate) fn connect(&self) {
        let (server, clients) = (self.namespace(Side::Server), self.namespace(Side::Clients));
        ip(&format!("-n {clients} link add eth0 address {MAC} type veth peer name eth0 netns {server}"));
        // Tags must be in the frame when XDP sees it, not in the skb's metadata.
        run(self.command(Side::Clients, "ethtool").args(["-K", "eth0", "tx-vlan-offload", "off"]));
        ip(&format!("-n {server} address add {SERVER}/24 dev eth0"));
        ip(&format!("-n {server} link set eth0 up"));
        ip(&format!("-n {clients} link set eth0 up"));
    }

    /// Its name for `ip netns`.
    pub(crate) fn namespace(&self, side: Side) -> String {
        match side {
            Side::Server => format!("{}-srv", self.id),
            Side::Clients => format!("{}-cli", self.id),
        }
    }

    /// Where the server of this lab pins its programs.
    pub(crate) fn pins(&self) -> PathBuf {
        Path::new(BPFFS).join(&self.id)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program on one side; it ends with us. Only the network is another: `ip netns exec` would also hide /sys/fs/bpf behind
    /// a mount namespace of its own.
    pub(crate) fn command(&self, side: Side, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "nsenter"]);
        command.arg(format!("--net=/run/netns/{}", self.namespace(side))).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Runs `body` in a thread whose network is that side's.
    pub(crate) fn inside<T: Send>(&self, side: Side, body: impl FnOnce() -> T + Send) -> T {
        inside(&self.namespace(side), body)
    }
}

/// Runs `body` in a thread whose network is that namespace.
pub(crate) fn inside<T: Send>(namespace: &str, body: impl FnOnce() -> T + Send) -> T {
    let namespace = fs::File::open(Path::new("/run/netns").join(namespace)).expect("our namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter a network namespace");
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What can't be removed now, the next run clears.
        for side in [Side::Server, Side::Clients] {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(side)]).output();
        }
        let _ = fs::remove_dir_all(self.pins());
    }
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Ended already, or ends now; in both cases it must be reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command that must succeed; its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both outputs, for a person.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

pub(crate) fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}

/// Removes what runs that were killed have left.
fn clear_leftovers() {
    let named = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_leftover(name)).collect()
    };
    for namespace in named("/run/netns") {
        let _ = Command::new("ip").args(["netns", "del", &namespace]).output();
    }
    for pins in named(BPFFS) {
        let _ = fs::remove_dir_all(Path::new(BPFFS).join(pins));
    }
}

fn is_leftover(name: &str) -> bool {
    let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}
