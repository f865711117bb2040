//! Attaching: XDP native, else generic, else none; tcx always. Each step down has its reason.

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{
    Link as _, LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType, Xdp, XdpMode,
};
use serde::Serialize;

use super::{Error, Kernel, LINKS, TCX, TFTP, maps_folder};
use crate::sys::interface::interfaces;
use crate::sys::offload;

/// What the operator wants of XDP on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpWish {
    /// Native, else generic, else none.
    Auto,
    Native,
    Generic,
    Off,
}

/// How one program is attached to one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    pub mode: Mode,
    /// Its number, as `bpftool prog` shows it.
    pub program: Option<u32>,
    /// Taken over from an earlier run, its program replaced without a gap.
    pub adopted: bool,
    /// What was tried before, and why it was not to be had.
    pub steps_down: Vec<String>,
}

/// The hook that calls the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// XDP on skbs.
    Generic,
    /// A tc program on a tcx link (kernel 6.6).
    Tcx,
    /// A tc program on the clsact qdisc: not pinned, but the kernel keeps it as well.
    Clsact,
    /// None: the next lane serves alone.
    Off,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode.name())?;
        if self.adopted {
            f.write_str(", adopted from the last run")?;
        }
        if self.steps_down.is_empty() { Ok(()) } else { write!(f, " ({})", self.steps_down.join("; ")) }
    }
}

/// All programs on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// The interface's.
    pub name: String,
    pub xdp: Attached,
    pub tcx: Attached,
    /// The program for TFTP, behind the one before.
    pub tftp: Attached,
}

impl Kernel {
    /// Attaches all programs, or takes over the attachments that an earlier run left.
    pub fn attach(&mut self, interface: &str, wish: XdpWish) -> Result<Attachment, Error> {
        let xdp = self.attach_xdp(interface, wish)?;
        let tcx = self.attach_tcx(interface, TCX)?;
        let tftp = match self.without_tftp.clone() {
            Some(reason) => {
                self.take_off_hook(interface, TcHook::TFTP)?;
                Attached { mode: Mode::Off, program: None, adopted: false, steps_down: vec![reason] }
            }
            None => self.attach_tcx(interface, TFTP)?,
        };
        Ok(Attachment { name: interface.to_owned(), xdp, tcx, tftp })
    }

    /// The same, to an interface that was made anew under its old name: what is attached to the old one goes.
    pub fn attach_anew(&mut self, interface: &str, wish: XdpWish) -> Result<Attachment, Error> {
        let new = index(interface)?;
        let keep = PINNED.map(|what| self.link_pin(new, interface, what));
        let ends = PINNED.map(|what| pin_ending(interface, what));
        let of_old = |pin: &PathBuf| {
            let name = pin.file_name().unwrap_or_default().to_string_lossy();
            !keep.contains(pin)
                && ends.iter().any(|end| name.split_once('-').is_some_and(|(_, rest)| rest == end))
        };
        folder(&self.pins.join(LINKS)).iter().filter(|pin| of_old(pin)).for_each(|pin| remove(pin));
        self.attach(interface, wish)
    }

