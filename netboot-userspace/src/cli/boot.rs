//! `netboot boot KERNEL [INITRD…]`: any machine boots this, beside whatever DHCP server there is.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use netboot_common::limit::Limits;

use super::config::Loaded;
use super::serve;
use crate::config::{Cache, Checked, DhcpMode, Http, Interface, Option82, Paths, Tftp, Unknown, V6, XdpMode};
use crate::inventory::configs::Templates;
use crate::inventory::entry;
use crate::inventory::settings::Settings;
use crate::inventory::{Profile, ProfileBoot};

/// Boot any machine into a kernel, beside the network's own DHCP server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot boot vmlinuz initrd.img
  netboot boot vmlinuz initrd.img --cmdline 'console=ttyS0 ip=dhcp' --interface eth1
  netboot boot https://example.org/vmlinuz https://example.org/initrd.img

Addresses come from the network's own DHCP server (ProxyDHCP); for more, write a netboot.yaml and use `netboot serve`.")]
pub(super) struct Args {
    /// The kernel: a file, or a URL
    kernel: String,
    /// Initial RAM disks: files, or URLs
    initrd: Vec<String>,
    /// The kernel's command line
    #[arg(long, default_value = "", allow_hyphen_values = true, value_parser = entry::cmdline)]
    cmdline: String,
    /// Where the machines are [default: the only interface, if there is one]
    #[arg(long)]
    interface: Option<String>,
    /// Where HTTP listens
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    http: SocketAddr,
    /// How the kernel's program is attached
    #[arg(long, default_value = "auto", value_parser = ["auto", "native", "generic", "off"])]
    xdp: String,
    /// The folder of iPXE's binaries
    #[arg(long, default_value = "/usr/lib/ipxe", value_name = "FOLDER")]
    ipxe: PathBuf,
}

pub(super) fn main(args: Args, control: Option<PathBuf>) -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let mut config = config(&args, &stage)?;
    if let Some(control) = control {
        config.paths.control = control;
    }
    serve::run(Loaded { config, identity: None }, None, false)
}

/// The site in which every machine boots the one profile.
fn config(args: &Args, stage: &Stage) -> anyhow::Result<Checked> {
    let name = args.interface.clone().map_or_else(only_interface, Ok)?;
    let xdp = match args.xdp.as_str() {
        "native" => XdpMode::Native,
        "generic" => XdpMode::Generic,
        "off" => XdpMode::Off,
        _ => XdpMode::Auto,
    };
    let kernel = stage.add(&args.kernel, "kernel")?;
    let numbered = args.initrd.iter().enumerate();
    let initrd = numbered.map(|(i, initrd)| stage.add(initrd, &format!("initrd{i}")));
    let initrd = initrd.collect::<anyhow::Result<_>>()?;
    let boot = ProfileBoot::Linux { kernel, initrd, cmdline: args.cmdline.clone() };
    let origin = "the command line".to_owned();
    let profile = Profile { name: "boot".to_owned(), boot, origin, ..Profile::default() };
    Ok(Checked {
        interfaces: vec![Interface {
            name,
            vlan: Vec::new(),
            dhcp: DhcpMode::Proxy,
            xdp,
            option_82: Option82::Drop,
            subnet_selection: false,
            subnets: Vec::new(),
            v6: V6::default(),
        }],
        subnets: Vec::new(),
        subnets6: Vec::new(),
        unknown: Unknown::Boot,
        default_profile: Some(profile.name.clone()),
        http: Http { listen: args.http, workers: None, index: false, pace: None, https: None },
        tftp: Tftp::new(stage.folder("tftp")),
        matchbox: Default::default(),
        assets: stage.folder("assets"),
        cache: Cache::none(),
        ipxe: args.ipxe.clone(),
        paths: Paths { state: stage.folder("state"), pins: stage.pins(), ..Paths::default() },
        authoritative: false,
        domain: None,
        settings: Settings::default(),
        limits: Limits::NONE,
        probe: None,
        breaker: None,
        templates: PathBuf::new(),
        template_files: Templates::new(),
        profiles: vec![profile],
        groups: Vec::new(),
        hosts: Vec::new(),
    })
}

