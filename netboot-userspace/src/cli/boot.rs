//! `netboot boot KERNEL [INITRD…]`: any machine boots this, beside whatever DHCP server there is. And what `netboot api` and
//! `netboot quick` have in common with it: no configuration, a folder for the run, the site that is served.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::duration;
use super::serve;
use super::serve::booting::{Booting, Given, What};
use crate::config::{
    Cache, Checked, DhcpMode, Http, Interface, LIMITS, Option82, Origin, Paths, Tftp, Unknown, V6, XdpMode,
};
use crate::inventory::configs::Templates;
use crate::inventory::entry;
use crate::inventory::settings::Settings;
use crate::inventory::{Profile, ProfileBoot};
use crate::pixiecore::{Boot, Linux, Place, cmdline, seal};
use crate::sys::interface;

/// Boot any machine into a kernel, beside the network's own DHCP server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot boot vmlinuz initrd.img
  netboot boot vmlinuz initrd.img --cmdline 'console=ttyS0 ip=dhcp' --interface eth1
  netboot boot https://example.org/vmlinuz https://example.org/initrd.img
  netboot boot vmlinuz --cmdline 'ks={{ ID \"./kickstart\" }}' --message 'Installing. Mind the gap.'

Addresses come from the network's own DHCP server (ProxyDHCP); for more, write a netboot.yaml and use `netboot serve`.
Files are read at each request: change them at any time. Those of URLs are fetched once for all machines.")]
pub(super) struct Args {
    /// The kernel: a file, or a URL
    kernel: String,
    /// Initial RAM disks: files, or URLs
    initrd: Vec<String>,
    #[command(flatten)]
    extra: Extra,
}

/// What goes with a kernel.
#[derive(Debug, clap::Args)]
pub(super) struct Extra {
    /// The kernel's command line; {{ ID "FILE-OR-URL" }} in it becomes the URL by which machines get that file from us
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    cmdline: String,
    /// Shown on each machine's console as it boots
    #[arg(long, visible_alias = "bootmsg", default_value = "")]
    message: String,
    #[command(flatten)]
    listen: Listen,
}

/// Where machines are, where we listen, what is kept.
#[derive(Debug, clap::Args)]
pub(super) struct Listen {
    /// Where the machines are [default: the only one that has an address]
    #[arg(long)]
    interface: Option<String>,
    /// Where HTTP listens
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    http: SocketAddr,
    /// The address of --http (Pixiecore's name)
    #[arg(short = 'l', long, value_name = "ADDRESS", conflicts_with = "http")]
    listen_addr: Option<Ipv4Addr>,
    /// The port of --http (Pixiecore's name)
    #[arg(short = 'p', long, value_name = "PORT", conflicts_with = "http", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// How the kernel's program is attached
    #[arg(long, default_value = "auto", value_parser = ["auto", "native", "generic", "off"])]
    xdp: String,
    /// The folder of iPXE's binaries
    #[arg(long, default_value = "/usr/lib/ipxe", value_name = "FOLDER")]
    ipxe: PathBuf,
    /// The iPXE of BIOS machines, in place of the folder's undionly.kpxe (also --ipxe-ipxe)
    #[arg(long, alias = "ipxe-ipxe", value_name = "FILE")]
    ipxe_bios: Option<PathBuf>,
    /// The iPXE of 32-bit UEFI machines, in place of the folder's ipxe32.efi
    #[arg(long, value_name = "FILE")]
    ipxe_efi32: Option<PathBuf>,
    /// The iPXE of 64-bit UEFI machines, in place of the folder's snponly.efi
    #[arg(long, value_name = "FILE")]
    ipxe_efi64: Option<PathBuf>,
    /// What is kept over runs: the key of files' names, and copies of files of URLs [default: nothing]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// The key that files' names are sealed with, in base64 (32 bytes), or a file that has it: for several servers [default: one of our
    /// own, kept in --state]
    #[arg(long, env = "NETBOOT_SIGNING_KEY", hide_env_values = true, value_name = "KEY|FILE")]
    signing_key: Option<String>,
    /// How long the URL of a file is good
    #[arg(long, default_value = "24h", value_parser = duration::seconds, value_name = "TIME")]
    url_lifetime: Duration,
    /// Say everything (or set NETBOOT_LOG)
    #[arg(short, long)]
    debug: bool,
    /// Pixiecore's; we never need the port for ourselves
    #[arg(long, hide = true)]
    dhcp_no_bind: bool,
    /// Pixiecore's; our log has times always
    #[arg(short = 't', long, hide = true)]
    log_timestamps: bool,
    /// Pixiecore's; `netboot status` and `netboot events` say more
    #[arg(long, hide = true)]
    status_port: Option<u16>,
}