    fn attach_xdp(&mut self, interface: &str, wish: XdpWish) -> Result<Attached, Error> {
        let modes: &[(Mode, XdpMode)] = match wish {
            XdpWish::Auto => &[NATIVE, GENERIC],
            XdpWish::Native => &[NATIVE],
            XdpWish::Generic => &[GENERIC],
            XdpWish::Off => &[],
        };
        let mut steps_down = Vec::new();
        let index = index(interface)?;
        // The pin's name holds the mode, for an adopted link can't be asked for its own.
        let pins = [NATIVE, GENERIC]
            .map(|(mode, flags)| (mode, flags, self.link_pin(index, interface, mode.name())));
        let modes = match keep_tags(interface, modes) {
            Ok(()) => modes,
            Err(step) => {
                steps_down.push(step);
                &[]
            }
        };
        let loaded = self.xdp()?;
        let program = id(loaded.info());
        for (mode, _, pin) in &pins {
            let wished = modes.iter().any(|(one, _)| one == mode);
            match adopt_xdp(loaded, pin) {
                Ok(true) if wished => {
                    return Ok(Attached { mode: *mode, adopted: true, program, steps_down });
                }
                // A link of another mode than is wished for now.
                Ok(true) => remove(pin),
                Ok(false) => {}
                Err(error) => {
                    steps_down.push(format!("the earlier link could not be adopted: {}", chain(&error)));
                    remove(pin);
                }
            }
        }
        for (mode, flags, pin) in pins.iter().filter(|(mode, ..)| modes.iter().any(|(one, _)| one == mode)) {
            match pinned_xdp(loaded, interface, *flags, pin) {
                Ok(()) => return Ok(Attached { mode: *mode, adopted: false, program, steps_down }),
                Err(error) => steps_down.push(format!("{}: {}", mode.name(), chain(&error))),
            }
        }
        Ok(Attached { mode: Mode::Off, adopted: false, program: None, steps_down })
    }

    fn attach_tcx(&mut self, interface: &str, name: &'static str) -> Result<Attached, Error> {
        let hook = TcHook::of(name);
        let pin = self.link_pin(index(interface)?, interface, hook.pin);
        let handle = clsact_handle(&self.pins);
        let ways: &[Mode] = if self.without_tcx { &[Mode::Clsact] } else { &[Mode::Tcx, Mode::Clsact] };
        let loaded = self.classifier(name)?;
        let program = id(loaded.info());
        let mut steps_down = Vec::new();
        for &mode in ways {
            let attached = match mode {
                Mode::Tcx => by_tcx(loaded, interface, &pin, &mut steps_down),
                _ => by_clsact(loaded, interface, hook.priority, handle),
            };
            match attached {
                Ok(adopted) => return Ok(Attached { mode, adopted, program, steps_down }),
                Err(error) => steps_down.push(format!("{}: {}", mode.name(), chain(&error))),
            }
        }
        self.take_off_hook(interface, TcHook::of(name))?;
        Ok(Attached { mode: Mode::Off, adopted: false, program: None, steps_down })
    }

    /// What an earlier run left there would go on answering from maps that nobody keeps.
    fn take_off_hook(&self, interface: &str, hook: TcHook) -> Result<(), Error> {
        remove(&self.link_pin(index(interface)?, interface, hook.pin));
        // Most have none.
        let _ = delete_filter(interface, hook, clsact_handle(&self.pins));
        Ok(())
    }

    /// Takes off what earlier runs left on other devices than these, and their maps of another version. To be called once all
    /// is attached.
    pub fn keep_only(&self, interfaces: &[&str]) {
        let mut keep = Vec::new();
        for name in interfaces {
            let Ok(index) = index(name) else { continue };
            keep.extend(PINNED.map(|what| self.link_pin(index, name, what)));
        }
        for pin in folder(&self.pins.join(LINKS)).into_iter().filter(|pin| !keep.contains(pin)) {
            tracing::info!("taking off {}, of an earlier run", pin.display());
            remove(&pin);
        }
        let ours = maps_folder(&self.pins);
        // Nothing else there is ours: somebody may have pins of his own below.
        let is_version = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
        };
        for other in folder(&self.pins).into_iter().filter(|path| is_version(path) && *path != ours) {
            // Stays where it can't be removed: no program reads it.
            let _ = std::fs::remove_dir_all(other);
        }
        let others = names().into_iter().filter(|name| !interfaces.contains(&name.as_str()));
        for other in others.filter(|name| delete_clsact(name, clsact_handle(&self.pins)).is_ok()) {
            tracing::info!("took the tc program off {other}, of an earlier run");
        }
    }

    /// For tests: as on kernels before 6.6.
    pub fn without_tcx(&mut self) {
        self.without_tcx = true;
    }

    /// For tests: as on kernels whose verifier refuses the program for TFTP.
    pub fn without_tftp(&mut self) {
        self.without_tftp = Some("refused".to_owned());
    }

    /// With the device's number, so that one that was renamed, or is another one now, is not taken for the old.
    fn link_pin(&self, index: u32, interface: &str, what: &str) -> PathBuf {
        self.pins.join(LINKS).join(format!("{index}-{}", pin_ending(interface, what)))
    }
}

