//! A scenario: one file of `tests/vm/`, as data. `tests/vm/README.md` explains the words.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use super::kernel_tls;
use crate::paths;

/// One machine, one server, and what must happen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// One line for `--list`.
    pub(crate) about: String,
    pub(crate) firmware: Firmware,
    #[serde(default)]
    pub(crate) command: Command,
    #[serde(default)]
    pub(crate) data: Data,
    /// JSON: what the API of [`Command::Api`] says instead of its kernel and initrd.
    pub(crate) answer: Option<String>,
    #[serde(default)]
    pub(crate) dhcp: Dhcp,
    #[serde(default)]
    pub(crate) xdp: Xdp,
    #[serde(default)]
    pub(crate) tftp: Tftp,
    #[serde(default)]
    pub(crate) place: Place,
    #[serde(default)]
    pub(crate) image: ImageVariant,
    #[serde(default)]
    pub(crate) disk: Disk,
    /// The machine's boot order, where its firmware leaves the choice.
    #[serde(default)]
    pub(crate) disk_first: bool,
    /// For the whole story, on two busy cores.
    #[serde(default = "default_deadline")]
    pub(crate) deadline_seconds: u64,
    /// Done one after the other; the first that fails ends it.
    pub(crate) steps: Vec<Step>,
}

fn default_deadline() -> u64 {
    240
}

/// What the machine has in its ROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Firmware {
    /// SeaBIOS and QEMU's own iPXE ROM.
    BiosRom,
    /// A stand-in for a vendor's PXE ROM: it is no iPXE by its user class, and loads `undionly.kpxe` by TFTP.
    BiosUndionly,
    /// The same stand-in, which the server sends GRUB to: GRUB has a TFTP client of its own.
    BiosGrub,
    /// OVMF, PXE over IPv4.
    UefiPxe,
    /// OVMF, HTTP Boot over IPv4.
    UefiHttp,
    /// OVMF, HTTP Boot over IPv4 by TLS: the site's own authority is enrolled in it.
    UefiHttps,
    /// OVMF, PXE over IPv6.
    UefiPxe6,
    /// OVMF, HTTP Boot over IPv6.
    UefiHttp6,
}

impl Firmware {
    pub(crate) fn is_uefi(self) -> bool {
        !matches!(self, Self::BiosRom | Self::BiosUndionly | Self::BiosGrub)
    }

    /// It asks by DHCPv6.
    pub(crate) fn is_ipv6(self) -> bool {
        matches!(self, Self::UefiPxe6 | Self::UefiHttp6)
    }

    /// Words of `-fw_cfg` that turn off what OVMF would try before, and wait for in vain.
    pub(crate) fn without(self) -> &'static [&'static str] {
        match self {
            Self::BiosRom | Self::BiosUndionly | Self::BiosGrub | Self::UefiPxe => &[],
            // PXE over IPv6 takes a minute to give up.
            Self::UefiHttp | Self::UefiHttps | Self::UefiHttp6 => &["IPv4PXESupport", "IPv6PXESupport"],
            Self::UefiPxe6 => &["IPv4PXESupport"],
        }
    }
}

/// Which command serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    /// `netboot serve`, with a configuration, that knows the machine.
    #[default]
    Serve,
    /// `netboot boot KERNEL INITRD`, that knows nothing.
    Boot,
    /// `netboot api URL`, that asks an API beside it.
    Api,
}

/// What tells `netboot serve` what the machine boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Data {
    /// The machine is a host, whose profile installs it.
    #[default]
    Inventory,
    /// A data folder of matchbox; nothing else knows the machine.
    Matchbox,
    /// The same of bootcfg's first epoch.
    Bootcfg,
    /// A registry of LiveBOOTP, which knows the machine.
    Livebootp,
}

impl Data {
    /// Where it is, if `tests/vm` has it.
    pub(crate) fn folder(self) -> Option<PathBuf> {
        let name = match self {
            Self::Inventory | Self::Livebootp => return None,
            Self::Matchbox => "tests/vm/matchbox",
            Self::Bootcfg => "tests/vm/bootcfg",
        };
        Some(paths::root().join(name))
    }
}

/// Our server's part in DHCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dhcp {
    #[default]
    Server,
    /// A foreign server leases, ours only says what to boot.
    Proxy,
    /// A foreign server leases, ours has a part in IPv6 alone.
    Off,
}

impl Dhcp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Proxy => "proxy",
            Self::Off => "off",
        }
    }
}

/// `xdp:` of the server's interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Xdp {
    Native,
    #[default]
    Generic,
    Off,
}

impl Xdp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
        }
    }
}