pub(super) fn main(args: Args, control: Option<PathBuf>) -> anyhow::Result<()> {
    run(args.kernel, args.initrd, String::new(), args.extra, control)
}

/// Serves these until it is stopped. `first`: what stands before the operator's own command line.
pub(super) fn run(
    kernel: String,
    initrd: Vec<String>,
    first: String,
    extra: Extra,
    control: Option<PathBuf>,
) -> anyhow::Result<()> {
    let mut given = Vec::new();
    let what = What::Same(Boot::Linux(linux(&kernel, &initrd, &first, &extra, &mut given)?));
    serve(extra.listen, what, given, Vec::new(), None, control)
}

/// What the operator typed, and the files that it names.
fn linux(
    kernel: &str,
    initrd: &[String],
    first: &str,
    extra: &Extra,
    given: &mut Vec<(String, Given)>,
) -> anyhow::Result<Linux> {
    let mut add = |file: &str, name: String| {
        given.push((name.clone(), given_file(file)?));
        Ok::<_, anyhow::Error>(Place::Named(name))
    };
    let kernel = add(kernel, "kernel".to_owned())?;
    let numbered = initrd.iter().enumerate();
    let initrd = numbered.map(|(n, file)| add(file, format!("initrd-{n}"))).collect::<anyhow::Result<_>>()?;
    let mut others = 0;
    let own = cmdline::read(&extra.cmdline, "ID", |file| {
        others += 1;
        add(file, format!("other-{}", others - 1)).map_err(|error| format!("{error:#}"))
    })
    .context("--cmdline")?;
    let mut line = Vec::new();
    if !first.is_empty() {
        let space = if own.is_empty() { "" } else { " " };
        line.push(cmdline::Part::Text(format!("{first}{space}")));
    }
    line.extend(own);
    Ok(Linux { kernel, initrd, cmdline: line, message: extra.message.clone() })
}

/// A file that is there now, or a URL.
fn given_file(file: &str) -> anyhow::Result<Given> {
    if file.contains("://") {
        entry::asset(file).map_err(anyhow::Error::msg)?;
        return Ok(Given::Url(file.to_owned()));
    }
    let metadata = fs::metadata(file).with_context(|| format!("{file} can't be read"))?;
    if !metadata.is_file() {
        bail!("{file} is not a file");
    }
    fs::File::open(file).with_context(|| format!("{file} can't be read"))?;
    // Wherever we are when it is asked for.
    Ok(Given::Path(std::path::absolute(file).with_context(|| format!("{file} can't be read"))?))
}

/// Serves a site without a configuration.
pub(super) fn serve(
    listen: Listen,
    what: What,
    given: Vec<(String, Given)>,
    hosts: Vec<Origin>,
    files: Option<PathBuf>,
    control: Option<PathBuf>,
) -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let mut config = config(&listen, &stage)?;
    if let Some(control) = control {
        config.paths.control = control;
    }
    let key = listen.signing_key.as_deref().map(key).transpose().context("--signing-key")?;
    let booting = Booting { what, given, files, hosts, key, lifetime: listen.url_lifetime };
    let level = if listen.debug { "debug" } else { "info" };
    serve::run_booting(config, booting, level)
}

/// As it is typed, or as a file has it.
fn key(text: &str) -> anyhow::Result<[u8; seal::KEY]> {
    let path = Path::new(text);
    let text = if path.is_file() {
        fs::read_to_string(path).with_context(|| text.to_owned())?
    } else {
        text.to_owned()
    };
    seal::key(&text).map_err(anyhow::Error::msg)
}

