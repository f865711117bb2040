//! The site of one scenario: the server's configuration, its assets, and its neighbours on the network.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::lab::{Lab, MACHINE, MACHINE6, OTHER, SERVER};
use super::process::Process;
use super::scenario::{Command, Data, Dhcp, Firmware, ImageVariant, Scenario};
use super::{Parts, authority, grub, live, livebootp};
use crate::image::{Facts, KERNEL_ARGUMENTS};

/// The machine.
pub(crate) const NAME: &str = "node1";
pub(crate) const MAC: &str = "52:54:00:77:00:01";
pub(crate) const UUID: &str = "77000000-0000-4000-8000-000000000001";
/// The profile that installs it.
pub(crate) const PROFILE: &str = "install";

const DNSMASQ: &str = "/usr/sbin/dnsmasq";
const RADVD: &str = "/usr/sbin/radvd";
const PYTHON: &str = "/usr/bin/python3";

/// Paths of a site in its lab's folder.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The words of the command that serves.
    pub(crate) server: Vec<String>,
    pub(crate) control: PathBuf,
    /// The words of `netboot host add` that make the machine known; none for a server that knows nothing.
    pub(crate) host: Option<Vec<String>>,
}

/// Writes configuration, profile and assets.
pub(crate) fn write(lab: &Lab, scenario: &Scenario, parts: &Parts) -> Result<Site> {
    let folder = &lab.folder;
    for name in ["etc/profiles.d", "etc/hosts.d", "assets", "tftp", "state"] {
        fs::create_dir_all(folder.join(name))?;
    }
    let assets = folder.join("assets");
    place(&parts.kernel.image(), &assets.join("vmlinuz"))?;
    place(&parts.initramfs, &assets.join("agent.cpio.gz"))?;
    place(&parts.image.compressed, &assets.join("disk.img.zst"))?;
    if scenario.firmware == Firmware::BiosGrub {
        grub::write(&folder.join("tftp"), &assets, &parts.kernel.image())?;
    }
    let control = folder.join("control.sock");
    let server = match scenario.command {
        Command::Boot => boot_words(lab, scenario, &control),
        Command::Api => {
            write_api(lab, scenario, parts)?;
            api_words(lab, scenario, &control)
        }
        Command::Serve => {
            let config = folder.join("etc/netboot.yaml");
            fs::write(&config, config_text(lab, scenario))?;
            match scenario.data {
                Data::Inventory => write_profile(lab, scenario.image, parts)?,
                Data::Matchbox | Data::Bootcfg => write_live(&assets, parts)?,
                Data::Livebootp => {
                    livebootp::write(folder, &parts.kernel)?;
                    write_profile(lab, scenario.image, parts)?;
                }
            }
            if scenario.firmware == Firmware::UefiHttps {
                authority::make(lab, &parts.binaries.netboot, &config)?;
            }
            vec!["serve".to_owned(), "--config".to_owned(), config.display().to_string()]
        }
    };
    let is_host = scenario.command == Command::Serve && scenario.data == Data::Inventory;
    Ok(Site { server, control, host: is_host.then(|| host_words(scenario)) })
}

/// What the data folders of `tests/vm` name: a live system, and the image for an installer that knows no zstd.
fn write_live(assets: &Path, parts: &Parts) -> Result<()> {
    live::write(&parts.kernel, &assets.join("live.cpio.gz"))?;
    place(&parts.image.raw, &assets.join("disk.img"))
}

/// The profile that installs the machine, as the image's variant has it.
pub(crate) fn write_profile(lab: &Lab, variant: ImageVariant, parts: &Parts) -> Result<()> {
    let path = lab.folder.join("etc/profiles.d/install.yaml");
    Ok(fs::write(path, profile_text(variant, &parts.image.facts))?)
}