/// The only interface that is not the loopback.
fn only_interface() -> anyhow::Result<String> {
    let names = fs::read_dir("/sys/class/net").context("listing the interfaces in /sys/class/net")?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name != "lo").collect();
    names.sort();
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => bail!("this machine has no network interface"),
        several => bail!("say where the machines are: --interface, one of {}", several.join(", ")),
    }
}

/// Folders of such runs, in the temporary folder and among the pins, with the process's number behind it.
const PREFIX: &str = "netboot-boot-";
const PINS: &str = "/sys/fs/bpf";

/// What runs that were killed have left: their programs would hold the interface.
pub(super) fn clear_leftovers() {
    let dead = |name: &str| {
        let pid = name.strip_prefix(PREFIX)?.parse::<u32>().ok()?;
        (pid == std::process::id() || !Path::new("/proc").join(pid.to_string()).exists()).then_some(())
    };
    for parent in [std::env::temp_dir(), PINS.into()] {
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            if entry.file_name().to_str().and_then(dead).is_some() {
                // Somebody else's, or gone meanwhile: then it is not ours to remove.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// A folder for this run: what is served is these files and no other beside them. Gone when dropped.
#[derive(Debug)]
struct Stage(PathBuf);

impl Stage {
    fn new() -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        clear_leftovers();
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("making the folder {}", path.display()))?;
        let stage = Self(path);
        for folder in ["assets", "state", "tftp"] {
            fs::create_dir(stage.folder(folder)).with_context(|| format!("in {}", stage.0.display()))?;
        }
        Ok(stage)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Of this run's own: a `netboot serve` on the same machine keeps its programs.
    fn pins(&self) -> PathBuf {
        Path::new(PINS).join(self.0.file_name().unwrap_or_default())
    }

    /// Makes a file available under `assets`, by `name`; a URL stays one.
    fn add(&self, file: &str, name: &str) -> anyhow::Result<String> {
        if file.contains("://") {
            entry::asset(file).map_err(anyhow::Error::msg)?;
            return Ok(file.to_owned());
        }
        let path = Path::new(file);
        let metadata = fs::metadata(path).with_context(|| format!("{file} can't be read"))?;
        if !metadata.is_file() {
            bail!("{file} is not a file");
        }
        link_or_copy(path, &self.folder("assets").join(name))
            .with_context(|| format!("{file} can't be read"))?;
        Ok(name.to_owned())
    }
}

/// A hard link where both are on one file system and the source is no symbolic link; a copy otherwise.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let from = fs::canonicalize(from)?;
    fs::File::open(&from)?;
    if fs::hard_link(&from, to).is_ok() {
        return Ok(());
    }
    fs::copy(&from, to).map(drop)
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What can't be removed from the temporary folder goes with the next reboot.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_files_named_are_staged_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("bz Image");
        fs::write(&kernel, "kernel").unwrap();
        let args = Args {
            kernel: kernel.display().to_string(),
            initrd: vec!["http://h/i.img".into()],
            cmdline: "quiet".into(),
            interface: Some("eth7".into()),
            http: "127.0.0.1:0".parse().unwrap(),
            xdp: "off".into(),
            ipxe: "/usr/lib/ipxe".into(),
        };
        let stage = Stage::new().unwrap();
        let config = super::config(&args, &stage).unwrap();
        assert_eq!(fs::read(config.assets.join("kernel")).unwrap(), b"kernel");
        let initrd = vec!["http://h/i.img".to_owned()];
        let (kernel, cmdline) = ("kernel".to_owned(), "quiet".to_owned());
        assert_eq!(config.profiles[0].boot, ProfileBoot::Linux { kernel, initrd, cmdline });
        assert_eq!(config.interfaces[0].dhcp, DhcpMode::Proxy);
        for (file, words) in [("/nonexistent", "No such file"), ("/", "is not a file"), ("ftp://x", "ftp://")]
        {
            let error = format!("{:#}", stage.add(file, "x").unwrap_err());
            assert!(error.contains(words), "{error}");
        }
        let path = stage.0.clone();
        drop(stage);
        assert!(!path.exists());
    }
}