/// The site in which every machine boots the one profile.
fn config(listen: &Listen, stage: &Stage) -> anyhow::Result<Checked> {
    let name = listen.interface.clone().map_or_else(only_interface, Ok)?;
    let xdp = match listen.xdp.as_str() {
        "native" => XdpMode::Native,
        "generic" => XdpMode::Generic,
        "off" => XdpMode::Off,
        _ => XdpMode::Auto,
    };
    stage.loaders(listen)?;
    // Whoever comes by another way than /boot.ipxe is sent there, too.
    let boot = ProfileBoot::Ipxe("#!ipxe\nchain /boot.ipxe\n".to_owned());
    let origin = "the command line".to_owned();
    let profile = Profile { name: "boot".to_owned(), boot, origin, ..Profile::default() };
    let state = listen.state.clone().unwrap_or_else(|| stage.folder("state"));
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
        http: Http { listen: listen.http(), workers: None, index: false, pace: None, https: None },
        tftp: Tftp::new(stage.folder("tftp")),
        matchbox: Default::default(),
        livebootp: None,
        assets: stage.folder("assets"),
        cache: Cache::none(),
        ipxe: listen.ipxe.clone(),
        paths: Paths { state, pins: stage.pins(), ..Paths::default() },
        authoritative: false,
        domain: None,
        settings: Settings::default(),
        limits: LIMITS,
        probe: None,
        breaker: None,
        templates: PathBuf::new(),
        template_files: Templates::new(),
        profiles: vec![profile],
        groups: Vec::new(),
        hosts: Vec::new(),
    })
}

impl Listen {
    /// Unless told where.
    pub(super) fn keep_in(&mut self, folder: &str) {
        self.state.get_or_insert_with(|| folder.into());
    }

    fn http(&self) -> SocketAddr {
        let ip = self.listen_addr.map_or(self.http.ip(), IpAddr::from);
        SocketAddr::new(ip, self.port.unwrap_or(self.http.port()))
    }
}

/// The only interface by which machines could reach us: what has no address (`ifb0`, `dummy0`, the ports of a bridge) serves none.
fn only_interface() -> anyhow::Result<String> {
    only(&interface::interfaces().context("listing the network interfaces")?)
}