fn boot_words(lab: &Lab, scenario: &Scenario, control: &Path) -> Vec<String> {
    let file = |name: &str| lab.folder.join("assets").join(name).display().to_string();
    let (kernel, initrd, control) = (file("vmlinuz"), file("agent.cpio.gz"), control.display().to_string());
    let words = ["--control", &control, "boot", &kernel, &initrd, "--cmdline", KERNEL_ARGUMENTS];
    let more = ["--interface", lab.interface(), "--xdp", scenario.xdp.name()];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// Where the API is, beside the server.
const API: &str = "http://10.77.0.1:4242";

fn api_words(lab: &Lab, scenario: &Scenario, control: &Path) -> Vec<String> {
    let (control, state) = (control.display().to_string(), lab.folder.join("state").display().to_string());
    let words = ["--control", &control, "api", API, "--state", &state];
    let more = ["--interface", lab.interface(), "--xdp", scenario.xdp.name()];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// An API that has an answer for the machine alone, and the files that it names.
fn write_api(lab: &Lab, scenario: &Scenario, parts: &Parts) -> Result<()> {
    let folder = lab.folder.join("api");
    fs::create_dir_all(folder.join("v1/boot"))?;
    place(&parts.kernel.image(), &folder.join("vmlinuz"))?;
    place(&parts.initramfs, &folder.join("agent.cpio.gz"))?;
    let answer = scenario.answer.clone().unwrap_or_else(|| {
        format!(
            r#"{{"kernel":"/vmlinuz","initrd":["{API}/agent.cpio.gz"],"cmdline":"{KERNEL_ARGUMENTS}","message":"NETBOOT-MESSAGE from the API"}}"#
        )
    });
    Ok(fs::write(folder.join("v1/boot").join(MAC), answer)?)
}

/// The server of that API: any that has files will do.
pub(crate) fn api(lab: &Lab) -> Result<Process> {
    let folder = lab.folder.join("api").display().to_string();
    let words = ["-m", "http.server", "4242", "--bind", SERVER, "--directory", &folder].map(str::to_owned);
    let log = lab.folder.join("api.log");
    Process::start("boot API", Some(&lab.server_namespace()), &log, Path::new(PYTHON), &words)
}

fn host_words(scenario: &Scenario) -> Vec<String> {
    let mut words: Vec<String> =
        ["host", "add", NAME, "--mac", MAC, "--profile", PROFILE].map(str::to_owned).to_vec();
    if scenario.dhcp == Dhcp::Server {
        words.extend(["--ip".to_owned(), MACHINE.to_owned()]);
    }
    if scenario.firmware.is_ipv6() {
        words.extend(["--ip6".to_owned(), MACHINE6.to_owned()]);
    }
    words
}

/// A copy: the server opens assets beneath their folder and follows no link out; and where one scenario's name of a file comes and
/// another's goes, its ctime is all that has changed, and the server of a third, that sends it meanwhile, takes that for a write.
fn place(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| from.display().to_string()).map(drop)
}

fn config_text(lab: &Lab, scenario: &Scenario) -> String {
    let dhcp = scenario.dhcp.name();
    // HTTP Boot over IPv4 comes first, and takes minutes to give up on a server that does not answer it: send it where nobody is. A subnet's is of IPv4
    // alone.
    let boot_files = match scenario.firmware {
        Firmware::BiosGrub => format!("    boot_files: {{ bios: {} }}\n", grub::CORE),
        Firmware::UefiHttp6 => format!("    boot_files: {{ efi-x64-http: \"http://{SERVER}:9/\" }}\n"),
        Firmware::UefiHttps => {
            format!("    boot_files: {{ efi-x64-http: \"https://{SERVER}:8443/loaders/snponly.efi\" }}\n")
        }
        _ => String::new(),
    };
    let dhcp6 = if scenario.firmware.is_ipv6() { "    dhcp6: server\n    subnet6: fd77::/64\n" } else { "" };
    let (interface, xdp, kernel) = (lab.interface(), scenario.xdp.name(), scenario.tftp.kernel());
    let port = if scenario.firmware == Firmware::BiosGrub { grub::HTTP_PORT } else { 8080 };
    // Debian 12's OVMF has no elliptic curves.
    let https = match scenario.firmware {
        Firmware::UefiHttps => ", https: { listen: \"[::]:8443\", dhe: true }",
        _ => "",
    };
    let registry = if scenario.data == Data::Livebootp { livebootp::CONFIGURATION } else { "" };
    let (range, boots) = match scenario.data.folder() {
        None => (String::new(), format!("unknown: ignore\ndefault_profile: {PROFILE}\n")),
        Some(data) => (
            "    range: 10.77.0.100-10.77.0.150\n".to_owned(),
            format!("matchbox: {{ data: {} }}\n", data.display()),
        ),
    };
    let (folder, pins) = (lab.folder.display(), lab.pins());
    let pins = pins.display();
    format!(
        "interfaces:
  - name: {interface}
    dhcp: {dhcp}
    xdp: {xdp}
    subnet: 10.77.0.0/24
    router: {SERVER}
    dns: [{SERVER}]
    lease: 1h
{range}{dhcp6}{boot_files}{boots}{registry}http: {{ listen: \"[::]:{port}\"{https} }}
tftp: {{ root: {folder}/tftp, kernel: {kernel} }}
assets: {folder}/assets
ipxe: /usr/lib/ipxe
paths: {{ state: {folder}/state, control: {folder}/control.sock, pins: {pins} }}
"
    )
}

fn profile_text(variant: ImageVariant, facts: &Facts) -> String {
    let (sha256, size) = match variant {
        ImageVariant::Good => (facts.sha256.clone(), facts.size),
        ImageVariant::WrongDigest => (another_digest(&facts.sha256), facts.size),
        ImageVariant::TooLarge => (facts.sha256.clone(), 1 << 40),
    };
    format!(
        "- name: {PROFILE}
  kernel: vmlinuz
  initrd: [agent.cpio.gz]
  cmdline: \"{KERNEL_ARGUMENTS}\"
  install:
    image: disk.img.zst
    sha256: \"{sha256}\"
    size: {size}
    disk: only
    on_failure: retry
    retry: 5s
"
    )
}

/// As long, and different in its first digit.
fn another_digest(sha256: &str) -> String {
    let first = if sha256.starts_with('0') { '1' } else { '0' };
    format!("{first}{}", sha256.get(1..).unwrap_or_default())
}

/// Router advertisements on the server's network: without one, iPXE waits 16 seconds for it at each stage. Where machines boot
/// over IPv6, they say that addresses and the rest come by DHCPv6: iPXE doesn't ask otherwise.
pub(crate) fn advertise(lab: &Lab, scenario: &Scenario) -> Result<Process> {
    let (name, namespace, log) = ("router advertisements", lab.server_namespace(), lab.folder.join("ra.log"));
    let interface = lab.interface();
    if !scenario.firmware.is_ipv6() {
        let interface = format!("--interface={interface}");
        let arguments = ["--enable-ra", "--dhcp-range=fd77::,ra-only,64", &interface, "--bind-interfaces"];
        return dnsmasq(name, &namespace, &log, &arguments);
    }
    // The seconds are the shortest that RFC 4861 section 6.2.1 allows.
    let text = format!(
        "interface {interface} {{
  AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;
  AdvManagedFlag on; AdvOtherConfigFlag on;
  prefix fd77::/64 {{ AdvOnLink on; AdvAutonomous on; }};
}};
"
    );
    let (config, pid) = (lab.folder.join("radvd.conf"), lab.folder.join("radvd.pid"));
    fs::write(&config, text)?;
    let words = ["--nodaemon", "--logmethod", "stderr", "--config"].map(str::to_owned);
    let files = [config.display().to_string(), "--pidfile".to_owned(), pid.display().to_string()];
    Process::start(name, Some(&namespace), &log, Path::new(RADVD), &[&words[..], &files].concat())
}

/// A DHCP server that is not ours, and knows nothing of booting.
pub(crate) fn foreign_dhcp(lab: &Lab) -> Result<Process> {
    let router = format!("--dhcp-option=3,{SERVER}");
    let own = format!("--listen-address={OTHER}");
    let arguments =
        ["--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,1h", "--dhcp-authoritative", &router, &own];
    dnsmasq("foreign DHCP server", &lab.other_namespace(), &lab.folder.join("foreign-dhcp.log"), &arguments)
}

fn dnsmasq(name: &'static str, namespace: &str, log: &Path, arguments: &[&str]) -> Result<Process> {
    let common = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--leasefile-ro",
        "--log-dhcp",
        "--log-facility=-",
    ];
    let arguments: Vec<_> = common.iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    Process::start(name, Some(namespace), log, Path::new(DNSMASQ), &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digest_is_one_and_differs() {
        for digest in ["0".repeat(64), "f".repeat(64)] {
            let other = another_digest(&digest);
            assert_ne!(other, digest);
            assert_eq!(other.len(), 64);
        }
    }
}
