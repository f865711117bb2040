//! Attaching: XDP native, else generic, else none; tcx always. Each step down has its reason.

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::qdisc_add_clsact;
use aya::programs::{ProgramError, ProgramInfo, SchedClassifier, TcAttachType, Xdp, XdpMode};
use serde::Serialize;

use super::{Error, Kernel};

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
    /// A tc program on the clsact qdisc: not pinned, gone with this process.
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

/// Both programs on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// The interface's.
    pub name: String,
    pub xdp: Attached,
    pub tcx: Attached,
}

impl Kernel {
    /// Attaches both programs, or takes over the attachments that an earlier run left.
    pub fn attach(&mut self, interface: &str, wish: XdpWish) -> Result<Attachment, Error> {
        let xdp = self.attach_xdp(interface, wish)?;
        let tcx = self.attach_tcx(interface)?;
        Ok(Attachment { name: interface.to_owned(), xdp, tcx })
    }

    /// The same, to an interface that was made anew under its old name: with the old one, its attachments are gone.
    pub fn attach_anew(&mut self, interface: &str, wish: XdpWish) -> Result<Attachment, Error> {
        for mode in [Mode::Native, Mode::Generic, Mode::Tcx] {
            remove(&self.link_pin(interface, mode));
        }
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
        // The pin's name holds the mode, for an adopted link can't be asked for its own.
        let pins = [NATIVE, GENERIC].map(|(mode, flags)| (mode, flags, self.link_pin(interface, mode)));
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

    fn attach_tcx(&mut self, interface: &str) -> Result<Attached, Error> {
        let pin = self.link_pin(interface, Mode::Tcx);
        let loaded = self.tcx()?;
        let program = id(loaded.info());
        let mut steps_down = Vec::new();
        match adopt_tcx(loaded, &pin) {
            Ok(true) => return Ok(Attached { mode: Mode::Tcx, adopted: true, program, steps_down }),
            Ok(false) => {}
            Err(error) => {
                steps_down.push(format!("the earlier link could not be adopted: {}", chain(&error)));
                remove(&pin);
            }
        }
        let mode = match pinned_tcx(loaded, interface, &pin) {
            Ok(mode) => mode,
            Err(error) => {
                steps_down.push(format!("tcx: {}", chain(&error)));
                Mode::Off
            }
        };
        Ok(Attached { mode, adopted: false, program: program.filter(|_| mode != Mode::Off), steps_down })
    }

    fn link_pin(&mut self, interface: &str, mode: Mode) -> PathBuf {
        // A BPF file system takes no dots (they are reserved), and an interface's name has no colons.
        let name = format!("{}-{}", interface.replace('.', ":"), mode.name());
        let path = self.pins.join("links").join(&name);
        if !self.attached.contains(&name) {
            self.attached.push(name);
        }
        path
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

/// By tcx, pinned; else by clsact.
fn pinned_tcx(program: &mut SchedClassifier, interface: &str, pin: &Path) -> Result<Mode, AttachError> {
    // aya takes tcx where the kernel has it (6.6); else clsact, which wants its qdisc first.
    let id = program.attach(interface, TcAttachType::Ingress).or_else(|_| {
        // There already is as good as added.
        let _ = qdisc_add_clsact(interface);
        program.attach(interface, TcAttachType::Ingress)
    })?;
    match FdLink::try_from(program.take_link(id)?) {
        Ok(link) => {
            drop(link.pin(pin)?);
            Ok(Mode::Tcx)
        }
        Err(LinkError::InvalidLink) => Ok(Mode::Clsact),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Link(#[from] LinkError),
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