fn only(interfaces: &BTreeMap<String, interface::Interface>) -> anyhow::Result<String> {
    let serve =
        interfaces.iter().filter(|(_, interface)| !interface.loopback && !interface.addresses.is_empty());
    let names: Vec<&str> = serve.map(|(name, _)| name.as_str()).collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => bail!("no network interface of this machine has an IPv4 address"),
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

    /// The operator's own iPXE binaries, by the names that firmware is told.
    fn loaders(&self, listen: &Listen) -> anyhow::Result<()> {
        let named = [
            (&listen.ipxe_bios, "undionly.kpxe"),
            (&listen.ipxe_efi32, "ipxe32.efi"),
            (&listen.ipxe_efi64, "snponly.efi"),
        ];
        for (file, name) in named {
            if let Some(file) = file {
                link_or_copy(file, &self.folder("tftp").join(name))
                    .with_context(|| format!("{} can't be read", file.display()))?;
            }
        }
        Ok(())
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
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Typed {
        #[command(flatten)]
        args: Args,
    }

    fn typed(words: &[&str]) -> Args {
        Typed::try_parse_from([&["boot"], words].concat()).unwrap().args
    }

    fn text(text: &str) -> cmdline::Part {
        cmdline::Part::Text(text.to_owned())
    }

    #[test]
    fn px_01_and_02_files_and_urls_are_named_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("bz Image");
        fs::write(&kernel, "kernel").unwrap();
        let path = kernel.display().to_string();
        let line = format!("a={{{{ ID {path:?} }}}} b={{{{ ID \"https://h/x\" }}}}");
        let args = typed(&[&path, "http://h/i.img", &path, "--cmdline", &line, "--bootmsg", "hi"]);
        let mut given = Vec::new();
        let boot = linux(&args.kernel, &args.initrd, "first", &args.extra, &mut given).unwrap();
        let named = |name: &str| Place::Named(name.to_owned());
        assert_eq!((boot.kernel, boot.message.as_str()), (named("kernel"), "hi"));
        assert_eq!(boot.initrd, [named("initrd-0"), named("initrd-1")]);
        let file = |name| cmdline::Part::File(named(name));
        assert_eq!(boot.cmdline, [text("first "), text("a="), file("other-0"), text(" b="), file("other-1")]);
        let path = |name: &str| (name.to_owned(), Given::Path(kernel.clone()));
        let url = |name: &str, url: &str| (name.to_owned(), Given::Url(url.to_owned()));
        let want = [
            path("kernel"),
            url("initrd-0", "http://h/i.img"),
            path("initrd-1"),
            path("other-0"),
            url("other-1", "https://h/x"),
        ];
        assert_eq!(given, want);
    }

    #[test]
    fn what_is_missing_is_said_before_anything_is_served() {
        for (words, cause) in [
            (&["/nonexistent"][..], "/nonexistent can't be read"),
            (&["/"], "is not a file"),
            (&["ftp://x"], "ftp://"),
            (&["http://h/k", "--cmdline", "{{ ID \"/nonexistent\" }}"], "ID: /nonexistent can't be read"),
            (&["http://h/k", "--cmdline", "{{ URL \"/x\" }}"], "known beside Go's own is {{ ID"),
            (&["http://h/k", "--cmdline", "a\nb"], "one line"),
        ] {
            let args = typed(words);
            let error = linux(&args.kernel, &args.initrd, "", &args.extra, &mut Vec::new()).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(cause), "{words:?}: {error}");
        }
    }

    #[test]
    fn px_05_pixiecore_s_flags_mean_what_they_meant() {
        let dir = tempfile::tempdir().unwrap();
        let loader = dir.path().join("own.kpxe");
        fs::write(&loader, "own").unwrap();
        let words = ["http://h/k", "--interface", "eth7", "-l", "127.0.0.1", "-p", "81", "-d", "-t"];
        let more = ["--dhcp-no-bind", "--status-port", "0", "--ipxe-bios", loader.to_str().unwrap()];
        let args = typed(&[&words[..], &more[..]].concat());
        let stage = Stage::new().unwrap();
        let config = super::config(&args.extra.listen, &stage).unwrap();
        assert_eq!(config.http.listen, "127.0.0.1:81".parse().unwrap());
        assert_eq!(
            (config.interfaces[0].dhcp, config.interfaces[0].name.as_str()),
            (DhcpMode::Proxy, "eth7")
        );
        assert_eq!(fs::read(config.tftp.root.join("undionly.kpxe")).unwrap(), b"own");
        assert!(!config.limits.client.is_unlimited(), "one machine's flood is no other's");
        for refused in [&["k", "-p", "0"][..], &["k", "-p", "1", "--http", "0.0.0.0:1"], &[]] {
            assert!(Typed::try_parse_from([&["boot"], refused].concat()).is_err(), "{refused:?}");
        }
        let path = stage.0.clone();
        drop(stage);
        assert!(!path.exists());
    }

    #[test]
    fn the_only_interface_with_an_address_is_meant() {
        let one = |address: Option<[u8; 4]>, loopback| interface::Interface {
            loopback,
            addresses: address.map(|address| (address.into(), 24)).into_iter().collect(),
            ..interface::Interface::default()
        };
        let mut all: BTreeMap<_, _> = [("lo", one(Some([127, 0, 0, 1]), true)), ("ifb0", one(None, false))]
            .map(|(n, i)| (n.to_owned(), i))
            .into();
        assert!(only(&all).unwrap_err().to_string().contains("has an IPv4 address"));
        all.insert("eth0".to_owned(), one(Some([10, 0, 0, 1]), false));
        assert_eq!(only(&all).unwrap(), "eth0");
        all.insert("eth1".to_owned(), one(Some([10, 0, 1, 1]), false));
        assert!(only(&all).unwrap_err().to_string().ends_with("one of eth0, eth1"));
    }

    #[test]
    fn a_key_is_typed_or_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let text = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        fs::write(&file, format!("{text}\n")).unwrap();
        assert_eq!(key(text).unwrap(), [0; seal::KEY]);
        assert_eq!(key(file.to_str().unwrap()).unwrap(), [0; seal::KEY]);
        assert!(key("/nonexistent").is_err());
    }
}