/// What links are pinned as: the modes of XDP, and the two tc programs.
const PINNED: [&str; 4] = [Mode::Native.name(), Mode::Generic.name(), TcHook::DHCP.pin, TcHook::TFTP.pin];

/// Where a tc program is on its hook.
struct TcHook {
    /// What its link is pinned as.
    pin: &'static str,
    /// Among the filters of a clsact qdisc.
    priority: u16,
}

impl TcHook {
    const DHCP: Self = Self { pin: Mode::Tcx.name(), priority: PRIORITY };
    /// Behind it.
    const TFTP: Self = Self { pin: "tftp", priority: PRIORITY + 1 };

    fn of(program: &str) -> Self {
        if program == TFTP { Self::TFTP } else { Self::DHCP }
    }
}

/// A BPF file system takes no dots (they are reserved), and an interface's name has no colons.
fn pin_ending(interface: &str, what: &str) -> String {
    format!("{}-{what}", interface.replace('.', ":"))
}

/// Takes off all programs of the server whose pins these are.
///
/// # Errors
/// What could not be taken off.
pub fn take_off(pins: &Path) -> Result<(), Vec<String>> {
    for name in names() {
        // Most have none.
        let _ = delete_clsact(&name, clsact_handle(pins));
    }
    let links = folder(&pins.join(LINKS));
    links.iter().for_each(|pin| remove(pin));
    let left: Vec<String> =
        links.iter().filter(|pin| pin.exists()).map(|pin| pin.display().to_string()).collect();
    if left.is_empty() { Ok(()) } else { Err(left) }
}