/// Which lane of TFTP serves what both could: `tftp: { kernel: }` of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tftp {
    #[default]
    Kernel,
    Userspace,
}

impl Tftp {
    /// The value of that key.
    pub(crate) fn kernel(self) -> &'static str {
        match self {
            Self::Kernel => "auto",
            Self::Userspace => "off",
        }
    }
}

/// Which device the server serves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// A veth whose other end is a port of the guests' bridge.
    #[default]
    Veth,
    /// The machine's tap.
    Tap,
}

/// What the profile says about the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ImageVariant {
    #[default]
    Good,
    /// A SHA-256 that is not the image's.
    WrongDigest,
    /// A size that no disk here has.
    TooLarge,
}

/// What is on the machines' disks at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Disk {
    #[default]
    Blank,
    /// The image.
    Installed,
}

/// One thing that is done, awaited or judged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    PowerOn,
    /// Pulls the plug.
    PowerOff,
    /// Until the machine turns itself off.
    AwaitPowerOff,
    /// Until the server has seen the machine in this state, or in one that follows it.
    AwaitState(String),
    /// Until this is on the console since the last power-on.
    AwaitConsole(String),
    /// Until the server has told of such an event.
    AwaitEvent(EventPattern),
    /// With the machine beside, which no host's entry is for: what is done with a machine, and what its console shows.
    Stranger(Box<Step>),
    /// `kill -9`.
    KillServer,
    StartServer,
    /// Puts the right profile in the place of a wrong one; the server takes it up by itself.
    MendProfile,
    Wait {
        seconds: u64,
    },
    /// The disk's bytes are the image's.
    DiskEqualsImage,
    /// The first MiB was never written: no firmware starts from this disk.
    DiskNotBootable,
    /// This is not on the console since the last power-on.
    ConsoleLacks(String),
    /// The server has told of no such event.
    EventsLack(EventPattern),
    /// A counter of the server's DHCP is above zero.
    Counted(String),
    /// The server's record of the machine says this, in any case of letters.
    MessageHas(String),
    /// Replies of these kinds left from XDP or tcx, and none from userspace.
    AnsweredByKernel(Vec<String>),
    /// The server's interface runs XDP in this mode.
    XdpMode(String),
}

/// What an event must have; fields that are not given don't matter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventPattern {
    pub(crate) kind: String,
    /// What its text begins with.
    #[serde(default)]
    pub(crate) text: String,
    pub(crate) lane: Option<String>,
    pub(crate) mac: Option<String>,
}

impl Scenario {
    /// A second machine is beside.
    pub(crate) fn has_stranger(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Stranger(_)))
    }
}

impl Step {
    /// It is of a machine and its console alone.
    fn is_of_any_machine(&self) -> bool {
        use Step::{AwaitConsole, AwaitPowerOff, ConsoleLacks, PowerOff, PowerOn};
        matches!(self, PowerOn | PowerOff | AwaitPowerOff | AwaitConsole(_) | ConsoleLacks(_))
    }
}

/// The states that follow each other on the way to an installed machine.
pub(crate) const STATES: &[&str] =
    &["seen", "dhcp", "loader", "script", "kernel", "agent", "installing", "installed", "local"];

/// Outside that order.
pub(crate) const FAILED: &str = "failed";

/// Every `*.yaml` of the folder, by its file's name.
pub(crate) fn load(folder: &Path) -> Result<BTreeMap<String, Scenario>> {
    let mut scenarios = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(&path)?;
        scenarios.insert(name, parse(&text).with_context(|| path.display().to_string())?);
    }
    Ok(scenarios)
}

/// A scenario that makes sense, or why it does not.
pub(crate) fn parse(text: &str) -> Result<Scenario> {
    let scenario: Scenario = serde_saphyr::from_str(text)?;
    if scenario.place == Place::Tap && scenario.dhcp != Dhcp::Server {
        bail!("a foreign DHCP server needs the bridge: place: veth");
    }
    if scenario.dhcp == Dhcp::Off && !scenario.firmware.is_ipv6() {
        bail!("nobody tells the machine what to boot: dhcp: server or proxy");
    }
    if scenario.command != Command::Serve && scenario.dhcp != Dhcp::Proxy {
        bail!("netboot boot and netboot api lease no addresses: dhcp: proxy");
    }
    if scenario.data != Data::Inventory && scenario.command != Command::Serve {
        bail!("netboot boot and netboot api serve no data folder: data: inventory");
    }
    if scenario.answer.is_some() && scenario.command != Command::Api {
        bail!("nobody asks for an answer: command: api");
    }
    if scenario.place == Place::Tap && scenario.has_stranger() {
        bail!("a machine beside needs the bridge: place: veth");
    }
    if !scenario.steps.contains(&Step::PowerOn) {
        bail!("the machine is never turned on");
    }
    for step in &scenario.steps {
        if let Step::AwaitState(state) = step
            && !STATES.contains(&&**state)
            && state != FAILED
        {
            bail!("await-state: there is no state {state:?}; there are {} and {FAILED}", STATES.join(", "));
        }
        if let Step::Stranger(step) = step
            && !step.is_of_any_machine()
        {
            bail!("stranger: the server knows nothing of it: {step:?} can't be told");
        }
    }
    Ok(scenario)
}