/// The entries of a folder; none where there is no such folder.
fn folder(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// All interfaces; none where they can't be listed.
fn names() -> Vec<String> {
    interfaces().map(|there| there.into_keys().collect()).unwrap_or_default()
}

fn index(interface: &str) -> Result<u32, Error> {
    let failed = |source| Error::Interface { interface: interface.to_owned(), source };
    let there = interfaces().map_err(failed)?;
    let gone = || failed(std::io::Error::from(std::io::ErrorKind::NotFound));
    there.get(interface).map(|found| found.index).ok_or_else(gone)
}

/// XDP can't see a tag that the device took out, and would answer another VLAN's client as an untagged one.
fn keep_tags(interface: &str, modes: &[(Mode, XdpMode)]) -> Result<(), String> {
    if modes.is_empty() {
        return Ok(());
    }
    match offload::switch_off(interface, &offload::TAKES_TAGS_OUT) {
        Ok(switched) if switched.is_empty() => Ok(()),
        Ok(switched) => {
            tracing::info!("{interface}: {} is switched off: XDP must see VLAN tags", switched.join(", "));
            Ok(())
        }
        Err(error) => Err(format!("the device takes VLAN tags out, which XDP must see: {error}")),
    }
}

fn id(info: Result<ProgramInfo, ProgramError>) -> Option<u32> {
    info.ok().map(|info| info.id())
}

const NATIVE: (Mode, XdpMode) = (Mode::Native, XdpMode::Driver);
const GENERIC: (Mode, XdpMode) = (Mode::Generic, XdpMode::Skb);

fn remove(pin: &Path) {
    // Absent is what we want; anything else shows up when the new link is pinned there.
    let _ = std::fs::remove_file(pin);
}

/// Puts the new program into a link that is pinned; false when there is none.
fn adopt_xdp(program: &mut Xdp, pin: &Path) -> Result<bool, AttachError> {
    let Some(link) = pinned(pin)? else { return Ok(false) };
    let id = program.attach_to_link(link.try_into()?)?;
    // The link belongs to its pin from here on: dropped, it only closes our descriptor.
    drop(program.take_link(id)?);
    Ok(true)
}

fn adopt_tcx(program: &mut SchedClassifier, pin: &Path) -> Result<bool, AttachError> {
    let Some(link) = pinned(pin)? else { return Ok(false) };
    let id = program.attach_to_link(link.try_into()?)?;
    drop(program.take_link(id)?);
    Ok(true)
}

fn pinned(pin: &Path) -> Result<Option<FdLink>, AttachError> {
    if !pin.exists() {
        return Ok(None);
    }
    Ok(Some(FdLink::from(PinnedLink::from_pin(pin)?)))
}

fn pinned_xdp(program: &mut Xdp, interface: &str, mode: XdpMode, pin: &Path) -> Result<(), AttachError> {
    let id = program.attach(interface, mode)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    drop(link.pin(pin)?);
    Ok(())
}

/// True when it took over an earlier link.
fn by_tcx(
    program: &mut SchedClassifier,
    interface: &str,
    pin: &Path,
    steps_down: &mut Vec<String>,
) -> Result<bool, AttachError> {
    match adopt_tcx(program, pin) {
        Ok(true) => return Ok(true),
        Ok(false) => {}
        Err(error) => {
            steps_down.push(format!("the earlier link could not be adopted: {}", chain(&error)));
            remove(pin);
        }
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(interface, TcAttachType::Ingress, options)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    drop(link.pin(pin)?);
    Ok(false)
}

/// Of our first filter among those of a clsact qdisc.
const PRIORITY: u16 = 0x4e42;

/// Tells the filters of this server from those of another one (FNV-1a): the next run finds its own.
fn clsact_handle(pins: &Path) -> TcHandle {
    let bytes = pins.as_os_str().as_encoded_bytes();
    let hash =
        bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    // Positive, and not 0, which would let the kernel choose.
    TcHandle::from(hash >> 1 | 1)
}

/// True when it took over the filter of an earlier run, without a gap.
fn by_clsact(
    program: &mut SchedClassifier,
    interface: &str,
    priority: u16,
    handle: TcHandle,
) -> Result<bool, AttachError> {
    if let Ok(id) = program.attach_to_link(clsact_link(interface, priority, handle)?) {
        keep(program.take_link(id)?);
        return Ok(true);
    }
    // There already is as good as added.
    let _ = qdisc_add_clsact(interface);
    let options = TcAttachOptions::Netlink(NlOptions { priority, handle, classid: None });
    let id = program.attach_with_options(interface, TcAttachType::Ingress, options)?;
    keep(program.take_link(id)?);
    Ok(false)
}

fn clsact_link(
    interface: &str,
    priority: u16,
    handle: TcHandle,
) -> Result<SchedClassifierLink, std::io::Error> {
    SchedClassifierLink::attached(interface, TcAttachType::Ingress, priority, handle, None)
}

/// Both of ours; an error when one is not there.
fn delete_clsact(interface: &str, handle: TcHandle) -> Result<(), AttachError> {
    let delete = |hook| delete_filter(interface, hook, handle);
    let (tftp, dhcp) = (delete(TcHook::TFTP), delete(TcHook::DHCP));
    tftp.and(dhcp)
}

fn delete_filter(interface: &str, hook: TcHook, handle: TcHandle) -> Result<(), AttachError> {
    Ok(clsact_link(interface, hook.priority, handle)?.detach()?)
}

/// A filter is the kernel's until it is deleted, which a link does when it is dropped: ours outlives this process, as pinned
/// links do.
fn keep(link: SchedClassifierLink) {
    std::mem::forget(link);
}

#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Interface(#[from] std::io::Error),
    #[error(transparent)]
    Pin(#[from] aya::pin::PinError),
}

/// An error with its causes, on one line.
fn chain(error: &AttachError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