/// Those that were asked for, in that order; all when none was.
pub(crate) fn choose(all: &BTreeMap<String, Scenario>, names: &[String]) -> Result<Vec<(String, Scenario)>> {
    if names.is_empty() {
        return Ok(all.iter().map(|(name, scenario)| (name.clone(), scenario.clone())).collect());
    }
    let known = || all.keys().map(String::as_str).chain([kernel_tls::NAME]).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        let scenario = all.get(name).ok_or_else(|| anyhow!("no scenario {name}; there are {}", known()))?;
        Ok((name.clone(), scenario.clone()))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_tests_vm_parses() {
        let all = load(&crate::paths::root().join("tests/vm")).unwrap();
        let wanted = [
            "api-mode",
            "bios-grub",
            "bios-rom",
            "bios-undionly",
            "boot-static",
            "bootcfg-folder",
            "ipxe-script",
            "kill-restart",
            "livebootp",
            "matchbox-install",
            "proxy-dnsmasq",
            "retry",
            "second-boot",
            "uefi-http",
            "uefi-http6",
            "uefi-https",
            "uefi-pxe",
            "uefi-pxe6",
            "unknown-ignore",
            "wrong-digest",
            "xdp-native",
            "xdp-tap",
        ];
        assert_eq!(all.keys().collect::<Vec<_>>(), wanted);
        assert!(
            choose(&all, &["bios-rom".into(), "nope".into()])
                .unwrap_err()
                .to_string()
                .contains("xdp-tap, kernel-tls")
        );
    }

    #[test]
    fn steps_are_read_as_they_are_written() {
        let text = "about: x\nfirmware: uefi-pxe\nsteps:\n  - power-on\n  - await-state: installed\n  \
                    - await-event: { kind: dhcp, text: offer, lane: xdp }\n  - wait: { seconds: 2 }\n  \
                    - stranger: power-on\n  - stranger: { await-console: y }\n  \
                    - answered-by-kernel: [offer, ack]\n";
        let scenario = parse(text).unwrap();
        let offer =
            EventPattern { kind: "dhcp".into(), text: "offer".into(), lane: Some("xdp".into()), mac: None };
        assert_eq!(
            scenario.steps,
            [
                Step::PowerOn,
                Step::AwaitState("installed".into()),
                Step::AwaitEvent(offer),
                Step::Wait { seconds: 2 },
                Step::Stranger(Box::new(Step::PowerOn)),
                Step::Stranger(Box::new(Step::AwaitConsole("y".into()))),
                Step::AnsweredByKernel(vec!["offer".into(), "ack".into()]),
            ]
        );
        assert_eq!((scenario.xdp, scenario.place), (Xdp::Generic, Place::Veth));
        assert!(scenario.has_stranger());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            ("about: x\nfirmware: bios\nsteps: [power-on]\n", "bios"),
            ("about: x\nfirmware: bios-rom\nsteps: []\n", "never turned on"),
            ("about: x\nfirmware: bios-rom\ncolour: red\nsteps: [power-on]\n", "colour"),
            ("about: x\nfirmware: bios-rom\nsteps: [power-on, await-state: done]\n", "no state \"done\""),
            (
                "about: x\nfirmware: bios-rom\ndhcp: proxy\nplace: tap\nsteps: [power-on]\n",
                "needs the bridge",
            ),
            ("about: x\nfirmware: uefi-pxe\ndhcp: off\nsteps: [power-on]\n", "what to boot"),
            (
                "about: x\nfirmware: bios-rom\ncommand: boot\ndhcp: proxy\ndata: bootcfg\nsteps: [power-on]\n",
                "no data folder",
            ),
            ("about: x\nfirmware: bios-rom\nanswer: '{}'\nsteps: [power-on]\n", "nobody asks"),
            (
                "about: x\nfirmware: bios-rom\nplace: tap\nsteps: [power-on, stranger: power-on]\n",
                "needs the bridge",
            ),
            (
                "about: x\nfirmware: bios-rom\nsteps: [power-on, stranger: kill-server]\n",
                "KillServer can't be told",
            ),
        ];
        for (text, want) in cases {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
